//! The database from the files (`ZKDatabase.loadDataBase`).

use std::collections::VecDeque;

use bytes::Bytes;

use crate::{
    db::{Database, DbOptions, load::Loader, watch::NoEvents},
    ids::{SessionId, Zxid},
    proto::{Acl, data::StatPersisted, txn::TxnHeader},
    storage::{Replay, SnapshotSink, recovery::follows},
};

/// A snapshot being read, then the log being replayed over it.
pub struct Restore {
    options: DbOptions,
    state: State,
    window: VecDeque<(Zxid, Bytes)>,
}

/// Replayed txns that are kept for learners that are not far behind (`ZKDatabase.commitLogCount`).
const WINDOW: usize = 500;

enum State {
    Loading(Box<Loader>),
    /// Without a snapshot: the tree that a server begins with.
    Loaded(Box<Database>),
}

impl Restore {
    pub fn new(options: DbOptions) -> Restore {
        let state = State::Loading(Box::new(Loader::new(options)));
        Restore { options, state, window: VecDeque::new() }
    }

    /// The newest of the replayed txns, as logged, oldest first and without a gap.
    pub fn take_window(&mut self) -> Vec<(Zxid, Bytes)> {
        std::mem::take(&mut self.window).into()
    }

    pub fn into_database(mut self) -> Database {
        self.database();
        match self.state {
            State::Loaded(db) => *db,
            State::Loading(_) => Database::new(self.options),
        }
    }

    fn database(&mut self) -> &mut Database {
        if matches!(self.state, State::Loading(_)) {
            self.state = State::Loaded(Box::new(Database::new(self.options)));
        }
        match &mut self.state {
            State::Loaded(db) => db,
            State::Loading(_) => unreachable!("it has just been replaced"),
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
            State::Loaded(_) => Err("a node outside a snapshot".to_owned()),
        }
    }

    fn end(&mut self, zxid: Zxid) -> Result<(), String> {
        if let State::Loading(loader) = &mut self.state {
            let loader = std::mem::replace(&mut **loader, Loader::new(self.options));
            self.state = State::Loaded(Box::new(loader.finish(zxid)));
        }
        Ok(())
    }
}

impl Replay for Restore {
    fn apply(&mut self, header: &TxnHeader, record: &[u8]) -> Result<(), String> {
        self.database().apply(header, record, &mut NoEvents).map(drop).map_err(|e| e.to_string())
    }

    fn committed(&mut self, zxid: Zxid, txn: &[u8]) {
        if self.window.back().is_some_and(|(last, _)| !follows(*last, zxid)) {
            self.window.clear();
        }
        if self.window.len() == WINDOW {
            self.window.pop_front();
        }
        self.window.push_back((zxid, Bytes::copy_from_slice(txn)));
    }
}
