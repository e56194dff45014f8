//! What every task of a running server holds.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
};

use parking_lot::{Mutex, RwLock};
use tokio::sync::{mpsc, oneshot};

use super::{
    clock::Clock,
    registry::{ConnShared, Registry},
    stats::ServerStats,
};
use crate::{
    config::Config,
    db::Database,
    ids::{Millis, SessionId},
    jute::Limits,
    pipeline::read::ReadRules,
    replica::{Input, Request},
    zab::{Standing, leader::Figures},
};

/// Locks, in the order in which they may be taken: `db` → its watches → a connection's outbox. Never over an await, and never
/// `db` by whom has it: a second read lock waits for a writer that waits for the first.
#[derive(Debug)]
pub struct Shared {
    pub config: Config,
    pub clock: Clock,
    pub db: RwLock<Database>,
    pub conns: Registry,
    pub stats: ServerStats,
    pub read_rules: ReadRules,
    pub standing: StandingCell,
    /// The database's, without its lock.
    pub limits: Limits,
    /// Requests the core holds, for throttling and for `Outstanding`.
    pub in_process: AtomicUsize,
    pub core: mpsc::Sender<CoreMsg>,
}

/// The core's inbox.
#[derive(Debug)]
pub enum CoreMsg {
    /// A connection asks for a session; from here on the core can reach its outbox.
    Hello(Arc<ConnShared>, Input),
    /// Requests of one connection, in order.
    Requests(Vec<Request>),
    Input(Input),
    /// `dump`
    Sessions(oneshot::Sender<Sessions>),
    /// `srvr`, `stat` and `mntr` on a leader; not answered by anybody else.
    Figures(oneshot::Sender<Figures>),
    /// `srst` on a leader.
    ResetProposalSizes,
}

/// Sessions by the time at which they would expire.
#[derive(Debug, Default)]
pub struct Sessions {
    pub all: BTreeMap<Millis, Vec<SessionId>>,
    /// Those that only this server knows, where there may be such.
    pub local: Option<BTreeMap<Millis, Vec<SessionId>>>,
}

/// As what this server takes part, and whether clients are let in.
#[derive(Debug)]
pub struct StandingCell {
    serving: AtomicBool,
    /// Whether a `sync` needs the leader.
    learns: AtomicBool,
    standing: Mutex<Standing>,
}

impl Default for StandingCell {
    fn default() -> Self {
        StandingCell {
            serving: AtomicBool::new(false),
            learns: AtomicBool::new(false),
            standing: Mutex::new(Standing::Looking),
        }
    }
}

impl StandingCell {
    pub fn set(&self, standing: Standing, serving: bool) {
        let learns = matches!(standing, Standing::Following { .. } | Standing::Observing { .. });
        self.learns.store(learns, Relaxed);
        let mut current = self.standing.lock();
        *current = standing;
        self.serving.store(serving, Relaxed);
    }

    pub fn is_serving(&self) -> bool {
        self.serving.load(Relaxed)
    }

    pub fn learns(&self) -> bool {
        self.learns.load(Relaxed)
    }

    pub fn get(&self) -> Standing {
        self.standing.lock().clone()
    }

    /// As what clients are served, if they are.
    pub fn serving(&self) -> Option<Standing> {
        let standing = self.standing.lock();
        (self.is_serving() && *standing != Standing::Looking).then(|| standing.clone())
    }
}

impl Shared {
    pub fn outstanding(&self) -> usize {
        self.in_process.load(Relaxed)
    }

    /// A connection with requests under way does not read more while the server has this many (B§1.9).
    pub fn is_busy(&self) -> bool {
        self.in_process.load(Relaxed) as i64 > self.config.settings.global_outstanding_limit
    }
}
