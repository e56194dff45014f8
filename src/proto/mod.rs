//! Every record on a wire or in a file, declared once as a plain struct (`zookeeper.jute`).
//!
//! Borrowed on decode: a value is copied once, when it enters the tree. Where an older or newer peer sends a shorter or
//! longer form, the second decode path stands beside the record.

pub mod client;
pub mod data;
pub mod error;
#[cfg(test)]
mod golden;
pub mod op;
pub mod quorum;
pub mod txn;

pub use data::{Acl, AclId, Stat};
pub use error::ErrorCode;
pub use op::OpCode;
