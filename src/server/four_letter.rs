//! Four-letter words: what operators and monitoring ask on the client port (B§8.1–8.2).
//!
//! Layouts are 3.5.7's to the letter, oddities included: monitoring parses them (B§13, item 8).

use std::{
    collections::BTreeMap,
    fmt::{self, Write},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
};

use tokio::sync::oneshot;

use super::{
    conn::java_address,
    environment,
    registry::{ConnShared, NO_OP_YET},
    shared::{CoreMsg, Shared},
};
use crate::{
    config::ConnectionFactory,
    ids::{ConnId, Millis, SessionId},
    proto::OpCode,
    storage, version,
};

macro_rules! commands {
    ($($name:ident $word:literal $text:literal),* $(,)?) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Command { $($name),* }

        impl Command {
            /// The command that four bytes spell, if they spell one.
            pub fn parse(word: [u8; 4]) -> Option<Command> {
                $(if &word == $word { return Some(Command::$name); })*
                None
            }

            /// As the whitelist and messages name it.
            pub fn name(self) -> &'static str {
                match self {
                    $(Command::$name => $text,)*
                }
            }
        }
    };
}

commands! {
    Conf b"conf" "conf", Cons b"cons" "cons", Crst b"crst" "crst", Dirs b"dirs" "dirs", Dump b"dump" "dump", Envi b"envi" "envi", Gtmk b"gtmk" "gtmk", Ruok b"ruok" "ruok",
    Stmk b"stmk" "stmk", Srst b"srst" "srst", Srvr b"srvr" "srvr", Stat b"stat" "stat", Wchc b"wchc" "wchc", Wchp b"wchp" "wchp", Wchs b"wchs" "wchs", Mntr b"mntr" "mntr",
    Isro b"isro" "isro", TelnetClose b"\xff\xf4\xff\xfd" "telnet close",
}

pub enum Answer {
    Text(String),
    /// Needs the core; see [`Slow::answer`].
    Later(Slow),
    Nothing,
}

/// `ZooTrace`'s mask: kept because stmk and gtmk echo it, of no effect here.
static TRACE_MASK: AtomicI64 = AtomicI64::new(306);

/// Answers a command; `rest` is what came behind its four bytes.
pub fn run(command: Command, rest: &[u8], peer: SocketAddr, shared: &Shared) -> Answer {
    if !shared.config.settings.four_letter_whitelist.allows(command.name()) {
        return Answer::Text(format!(
            "{} is not executed because it is not in the whitelist.\n",
            command.name()
        ));
    }
    tracing::info!("Processing {} command from {}", command.name(), java_address(peer));
    let mut out = String::new();
    let written = match command {
        Command::Ruok => out.write_str("imok"),
        Command::Isro => out.write_str("rw"),
        Command::Gtmk => write!(out, "{}", TRACE_MASK.load(Relaxed)),
        Command::Stmk => match rest.first_chunk::<8>() {
            Some(mask) => {
                let mask = i64::from_be_bytes(*mask);
                TRACE_MASK.store(mask, Relaxed);
                write!(out, "{mask}")
            }
            None => return Answer::Nothing,
        },
        Command::Crst => {
            shared.conns.all().iter().for_each(|conn| conn.stats.reset());
            out.write_str("Connection stats reset.\n")
        }
        Command::Srst => {
            shared.stats.reset();
            out.write_str("Server stats reset.\n")
        }
        Command::Conf => conf(&mut out, shared),
        Command::Cons => cons(&mut out, shared),
        Command::Dirs => dirs(&mut out, shared),
        Command::Envi => envi(&mut out),
        Command::Mntr => mntr(&mut out, shared),
        Command::Srvr => version_line(&mut out)
            .and_then(|()| server_lines(&mut out, shared))
            .and_then(|()| node_count(&mut out, shared)),
        Command::Stat => stat(&mut out, shared),
        Command::Wchs => wchs(&mut out, shared),
        Command::Wchc => wchc(&mut out, shared),
        Command::Wchp => wchp(&mut out, shared),
        Command::Dump => return Answer::Later(Slow::Dump),
        Command::TelnetClose => return Answer::Nothing,
    };
    debug_assert!(written.is_ok(), "writing to a String does not fail");
    Answer::Text(out)
}

