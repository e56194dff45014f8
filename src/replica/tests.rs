//! State + input → state + outputs, for a replica that is its own quorum.

use super::*;
use crate::{
    db::DbOptions,
    jute,
    proto::client::{CreateRequest, PathVersionRequest, ReadRequest, ReplyHeader, SetDataRequest},
    proto::data::WireAcl,
    zab::{
        Timing, Token,
        quorum::{Quorums, Voters},
        sync::SyncRules,
    },
};

const ONE: ConnId = ConnId(1);
const TWO: ConnId = ConnId(2);

struct Rig {
    db: Database,
    replica: Replica,
    now: Now,
    xid: i32,
    /// Everything that came out and was not looked at yet.
    outputs: Vec<Output>,
    last_token: Option<Token>,
}

impl Rig {
    fn new() -> Rig {
        let db = Database::new(DbOptions::default());
        let now = Now { mono: 10_000, wall: 1_000_000 };
        let config = ReplicaConfig {
            sid: Sid(0),
            tick_ms: 2000,
            snap_count: 100_000,
            snapshot_at_start: true,
            leader_serves: true,
            local_sessions: None,
            container_check_interval_ms: 60_000,
            container_max_per_minute: 10_000,
            prep: PrepRules::default(),
            read: ReadRules { skip_acl: false, modern: true },
            seed: 1,
            session_seed_ms: 1,
        };
        let alone = zab::PeerConfig {
            sid: Sid(0),
            role: Default::default(),
            ensemble: Default::default(),
            quorums: Quorums::new(Voters::new([Sid(0)])),
            timing: Timing { tick_ms: 2000, init_limit: 10, sync_limit: 5 },
            sync: SyncRules { force_snapshot: false, may_read_log: true, max_snapshots: 10 },
            observer_logs: true,
            initial_counter: None,
        };
        let replica = Replica::standalone(config, alone, &db, now);
        let mut rig = Rig { db, replica, now, xid: 0, outputs: Vec::new(), last_token: None };
        rig.pump();
        assert!(
            matches!(rig.outputs[..], [Output::TakeSnapshot, Output::Standing { serving: true, .. }]),
            "a server snapshots what it has loaded"
        );
        rig.outputs.clear();
        rig
    }

    /// What the driver does: take outputs, apply what has committed, take outputs.
    fn pump(&mut self) {
        for _ in 0..2 {
            while let Some(output) = self.replica.poll_output() {
                if let Output::Zab(zab::Output::Persist { token, .. }) = &output {
                    self.last_token = Some(*token);
                }
                self.outputs.push(output);
            }
            if self.replica.has_committed() {
                self.replica.apply_committed(&mut self.db);
            }
        }
    }

    fn input(&mut self, input: Input) {
        self.replica.handle(self.now, input, &self.db);
        self.pump();
    }

    /// Answers every token given out so far.
    fn persist(&mut self) {
        if let Some(token) = self.last_token {
            self.input(Input::Zab(zab::Input::Persisted { token }));
        }
    }

    fn open(&mut self, conn: ConnId) -> SessionId {
        let handshake = Handshake { timeout_ms: 6000, with_read_only: true };
        self.input(Input::OpenSession { conn, handshake, received: self.now.mono });
        self.persist();
        let opened = self.take(|o| match o {
            Output::SessionOpened { conn: c, opened, .. } if *c == conn => Some(opened.session),
            _ => None,
        });
        self.outputs.clear();
        opened.expect("a session")
    }

    fn send(&mut self, conn: ConnId, op: OpCode, record: &impl serde::Serialize) -> i32 {
        self.xid += 1;
        let mut body = BytesMut::new();
        jute::put(&mut body, record);
        let session = self.replica.conns[&conn].session;
        self.input(Input::Request(Request {
            conn,
            session,
            xid: self.xid,
            op,
            body: body.freeze(),
            auth: Arc::from([]),
            received: self.now.mono,
        }));
        self.xid
    }

    fn create(&mut self, conn: ConnId, path: &str, flags: i32) -> i32 {
        let acl = vec![WireAcl { perms: 31, scheme: Some("world".into()), id: Some("anyone".into()) }];
        self.send(
            conn,
            OpCode::CREATE,
            &CreateRequest { path: Some(path.into()), data: None, acl: Some(acl), flags },
        )
    }

    fn set(&mut self, conn: ConnId, path: &str, version: i32) -> i32 {
        let data = Some(serde_bytes::Bytes::new(b"x"));
        self.send(conn, OpCode::SET_DATA, &SetDataRequest { path: Some(path.into()), data, version })
    }

    fn read(&mut self, conn: ConnId, op: OpCode, path: &str, watch: bool) -> i32 {
        self.send(conn, op, &ReadRequest { path: Some(path.into()), watch })
    }

    fn take<T>(&mut self, want: impl Fn(&Output) -> Option<T>) -> Option<T> {
        let at = self.outputs.iter().position(|o| want(o).is_some())?;
        want(&self.outputs.remove(at))
    }

