//! A client's connection: the handshake's frame, then requests, as they come over the wire.
//!
//! Reads are answered, writes prepared and applied. No bytes panic; what prep lets through applies without an error; every
//! reply is whole frames that a client can read, and no longer than request and tree can account for.

use std::{
    net::Ipv4Addr,
    sync::{Arc, LazyLock},
};

use bytes::{Bytes, BytesMut};
use ferrokeeper::{
    config::{Config, Defines, Settings},
    db::{Database, DbOptions, Effect, owner::OwnerRules, watch::EventSink},
    ids::{ConnId, SessionId, Sid, Zxid},
    jute::{self, Limits},
    pipeline::{
        prep::{Prep, PrepRules, Prepared, WriteRequest},
        projection::Projection,
        read::{self, ReadRules, Reader},
        reply,
    },
    proto::{
        ErrorCode, OpCode,
        client::{ConnectRequest, EventType, RequestHeader, put_event},
        data::AclId,
        txn,
    },
    server::{auth, four_letter},
    session::{Owner, SessionTracker, password_matches},
};

use super::{next_piece, replies, tree};

const CONN: ConnId = ConnId(1);
const RULES: ReadRules = ReadRules { skip_acl: false, modern: true };

static SETTINGS: LazyLock<Settings> =
    LazyLock::new(|| Config::builtin_defaults(&Defines::default()).expect("defaults").settings);

pub fn run(data: &[u8]) {
    if let Some(word) = data.first_chunk::<4>() {
        let _ = four_letter::Command::parse(*word).map(four_letter::Command::name);
    }
    let mut rest = data;
    let Some(handshake) = next_piece(&mut rest) else { return };
    let timeout_ms = ConnectRequest::decode(handshake, Limits::default()).map_or(4000, |(request, _)| {
        assert!(!password_matches(SessionId::NONE, request.passwd.map(|p| &**p)));
        request.timeout_ms
    });
    let mut server = Server::new(timeout_ms, data.len().is_multiple_of(2));
    while let Some(frame) = next_piece(&mut rest) {
        server.request(frame);
    }
    server.apply();
    tree::check(&server.db);
}

struct Server {
    db: Database,
    projection: Projection,
    sessions: SessionTracker,
    session: SessionId,
    auth: Arc<[AclId]>,
    zxid: i64,
    pending: Vec<(OpCode, i32, Bytes)>,
    arena: BytesMut,
}

impl Server {
    fn new(timeout_ms: i32, extended_types: bool) -> Server {
        let owners = OwnerRules { extended_types, emulate_353: false };
        let mut sessions = SessionTracker::new(Sid(1), 2000, 1);
        let session = sessions.next_id();
        sessions.add(session, timeout_ms, 1);
        Server {
            db: Database::new(DbOptions { owners, ..DbOptions::default() }),
            projection: Projection::default(),
            sessions,
            session,
            auth: Arc::from([AclId::new("ip", "127.0.0.1")]),
            zxid: 0,
            pending: Vec::new(),
            arena: BytesMut::new(),
        }
    }

    fn request(&mut self, frame: &[u8]) {
        let Ok((RequestHeader { xid, op }, body)) = jute::take_from_bytes(frame, Limits::default()) else {
            return;
        };
        let op = OpCode(op);
        if op == OpCode::AUTH {
            let ids = auth::authenticate(body, Limits::default(), &SETTINGS, Ipv4Addr::LOCALHOST.into());
            if let Some(more) = auth::with(&self.auth, ids.ok().flatten().unwrap_or_default()) {
                self.auth = more;
            }
        } else if read::is_read(op, RULES) {
            self.apply();
            self.read(op, xid, body);
        } else if read::is_write(op) {
            self.write(op, xid, body);
            // Every other write is checked against the ones before it while these are still on their way.
            if xid % 2 == 0 {
                self.apply();
            }
        }
    }

    fn read(&self, op: OpCode, xid: i32, body: &[u8]) {
        let Server { db, session, auth, .. } = self;
        let mut out = BytesMut::new();
        let reader = Reader { db, conn: CONN, session: *session, auth, rules: RULES };
        let frames = read::answer(reader, op, xid, body, &mut out);
        assert_eq!(replies::check(&out, op), frames);
        let largest = 200 + db.nodes().approximate_size() as usize;
        assert!(out.len() <= (body.len() + 1) * largest, "{} bytes for {}", out.len(), body.len());
    }

    fn write(&mut self, op: OpCode, cxid: i32, body: &[u8]) {
        let Server { db, projection, sessions, session, auth, zxid, pending, arena } = self;
        let rules = PrepRules {
            skip_acl: false,
            reconfig_enabled: cxid % 3 == 0,
            always_logged: cxid % 2 == 0,
            local_sessions_of: None,
        };
        let mut prep =
            Prep { db, projection, sessions, rules, wall_now: 1000 + *zxid, mono_now: *zxid, arena };
        let request =
            WriteRequest { session: *session, owner: Owner::Local, cxid, op, body, auth, is_local: false };
        let next_zxid = || {
            *zxid += 1;
            Zxid(*zxid)
        };
        match prep.prepare(request, next_zxid) {
            Prepared::Txn { bytes, .. } => pending.push((op, cxid, bytes)),
            Prepared::Refused { err, empty_multi } => {
                assert_ne!(err, ErrorCode::OK);
                let mut out = BytesMut::new();
                reply::refusal(&mut out, cxid, db.last_zxid(), err, empty_multi);
                assert_eq!(replies::check(&out, op), 1);
            }
        }
    }

    fn apply(&mut self) {
        for (op, xid, bytes) in std::mem::take(&mut self.pending) {
            let (header, record) =
                txn::split_header(&bytes, Limits::default().for_files()).expect("a header");
            let mut events = Events(BytesMut::new(), 0);
            let outcome = self.db.apply(&header, record, &mut events).expect("what prep wrote can be read");
            let said = match &outcome.effect {
                Effect::Multi(results) => results.iter().any(|(kind, _)| *kind == OpCode::ERROR),
                _ => header.op() == OpCode::ERROR,
            };
            assert!(
                said || outcome.err == ErrorCode::OK,
                "{op:?} was let through and fails with {:?}",
                outcome.err
            );
            self.projection.forget_through(header.zxid);
            assert_eq!(replies::check(&events.0, OpCode::NOTIFICATION), events.1);
            let mut out = BytesMut::new();
            reply::write(&mut out, op, xid, self.db.last_zxid(), &outcome);
            assert_eq!(replies::check(&out, op), 1);
            if header.op() == OpCode::CLOSE_SESSION {
                self.sessions.remove(self.session);
                self.session = self.sessions.next_id();
                self.sessions.add(self.session, 4000, 1);
            }
        }
        assert!(self.projection.is_empty());
    }
}

struct Events(BytesMut, u64);

impl EventSink for Events {
    fn event(&mut self, conn: ConnId, kind: EventType, path: &str) {
        assert_eq!(conn, CONN);
        put_event(&mut self.0, kind, path);
        self.1 += 1;
    }
}