/// What cannot be answered without the core's help.
pub enum Slow {
    Dump,
}

impl Slow {
    pub async fn answer(self, shared: &Arc<Shared>) -> String {
        match self {
            Slow::Dump => {
                let (answer, sessions) = oneshot::channel();
                let _ = shared.core.send(CoreMsg::Sessions(answer)).await;
                let mut out = String::new();
                let written = dump(&mut out, shared, &sessions.await.unwrap_or_default());
                debug_assert!(written.is_ok());
                out
            }
        }
    }
}

fn version_line(out: &mut String) -> fmt::Result {
    writeln!(out, "Zookeeper version: {}", version::FULL)
}

fn server_lines(out: &mut String, shared: &Shared) -> fmt::Result {
    let stats = &shared.stats;
    writeln!(
        out,
        "Latency min/avg/max: {}/{}/{}",
        stats.latency.min(),
        stats.latency.average(),
        stats.latency.max()
    )?;
    writeln!(out, "Received: {}", stats.received.load(Relaxed))?;
    writeln!(out, "Sent: {}", stats.sent.load(Relaxed))?;
    writeln!(out, "Connections: {}", shared.conns.len())?;
    writeln!(out, "Outstanding: {}", shared.outstanding())?;
    writeln!(out, "Zxid: {}", shared.db.read().last_zxid())?;
    writeln!(out, "Mode: standalone")
}

fn node_count(out: &mut String, shared: &Shared) -> fmt::Result {
    writeln!(out, "Node count: {}", shared.db.read().node_count())
}

fn stat(out: &mut String, shared: &Shared) -> fmt::Result {
    version_line(out)?;
    writeln!(out, "Clients:")?;
    for conn in shared.conns.all() {
        connection_line(out, &conn, true)?;
        writeln!(out)?;
    }
    writeln!(out)?;
    server_lines(out, shared)?;
    node_count(out, shared)
}

fn cons(out: &mut String, shared: &Shared) -> fmt::Result {
    for conn in shared.conns.all() {
        connection_line(out, &conn, false)?;
        writeln!(out)?;
    }
    writeln!(out)
}

/// `ServerCnxn.dumpConnectionInfo`
fn connection_line(out: &mut String, conn: &ConnShared, brief: bool) -> fmt::Result {
    let stats = &conn.stats;
    let interest = {
        let outbox = conn.outbox.lock();
        let reading = i32::from(conn.reading.load(Relaxed));
        if outbox.buf.is_empty() { reading } else { reading | 4 }
    };
    let queued = i64::from(conn.outbox.lock().in_flight) + stats.drift.load(Relaxed);
    write!(
        out,
        " {}[{interest:x}](queued={queued},recved={},sent={}",
        java_address(conn.peer),
        stats.received.load(Relaxed),
        stats.sent.load(Relaxed)
    )?;
    let session = conn.session();
    if !brief && session != SessionId::NONE {
        write!(
            out,
            ",sid={session},lop={},est={},to={}",
            op_abbreviation(stats.last_op.load(Relaxed)),
            conn.established,
            conn.timeout_ms.load(Relaxed)
        )?;
        let cxid = stats.last_cxid.load(Relaxed);
        if cxid >= 0 {
            write!(out, ",lcxid={cxid:#x}")?;
        }
        write!(
            out,
            ",lzxid={:#x},lresp={},llat={},minlat={},avglat={},maxlat={}",
            stats.last_zxid.load(Relaxed),
            stats.last_response.load(Relaxed),
            stats.last_latency.load(Relaxed),
            stats.latency.min(),
            stats.latency.average(),
            stats.latency.max()
        )?;
    }
    out.write_char(')')
}

