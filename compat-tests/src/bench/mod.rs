//! The benchmark: two servers in turns in one run, the same load, the same cfg, medians of several runs, bars that are met
//! or not.
//!
//! 1. One server runs at a time; the sides alternate (A B A B …), so that a slow hour of the machine hits both.
//! 2. Both write their files below the same folder of cargo's target directory, never to a tmpfs, and fsync.
//! 3. The generator shares the cores with the server: requests are encoded before the window, replies are only checked for
//!    length, xid and err. What it could do against a server that costs nothing is measured first and reported.
//! 4. With `--ensemble` a side is three servers; what is said of a server's CPU is the sum over them.
//! 5. An answer that is not the expected one ends the run; a benchmark of errors is worth nothing.

pub mod cluster;
pub mod ensemble_suite;
pub mod failover;
pub mod generator;
pub mod load_suite;
pub mod null_server;
pub mod procfs;
pub mod report;
pub mod requests;
pub mod stats;
pub mod subject;
pub mod table;
pub mod tree_suite;

use std::time::Duration;

use serde::Serialize;

use crate::process::Kind;

/// What can be asked for with `--only`.
pub const MEASURES: [&str; 12] = [
    "cold",
    "idle",
    "reads",
    "writes",
    "mixed",
    "sync",
    "rss",
    "creates",
    "tree",
    "restart",
    "snapshots",
    "flat",
];

#[derive(Clone, Debug)]
pub struct Settings {
    pub kinds: [Kind; 2],
    pub runs: usize,
    pub window: Duration,
    pub warm_up: Duration,
    /// Znodes of the large tree.
    pub tree_nodes: u64,
    /// Longer than `window`: a p99.9 needs thousands of samples at a rate that leaves the server idle most of the time.
    pub tail_window: Duration,
    /// Empty: everything.
    pub only: Vec<String>,
    pub java_heap_mb: u32,
    pub java_tree_heap_mb: u32,
    /// Three servers on each side, and the measures of `ensemble_suite`.
    pub ensemble: bool,
    /// How far behind the follower is that comes back.
    pub behind_txns: u64,
    /// Leaders lost in one turn.
    pub kills: usize,
}

impl Settings {
    pub fn full(kinds: [Kind; 2]) -> Settings {
        Settings {
            kinds,
            runs: 3,
            window: Duration::from_secs(8),
            warm_up: Duration::from_secs(3),
            tree_nodes: 1_000_000,
            tail_window: Duration::from_secs(14),
            only: Vec::new(),
            java_heap_mb: ZK_ENV_HEAP_MB,
            java_tree_heap_mb: ZK_ENV_HEAP_MB,
            ensemble: false,
            behind_txns: 100_000,
            kills: 3,
        }
    }

    pub fn quick(kinds: [Kind; 2]) -> Settings {
        Settings {
            runs: 1,
            window: Duration::from_millis(1500),
            warm_up: Duration::from_millis(1500),
            tree_nodes: 100_000,
            tail_window: Duration::from_secs(3),
            only: MEASURES.iter().filter(|m| **m != "flat").map(|m| m.to_string()).collect(),
            ..Settings::full(kinds)
        }
    }

    /// Shorter windows than for a server alone: a turn has more to do, and half a minute of it is starting servers.
    pub fn ensemble(self) -> Settings {
        let quick = self.runs == 1;
        Settings {
            ensemble: true,
            window: if quick { self.window } else { Duration::from_secs(5) },
            warm_up: if quick { self.warm_up } else { Duration::from_secs(2) },
            behind_txns: if quick { 10_000 } else { self.behind_txns },
            kills: if quick { 1 } else { self.kills },
            only: Vec::new(),
            ..self
        }
    }

    /// What `only` may name.
    pub fn measures(&self) -> &'static [&'static str] {
        if self.ensemble { &ensemble_suite::NAMES } else { &MEASURES }
    }

    pub fn wants(&self, measure: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|m| m == measure)
    }

    pub fn wants_any(&self, measures: &[&str]) -> bool {
        measures.iter().any(|m| self.wants(m))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    Left,
    Right,
}

impl Side {
    pub const BOTH: [Side; 2] = [Side::Left, Side::Right];

    pub fn name(self) -> &'static str {
        match self {
            Side::Left => "left",
            Side::Right => "right",
        }
    }
}

/// `ZK_SERVER_HEAP` of Java's own bin/zkEnv.sh.
const ZK_ENV_HEAP_MB: u32 = 1000;
/// The load of measures 1 to 3: connections, and requests in flight on each.
pub const CONNS: usize = 32;
pub const IN_FLIGHT: usize = 8;