    /// (xid, zxid, err) of what was sent to `conn`, in order; events have xid −1.
    fn heard(&mut self, conn: ConnId) -> Vec<(i32, i64, i32)> {
        let mut heard = Vec::new();
        self.outputs.retain(|output| {
            let (Output::Reply { conn: c, bytes, .. } | Output::Event { conn: c, bytes }) = output else {
                return true;
            };
            if *c != conn {
                return true;
            }
            let header: ReplyHeader = jute::from_bytes(&bytes[4..], Default::default()).unwrap();
            heard.push((header.xid, header.zxid.0, header.err));
            false
        });
        heard
    }
}

#[test]
fn nothing_is_answered_before_it_is_durable() {
    let mut rig = Rig::new();
    rig.open(ONE);
    let xid = rig.create(ONE, "/a", 0);
    assert_eq!(rig.heard(ONE), []);
    assert!(rig.db.find("/a").is_none());
    rig.persist();
    assert_eq!(rig.heard(ONE), [(xid, 2, 0)]);
    assert!(rig.db.find("/a").is_some());
}

#[test]
fn a_read_behind_a_write_waits_and_sees_exactly_that_write() {
    let mut rig = Rig::new();
    rig.open(ONE);
    let create = rig.create(ONE, "/a", 0);
    let before = rig.read(ONE, OpCode::GET_DATA, "/a", false);
    let set = rig.set(ONE, "/a", -1);
    let after = rig.read(ONE, OpCode::GET_DATA, "/a", false);
    assert_eq!(rig.heard(ONE), []);
    rig.persist();
    assert_eq!(rig.heard(ONE), [(create, 2, 0), (before, 2, 0), (set, 3, 0), (after, 3, 0)]);
}

#[test]
fn a_read_of_another_session_waits_for_nobody() {
    let mut rig = Rig::new();
    rig.open(ONE);
    rig.open(TWO);
    rig.create(ONE, "/a", 0);
    let read = rig.read(TWO, OpCode::EXISTS, "/a", false);
    assert_eq!(rig.heard(TWO), [(read, 2, ErrorCode::NO_NODE.0)]);
}

#[test]
fn pipelined_writes_are_checked_against_what_is_on_its_way() {
    let mut rig = Rig::new();
    rig.open(ONE);
    rig.create(ONE, "/a", 0);
    rig.create(ONE, "/a", 0);
    rig.set(ONE, "/a", 0);
    rig.set(ONE, "/a", 0);
    rig.persist();
    let errors: Vec<i32> = rig.heard(ONE).iter().map(|(_, _, err)| *err).collect();
    assert_eq!(errors, [0, ErrorCode::NODE_EXISTS.0, 0, ErrorCode::BAD_VERSION.0]);
    assert!(rig.replica.projection.is_empty());
}

#[test]
fn a_failed_write_takes_a_zxid_and_is_logged() {
    let mut rig = Rig::new();
    rig.open(ONE);
    let failed = rig.set(ONE, "/nope", -1);
    rig.persist();
    assert_eq!(rig.heard(ONE), [(failed, 2, ErrorCode::NO_NODE.0)]);
    assert_eq!(rig.db.last_zxid(), Zxid(2));
}

#[test]
fn an_event_comes_before_the_reply_that_shows_the_change() {
    let mut rig = Rig::new();
    rig.open(ONE);
    rig.open(TWO);
    let create = rig.create(ONE, "/a", 0);
    rig.persist();
    let watch = rig.read(TWO, OpCode::GET_DATA, "/a", true);
    let own = rig.read(ONE, OpCode::EXISTS, "/a", true);
    let set = rig.set(ONE, "/a", -1);
    rig.persist();
    let read = rig.read(TWO, OpCode::GET_DATA, "/a", false);
    assert_eq!(rig.heard(TWO), [(watch, 3, 0), (-1, -1, 0), (read, 4, 0)]);
    assert_eq!(rig.heard(ONE), [(create, 3, 0), (own, 3, 0), (-1, -1, 0), (set, 4, 0)]);
}

#[test]
fn an_expired_session_takes_its_ephemerals_along() {
    let mut rig = Rig::new();
    let session = rig.open(ONE);
    rig.open(TWO);
    rig.create(ONE, "/e", 1);
    rig.persist();
    assert_eq!(rig.db.find("/e").map(|n| n.stat.ephemeral_owner), Some(session.0));
    // Only the second session is heard of again.
    rig.now.mono += 5000;
    let second = rig.replica.conns[&TWO].session;
    assert!(rig.replica.sessions.touch(second, 6000, rig.now.mono).is_some());
    rig.now.mono += 3500;
    rig.replica.handle_timeout(rig.now, &rig.db);
    rig.pump();
    assert!(rig.db.find("/e").is_some(), "not before the txn is durable");
    rig.persist();
    assert!(rig.db.find("/e").is_none());
    let closed = rig.take(|o| match o {
        Output::CloseConn { conn, why } => Some((*conn, *why)),
        _ => None,
    });
    assert_eq!(closed, Some((ONE, CloseReason::SessionExpired)));
    assert!(rig.replica.conns.contains_key(&TWO));
}

