//! Zab: agreement on the order of txns. A txn is opaque bytes with a zxid here; what it means is the pipeline's business.
//!
//! What stands so far is the leader's broadcast and quorum arithmetic. A standalone server is a leader whose quorum is
//! itself; election, discovery and learners come beside these files.

pub mod broadcast;
pub mod quorum;
