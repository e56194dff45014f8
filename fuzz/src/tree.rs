//! What holds in every Database, whatever was applied or loaded.

use std::collections::BTreeSet;

use bytes::BytesMut;
use ferrokeeper::{
    db::{Database, owner::Owner, path, watch::NoEvents},
    ids::{SessionId, Zxid},
    proto::{
        Acl, OpCode,
        txn::{CreateTxn, DeleteTxn, Txn, TxnHeader},
    },
};

/// The parent's child list, the path index, the counts and the owners' tables say the same.
pub fn check(db: &Database) {
    let nodes = db.nodes();
    let mut size = 1;
    let mut ephemerals = 0;
    for (id, node) in nodes.iter() {
        assert_eq!(nodes.find(node.path()), Some(id), "{}", node.path());
        assert_eq!(nodes.children(node).count(), node.child_count(), "{}", node.path());
        assert_eq!(nodes.child_names(node).count(), node.child_count());
        for child in nodes.children(node) {
            let parent = path::split(child.path()).map(|(parent, _)| parent);
            assert_eq!(parent.and_then(|p| nodes.find(p)), Some(id), "{}", child.path());
        }
        if let Some((parent, _)) = path::split(node.path()) {
            let parent = db.find(parent).expect("a parent");
            assert!(nodes.children(parent).any(|child| child.path() == node.path()), "{}", node.path());
        }
        ephemerals +=
            usize::from(db.owner(node.stat.ephemeral_owner) == Owner::Session && !node.path().is_empty());
        let keys = if node.path().is_empty() { 2 } else { 1 };
        size += keys * node.data_len() as i64 + path::java_length(node.path()) as i64;
        assert_eq!(db.stat(node).data_length as usize, node.data_len());
    }
    assert_eq!((nodes.approximate_size(), db.node_count()), (size, nodes.iter().count() + 1));
    assert_eq!(db.ephemeral_count(), ephemerals);
    for (session, paths) in db.ephemerals() {
        let paths: Vec<&str> = paths.collect();
        assert_eq!(paths.iter().collect::<BTreeSet<_>>().len(), paths.len());
        assert!(paths.iter().all(|p| db.find(p).is_some_and(|n| n.stat.ephemeral_owner == session.0)));
    }
}

/// A server that has loaded this can write: a create with a list nobody has had yet, and its delete.
pub fn can_go_on(db: &mut Database) {
    db.purge_dead_sessions();
    let zxid = Zxid(db.last_zxid().0.saturating_add(1));
    let acl = vec![Acl::new(1, "ip", "127.0.0.1")];
    let path = "/zookeeper/of the fuzzer";
    let create =
        CreateTxn { path: path.into(), data: None, acl: acl.clone(), ephemeral: false, parent_cversion: 1 };
    for txn in [Txn::Create(create), Txn::Delete(DeleteTxn { path: path.into() })] {
        let mut record = BytesMut::new();
        txn.encode(&mut record);
        let kind = if matches!(txn, Txn::Create(_)) { OpCode::CREATE } else { OpCode::DELETE };
        let header = TxnHeader { session: SessionId(1), cxid: 1, zxid, time: 1, kind: kind.0 };
        db.apply(&header, &record, &mut NoEvents).expect("a txn that can be read");
        if let Some(node) = db.find(path).filter(|node| node.stat.czxid == zxid) {
            assert_eq!(db.acl_of(node).map(|list| &list[..]), Some(&acl[..]), "the node has another's list");
        }
    }
    check(db);
}
