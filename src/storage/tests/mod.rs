//! Tests that need more than one file of the module.

mod crash;
mod damage;
mod golden;
mod housekeeping;
mod properties;
mod recovering;
mod round_trip;
mod snapshots;

use std::{path::Path, sync::Arc};

use bytes::BytesMut;

use super::*;
use crate::{
    ids::{SessionId, Zxid},
    jute::Limits,
    proto::{
        OpCode,
        data::{Acl, StatPersisted},
        txn::{self, CreateTxn, Txn, TxnHeader},
    },
};

/// Keeps what it is given, in order.
#[derive(Clone, Debug, Default, PartialEq)]
struct Kept {
    sessions: Vec<(i64, i32)>,
    acls: Vec<(i64, Vec<Acl>)>,
    nodes: Vec<(String, Option<Vec<u8>>, i64, StatPersisted)>,
    ended: Option<Zxid>,
    /// Header and whole bytes of every replayed txn.
    txns: Vec<(TxnHeader, Vec<u8>)>,
}

impl SnapshotSink for Kept {
    fn session(&mut self, id: SessionId, timeout_ms: i32) {
        self.sessions.push((id.0, timeout_ms));
    }
    fn acl(&mut self, key: i64, acl: Vec<Acl>) {
        self.acls.push((key, acl));
    }
    fn node(
        &mut self,
        path: &str,
        data: Option<&[u8]>,
        acl_key: i64,
        stat: &StatPersisted,
    ) -> Result<(), String> {
        self.nodes.push((path.to_owned(), data.map(<[u8]>::to_vec), acl_key, *stat));
        Ok(())
    }
    fn end(&mut self, zxid: Zxid) -> Result<(), String> {
        self.ended = Some(zxid);
        Ok(())
    }
}

impl Replay for Kept {
    fn apply(&mut self, header: &TxnHeader, record: &[u8]) -> Result<(), String> {
        Txn::decode(header.kind, record, Limits::default()).map_err(|e| e.to_string())?;
        self.txns.push((*header, Vec::new()));
        Ok(())
    }
    fn committed(&mut self, zxid: Zxid, txn: &[u8]) {
        let last = self.txns.last_mut().expect("committed follows apply");
        assert_eq!(last.0.zxid, zxid);
        last.1 = txn.to_vec();
    }
}

impl Kept {
    fn encode<W: std::io::Write>(&self, encoder: &mut SnapshotEncoder<W>) {
        let sessions = self.sessions.iter().map(|(id, timeout_ms)| (SessionId(*id), *timeout_ms));
        encoder.sessions(sessions).expect("sessions");
        encoder.acls(self.acls.iter().map(|(key, acl)| (*key, &acl[..]))).expect("acls");
        for (path, data, acl_key, stat) in &self.nodes {
            encoder.node(path, data.as_deref(), *acl_key, stat).expect("node");
        }
    }

    fn zxids(&self) -> Vec<i64> {
        self.txns.iter().map(|(header, _)| header.zxid.0).collect()
    }
}

/// A create of `/n<zxid>` with `len` bytes of data that name the zxid.
fn create_txn(zxid: i64, len: usize) -> Vec<u8> {
    let header =
        TxnHeader { session: SessionId(7), cxid: 1, zxid: Zxid(zxid), time: 1000, kind: OpCode::CREATE.0 };
    let path = format!("/n{zxid}");
    let data: Vec<u8> = (0..len).map(|i| (zxid as usize * 31 + i) as u8 | 1).collect();
    let txn = Txn::Create(CreateTxn {
        path: path.as_str().into(),
        data: Some(serde_bytes::Bytes::new(&data)),
        acl: vec![Acl::new(31, "world", "anyone")],
        ephemeral: false,
        parent_cversion: zxid as i32,
    });
    let mut out = BytesMut::new();
    txn::encode(&header, &txn, &mut out);
    out.to_vec()
}

fn empty_snapshot(disk: &Arc<dyn Disk>, dir: &Path, zxid: Zxid) {
    let mut file = SnapshotFile::create(disk.clone(), dir, zxid, SnapshotOptions::default()).expect("create");
    let encoder = file.encoder();
    encoder.sessions([].into_iter()).expect("sessions");
    encoder.acls([].into_iter()).expect("acls");
    encoder.node("", Some(b""), -1, &StatPersisted::default()).expect("root");
    file.finish().expect("finish");
}
