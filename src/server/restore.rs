//! The database from the files (`ZKDatabase.loadDataBase`).

use crate::{
    db::{Database, DbOptions, load::Loader, watch::NoEvents},
    ids::{SessionId, Zxid},
    proto::{Acl, data::StatPersisted, txn::TxnHeader},
    storage::{Replay, SnapshotSink},
};

/// A snapshot being read, then the log being replayed over it.
pub struct Restore {
    state: State,
}

enum State {
    Loading(Box<Loader>),
    Loaded(Box<Database>),
    /// Only while it changes from one to the other.
    Moving,
}

impl Restore {
    pub fn new(options: DbOptions) -> Restore {
        Restore { state: State::Loading(Box::new(Loader::new(options))) }
    }

    /// For a directory without a snapshot.
    pub fn fresh(options: DbOptions) -> Restore {
        Restore { state: State::Loaded(Box::new(Database::new(options))) }
    }

    pub fn into_database(self) -> Option<Database> {
        match self.state {
            State::Loaded(db) => Some(*db),
            State::Loading(_) | State::Moving => None,
        }
    }
}

impl SnapshotSink for Restore {
    fn session(&mut self, id: SessionId, timeout_ms: i32) {
        if let State::Loading(loader) = &mut self.state {
            loader.session(id, timeout_ms);
        }
    }

    fn acl(&mut self, key: i64, list: Vec<Acl>) {
        if let State::Loading(loader) = &mut self.state {
            loader.acl(key, list);
        }
    }

    fn node(
        &mut self,
        path: &str,
        data: Option<&[u8]>,
        acl_key: i64,
        stat: &StatPersisted,
    ) -> Result<(), String> {
        match &mut self.state {
            State::Loading(loader) => loader.node(path, data, acl_key, stat),
            _ => Err("a node outside a snapshot".to_owned()),
        }
    }
}

impl Replay for Restore {
    fn loaded(&mut self, zxid: Zxid) {
        if let State::Loading(loader) = std::mem::replace(&mut self.state, State::Moving) {
            self.state = State::Loaded(Box::new(loader.finish(zxid)));
        }
    }

    fn apply(&mut self, header: &TxnHeader, record: &[u8]) -> Result<(), String> {
        match &mut self.state {
            State::Loaded(db) => db.apply(header, record, &mut NoEvents).map(drop).map_err(|e| e.to_string()),
            _ => Err("a txn before the snapshot was read".to_owned()),
        }
    }
}
