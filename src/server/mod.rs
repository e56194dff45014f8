//! The shell: the only room with tokio, threads, sockets, files and clocks. It carries a Replica's outputs out and brings
//! it its inputs.

pub mod auth;
pub mod clock;
pub mod conn;
pub mod core_loop;
pub mod election_log;
pub mod election_net;
pub mod environment;
pub mod fatal;
pub mod four_letter;
pub mod learner_net;
pub mod listener;
pub mod log_thread;
pub mod logging;
pub mod net;
pub mod registry;
pub mod restore;
pub mod shared;
pub mod snapshot_job;
pub mod stats;

use std::sync::{Arc, atomic::AtomicUsize};

use anyhow::Context;
use bytes::Bytes;
use parking_lot::RwLock;
use tokio::sync::mpsc;

use self::{
    clock::Clock, core_loop::Core, election_log::ElectionLog, election_net::BindError, log_thread::LogQueue,
    net::Net, registry::Registry, restore::Restore, shared::Shared, stats::ServerStats,
};
use crate::{
    config::Config,
    db::{self, Database, DbOptions, owner::OwnerRules},
    ids::{Sid, Zxid},
    jute::Limits,
    pipeline::{prep::PrepRules, read::ReadRules},
    replica::{LocalSessions, Replica, ReplicaConfig},
    storage::{self, LogOptions, LogWriter, RecoveryOptions, StorageError},
    zab::{
        PeerConfig, Timing,
        peer::Recovered,
        quorum::{Quorums, Voters},
        sync::SyncRules,
    },
};

/// Messages that may wait for the core; a producer waits beyond that.
const INBOX: usize = 16 * 1024;

pub fn real_disk() -> Arc<dyn storage::Disk> {
    Arc::new(storage::RealDisk)
}

/// Why a server did not start, with the exit code of B§7.3.
#[derive(Debug)]
pub struct StartError {
    pub code: i32,
    pub error: anyhow::Error,
}

impl From<StorageError> for StartError {
    fn from(e: StorageError) -> Self {
        let code = if e.is_data_dir() { fatal::DATA_DIR } else { fatal::UNEXPECTED };
        StartError { code, error: e.into() }
    }
}

impl From<anyhow::Error> for StartError {
    fn from(error: anyhow::Error) -> Self {
        StartError { code: fatal::UNEXPECTED, error }
    }
}

/// Opens the data, listens, and serves until the process is told to end.
pub fn run(config: Config) -> Result<(), StartError> {
    if let Some(sid) = config.server_id {
        logging::set_myid(sid);
    }
    raise_file_limit();
    db::seed_hashes(random_seed());
    let clock = Clock::start();
    let (db, recovered) = open_database(&config, clock)?;
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if let Some(workers) = config.settings.nio_worker_threads.filter(|n| *n > 0) {
        runtime.worker_threads(workers as usize);
    }
    let runtime =
        runtime.enable_all().thread_name("ferrokeeper").build().context("the runtime cannot be started")?;
    runtime.block_on(serve(config, clock, db, recovered))?;
    Ok(())
}

/// Every client is a file descriptor. A JVM raises the soft limit by itself (`-XX:+MaxFDLimit`), so nobody who ran Java here
/// has had to.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if let Err(e) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::warn!("the limit on open files stays at {:?}: {e}", limit.current);
    }
}

/// What recovery leaves besides the tree.
struct Opened {
    /// There was nothing, and `snapshot.0` has just been written.
    fresh: bool,
    /// The newest replayed txns, for learners.
    recent: Vec<(Zxid, Bytes)>,
    snap_dir: std::path::PathBuf,
    log_dir: std::path::PathBuf,
    /// Held as long as the process lives: a second server on these directories is refused.
    lock: storage::recovery::DirLock,
}

