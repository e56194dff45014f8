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
    shared::{CoreMsg, Sessions, Shared},
};
use crate::{
    config::{Config, ConnectionFactory, PeerType},
    ids::{ConnId, Millis, SessionId},
    proto::OpCode,
    storage, version,
    zab::{
        Standing,
        leader::{Figures, ProposalSizes},
    },
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

/// Of a server that looks for a leader, and of a leader with leaderServes=no.
const NOT_SERVING: &str = "This ZooKeeper instance is not currently serving requests\n";

/// Answers a command; `rest` is what came behind its four bytes.
pub fn run(command: Command, rest: &[u8], peer: SocketAddr, shared: &Shared) -> Answer {
    if !shared.config.settings.four_letter_whitelist.allows(command.name()) {
        return Answer::Text(format!(
            "{} is not executed because it is not in the whitelist.\n",
            command.name()
        ));
    }
    tracing::info!("Processing {} command from {}", command.name(), java_address(peer));
    let standing = shared.standing.serving();
    match (command, standing) {
        (Command::TelnetClose, _) => Answer::Nothing,
        (Command::Ruok, _) => Answer::Text("imok".to_owned()),
        (Command::Isro, None) => Answer::Text("null".to_owned()),
        (Command::Isro, Some(_)) => Answer::Text("rw".to_owned()),
        (Command::Gtmk, _) => Answer::Text(TRACE_MASK.load(Relaxed).to_string()),
        (Command::Stmk, _) => match rest.first_chunk::<8>() {
            Some(mask) => {
                let mask = i64::from_be_bytes(*mask);
                TRACE_MASK.store(mask, Relaxed);
                Answer::Text(mask.to_string())
            }
            None => Answer::Nothing,
        },
        (Command::Envi, _) => text(envi),
        (_, None) => Answer::Text(NOT_SERVING.to_owned()),
        (command, Some(standing)) => serving(command, standing, shared),
    }
}

fn text(write: impl FnOnce(&mut String) -> fmt::Result) -> Answer {
    let mut out = String::new();
    let written = write(&mut out);
    debug_assert!(written.is_ok(), "writing to a String does not fail");
    Answer::Text(out)
}

fn serving(command: Command, standing: Standing, shared: &Shared) -> Answer {
    use Command::*;
    let leads = matches!(standing, Standing::Leading { .. });
    let learns = matches!(standing, Standing::Following { .. } | Standing::Observing { .. });
    match command {
        Srvr | Stat | Mntr | Srst if leads => Answer::Later(Slow::OfLeader(command)),
        Dump => Answer::Later(Slow::Dump { learns }),
        Srvr => text(|out| srvr(out, shared, Role::of(&standing))),
        Stat => text(|out| stat(out, shared, Role::of(&standing))),
        Mntr => text(|out| mntr(out, shared, Role::of(&standing))),
        Srst => {
            shared.stats.reset();
            Answer::Text(STATS_RESET.to_owned())
        }
        Crst => {
            shared.conns.all().iter().for_each(|conn| conn.stats.reset());
            Answer::Text("Connection stats reset.\n".to_owned())
        }
        Conf => text(|out| conf(out, shared)),
        Cons => text(|out| cons(out, shared)),
        Dirs => text(|out| dirs(out, shared)),
        Wchs => text(|out| wchs(out, shared)),
        Wchc => text(|out| wchc(out, shared)),
        Wchp => text(|out| wchp(out, shared)),
        Ruok | Isro | Gtmk | Stmk | Envi | TelnetClose => Answer::Nothing,
    }
}

const STATS_RESET: &str = "Server stats reset.\n";

/// As what a server that serves presents itself.
#[derive(Clone, Copy)]
enum Role {
    Standalone,
    Leader(Figures),
    Follower,
    Observer,
}

impl Role {
    /// Of anybody but a leader, whose figures only the core knows.
    fn of(standing: &Standing) -> Role {
        match standing {
            Standing::Following { .. } => Role::Follower,
            Standing::Observing { .. } => Role::Observer,
            Standing::Leading { .. } => Role::Leader(Figures::default()),
            Standing::Looking | Standing::Standalone => Role::Standalone,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Role::Standalone => "standalone",
            Role::Leader(_) => "leader",
            Role::Follower => "follower",
            Role::Observer => "observer",
        }
    }
}

/// What cannot be answered without the core's help.
pub enum Slow {
    Dump {
        /// Whether a leader elsewhere knows when sessions expire.
        learns: bool,
    },
    OfLeader(Command),
}

impl Slow {
    pub async fn answer(self, shared: &Arc<Shared>) -> String {
        let answer = match self {
            Slow::Dump { learns } => {
                let (answer, sessions) = oneshot::channel();
                let _ = shared.core.send(CoreMsg::Sessions(answer)).await;
                let sessions = sessions.await.unwrap_or_default();
                text(|out| dump(out, shared, &sessions, learns))
            }
            Slow::OfLeader(command) => {
                let (answer, figures) = oneshot::channel();
                let _ = shared.core.send(CoreMsg::Figures(answer)).await;
                match figures.await {
                    Ok(figures) => of_leader(command, figures, shared).await,
                    // It does not lead any more.
                    Err(_) => Answer::Text(NOT_SERVING.to_owned()),
                }
            }
        };
        match answer {
            Answer::Text(text) => text,
            Answer::Later(_) | Answer::Nothing => String::new(),
        }
    }
}

async fn of_leader(command: Command, figures: Figures, shared: &Shared) -> Answer {
    let role = Role::Leader(figures);
    match command {
        Command::Srvr => text(|out| srvr(out, shared, role)),
        Command::Stat => text(|out| stat(out, shared, role)),
        Command::Mntr => text(|out| mntr(out, shared, role)),
        _ => {
            shared.stats.reset();
            let _ = shared.core.send(CoreMsg::ResetProposalSizes).await;
            Answer::Text(STATS_RESET.to_owned())
        }
    }
}

fn version_line(out: &mut String) -> fmt::Result {
    writeln!(out, "Zookeeper version: {}", version::FULL)
}

fn srvr(out: &mut String, shared: &Shared, role: Role) -> fmt::Result {
    version_line(out)?;
    server_lines(out, shared, role)
}

fn server_lines(out: &mut String, shared: &Shared, role: Role) -> fmt::Result {
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
    let (zxid, nodes) = {
        let db = shared.db.read();
        (db.last_zxid(), db.node_count())
    };
    writeln!(out, "Zxid: {zxid}")?;
    writeln!(out, "Mode: {}", role.name())?;
    writeln!(out, "Node count: {nodes}")?;
    match role {
        Role::Leader(figures) => proposal_line(out, figures.proposals),
        _ => Ok(()),
    }
}

fn proposal_line(out: &mut String, proposals: ProposalSizes) -> fmt::Result {
    let [last, min, max] = sizes(proposals);
    writeln!(out, "Proposal sizes last/min/max: {last}/{min}/{max}")
}

/// Last, smallest and largest; -1 before the first proposal.
fn sizes(proposals: ProposalSizes) -> [i64; 3] {
    let int = |size: usize| i64::try_from(size).unwrap_or(i64::MAX);
    proposals.get().map_or([-1; 3], |s| [int(s.last), int(s.min), int(s.max)])
}

fn stat(out: &mut String, shared: &Shared, role: Role) -> fmt::Result {
    version_line(out)?;
    writeln!(out, "Clients:")?;
    for conn in shared.conns.all() {
        connection_line(out, &conn, true)?;
        writeln!(out)?;
    }
    writeln!(out)?;
    server_lines(out, shared, role)
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
    if !config.is_distributed() {
        return writeln!(out, "serverId=0");
    }
    member_conf(out, config)
}

/// `QuorumZooKeeperServer.dumpConf`; the end has no newline.
fn member_conf(out: &mut String, config: &Config) -> fmt::Result {
    let sid = config.server_id.unwrap_or_default();
    writeln!(out, "serverId={sid}")?;
    writeln!(out, "initLimit={}", config.init_limit)?;
    writeln!(out, "syncLimit={}", config.sync_limit)?;
    writeln!(out, "electionAlg={}", config.election_alg)?;
    if let Some(own) = config.ensemble.servers.get(&sid) {
        writeln!(out, "electionPort={}", own.election_port)?;
        writeln!(out, "quorumPort={}", own.quorum_port)?;
    }
    let peer_type = match config.peer_type {
        PeerType::Participant => 0,
        PeerType::Observer => 1,
    };
    writeln!(out, "peerType={peer_type}")?;
    write!(out, "membership: \n{}", config.ensemble)
}

fn envi(out: &mut String) -> fmt::Result {
    writeln!(out, "Environment:")?;
    environment::entries().into_iter().try_for_each(|(key, value)| writeln!(out, "{key}={value}"))
}

fn mntr(out: &mut String, shared: &Shared, role: Role) -> fmt::Result {
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
    line("server_state", &role.name())?;
    let db = shared.db.read();
    line("znode_count", &db.node_count())?;
    line("watch_count", &db.watches.lock().count())?;
    line("ephemerals_count", &db.ephemeral_count())?;
    line("approximate_data_size", &db.nodes().approximate_size())?;
    drop(db);
    let (open, max) = environment::file_descriptors();
    line("open_file_descriptor_count", &open)?;
    line("max_file_descriptor_count", &max)?;
    match role {
        Role::Leader(figures) => leader_figures(out, figures),
        _ => Ok(()),
    }
}

fn leader_figures(out: &mut String, figures: Figures) -> fmt::Result {
    let mut line = |key: &str, value: i64| writeln!(out, "zk_{key}\t{value}");
    let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    let [last, min, max] = sizes(figures.proposals);
    line("followers", count(figures.learners))?;
    line("synced_followers", count(figures.forwarding_followers))?;
    line("pending_syncs", count(figures.pending_syncs))?;
    line("last_proposal_size", last)?;
    line("max_proposal_size", max)?;
    line("min_proposal_size", min)
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

fn dump(out: &mut String, shared: &Shared, sessions: &Sessions, learns: bool) -> fmt::Result {
    let now = shared.clock.now();
    let date = |due: Millis| environment::java_date(now.wall + (due - now.mono));
    writeln!(out, "SessionTracker dump:")?;
    if let Some(local) = &sessions.local {
        out.write_str("Local ")?;
        session_sets(out, local, date)?;
    }
    match &sessions.local {
        _ if learns => global_sessions(out, shared.db.read().sessions())?,
        Some(_) => {
            out.write_str("Global ")?;
            session_sets(out, &sessions.all, date)?;
        }
        None => session_sets(out, &sessions.all, date)?,
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

/// Of a server that expires sessions itself (`SessionTrackerImpl`).
fn session_sets(
    out: &mut String,
    sets: &BTreeMap<Millis, Vec<SessionId>>,
    date: impl Fn(Millis) -> String,
) -> fmt::Result {
    let count: usize = sets.values().map(Vec::len).sum();
    writeln!(out, "Session Sets ({})/({count}):", sets.len())?;
    for (due, ids) in sets {
        writeln!(out, "{} expire at {}:", ids.len(), date(*due))?;
        for id in ids {
            writeln!(out, "\t{id}")?;
        }
    }
    Ok(())
}

/// Of a server that leaves that to its leader (`LearnerSessionTracker`).
fn global_sessions(out: &mut String, sessions: impl Iterator<Item = (SessionId, i32)>) -> fmt::Result {
    let sessions: BTreeMap<SessionId, i32> = sessions.collect();
    writeln!(out, "Global Sessions({}):", sessions.len())?;
    for (id, timeout_ms) in sessions {
        writeln!(out, "{id}\t{timeout_ms}ms")?;
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Defines, outside::Outside};

    /// Files in memory.
    struct Files<'a>(&'a [(&'a str, &'a str)]);

    impl Outside for Files<'_> {
        fn read(&self, path: &std::path::Path) -> std::io::Result<Vec<u8>> {
            let file = self.0.iter().find(|(name, _)| path == std::path::Path::new(name));
            file.map(|(_, text)| text.as_bytes().to_vec()).ok_or(std::io::ErrorKind::NotFound.into())
        }

        fn resolve(&self, host: &str) -> std::io::Result<std::net::IpAddr> {
            host.parse().map_err(std::io::Error::other)
        }
    }

    fn written(write: impl FnOnce(&mut String) -> fmt::Result) -> String {
        let mut out = String::new();
        write(&mut out).unwrap();
        out
    }

    /// Expected: `conf` of the observer of a running 3.5.7.
    #[test]
    fn a_members_conf_ends_with_the_ensemble() {
        let cfg = "tickTime=2000\ninitLimit=10\nsyncLimit=5\ndataDir=/d\nclientPort=2181\npeerType=observer\n\
                   server.1=127.77.1.1:2888:3888\nserver.2=127.77.1.2:2888:3888\nserver.3=127.77.1.3:2888:3888\n\
                   server.4=127.77.1.4:2889:3889:observer\n";
        let files = Files(&[("zoo.cfg", cfg), ("/d/myid", "4\n")]);
        let config = Config::load_from(&files, std::path::Path::new("zoo.cfg"), &Defines::default()).unwrap();
        assert_eq!(
            written(|out| member_conf(out, &config)),
            "serverId=4\ninitLimit=10\nsyncLimit=5\nelectionAlg=3\nelectionPort=3889\nquorumPort=2889\npeerType=1\n\
             membership: \nserver.1=127.77.1.1:2888:3888:participant\nserver.2=127.77.1.2:2888:3888:participant\n\
             server.3=127.77.1.3:2888:3888:participant\nserver.4=127.77.1.4:2889:3889:observer\nversion=0"
        );
    }

    /// Expected: srvr and mntr of a running 3.5.7 that leads two followers and an observer, at first and after a
    /// createSession and a create with 1000 bytes.
    #[test]
    fn a_leader_tells_of_its_learners_and_proposals() {
        let mut figures = Figures { learners: 3, forwarding_followers: 2, ..Figures::default() };
        let line = |figures: Figures| written(|out| proposal_line(out, figures.proposals));
        assert_eq!(line(figures), "Proposal sizes last/min/max: -1/-1/-1\n");
        figures.proposals.note(36);
        figures.proposals.note(1074);
        assert_eq!(line(figures), "Proposal sizes last/min/max: 1074/36/1074\n");
        assert_eq!(
            written(|out| leader_figures(out, figures)),
            "zk_followers\t3\nzk_synced_followers\t2\nzk_pending_syncs\t0\nzk_last_proposal_size\t1074\n\
             zk_max_proposal_size\t1074\nzk_min_proposal_size\t36\n"
        );
    }

    /// Expected: dump of followers and of a leader of a running 3.5.7.
    #[test]
    fn a_learner_lists_sessions_and_a_leader_when_they_expire() {
        let sessions = [
            (SessionId(0x300_011b_0d99_0000), 30_000),
            (SessionId(0x200_011b_0cde_0000), 20_000),
            (SessionId(-1), 4000),
        ];
        assert_eq!(
            written(|out| global_sessions(out, sessions.into_iter())),
            "Global Sessions(3):\n0xffffffffffffffff\t4000ms\n0x200011b0cde0000\t20000ms\n0x300011b0d990000\t30000ms\n"
        );
        let sets = BTreeMap::from([
            (1000, vec![SessionId(0x400_011b_0da6_0000)]),
            (3000, vec![SessionId(5), SessionId(6)]),
        ]);
        assert_eq!(
            written(|out| session_sets(out, &sets, |due| format!("[{due}]"))),
            "Session Sets (2)/(3):\n1 expire at [1000]:\n\t0x400011b0da60000\n2 expire at [3000]:\n\t0x5\n\t0x6\n"
        );
    }
}
