//! Applying: idempotence, counts, and images taken while the tree changes.

use std::collections::BTreeMap;

use bytes::BytesMut;
use proptest::prelude::*;

use super::{acl::AclKey, capture::NodeSink, load::Loader, watch::NoEvents, *};
use crate::proto::{
    OpCode,
    txn::{
        CheckVersionTxn, CreateContainerTxn, CreateSessionTxn, CreateTxn, DeleteTxn, ErrorTxn, MultiTxn,
        SetAclTxn, SetDataTxn, SubTxn, Txn, TxnHeader,
    },
};

type LoggedTxn = (TxnHeader, Vec<u8>);

fn header(zxid: i64, session: i64, kind: OpCode) -> TxnHeader {
    TxnHeader { session: SessionId(session), cxid: 0, zxid: Zxid(zxid), time: 1000 + zxid, kind: kind.0 }
}

fn logged(zxid: i64, session: i64, kind: OpCode, txn: &Txn<'_>) -> LoggedTxn {
    let mut record = BytesMut::new();
    txn.encode(&mut record);
    (header(zxid, session, kind), record.to_vec())
}

fn open_acl() -> Vec<Acl> {
    vec![Acl::new(perms::ALL, "world", "anyone")]
}

fn create<'a>(path: &'a str, data: &'a [u8], ephemeral: bool, parent_cversion: i32) -> Txn<'a> {
    Txn::Create(CreateTxn {
        path: path.into(),
        data: Some(serde_bytes::Bytes::new(data)),
        acl: open_acl(),
        ephemeral,
        parent_cversion,
    })
}

fn apply(db: &mut Database, txn: &LoggedTxn) {
    db.apply(&txn.0, &txn.1, &mut NoEvents).unwrap();
}

type Stored = (Option<Vec<u8>>, StatPersisted, Vec<Acl>);

/// Everything that is replicated, in an order of its own.
#[derive(Debug, PartialEq)]
struct Contents {
    nodes: BTreeMap<String, Stored>,
    sessions: BTreeMap<SessionId, i32>,
    ephemerals: BTreeMap<SessionId, Vec<String>>,
    last_zxid: Zxid,
}

fn contents(db: &Database) -> Contents {
    let node = |node: &Node| {
        let acl = db.acl_of(node).map(|list| list.to_vec()).unwrap_or_default();
        (node.path().to_owned(), (node.data.as_deref().map(<[u8]>::to_vec), node.stat, acl))
    };
    let sorted = |paths: &mut dyn Iterator<Item = &str>| {
        let mut paths: Vec<String> = paths.map(str::to_owned).collect();
        paths.sort();
        paths
    };
    Contents {
        nodes: db.nodes().iter().map(|(_, n)| node(n)).collect(),
        sessions: db.sessions().collect(),
        ephemerals: db
            .ephemerals()
            .map(|(id, mut paths)| (id, sorted(&mut paths)))
            .filter(|(_, paths)| !paths.is_empty())
            .collect(),
        last_zxid: db.last_zxid(),
    }
}

/// Invariants that no txn may break.
fn check(db: &Database) {
    let mut size = 0;
    for (id, node) in db.nodes().iter() {
        assert_eq!(db.nodes().find(node.path()), Some(id), "{}", node.path());
        for child in db.nodes().children(node) {
            let (parent, _) = path::split(child.path()).unwrap();
            assert_eq!(parent, node.path());
        }
        if let Some((parent, name)) = path::split(node.path()) {
            let parent = db.find(parent).expect("a parent");
            assert!(db.nodes().child_names(parent).any(|child| child == name));
        }
        let keys = if node.path().is_empty() { 2 } else { 1 };
        size += (keys * node.data_len() + path::java_length(node.path())) as i64;
    }
    assert_eq!(db.nodes().approximate_size(), size + 1, "the root's second key is one char long");
}

