//! What the compatibility tests share: Java homes, server processes and ensembles, a faulty network, load
//! with a checker of what was answered, a raw wire client, the differ, the benchmark.
//!
//! Nothing here uses the `ferrokeeper` crate: what judges both sides must not share code with one of them.

pub mod bench;
pub mod differ;
pub mod ensemble;
pub mod history;
pub mod java;
pub mod load;
pub mod need;
pub mod net;
pub mod process;
pub mod tree;
pub mod wire;
