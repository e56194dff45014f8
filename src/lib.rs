//! Ferrokeeper: a ZooKeeper 3.5 server. See ARCHITECTURE.md for the map.
#![forbid(unsafe_code)]

pub mod db;
pub mod ids;
pub mod jute;
pub mod pipeline;
pub mod proto;
pub mod replica;
pub mod session;
pub mod zab;
