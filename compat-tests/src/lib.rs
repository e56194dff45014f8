//! What the compatibility tests share: Java homes, server processes, a raw wire client, the differ, the benchmark.
//!
//! Nothing here uses the `ferrokeeper` crate: what judges both sides must not share code with one of them.

pub mod bench;
pub mod differ;
pub mod java;
pub mod need;
pub mod process;
pub mod wire;
