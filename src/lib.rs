//! Ferrokeeper: a ZooKeeper 3.5 server. See ARCHITECTURE.md for the map.
#![forbid(unsafe_code)]

pub mod cli;
pub mod config;
pub mod db;
pub mod ids;
pub mod jute;
pub mod pipeline;
pub mod proto;
pub mod replica;
pub mod server;
pub mod session;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
pub mod storage;
pub mod version;
pub mod zab;
