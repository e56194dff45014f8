//! What untrusted bytes reach, one target a file: `run` takes any bytes, and returns, or panics where an invariant is broken.
//!
//! `fuzz_targets/` hands them to libFuzzer; `tests/corpus.rs` of the main package includes this very file, so that the
//! corpora run with `cargo test` on stable Rust.

pub mod client_frame;
pub mod jute_records;
mod memory;
pub mod notification;
pub mod quorum_packet;
mod replies;
pub mod snapshot;
mod tree;
pub mod txn;
pub mod txn_log;
pub mod zoo_cfg;

pub type Target = fn(&[u8]);

/// By the name of its corpus.
pub const TARGETS: &[(&str, Target)] = &[
    ("client_frame", client_frame::run),
    ("jute_records", jute_records::run),
    ("notification", notification::run),
    ("quorum_packet", quorum_packet::run),
    ("snapshot", snapshot::run),
    ("txn", txn::run),
    ("txn_log", txn_log::run),
    ("zoo_cfg", zoo_cfg::run),
];

/// The next of the pieces that stand behind a four-byte length each; one that claims more than is left gets what is left, so
/// that every input is made of pieces.
fn next_piece<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (word, behind) = rest.split_first_chunk::<4>()?;
    let length = behind.len().min(u32::from_be_bytes(*word) as usize);
    let (piece, behind) = behind.split_at(length);
    *rest = behind;
    Some(piece)
}
