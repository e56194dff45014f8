//! Ferrokeeper: a ZooKeeper 3.5 server. See ARCHITECTURE.md for the map.
#![forbid(unsafe_code)]

pub mod config;
pub mod ids;
pub mod jute;
pub mod proto;

pub mod server {
    pub mod logging;
}
