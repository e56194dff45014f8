//! What a seed draws before anything happens: the ensemble, its limits, which faults there are and how often (swarm
//! testing: a fault that is never there lets others go deeper).

use super::{rng::Rng, world::Micros};
use crate::config::PeerType;

/// A known bug, put back into the driver: the simulator must find each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Canary {
    /// ZOOKEEPER-4646: a learner acknowledges NEWLEADER before the txns it was sent are durable.
    EarlyNewLeaderAck,
    /// ZOOKEEPER-3911, 4643: currentEpoch is written before the txns of that epoch's history.
    EpochBeforeTxns,
    /// A disk, or an administrator, that ignores fsync.
    FsyncIgnored,
}

#[derive(Clone, Debug, Default)]
pub struct Options {
    pub canary: Option<Canary>,
    /// Invariants that are not looked at.
    pub except: Vec<&'static str>,
    pub prints: bool,
}

#[derive(Clone, Debug)]
pub struct Scenario {
    pub roles: Vec<PeerType>,
    pub tick_ms: u64,
    pub init_limit: u32,
    pub sync_limit: u32,
    pub snap_count: u32,
    pub prealloc_kib: i64,
    /// Close to the end of an epoch's zxids (`testingonly.initialZxid`).
    pub initial_counter: Option<u32>,
    /// Whether observers keep a log: syncEnabled.
    pub observers_log: bool,
    /// `forceSnapshotSync`
    pub force_snapshot: bool,
    /// In a thousand: a leader does not look into its log for a learner, but sends a snapshot.
    pub refuses_log: u32,
    pub latency: (Micros, Micros),
    pub fsync: (Micros, Micros),
    pub clients: usize,
    pub think: Micros,
    pub chaos: Micros,
    /// Mean time between faults.
    pub fault_every: Micros,
    pub faults: Vec<Fault>,
    /// In a thousand: a server loses power at the end of what its disk has just done.
    pub crash_on_disk: u32,
    /// In a thousand: a server loses power when it has sent something to the leader.
    pub crash_on_send: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    CrashOne,
    CrashLeader,
    CrashMinority,
    CrashMajority,
    CrashAll,
    Kill,
    RollingRestart,
    Isolate,
    IsolateLeader,
    Split,
    OneWay,
    Reset,
    ResetElection,
    SlowNet,
    Pause,
    PauseLeader,
    SlowDisk,
    ClockJump,
    ClientCut,
    ClientMove,
    WipeObserver,
    /// The next writes fail, and the server must not go on.
    DiskError,
}

const FAULTS: &[Fault] = &[
    Fault::CrashOne,
    Fault::CrashLeader,
    Fault::CrashMinority,
    Fault::CrashMajority,
    Fault::CrashAll,
    Fault::Kill,
    Fault::RollingRestart,
    Fault::Isolate,
    Fault::IsolateLeader,
    Fault::Split,
    Fault::OneWay,
    Fault::Reset,
    Fault::ResetElection,
    Fault::SlowNet,
    Fault::Pause,
    Fault::PauseLeader,
    Fault::SlowDisk,
    Fault::ClockJump,
    Fault::ClientCut,
    Fault::ClientMove,
    Fault::WipeObserver,
    Fault::DiskError,
];

const MS: Micros = 1000;

impl Scenario {
    pub fn draw(rng: &mut Rng) -> Scenario {
        let voters = *rng.pick(&[3, 3, 3, 3, 5]);
        let observers = usize::from(rng.chance(200));
        let mut roles = vec![PeerType::Participant; voters];
        roles.extend(vec![PeerType::Observer; observers]);
        let tick_ms = *rng.pick(&[200, 200, 500]);
        let is_quiet = rng.chance(20);
        let is_busy = rng.chance(25);
        let mut faults = Vec::new();
        while faults.len() < 2 && !is_quiet {
            let share = *rng.pick(&[150, 300, 600]);
            faults = FAULTS.iter().copied().filter(|_| rng.chance(share)).collect();
        }
        let rare = [0, 0, 4, 15];
        Scenario {
            roles,
            tick_ms,
            init_limit: 10,
            sync_limit: rng.between(3, 6) as u32,
            snap_count: *rng.pick(&[6, 20, 20, 100, 100_000]),
            prealloc_kib: *rng.pick(&[0, 4, 4]),
            initial_counter: rng.chance(60).then(|| u32::MAX - rng.between(5, 80) as u32),
            observers_log: rng.chance(600),
            force_snapshot: rng.chance(40),
            refuses_log: *rng.pick(&[0, 0, 500, 1000]),
            latency: (100, if is_quiet { MS } else { *rng.pick(&[MS, 5 * MS, 40 * MS]) }),
            fsync: (200, *rng.pick(&[MS, 10 * MS, 60 * MS])),
            clients: rng.between(2, 4) as usize,
            think: if is_busy { 8 * MS } else { *rng.pick(&[60 * MS, 150 * MS, 400 * MS]) },
            chaos: rng.between(4, 14) * 1000 * MS,
            fault_every: *rng.pick(&[300 * MS, 700 * MS, 1500 * MS]),
            faults,
            crash_on_disk: if is_quiet { 0 } else { *rng.pick(&rare) },
            crash_on_send: if is_quiet { 0 } else { *rng.pick(&rare) },
        }
    }

    /// Nothing goes wrong: then nothing may be lost, not even a moment.
    pub fn is_quiet(&self) -> bool {
        self.faults.is_empty() && self.initial_counter.is_none()
    }
}