/// A random history over few paths and sessions, all of it as a leader would have logged it or nearly so.
fn history() -> impl Strategy<Value = Vec<LoggedTxn>> {
    let path = || prop::sample::select(vec!["/a", "/b", "/a/x", "/a/y", "/b/x", "/a/x/1"]);
    let session = || 1i64..4;
    let op = prop_oneof![
        4 => (path(), session(), any::<bool>()).prop_map(|(p, s, e)| (OpCode::CREATE, p, s, i32::from(e))),
        3 => (path(), session()).prop_map(|(p, s)| (OpCode::DELETE, p, s, 0)),
        3 => (path(), session(), 0..9i32).prop_map(|(p, s, v)| (OpCode::SET_DATA, p, s, v)),
        1 => (path(), session(), 0..9i32).prop_map(|(p, s, v)| (OpCode::SET_ACL, p, s, v)),
        1 => (path(), session()).prop_map(|(p, s)| (OpCode::CREATE_CONTAINER, p, s, 0)),
        1 => (path(), session()).prop_map(|(p, s)| (OpCode::CREATE_SESSION, p, s, 0)),
        1 => (path(), session()).prop_map(|(p, s)| (OpCode::CLOSE_SESSION, p, s, 0)),
        2 => (path(), session(), 0..3i32).prop_map(|(p, s, v)| (OpCode::MULTI, p, s, v)),
    ];
    prop::collection::vec(op, 1..60).prop_map(|ops| {
        // What a leader knows: only what would succeed is logged as itself.
        let mut db = Database::new(DbOptions::default());
        let mut log = Vec::new();
        for (i, (kind, path, session, n)) in ops.into_iter().enumerate() {
            let zxid = i as i64 + 1;
            let txn = as_leader(&db, zxid, kind, path, session, n);
            apply(&mut db, &txn);
            log.push(txn);
        }
        log
    })
}

fn as_leader(db: &Database, zxid: i64, kind: OpCode, path: &str, session: i64, n: i32) -> LoggedTxn {
    let refused = || logged(zxid, session, OpCode::ERROR, &Txn::Error(ErrorTxn { err: -101 }));
    let parent = path::split(path)
        .and_then(|(parent, _)| db.find(parent))
        .filter(|parent| db.owner(parent.stat.ephemeral_owner) != Owner::Session);
    let node = db.find(path);
    let cversion = parent.map_or(0, |p| p.stat.cversion) + 1;
    let data = vec![b'd'; zxid as usize % 7];
    match (kind, parent, node) {
        (OpCode::CREATE, Some(_), None) => {
            logged(zxid, session, kind, &create(path, &data, n == 1, cversion))
        }
        (OpCode::CREATE_CONTAINER, Some(_), None) => {
            let txn =
                CreateContainerTxn { path: path.into(), data: None, acl: vec![], parent_cversion: cversion };
            logged(zxid, session, kind, &Txn::CreateContainer(txn))
        }
        (OpCode::DELETE, _, Some(node)) if node.child_count() == 0 => {
            logged(zxid, session, kind, &Txn::Delete(DeleteTxn { path: path.into() }))
        }
        (OpCode::SET_DATA, _, Some(_)) => {
            let data = Some(serde_bytes::Bytes::new(&data));
            logged(zxid, session, kind, &Txn::SetData(SetDataTxn { path: path.into(), data, version: n }))
        }
        (OpCode::SET_ACL, _, Some(_)) => {
            let acl = vec![Acl::new(n, "ip", "127.0.0.1")];
            logged(zxid, session, kind, &Txn::SetAcl(SetAclTxn { path: path.into(), acl, version: n }))
        }
        (OpCode::CREATE_SESSION, ..) => {
            logged(zxid, session, kind, &Txn::CreateSession(CreateSessionTxn { timeout_ms: 4000 + n }))
        }
        (OpCode::CLOSE_SESSION, ..) => logged(zxid, session, kind, &Txn::CloseSession),
        (OpCode::MULTI, Some(_), None) => {
            let mut first = BytesMut::new();
            create(path, &data, false, cversion).encode(&mut first);
            let mut second = BytesMut::new();
            let failing = n == 0;
            match failing {
                true => Txn::Error(ErrorTxn { err: -103 }).encode(&mut second),
                false => Txn::Check(CheckVersionTxn { path: path.into(), version: 1 }).encode(&mut second),
            }
            let ops = vec![
                SubTxn { kind: OpCode::CREATE.0, record: serde_bytes::Bytes::new(&first) },
                SubTxn {
                    kind: if failing { OpCode::ERROR.0 } else { OpCode::CHECK.0 },
                    record: serde_bytes::Bytes::new(&second),
                },
            ];
            logged(zxid, session, kind, &Txn::Multi(MultiTxn { ops }))
        }
        _ => refused(),
    }
}

