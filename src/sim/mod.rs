//! A whole ensemble under one seed: the same [`crate::replica::Replica`] values that the server drives, with a clock, a
//! network and disks that are simulated, and clients that check every answer.
//!
//! Two phases: chaos, in which faults of every kind happen; then the faults stop, and the ensemble must elect, serve and
//! agree within a bound. After every event the [`invariants`] must hold. The same seed gives the same run, event by event:
//! `SIM_SEED=x cargo test sim::` plays one again and prints it, `SIM_SEEDS=n` tries as many.
//!
//! Real: replica, zab, pipeline, database, log, snapshots, epoch files, recovery. Simulated: what is `server`'s.

mod client;
mod disk;
mod image;
pub mod invariants;
mod model;
mod nemesis;
mod net;
mod rng;
mod scenario;
mod server;
mod trace;
mod world;

pub use scenario::{Canary, Options, Scenario};
pub use world::{Report, run};

#[cfg(test)]
mod tests;