#[test]
fn a_session_that_comes_back_cuts_off_its_old_connection_first() {
    let mut rig = Rig::new();
    let session = rig.open(ONE);
    let handshake = Handshake { timeout_ms: 8000, with_read_only: false };
    let wrong = Some(Box::from([0; 16]));
    rig.input(Input::ResumeSession { conn: TWO, handshake, session, passwd: wrong });
    assert!(matches!(
        rig.outputs[..],
        [
            Output::CloseConn { conn: ONE, why: CloseReason::SessionReopened },
            Output::SessionRefused { conn: TWO, wrong_password: true, .. }
        ]
    ));
    rig.outputs.clear();
    let passwd = Some(Box::from(crate::session::password(session)));
    rig.input(Input::ResumeSession { conn: TWO, handshake, session, passwd });
    let Some(Output::SessionOpened { conn: TWO, bytes, opened }) = rig.outputs.pop() else {
        panic!("{:?}", rig.outputs);
    };
    assert_eq!((opened.session, opened.timeout_ms, bytes.len()), (session, 8000, 40));
}

#[test]
fn closing_a_session_is_answered_and_then_the_connection_ends() {
    let mut rig = Rig::new();
    rig.open(ONE);
    let close = rig.send(ONE, OpCode::CLOSE_SESSION, &());
    rig.persist();
    assert!(matches!(
        rig.outputs.last(),
        Some(Output::CloseConn { conn: ONE, why: CloseReason::ClosedByClient })
    ));
    assert_eq!(rig.heard(ONE), [(close, 2, 0)]);
    assert!(rig.replica.sessions.is_empty() && rig.db.sessions().next().is_none());
}

#[test]
fn an_unknown_op_is_refused_in_its_turn() {
    let mut rig = Rig::new();
    rig.open(ONE);
    let create = rig.create(ONE, "/a", 0);
    let unknown = rig.send(ONE, OpCode(10), &PathVersionRequest { path: Some("/a".into()), version: -1 });
    assert_eq!(rig.heard(ONE), []);
    rig.persist();
    assert_eq!(rig.heard(ONE), [(create, 2, 0), (unknown, -1, ErrorCode::UNIMPLEMENTED.0)]);
    assert_eq!(rig.db.last_zxid(), Zxid(2));
}

#[test]
fn a_check_outside_a_multi_is_answered_and_is_no_txn() {
    let mut rig = Rig::new();
    rig.open(ONE);
    let create = rig.create(ONE, "/a", 0);
    let check = |rig: &mut Rig, path: &str, version| {
        rig.send(ONE, OpCode::CHECK, &PathVersionRequest { path: Some(path.into()), version })
    };
    let same = check(&mut rig, "/a", 0);
    let other = check(&mut rig, "/a", 1);
    let missing = check(&mut rig, "/b", -1);
    rig.persist();
    let expected = [
        (create, 2, 0),
        (same, 2, 0),
        (other, 2, ErrorCode::BAD_VERSION.0),
        (missing, 2, ErrorCode::NO_NODE.0),
    ];
    assert_eq!(rig.heard(ONE), expected);
    assert_eq!(rig.db.last_zxid(), Zxid(2));
}

#[test]
fn an_empty_container_is_reaped_and_a_new_one_is_not() {
    let mut rig = Rig::new();
    rig.open(ONE);
    let acl = || Some(vec![WireAcl { perms: 31, scheme: Some("world".into()), id: Some("anyone".into()) }]);
    for path in ["/new", "/old"] {
        let record = CreateRequest { path: Some(path.into()), data: None, acl: acl(), flags: 4 };
        rig.send(ONE, OpCode::CREATE_CONTAINER, &record);
    }
    rig.create(ONE, "/old/child", 0);
    rig.send(ONE, OpCode::DELETE, &PathVersionRequest { path: Some("/old/child".into()), version: -1 });
    rig.persist();
    rig.now.mono += 60_000;
    rig.replica.handle_timeout(rig.now, &rig.db);
    rig.pump();
    rig.persist();
    assert!(rig.db.find("/old").is_none());
    assert!(rig.db.find("/new").is_some());
}

#[test]
fn a_log_is_rolled_and_a_snapshot_begun_between_half_and_all_of_snap_count() {
    let mut pace = SnapshotPace::new(100, 7);
    let mut gaps = Vec::new();
    let mut since = 0;
    for _ in 0..10_000 {
        since += 1;
        if pace.txn_logged() {
            gaps.push(std::mem::take(&mut since));
        }
    }
    assert!(gaps.iter().all(|gap| (51..=100).contains(gap)), "{gaps:?}");
    assert!(gaps.iter().max() > gaps.iter().min());
}