fn op_abbreviation(op: i32) -> &'static str {
    match OpCode(op) {
        OpCode(NO_OP_YET) => "null",
        OpCode::CREATE_SESSION => "SESS",
        OpCode::PING => "PING",
        OpCode::CREATE | OpCode::CREATE2 | OpCode::CREATE_TTL | OpCode::CREATE_CONTAINER => "CREA",
        OpCode::DELETE | OpCode::DELETE_CONTAINER => "DELE",
        OpCode::SET_DATA => "SETD",
        OpCode::SET_ACL => "SETA",
        OpCode::RECONFIG => "RECO",
        OpCode::MULTI => "MULT",
        OpCode::CLOSE_SESSION => "CLOS",
        OpCode::SYNC => "SYNC",
        OpCode::CHECK => "CHEC",
        OpCode::EXISTS => "EXIS",
        OpCode::GET_DATA => "GETD",
        OpCode::SET_WATCHES => "SETW",
        OpCode::GET_ACL => "GETA",
        OpCode::GET_CHILDREN | OpCode::GET_CHILDREN2 => "GETC",
        OpCode::CHECK_WATCHES => "CHKW",
        OpCode::REMOVE_WATCHES => "REMW",
        // As 3.9 names them.
        OpCode::MULTI_READ => "MLTR",
        OpCode::SET_WATCHES2 => "STW2",
        OpCode::ADD_WATCH => "ADDW",
        OpCode::WHO_AM_I => "HOMI",
        OpCode::GET_EPHEMERALS => "GETE",
        OpCode::GET_ALL_CHILDREN_NUMBER => "GETACN",
        _ => "NA",
    }
}

/// `datadir_size` is the size of the log directory and the other way round, as in 3.5.7 (B§8.2).
fn dirs(out: &mut String, shared: &Shared) -> fmt::Result {
    let (data, log) = swapped_sizes(shared);
    write!(out, "datadir_size: {data}\nlogdir_size: {log}\n")
}

fn swapped_sizes(shared: &Shared) -> (u64, u64) {
    let size = |dir: &std::path::Path| storage::dir_size(&storage::RealDisk, &dir.join("version-2"));
    (size(&shared.config.data_log_dir), size(&shared.config.data_dir))
}

fn conf(out: &mut String, shared: &Shared) -> fmt::Result {
    let config = &shared.config;
    let (data_size, log_size) = swapped_sizes(shared);
    let version_2 = |dir: &std::path::Path| environment::absolute(&dir.join("version-2"));
    let port =
        |address: &Option<crate::config::ClientAddress>| address.as_ref().map_or(-1, |a| i32::from(a.port));
    writeln!(out, "clientPort={}", port(&config.client_address))?;
    writeln!(out, "secureClientPort={}", port(&config.secure_client_address))?;
    writeln!(out, "dataDir={}", version_2(&config.data_dir).display())?;
    writeln!(out, "dataDirSize={data_size}")?;
    writeln!(out, "dataLogDir={}", version_2(&config.data_log_dir).display())?;
    writeln!(out, "dataLogSize={log_size}")?;
    writeln!(out, "tickTime={}", config.tick_time_ms)?;
    writeln!(out, "maxClientCnxns={}", config.max_client_cnxns)?;
    writeln!(out, "minSessionTimeout={}", config.min_session_timeout_ms)?;
    writeln!(out, "maxSessionTimeout={}", config.max_session_timeout_ms)?;
    writeln!(out, "serverId=0")
}

fn envi(out: &mut String) -> fmt::Result {
    writeln!(out, "Environment:")?;
    environment::entries().into_iter().try_for_each(|(key, value)| writeln!(out, "{key}={value}"))
}

fn mntr(out: &mut String, shared: &Shared) -> fmt::Result {
    let stats = &shared.stats;
    let mut line = |key: &str, value: &dyn fmt::Display| writeln!(out, "zk_{key}\t{value}");
    line("version", &version::FULL)?;
    line("avg_latency", &stats.latency.average())?;
    line("max_latency", &stats.latency.max())?;
    line("min_latency", &stats.latency.min())?;
    line("packets_received", &stats.received.load(Relaxed))?;
    line("packets_sent", &stats.sent.load(Relaxed))?;
    line("num_alive_connections", &shared.conns.len())?;
    line("outstanding_requests", &shared.outstanding())?;
    line("server_state", &"standalone")?;
    let db = shared.db.read();
    line("znode_count", &db.node_count())?;
    line("watch_count", &db.watches.lock().count())?;
    line("ephemerals_count", &db.ephemeral_count())?;
    line("approximate_data_size", &db.nodes().approximate_size())?;
    drop(db);
    let (open, max) = environment::file_descriptors();
    line("open_file_descriptor_count", &open)?;
    line("max_file_descriptor_count", &max)
}