/// What a snapshot of an image holds, loaded again.
struct Reload(Loader);

impl NodeSink for Reload {
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

/// An image in the making, one small step at a time.
struct Image {
    capture: Arc<Capture>,
    expected: Contents,
    reload: Reload,
    /// The next slot to be collected, then the nodes that are left to write.
    next: u32,
    by_depth: Vec<Vec<NodeId>>,
    left: Option<std::collections::VecDeque<NodeId>>,
}

impl Image {
    fn begin(db: &mut Database) -> Image {
        let capture = db.begin_capture();
        let mut reload = Reload(Loader::new(DbOptions::default()));
        capture.sessions.iter().for_each(|(id, timeout)| reload.0.session(*id, *timeout));
        capture.acls.iter().for_each(|(key, list)| reload.0.acl(key.0, list.to_vec()));
        Image { capture, expected: contents(db), reload, next: 0, by_depth: Vec::new(), left: None }
    }

    fn is_done(&self) -> bool {
        self.left.as_ref().is_some_and(|left| left.is_empty())
    }

    fn step(&mut self, current: &Database) {
        if self.is_done() {
            return;
        }
        let db = self.capture.home(current).expect("it is current or retired");
        let Some(left) = &mut self.left else {
            self.capture.collect(db, self.next..self.next + 2, &mut self.by_depth);
            self.next += 2;
            if self.next >= self.capture.slots() {
                self.left = Some(std::mem::take(&mut self.by_depth).into_iter().flatten().collect());
            }
            return;
        };
        if let Some(id) = left.pop_front() {
            self.capture.emit(db, &[id], &mut self.reload).unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// A log may be replayed from any point over a state that already has some of what follows.
    #[test]
    fn replaying_any_part_of_the_log_again_changes_nothing(log in history(), from in 0usize..60, to in 0usize..60) {
        let mut db = Database::new(DbOptions::default());
        log.iter().for_each(|txn| apply(&mut db, txn));
        check(&db);
        let whole = contents(&db);

        // Up to `to`, then once more from `from` to the end: as if a snapshot's name were older than its contents.
        let to = to.min(log.len());
        let from = from.min(to);
        let mut again = Database::new(DbOptions::default());
        log[..to].iter().for_each(|txn| apply(&mut again, txn));
        log[from..].iter().for_each(|txn| apply(&mut again, txn));
        check(&again);
        let again = contents(&again);
        // Stats of a node that was deleted and made again between the two may be of the second making only; paths,
        // data, sessions and ephemerals may not differ.
        prop_assert_eq!(again.nodes.keys().collect::<Vec<_>>(), whole.nodes.keys().collect::<Vec<_>>());
        prop_assert_eq!(&again.sessions, &whole.sessions);
        prop_assert_eq!(&again.ephemerals, &whole.ephemerals);
        prop_assert_eq!(again.last_zxid, whole.last_zxid);
        for (path, (data, ..)) in &whole.nodes {
            prop_assert_eq!(&again.nodes[path].0, data, "{}", path);
        }
    }

    /// An image is the state at its begin, whatever is applied while it is written, however the steps fall, and whatever
    /// other images begin and end meanwhile.
    #[test]
    fn an_image_is_a_point_in_time(log in history(), begins in prop::collection::vec(0usize..60, 1..4),
                                   steps in 1usize..5, reverse in any::<bool>()) {
        let mut begins: Vec<usize> = begins.iter().map(|begin| (*begin).min(log.len())).collect();
        begins.sort_unstable();
        let mut db = Database::new(DbOptions::default());
        let mut images = Vec::new();
        for (n, txn) in log.iter().map(Some).chain([None]).enumerate() {
            for _ in begins.iter().filter(|begin| **begin == n) {
                images.push(Image::begin(&mut db));
            }
            let Some(txn) = txn else { break };
            for i in 0..images.len() {
                let i = if reverse { images.len() - 1 - i } else { i };
                if (n + i) % steps == 0 {
                    images[i].step(&db);
                }
            }
            for image in images.iter().filter(|image| image.is_done()) {
                db.end_capture(&image.capture);
            }
            apply(&mut db, txn);
        }
        prop_assert_eq!(images.len(), begins.len());
        for mut image in images {
            while !image.is_done() {
                image.step(&db);
            }
            db.end_capture(&image.capture);
            prop_assert_eq!(contents(&image.reload.0.finish(image.capture.zxid)), image.expected);
        }
        prop_assert!(!db.is_captured(), "nothing is kept for images that have ended");
    }

    /// Images outlive their database; what its successor does not have any more is given up.
    #[test]
    fn an_image_stays_when_its_database_is_replaced(log in history(), begin in 0usize..60, successor in 0usize..60) {
        let (begin, successor) = (begin.min(log.len()), successor.min(log.len()));
        let mut db = Database::new(DbOptions::default());
        log[..begin].iter().for_each(|txn| apply(&mut db, txn));
        let mut image = Image::begin(&mut db);
        log[begin..].iter().for_each(|txn| apply(&mut db, txn));
        image.step(&db);

        let mut new = Database::new(DbOptions::default());
        log[..successor].iter().for_each(|txn| apply(&mut new, txn));
        let new_contents = contents(&new);
        prop_assert!(db.replace(new).is_none(), "the image needs it");
        prop_assert_eq!(contents(&db), new_contents);
        prop_assert_eq!(*image.capture.given_up(), begin > successor);
        log[successor..].iter().for_each(|txn| apply(&mut db, txn));
        while !image.is_done() {
            image.step(&db);
        }
        db.end_capture(&image.capture);
        prop_assert_eq!(contents(&image.reload.0.finish(image.capture.zxid)), image.expected);
    }

    #[test]
    fn bytes_that_are_no_txn_change_nothing(kind in -12i32..25, record in prop::collection::vec(any::<u8>(), 0..80)) {
        let mut db = Database::new(DbOptions::default());
        let before = contents(&db);
        let header = TxnHeader { kind, ..header(1, 1, OpCode::ERROR) };
        if db.apply(&header, &record, &mut NoEvents).is_err() {
            prop_assert_eq!(contents(&db), before);
        }
        check(&db);
    }
}

#[test]
fn a_fresh_tree_has_javas_numbers() {
    let mut db = Database::new(DbOptions::default());
    // B§2.1
    assert_eq!((db.node_count(), db.nodes().approximate_size()), (5, 44));
    db.init_config("version=0", 0, 1);
    check(&db);
    let root = db.stat(db.find("/").unwrap());
    assert_eq!((root.cversion, root.num_children), (-1, 1));
    let config = db.find(path::CONFIG).unwrap();
    assert_eq!(config.stat.aversion, -1);
    assert_eq!(db.acl_of(config).unwrap().to_vec(), [Acl::new(perms::READ, "world", "anyone")]);
    check(&db);
}

#[test]
fn client_cversion_counts_deletes_too() {
    let mut db = Database::new(DbOptions::default());
    apply(&mut db, &logged(1, 1, OpCode::CREATE, &create("/a", b"", false, 1)));
    apply(&mut db, &logged(2, 1, OpCode::CREATE, &create("/a/b", b"", false, 1)));
    assert_eq!(db.stat(db.find("/a").unwrap()).cversion, 1);
    apply(&mut db, &logged(3, 1, OpCode::DELETE, &Txn::Delete(DeleteTxn { path: "/a/b".into() })));
    let stat = db.stat(db.find("/a").unwrap());
    assert_eq!((stat.cversion, stat.pzxid), (2, Zxid(3)));
}

#[test]
fn a_multi_with_one_error_applies_nothing_and_says_why() {
    let mut db = Database::new(DbOptions::default());
    let mut record = BytesMut::new();
    create("/a", b"", false, 1).encode(&mut record);
    let mut error = BytesMut::new();
    Txn::Error(ErrorTxn { err: -103 }).encode(&mut error);
    let mut later = BytesMut::new();
    Txn::Error(ErrorTxn { err: -2 }).encode(&mut later);
    let ops = vec![
        SubTxn { kind: 1, record: serde_bytes::Bytes::new(&record) },
        SubTxn { kind: -1, record: serde_bytes::Bytes::new(&error) },
        SubTxn { kind: -1, record: serde_bytes::Bytes::new(&later) },
    ];
    let txn = logged(9, 1, OpCode::MULTI, &Txn::Multi(MultiTxn { ops }));
    let outcome = db.apply(&txn.0, &txn.1, &mut NoEvents).unwrap();
    let Effect::Multi(results) = outcome.effect else { panic!("no results") };
    let errors: Vec<i32> = results.iter().map(|(_, outcome)| outcome.err.0).collect();
    assert_eq!(errors, [0, -103, -2]);
    assert!(db.find("/a").is_none());
    assert_eq!(db.last_zxid(), Zxid(9));
}

#[test]
fn quotas_are_charged_in_place_and_survive_text_that_stops_java() {
    let mut db = Database::new(DbOptions::default());
    let nodes: [(&str, &[u8]); 5] = [
        ("/q", b"12"),
        ("/zookeeper/quota/q", b""),
        ("/zookeeper/quota/q/zookeeper_limits", b"count=1,bytes=-1"),
        ("/zookeeper/quota/q/zookeeper_stats", b"count=0,bytes=0"),
        ("/q/child", b"345"),
    ];
    for (zxid, (path, data)) in (1..).zip(nodes) {
        apply(&mut db, &logged(zxid, 1, OpCode::CREATE, &create(path, data, false, zxid as i32)));
    }
    let stats = |db: &Database| {
        let node = db.find("/zookeeper/quota/q/zookeeper_stats").unwrap();
        (String::from_utf8(node.data.clone().unwrap().into()).unwrap(), node.stat.version)
    };
    assert_eq!(stats(&db), ("count=2,bytes=5".to_owned(), 0));
    let garbage = Some(serde_bytes::Bytes::new(b"garbage"));
    let path = "/zookeeper/quota/q/zookeeper_stats";
    apply(
        &mut db,
        &logged(
            9,
            1,
            OpCode::SET_DATA,
            &Txn::SetData(SetDataTxn { path: path.into(), data: garbage, version: 1 }),
        ),
    );
    apply(&mut db, &logged(10, 1, OpCode::CREATE, &create("/q/more", b"", false, 9)));
    assert_eq!(stats(&db).0, "garbage");
    // Limits right below /zookeeper/quota: Java's trie throws.
    apply(
        &mut db,
        &logged(11, 1, OpCode::CREATE, &create("/zookeeper/quota/zookeeper_limits", b"", false, 9)),
    );
    check(&db);
}

#[test]
fn ephemerals_of_sessions_in_no_table_are_purged() {
    let mut db = Database::new(DbOptions::default());
    apply(
        &mut db,
        &logged(1, 5, OpCode::CREATE_SESSION, &Txn::CreateSession(CreateSessionTxn { timeout_ms: 1 })),
    );
    apply(&mut db, &logged(2, 5, OpCode::CREATE, &create("/mine", b"", true, 1)));
    apply(&mut db, &logged(3, 6, OpCode::CREATE, &create("/dead", b"", true, 2)));
    assert_eq!(db.purge_dead_sessions(), [SessionId(6)]);
    assert!(db.find("/mine").is_some() && db.find("/dead").is_none());
}

#[test]
fn a_snapshot_with_a_node_before_its_parent_is_refused() {
    let mut loader = Loader::new(DbOptions::default());
    let stat = StatPersisted::default();
    assert!(loader.node("", None, -1, &stat).is_ok());
    assert!(loader.node("/a/b", None, -1, &stat).is_err());
    assert!(loader.node("/a", None, -1, &stat).is_ok());
    assert!(loader.node("/a", None, -1, &stat).is_err(), "twice");
}

/// A log that no leader wrote: an ephemeral with a child, and the child of the same session's later life.
#[test]
fn an_ephemeral_that_goes_with_its_parent_is_in_no_table() {
    let mut db = Database::new(DbOptions::default());
    apply(&mut db, &logged(1, 5, OpCode::CREATE, &create("/mine", b"", true, 1)));
    apply(&mut db, &logged(9, 5, OpCode::CREATE, &create("/mine/later", b"", true, 1)));
    apply(&mut db, &logged(4, 5, OpCode::CLOSE_SESSION, &Txn::CloseSession));
    assert!(db.find("/mine").is_none() && db.find("/mine/later").is_none());
    assert_eq!(db.ephemeral_count(), 0);
}
