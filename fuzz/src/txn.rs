//! A history of txns (each behind its length), applied: no bytes break the tree, what cannot be read changes nothing, a
//! replay is harmless, and an image taken in the middle loads.

use bytes::BytesMut;
use ferrokeeper::{
    db::{
        Database, DbOptions, acl::AclKey, capture::NodeSink, load::Loader, owner::OwnerRules, watch::NoEvents,
    },
    jute::Limits,
    proto::{
        data::StatPersisted,
        txn::{self, Txn},
    },
};

use super::{next_piece, tree};

pub fn run(data: &[u8]) {
    let Some((flags, mut rest)) = data.split_first() else { return };
    let owners = OwnerRules { extended_types: flags & 1 != 0, emulate_353: flags & 2 != 0 };
    let options = DbOptions { owners, ..DbOptions::default() };
    let mut db = Database::new(options);
    let mut history = Vec::new();
    while let Some(bytes) = next_piece(&mut rest) {
        history.push(bytes);
    }
    let middle = history.len() / 2;
    history[..middle].iter().for_each(|bytes| apply(&mut db, bytes));
    tree::check(&db);
    let before = (db.node_count(), db.last_zxid());
    let capture = db.begin_capture();
    history[middle..].iter().for_each(|bytes| apply(&mut db, bytes));
    tree::check(&db);

    let mut by_depth = Vec::new();
    capture.collect(&db, 0..capture.slots(), &mut by_depth);
    let mut image = Image(Loader::new(options));
    capture.sessions.iter().for_each(|(id, timeout_ms)| image.0.session(*id, *timeout_ms));
    capture.acls.iter().for_each(|(key, list)| image.0.acl(key.0, list.to_vec()));
    by_depth.iter().for_each(|ids| capture.emit(&db, ids, &mut image).expect("an image that loads"));
    db.end_capture(&capture);
    let image = image.0.finish(capture.zxid);
    tree::check(&image);
    // A txn may have deleted a built-in node, which loading puts back.
    assert!(image.node_count() >= before.0 && image.last_zxid() == before.1);

    history.iter().for_each(|bytes| apply(&mut db, bytes));
    db.purge_dead_sessions();
    tree::check(&db);
}

fn apply(db: &mut Database, bytes: &[u8]) {
    let limits = db.options().limits.for_files();
    let Ok((header, record)) = txn::split_header(bytes, limits) else { return };
    if let Ok(txn) = Txn::decode(header.kind, record, limits) {
        let mut out = BytesMut::new();
        txn.encode(&mut out);
        assert_eq!(Txn::decode(header.kind, &out, Limits::default().for_files()).as_ref(), Ok(&txn));
    }
    let state = |db: &Database| (db.node_count(), db.nodes().approximate_size(), db.last_zxid());
    let before = state(db);
    if db.apply(&header, record, &mut NoEvents).is_err() {
        assert_eq!(state(db), before);
    }
}

struct Image(Loader);

impl NodeSink for Image {
    type Error = String;
    fn node(
        &mut self,
        path: &str,
        data: Option<&[u8]>,
        acl: AclKey,
        stat: &StatPersisted,
    ) -> Result<(), String> {
        self.0.node(path, data, acl.0, stat)
    }
}