fn wchs(out: &mut String, shared: &Shared) -> fmt::Result {
    let db = shared.db.read();
    let watches = db.watches.lock();
    let report = watches.report();
    writeln!(out, "{} connections watching {} paths", report.connections(), report.paths())?;
    writeln!(out, "Total watches:{}", report.total())
}

fn wchc(out: &mut String, shared: &Shared) -> fmt::Result {
    let sessions = sessions_by_conn(shared);
    let db = shared.db.read();
    let watches = db.watches.lock();
    for (conn, paths) in watches.report().by_conn() {
        writeln!(out, "{}", session_of(&sessions, conn))?;
        for path in paths {
            writeln!(out, "\t{path}")?;
        }
    }
    writeln!(out)
}

fn wchp(out: &mut String, shared: &Shared) -> fmt::Result {
    let sessions = sessions_by_conn(shared);
    let db = shared.db.read();
    let watches = db.watches.lock();
    for (path, conns) in watches.report().by_path() {
        writeln!(out, "{path}")?;
        for conn in conns {
            writeln!(out, "\t{}", session_of(&sessions, conn))?;
        }
    }
    writeln!(out)
}

fn sessions_by_conn(shared: &Shared) -> BTreeMap<ConnId, SessionId> {
    shared.conns.all().iter().map(|conn| (conn.id, conn.session())).collect()
}

fn session_of(sessions: &BTreeMap<ConnId, SessionId>, conn: ConnId) -> SessionId {
    sessions.get(&conn).copied().unwrap_or(SessionId::NONE)
}

fn dump(out: &mut String, shared: &Shared, sessions: &[(Millis, Vec<SessionId>)]) -> fmt::Result {
    let now = shared.clock.now();
    let date = |due: Millis| environment::java_date(now.wall + (due - now.mono));
    writeln!(out, "SessionTracker dump:")?;
    let count: usize = sessions.iter().map(|(_, ids)| ids.len()).sum();
    writeln!(out, "Session Sets ({})/({count}):", sessions.len())?;
    for (due, ids) in sessions {
        writeln!(out, "{} expire at {}:", ids.len(), date(*due))?;
        for id in ids {
            writeln!(out, "\t{id}")?;
        }
    }
    writeln!(out, "ephemeral nodes dump:")?;
    {
        let db = shared.db.read();
        writeln!(out, "Sessions with Ephemerals ({}):", db.ephemerals().count())?;
        for (session, paths) in db.ephemerals() {
            writeln!(out, "{session}:")?;
            for path in paths {
                writeln!(out, "\t{path}")?;
            }
        }
    }
    writeln!(out, "Connections dump:")?;
    // Netty's factory has none to show.
    match shared.config.settings.connection_factory {
        ConnectionFactory::Nio => connection_sets(out, shared, date),
        ConnectionFactory::Netty => Ok(()),
    }
}

/// Connections by the time at which silence would end them (NIO's `ExpiryQueue`).
fn connection_sets(out: &mut String, shared: &Shared, date: impl Fn(Millis) -> String) -> fmt::Result {
    let mut sets: BTreeMap<Millis, Vec<Arc<ConnShared>>> = BTreeMap::new();
    for conn in shared.conns.all() {
        sets.entry(super::listener::idle_deadline(&conn, shared)).or_default().push(conn);
    }
    let count: usize = sets.values().map(Vec::len).sum();
    writeln!(out, "Connections Sets ({})/({count}):", sets.len())?;
    for (due, conns) in sets {
        writeln!(out, "{} expire at {}:", conns.len(), date(due))?;
        for conn in conns {
            writeln!(out, "\tip: {} sessionId: {}", java_address(conn.peer), conn.session())?;
        }
    }
    Ok(())
}