fn open_database(config: &Config, clock: Clock) -> Result<(Database, Opened), StartError> {
    let settings = &config.settings;
    let limits =
        Limits { max_field: settings.jute_max_buffer + settings.jute_extra_size, ..Limits::default() };
    let options = DbOptions {
        owners: OwnerRules {
            extended_types: settings.extended_types_enabled,
            emulate_353: settings.emulate_353_ttl_nodes,
        },
        limits,
        hash_seed: random_seed(),
    };
    let recovery = RecoveryOptions {
        trust_empty: settings.snapshot_trust_empty,
        autocreate: settings.datadir_autocreate,
        limits: limits.for_files(),
    };
    let started = clock.mono();
    let mut recovered =
        storage::open(&real_disk(), &config.data_dir, &config.data_log_dir, recovery, || {
            Restore::new(options)
        })?;
    for warning in &recovered.warnings {
        tracing::warn!("{warning}");
    }
    let recent = recovered.sink.take_window();
    let mut db = recovered.sink.into_database();
    if config.is_distributed() {
        // What all members have in common is changed by txns alone.
        db.init_config(&config.ensemble.to_string(), config.ensemble.version, clock.wall());
    } else {
        for session in db.purge_dead_sessions() {
            tracing::info!("removed ephemerals of session {session}, which is in no session table");
        }
    }
    tracing::info!(
        "loaded {} nodes, {} txns replayed, last zxid {} in {} ms",
        db.node_count(),
        recovered.replayed,
        db.last_zxid(),
        clock.mono() - started
    );
    if recovered.fresh {
        // Logs without a snapshot are what Java refuses to start from (B§6.5).
        snapshot_job::write_first(&mut db, &recovered.snap_dir)?;
    }
    Ok((
        db,
        Opened {
            fresh: recovered.fresh,
            recent,
            snap_dir: recovered.snap_dir,
            log_dir: recovered.log_dir,
            lock: recovered.lock,
        },
    ))
}

async fn serve(config: Config, clock: Clock, db: Database, mut opened: Opened) -> Result<(), StartError> {
    let address = config.client_address.clone().context("no clientPort is configured")?;
    let settings = &config.settings;
    let (core_tx, core_rx) = mpsc::channel(INBOX);
    let log = LogWriter::new(
        real_disk(),
        opened.log_dir.clone(),
        LogOptions {
            prealloc_kib: settings.pre_alloc_kib,
            force_sync: settings.force_sync,
            limits: db.options().limits.for_files(),
        },
    );
    let read_rules = ReadRules { skip_acl: settings.skip_acl, modern: settings.modern_client_ops };
    let settings = replica_config(&config, clock, read_rules, !opened.fresh);
    let peer = peer_config(&config);
    let (replica, net) = if config.is_distributed() {
        let net = Net::open(&config, peer.sid, *db.options(), core_tx.clone()).await;
        let net = net.map_err(|e| StartError { code: BindError::EXIT_CODE, error: e.into() })?;
        let epochs = storage::open_epochs(&*real_disk(), &opened.snap_dir, db.last_zxid())?;
        let recovered = Recovered {
            last_zxid: db.last_zxid(),
            accepted_epoch: epochs.accepted,
            current_epoch: epochs.current,
            recent: std::mem::take(&mut opened.recent),
        };
        (Replica::member(settings, peer, recovered, clock.now()), Some(net))
    } else {
        (Replica::standalone(settings, peer, &db, clock.now()), None)
    };
    let shared = Arc::new(Shared {
        config,
        clock,
        limits: db.options().limits,
        db: RwLock::new(db),
        conns: Registry::default(),
        stats: ServerStats::default(),
        read_rules,
        standing: Default::default(),
        in_process: AtomicUsize::new(0),
        core: core_tx,
    });
    let queue = Arc::new(LogQueue::default());
    spawn_log_thread(queue.clone(), log, shared.clone())?;
    // Clients are let in when they can be answered, not before (3.5.7 is silent for a moment after it listens).
    let listener = listener::bind(&address)?;
    let local = listener.local_addr().context("the client port has no address")?;
    tracing::info!("binding to port {}", conn::java_address(local));
    let host = if local.ip().is_unspecified() { "127.0.0.1".to_owned() } else { local.ip().to_string() };
    tracing::info!("serving clients; connect with: bin/zkCli.sh -server {host}:{}", local.port());
    let elections = shared
        .config
        .is_distributed()
        .then(|| ElectionLog::start(&shared.config.data_dir, own_sid(&shared.config)));
    let mut core = Core::new(shared.clone(), replica, queue, net).telling(elections.transpose()?);
    core.begin();
    #[allow(clippy::disallowed_methods, reason = "server/ owns the tasks")]
    let critical = {
        let core = tokio::spawn(core.run(core_rx));
        let accept = tokio::spawn(listener::accept(listener, shared.clone()));
        tokio::spawn(listener::sweep_idle(shared.clone()));
        tokio::spawn(snapshot_job::autopurge(shared.clone()));
        async move {
            tokio::select! {
                ended = core => format!("the core ended: {ended:?}"),
                ended = accept => format!("the acceptor ended: {ended:?}"),
            }
        }
    };
    tokio::select! {
        // A critical task that ends ends the process: nobody must take a half-dead server for a live one.
        why = critical => fatal::stop(fatal::UNEXPECTED, &why),
        signal = end_signal() => {
            tracing::info!("{} received; ending", signal?);
            drop(opened.lock);
            logging::flush();
            // As a JVM that is told to end (B§7.3).
            std::process::exit(143)
        }
    }
}

