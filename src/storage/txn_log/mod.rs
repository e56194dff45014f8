//! The transaction log: `log.<hex zxid of its first txn>` (B§6.2).
//!
//! A file is a 16-byte header, then entries: Adler-32 as a long, length as an int, txn bytes, `B`; then zeros, because
//! files grow in large steps. A server that starts begins a new file, so a torn tail is never written over.
//!
//! Counterpart: `FileTxnLog`, `FilePadding`, `Util.readTxnBytes`.

mod damage;
mod padding;
mod reader;
mod synced;
mod truncate;
mod writer;

pub use reader::{LogEntry, LogReader, TornTail};
pub use truncate::Truncated;
pub use writer::{LogOptions, LogWriter, SyncReport};

use crate::proto::OpCode;

/// "ZKLG", version 2, database id 0.
const FILE_HEADER: [u8; 16] = *b"ZKLG\0\0\0\x02\0\0\0\0\0\0\0\0";
const MAGIC: &[u8; 4] = b"ZKLG";
/// Checksum and length in front of the txn's bytes.
const ENTRY_HEADER: usize = 12;
const END_OF_ENTRY: u8 = b'B';

fn adler32(bytes: &[u8]) -> u32 {
    simd_adler32::adler32(&bytes)
}

/// The types `SerializeUtils.deserializeTxn` knows.
fn is_known_kind(kind: i32) -> bool {
    matches!(
        OpCode(kind),
        OpCode::CREATE
            | OpCode::CREATE2
            | OpCode::CREATE_CONTAINER
            | OpCode::CREATE_TTL
            | OpCode::DELETE
            | OpCode::DELETE_CONTAINER
            | OpCode::SET_DATA
            | OpCode::RECONFIG
            | OpCode::SET_ACL
            | OpCode::CREATE_SESSION
            | OpCode::CLOSE_SESSION
            | OpCode::ERROR
            | OpCode::MULTI
    )
}
