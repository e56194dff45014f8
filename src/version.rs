//! What the server says it is.

/// `Version.getFullVersion()` of 3.5.7: clients and monitoring compare it, so a drop-in gives the same answer (B§8.2).
pub const FULL: &str = "3.5.7-f0fdd52973d373ffd9c86b81d99842dc2c7f660e, built on 02/10/2020 11:30 GMT";

/// Ferrokeeper's own.
pub const OWN: &str = env!("CARGO_PKG_VERSION");