fn replica_config(config: &Config, clock: Clock, read: ReadRules, snapshot_at_start: bool) -> ReplicaConfig {
    let settings = &config.settings;
    let local_sessions = (config.is_distributed() && config.local_sessions_enabled)
        .then_some(LocalSessions { upgrading: config.local_sessions_upgrading_enabled });
    ReplicaConfig {
        local_sessions,
        sid: own_sid(config),
        tick_ms: config.tick_time_ms,
        snap_count: settings.snap_count,
        snapshot_at_start,
        leader_serves: settings.leader_serves,
        container_check_interval_ms: settings.container_check_interval_ms,
        container_max_per_minute: u32::try_from(settings.container_max_per_minute).unwrap_or(u32::MAX),
        prep: PrepRules {
            skip_acl: settings.skip_acl,
            reconfig_enabled: config.reconfig_enabled,
            always_logged: config.is_distributed(),
            local_sessions_of: local_sessions.map(|_| own_sid(config).0 as u8),
        },
        read,
        seed: random_seed(),
        session_seed_ms: clock.wall(),
    }
}

/// A standalone server's is 0, whatever myid says (B§1.3).
fn own_sid(config: &Config) -> Sid {
    if config.is_distributed() { config.server_id.unwrap_or_default() } else { Sid(0) }
}

fn peer_config(config: &Config) -> PeerConfig {
    let settings = &config.settings;
    let distributed = config.is_distributed();
    let sid = own_sid(config);
    let voters = if distributed { Voters::of(&config.ensemble) } else { Voters::new([sid]) };
    PeerConfig {
        sid,
        role: config.peer_type,
        ensemble: config.ensemble.clone(),
        quorums: Quorums::new(voters),
        timing: Timing {
            tick_ms: config.tick_time_ms,
            init_limit: config.init_limit,
            sync_limit: config.sync_limit,
        },
        sync: SyncRules {
            force_snapshot: settings.force_snapshot_sync,
            may_read_log: settings.snapshot_size_factor >= 0.0,
            max_snapshots: usize::try_from(settings.max_concurrent_snapshots).unwrap_or(0),
        },
        observer_logs: config.sync_enabled,
        initial_counter: settings.initial_zxid.map(|zxid| zxid as u32),
    }
}

fn spawn_log_thread(queue: Arc<LogQueue>, log: LogWriter, shared: Arc<Shared>) -> anyhow::Result<()> {
    std::thread::Builder::new()
        .name("SyncThread".to_owned())
        .spawn(move || {
            // A panic in here must not leave a server that answers and logs nothing.
            log_thread::run(queue, log, shared);
        })
        .context("the log thread cannot be started")?;
    Ok(())
}

/// From the operating system, by way of std's own seeding.
fn random_seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}

async fn end_signal() -> anyhow::Result<&'static str> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut term = signal(SignalKind::terminate()).context("SIGTERM cannot be handled")?;
    let mut int = signal(SignalKind::interrupt()).context("SIGINT cannot be handled")?;
    Ok(tokio::select! {
        _ = term.recv() => "SIGTERM",
        _ = int.recv() => "SIGINT",
    })
}
