//! One simulated server: what `server` does around a [`Replica`], with the simulator's clock, network and disk.
//!
//! Counterparts: `core_loop` (a turn), `log_thread` (a batch), `conn` (a [`Shell`]), `election_net` and `learner_net`.

use std::{
    collections::{BTreeMap, VecDeque},
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::{Bytes, BytesMut};

use super::{
    client::Hello,
    disk::SimDisk,
    image::{self, Image, Restore},
    invariants::{Ghost, Logged},
    model::{self, hash_of},
    nemesis::Down,
    net::{End, Item, Node, PipeId, Port},
    rng::Rng,
    scenario::{Canary, Scenario},
    world::{Event, MS, Micros, Phase, World},
};
use crate::{
    config::{Ensemble, PeerType, ServerSpec},
    db::{Database, DbOptions},
    ids::{ConnId, Epoch, LinkId, Millis, SessionId, Sid, Zxid},
    pipeline::{
        prep::PrepRules,
        read::{self, ReadRules, Reader},
    },
    proto::{
        OpCode,
        quorum::{Notification, PacketType, QuorumPacket},
    },
    replica::{Handshake, Input, Now, Output, Replica, ReplicaConfig, Request},
    session::Lease,
    storage::{
        self, Disk, EpochFile, Epochs, LogOptions, LogReader, LogWriter, RecoveryOptions, StorageError,
        recovery::DirLock,
    },
    zab::{
        self, LogProbe, PeerConfig, Persist, Standing, Timing, Token,
        peer::Recovered,
        quorum::{Quorums, Voters},
        sync::SyncRules,
    },
};

const READS: ReadRules = ReadRules { skip_acl: false, modern: false };
const DATA: &str = "/data";
const FILES: &str = "/data/version-2";
/// The first name that the driver gives to a learner's link: the replica numbers those it dials.
const FIRST_LINK: u64 = 1 << 32;
/// 2026, so that wall clocks look like ones.
const WALL_EPOCH_MS: Millis = 1_767_225_600_000;

pub struct Server {
    disk: SimDisk,
    pub life: u32,
    pub process: Option<Box<Process>>,
    pub paused_until: Micros,
    pub slow_disk: bool,
    pub wall_skew_ms: Millis,
    /// Writes fail; the process must end.
    broken: bool,
    /// It went down with another history on its way to its disk.
    replaces: Option<Option<Zxid>>,
    /// Loses power when its turn is over.
    doomed: bool,
    /// Monotonic clocks of two machines have nothing to do with each other.
    mono_base_ms: Millis,
}

/// A server that runs.
pub struct Process {
    replica: Replica,
    pub db: Database,
    log: LogWriter,
    _lock: DirLock,
    inbox: Vec<Arrival>,
    has_turn: bool,
    timer: Option<Micros>,
    queue: Vec<DiskItem>,
    batch: Vec<DiskItem>,
    disk_is_busy: bool,
    snapshots_under_way: u32,
    port_is_open: bool,
    learners: BTreeMap<LinkId, PipeId>,
    leaders: BTreeMap<LinkId, LeaderLink>,
    conns: BTreeMap<ConnId, Shell>,
    next_link: u64,
    next_conn: u64,
}

struct LeaderLink {
    leader: Sid,
    pipe: Option<PipeId>,
    /// The zxid of a SNAP packet whose body is still to come.
    snap: Option<Zxid>,
    /// The last zxid of what the leader has sent so far; after NEWLEADER, of what that stands for.
    synced: Zxid,
    has_new_leader: bool,
    /// Of LEADERINFO.
    offered: Epoch,
}

/// A client's connection at its server.
struct Shell {
    pipe: PipeId,
    active: Option<(SessionId, Arc<Lease>, i32)>,
    in_flight: u32,
}

pub enum Arrival {
    Input(Input),
    Item { pipe: PipeId, port: Port, item: Item },
}

#[derive(Clone)]
enum DiskItem {
    Append { token: Token, logged: Logged, txn: Bytes },
    Truncate { token: Token, to: Zxid },
    Accepted { token: Token, epoch: Epoch },
    Current { token: Token, epoch: Epoch },
    Snapshot { token: Token, image: Box<Image>, history: Vec<Logged> },
    Roll,
}

impl DiskItem {
    /// Another history takes the place of the one on disk, or what is behind a zxid is cut.
    fn replaces(&self) -> Option<Option<Zxid>> {
        match self {
            DiskItem::Snapshot { .. } => Some(None),
            DiskItem::Truncate { to, .. } => Some(Some(*to)),
            _ => None,
        }
    }

    fn token(&self) -> Option<Token> {
        match self {
            DiskItem::Append { token, .. }
            | DiskItem::Truncate { token, .. }
            | DiskItem::Accepted { token, .. }
            | DiskItem::Current { token, .. }
            | DiskItem::Snapshot { token, .. } => Some(*token),
            DiskItem::Roll => None,
        }
    }
}

impl Server {
    pub fn all(scenario: &Scenario, rng: &mut Rng) -> Vec<Server> {
        let server = |_: &PeerType| Server {
            disk: SimDisk::default(),
            life: 0,
            process: None,
            paused_until: 0,
            slow_disk: false,
            doomed: false,
            broken: false,
            replaces: None,
            wall_skew_ms: rng.below(2000) as i64 - 1000,
            mono_base_ms: rng.below(1_000_000) as i64,
        };
        scenario.roles.iter().map(server).collect()
    }

    pub fn is_idle(&self) -> bool {
        self.process.as_ref().is_some_and(|p| {
            p.queue.is_empty() && !p.disk_is_busy && p.inbox.is_empty() && p.snapshots_under_way == 0
        })
    }

    fn now(&self, now: Micros) -> Now {
        let ms = (now / MS) as Millis;
        Now { mono: self.mono_base_ms + ms, wall: WALL_EPOCH_MS + self.wall_skew_ms + ms }
    }

    /// When a monotonic time of this server's is.
    fn at(&self, mono: Millis) -> Micros {
        (mono - self.mono_base_ms).max(0) as Micros * MS
    }

    fn disk(&self) -> Arc<dyn Disk> {
        Arc::new(self.disk.clone())
    }
}

fn files() -> PathBuf {
    PathBuf::from(FILES)
}

fn recover(disk: &Arc<dyn Disk>) -> Result<storage::Recovered<Restore>, StorageError> {
    let data = Path::new(DATA);
    storage::open(disk, data, data, RecoveryOptions::default(), || Restore::new(DbOptions::default()))
}

/// What `server` does with its files before it has a replica.
struct Opened {
    db: Database,
    recovered: Recovered,
    lock: DirLock,
}

fn open(disk: &Arc<dyn Disk>) -> Result<Opened, StorageError> {
    let mut found = recover(disk)?;
    let recent = std::mem::take(&mut found.sink.committed);
    let db = found.sink.into_database();
    if found.fresh {
        Image::of(&db).write(disk, &files())?;
    }
    let last_zxid = found.last_zxid;
    let Epochs { accepted, current } = storage::open_epochs(&**disk, &files(), last_zxid)?;
    let recovered = Recovered { last_zxid, accepted_epoch: accepted, current_epoch: current, recent };
    Ok(Opened { db, recovered, lock: found.lock })
}

impl World {
    pub fn start(&mut self, sid: Sid) {
        if self.server(sid).process.is_some() {
            return;
        }
        let disk = self.server(sid).disk();
        let opened = match open(&disk) {
            Ok(opened) => opened,
            Err(e) => return self.fail("Recovery", format!("server {sid} does not start: {e}")),
        };
        self.server(sid).life += 1;
        let life = self.server(sid).life;
        self.trace.line(self.now, || {
            let Recovered { last_zxid, accepted_epoch, current_epoch, .. } = &opened.recovered;
            format!(
                "s{sid} START life {life}: last {last_zxid} accepted {accepted_epoch} current {current_epoch}"
            )
        });
        self.recovered(sid, &opened);
        let Opened { db, recovered, lock } = opened;
        let now = self.now_at(sid);
        let (config, peer) = (self.replica_config(sid, now), self.peer_config(sid));
        let replica = Replica::member(config, peer, recovered, now);
        let options = LogOptions {
            prealloc_kib: self.scenario.prealloc_kib,
            force_sync: self.options.canary != Some(Canary::FsyncIgnored),
            limits: db.options().limits.for_files(),
        };
        let log = LogWriter::new(disk, files(), options);
        self.server(sid).process = Some(Box::new(Process {
            replica,
            db,
            log,
            _lock: lock,
            inbox: Vec::new(),
            has_turn: false,
            timer: None,
            queue: Vec::new(),
            batch: Vec::new(),
            disk_is_busy: false,
            snapshots_under_way: 0,
            port_is_open: false,
            learners: BTreeMap::new(),
            leaders: BTreeMap::new(),
            conns: BTreeMap::new(),
            next_link: FIRST_LINK,
            next_conn: 1,
        }));
        self.work(sid, |_, _| {});
    }

    /// What has survived must be what was durable, and maybe some of what was on its way to the disk.
    fn recovered(&mut self, sid: Sid, opened: &Opened) {
        let votes = self.role(sid) == PeerType::Participant;
        let believes = self.options.canary == Some(Canary::FsyncIgnored);
        let replaces = std::mem::take(&mut self.server(sid).replaces);
        let ghost = self.witness.server(sid);
        ghost.votes = votes;
        let last = opened.recovered.last_zxid;
        let current = opened.recovered.current_epoch;
        let in_durable = ghost.durable.through(last);
        let in_history = ghost.history.through(last);
        let durable = ghost.durable.last();
        // The crash came when another history was on its way to the disk: it is there or it is not.
        let newest = in_history.checked_sub(1).map_or(Zxid::ZERO, |n| ghost.history.list()[n].zxid);
        let replaced = replaces.is_some() && newest == last;
        // A cut takes one file after the other; what it leaves in between is a beginning as well.
        let floor = replaces.flatten().map_or(ghost.durable.last(), |to| to.min(ghost.durable.last()));
        let extends = ghost.history.starts_with(ghost.durable.list()) && in_history >= in_durable;
        let list = match replaced || extends {
            true => ghost.history.list()[..in_history].to_vec(),
            false => ghost.durable.list()[..in_durable].to_vec(),
        };
        let found = list.last().map_or(Zxid::ZERO, |l| l.zxid);
        let is_known = found == last || last.counter() == 0;
        let epochs_before = (ghost.current_epoch, ghost.accepted_epoch);
        let accepted = opened.recovered.accepted_epoch;
        *ghost = Ghost {
            applied: opened.db.last_zxid(),
            up: true,
            current_epoch: current,
            accepted_epoch: accepted,
            ..Ghost::new(sid, votes)
        };
        ghost.history.replace(list.clone());
        ghost.durable.replace(list);
        if believes {
            return;
        }
        if (found < floor && !replaced) || !is_known {
            self.fail(
                "Recovery",
                format!("server {sid} recovers up to {last}; its disk was known to hold everything up to {durable}"),
            );
        } else if current < epochs_before.0 || accepted < epochs_before.1 {
            let what = format!("server {sid} finds epochs {current} and {accepted} after {epochs_before:?}");
            self.fail("Recovery", what);
        }
        self.check_recovered(sid, &opened.db);
    }

    fn check_recovered(&mut self, sid: Sid, db: &Database) {
        let ghost = self.witness.server(sid);
        let n = ghost.history.through(db.last_zxid());
        if self.witness.delivered.get(..n) != Some(&self.witness.servers[&sid].history.list()[..n]) {
            return;
        }
        if self.model.digest_after(n).is_some_and(|expected| expected != model::digest_of(db)) {
            let differences = self.model.differences(db, db.last_zxid());
            self.fail(
                "Recovery",
                format!("server {sid} recovers another tree at {}:\n  {differences}", db.last_zxid()),
            );
        }
    }

    /// At the end: the files of a server that runs, as another process would read them.
    pub fn check_disk(&mut self, sid: Sid) {
        match recover(&self.server(sid).disk()) {
            Err(e) => self.fail("Recovery", format!("server {sid}: {e}")),
            Ok(recovered) => {
                let last = recovered.last_zxid;
                let expected = self.witness.server(sid).durable.last();
                if last != expected && last.counter() != 0 {
                    return self.fail(
                        "Recovery",
                        format!("the disk of server {sid} ends at {last}, not at {expected}"),
                    );
                }
                self.check_recovered(sid, &recovered.sink.into_database());
            }
        }
    }

    fn replica_config(&mut self, sid: Sid, now: Now) -> ReplicaConfig {
        ReplicaConfig {
            sid,
            tick_ms: self.scenario.tick_ms as Millis,
            snap_count: self.scenario.snap_count,
            snapshot_at_start: false,
            leader_serves: true,
            local_sessions: None,
            container_check_interval_ms: 60_000,
            container_max_per_minute: 10_000,
            prep: PrepRules::default(),
            read: READS,
            seed: self.rng.next(),
            session_seed_ms: now.wall,
        }
    }

    fn peer_config(&mut self, sid: Sid) -> PeerConfig {
        let ensemble = self.ensemble();
        PeerConfig {
            sid,
            role: self.role(sid),
            quorums: Quorums::new(Voters::of(&ensemble)),
            ensemble,
            timing: Timing {
                tick_ms: self.scenario.tick_ms as Millis,
                init_limit: self.scenario.init_limit,
                sync_limit: self.scenario.sync_limit,
            },
            sync: SyncRules {
                force_snapshot: self.scenario.force_snapshot,
                may_read_log: true,
                max_snapshots: *self.rng.pick(&[1, 10]),
            },
            observer_logs: self.scenario.observers_log,
            initial_counter: self.scenario.initial_counter,
        }
    }

    pub fn crash(&mut self, sid: Sid, down: Down) {
        let Some(mut process) = self.server(sid).process.take() else { return };
        self.trace.line(self.now, || format!("s{sid} DOWN {down:?}"));
        self.counts.crashes += 1;
        let disk = self.server(sid).disk.clone();
        if process.disk_is_busy && self.rng.chance(600) {
            // In the middle of what the log thread does.
            disk.stop_after(self.rng.below(14));
            let _ = write(&mut process.log, &self.server(sid).disk(), &process.batch);
        }
        let replaces = process.batch.iter().rev().find_map(DiskItem::replaces);
        drop(process);
        self.server(sid).replaces = replaces;
        match down {
            Down::Killed => disk.kill(),
            Down::PowerLost => disk.lose_power(&mut self.rng),
        }
        let server = self.server(sid);
        server.life += 1;
        server.paused_until = 0;
        server.broken = false;
        let ghost = self.witness.server(sid);
        (ghost.up, ghost.serving, ghost.standing) = (false, false, Standing::Looking);
        let silent = if down == Down::PowerLost { 1500 * MS } else { 5 * MS };
        let node = Node::server(sid);
        for pipe in self.net.of(node) {
            let Some(end) =
                self.net.pipes.get(&pipe).and_then(|p| p.ends.iter().position(|e| e.node == node))
            else {
                continue;
            };
            let delay = self.rng.between(0, silent);
            self.close(pipe, end, "the server is gone", delay);
        }
        for peer in self.sids().filter(|peer| *peer != sid) {
            self.break_election(sid, peer);
        }
        let off = self.rng.about(900 * MS);
        self.after(off, Event::Start(sid));
    }

    /// After a few more changes the disk takes nothing any more.
    pub fn break_disk(&mut self, sid: Sid, left: u64) {
        let server = self.server(sid);
        if server.process.is_some() {
            server.disk.stop_after(left);
            server.broken = true;
        }
    }

    /// Nothing has failed so far, or the process would have ended.
    pub fn mend_disk(&mut self, sid: Sid) {
        if std::mem::take(&mut self.server(sid).broken) {
            self.server(sid).disk.kill();
        }
    }

    pub fn wipe(&mut self, sid: Sid) {
        self.server(sid).disk.wipe();
        let votes = self.role(sid) == PeerType::Participant;
        *self.witness.server(sid) = Ghost::new(sid, votes);
    }

    fn now_at(&self, sid: Sid) -> Now {
        self.servers[sid.0 as usize - 1].now(self.now)
    }

    pub fn give(&mut self, sid: Sid, life: u32, arrival: Arrival) {
        let server = self.server(sid);
        let Some(process) = server.process.as_mut().filter(|_| server.life == life) else { return };
        process.inbox.push(arrival);
        if !std::mem::replace(&mut process.has_turn, true) {
            let delay = self.rng.below(300);
            self.after(delay, Event::Turn(sid, life));
        }
    }

    fn is_alive(&mut self, sid: Sid, life: u32) -> bool {
        self.server(sid).life == life && self.server(sid).process.is_some()
    }

    /// An event of a server that is paused comes when it goes on.
    fn put_off(&mut self, sid: Sid, event: impl FnOnce() -> Event) -> bool {
        let until = self.server(sid).paused_until;
        if until <= self.now {
            return false;
        }
        self.at(until, event());
        true
    }

    pub fn turn(&mut self, sid: Sid, life: u32) {
        if !self.is_alive(sid, life) || self.put_off(sid, || Event::Turn(sid, life)) {
            return;
        }
        self.work(sid, |world, process| {
            process.has_turn = false;
            let mut inbox = VecDeque::from(std::mem::take(&mut process.inbox));
            while let Some(arrival) = inbox.pop_front() {
                match arrival {
                    Arrival::Input(input) => world.input(sid, process, input),
                    Arrival::Item { pipe, port, item } => world.item(sid, process, pipe, port, item),
                }
            }
        });
    }

    pub fn progress(&mut self, sid: Sid, life: u32, link: LinkId) {
        self.give(sid, life, Arrival::Input(Input::Zab(zab::Input::Progress { link })));
    }

    pub fn timer(&mut self, sid: Sid, life: u32) {
        if !self.is_alive(sid, life) || self.put_off(sid, || Event::Timer(sid, life)) {
            return;
        }
        self.work(sid, |world, process| {
            if process.timer.is_some_and(|due| due <= world.now) {
                process.timer = None;
            }
        });
    }

    /// A turn of the core: inputs, timers, outputs; then what has committed.
    fn work(&mut self, sid: Sid, take: impl FnOnce(&mut World, &mut Process)) {
        let Some(mut process) = self.server(sid).process.take() else { return };
        let life = self.server(sid).life;
        take(self, &mut process);
        let now = self.now_at(sid);
        if process.replica.poll_timeout().is_some_and(|due| due <= now.mono) {
            process.replica.handle_timeout(now, &process.db);
        }
        self.carry_out(sid, &mut process);
        while process.replica.has_committed() {
            process.replica.apply_committed(&mut process.db);
            self.carry_out(sid, &mut process);
        }
        if let Some(due) = process.replica.poll_timeout() {
            let at = self.server(sid).at(due).max(self.now + 1);
            if process.timer.is_none_or(|timer| at < timer) {
                process.timer = Some(at);
                self.at(at, Event::Timer(sid, life));
            }
        }
        self.begin_batch(sid, &mut process);
        let applied = process.db.last_zxid();
        self.server(sid).process = Some(process);
        let ghost = self.witness.server(sid);
        let moved = std::mem::replace(&mut ghost.applied, applied) != applied;
        let is_new = ghost.serving && ghost.applied_before.is_none();
        if ghost.serving && (moved || is_new) {
            self.trace.line(self.now, || format!("s{sid} at {applied}"));
            self.deliver(sid);
            if let Err(violation) = self.witness.check(&self.options.except) {
                return self.fail(violation.invariant, violation.what);
            }
            self.check_tree(sid);
        }
        if std::mem::take(&mut self.server(sid).doomed) {
            self.crash(sid, Down::PowerLost);
        }
    }

    fn input(&mut self, sid: Sid, process: &mut Process, input: Input) {
        let now = self.now_at(sid);
        process.replica.handle(now, input, &process.db);
    }

    fn zab(&mut self, sid: Sid, process: &mut Process, input: zab::Input) {
        self.input(sid, process, Input::Zab(input));
    }

    fn item(&mut self, sid: Sid, process: &mut Process, pipe: PipeId, port: Port, item: Item) {
        match port {
            Port::Learner => self.learner_item(sid, process, pipe, item),
            Port::Leader(link) => self.leader_item(sid, process, link, item),
            Port::Conn => self.client_item(sid, process, pipe, item),
            Port::Client => {}
        }
    }

    fn learner_item(&mut self, sid: Sid, process: &mut Process, pipe: PipeId, item: Item) {
        if let Item::Syn = item {
            if !process.port_is_open {
                return self.close(pipe, 1, "the port is closed", 0);
            }
            let link = LinkId(process.next_link);
            process.next_link += 1;
            process.learners.insert(link, pipe);
            return self.zab(
                sid,
                process,
                zab::Input::LearnerOpened { link, peer: format!("pipe {}", pipe.0) },
            );
        }
        let Some(link) = process.learners.iter().find(|(_, p)| **p == pipe).map(|(link, _)| *link) else {
            return;
        };
        match item {
            Item::Packet(packet) => {
                self.trace.line(self.now, || format!("s{sid} {link} got {}", show(&packet)));
                self.zab(sid, process, zab::Input::LearnerPackets { link, packets: vec![packet] });
            }
            Item::Close { why } => {
                process.learners.remove(&link);
                self.zab(sid, process, zab::Input::LearnerClosed { link, why: why.to_owned() });
            }
            _ => {}
        }
    }

    fn leader_item(&mut self, sid: Sid, process: &mut Process, link: LinkId, item: Item) {
        let Some(known) = process.leaders.get_mut(&link) else { return };
        match item {
            Item::Packet(packet) => {
                self.trace.line(self.now, || format!("s{sid} from leader got {}", show(&packet)));
                match packet.kind {
                    PacketType::SNAP => {
                        known.snap = Some(packet.zxid);
                        return;
                    }
                    PacketType::DIFF | PacketType::TRUNC | PacketType::PROPOSAL | PacketType::INFORM
                        if !known.has_new_leader =>
                    {
                        known.synced = packet.zxid;
                    }
                    PacketType::NEWLEADER => known.has_new_leader = true,
                    PacketType::LEADERINFO => known.offered = packet.zxid.epoch(),
                    _ => {}
                }
                self.note_unlogged(sid, &packet);
                self.zab(sid, process, zab::Input::LeaderPackets { link, packets: vec![packet] });
            }
            Item::Snapshot { body, history } => {
                let Some(zxid) = known.snap.take() else {
                    return self.fail("Driver", format!("a snapshot without SNAP reaches server {sid}"));
                };
                known.synced = history.last().map_or(Zxid::ZERO, |l| l.zxid);
                self.trace.line(self.now, || {
                    format!("s{sid} from leader got a snapshot of {zxid}, {} txns", history.len())
                });
                match image::decode(&body, zxid, *process.db.options()) {
                    Ok(db) => {
                        self.witness.server(sid).history.replace(history);
                        self.counts.snaps += 1;
                        self.input(sid, process, Input::LeaderSnapshot { link, zxid, db: Box::new(db) });
                    }
                    Err(why) => self.fail("Driver", format!("the snapshot cannot be read: {why}")),
                }
            }
            Item::Progress => self.zab(sid, process, zab::Input::Progress { link }),
            Item::Close { why } => {
                process.leaders.remove(&link);
                self.zab(sid, process, zab::Input::LeaderClosed { link, why: why.to_owned() });
            }
            _ => {}
        }
    }

    /// Whether a server has its history in memory alone.
    fn forgets(&self, sid: Sid) -> bool {
        self.role(sid) == PeerType::Observer && !self.scenario.observers_log
    }

    /// What no log shows is seen as it comes.
    fn note_unlogged(&mut self, sid: Sid, packet: &QuorumPacket) {
        let is_txn = matches!(packet.kind, PacketType::PROPOSAL | PacketType::INFORM);
        if let (true, true, Some(txn)) = (self.forgets(sid), is_txn, &packet.data)
            && packet.zxid > self.witness.server(sid).history.last()
        {
            let logged = Logged { zxid: packet.zxid, hash: hash_of(txn) };
            self.txns.insert((logged.zxid, logged.hash), txn.clone());
            self.witness.logs(sid, logged);
        }
    }

    fn client_item(&mut self, sid: Sid, process: &mut Process, pipe: PipeId, item: Item) {
        let known = process.conns.iter().find(|(_, shell)| shell.pipe == pipe).map(|(conn, _)| *conn);
        match (item, known) {
            (Item::Hello(hello), None) => self.hello(sid, process, pipe, hello),
            (Item::Request { xid, op, body }, Some(conn)) => self.request(sid, process, conn, xid, op, body),
            (Item::Close { .. }, Some(conn)) => {
                process.conns.remove(&conn);
                self.input(sid, process, Input::ConnClosed { conn });
            }
            _ => {}
        }
    }

    /// `ZooKeeperServer.processConnectRequest`.
    fn hello(&mut self, sid: Sid, process: &mut Process, pipe: PipeId, hello: Hello) {
        if !self.witness.server(sid).serving {
            return self.close(pipe, 1, "not serving", 0);
        }
        if hello.last_zxid > process.db.last_zxid() {
            return self.close(pipe, 1, "the client has seen more", 0);
        }
        let conn = ConnId(process.next_conn);
        process.next_conn += 1;
        process.conns.insert(conn, Shell { pipe, active: None, in_flight: 0 });
        let tick = self.scenario.tick_ms as i32;
        let handshake =
            Handshake { timeout_ms: hello.timeout_ms.clamp(2 * tick, 20 * tick), with_read_only: true };
        let received = self.now_at(sid).mono;
        self.input(
            sid,
            process,
            match hello.session {
                None => Input::OpenSession { conn, handshake, received },
                Some((session, passwd)) => {
                    Input::ResumeSession { conn, handshake, session, passwd: Some(Box::from(passwd)) }
                }
            },
        );
    }

    /// A read of a connection that waits for nothing is answered at once, the rest goes to the core (`conn.rs`).
    fn request(&mut self, sid: Sid, process: &mut Process, conn: ConnId, xid: i32, op: OpCode, body: Bytes) {
        let mono = self.now_at(sid).mono;
        let Some(shell) = process.conns.get_mut(&conn) else { return };
        let Some((session, lease, timeout_ms)) = &shell.active else { return };
        let session = *session;
        if !lease.touch(mono, *timeout_ms) {
            return;
        }
        if read::is_read(op, READS) && op != OpCode::SYNC && shell.in_flight == 0 {
            let pipe = shell.pipe;
            let mut out = BytesMut::new();
            let reader = Reader { db: &process.db, conn, session, auth: &[], rules: READS };
            read::answer(reader, op, xid, &body, &mut out);
            return self.send(pipe, 1, Item::Frames(out.freeze()));
        }
        shell.in_flight += 1;
        let request = Request { conn, session, xid, op, body, auth: Arc::from([]), received: mono };
        self.input(sid, process, Input::Request(request));
    }

    fn carry_out(&mut self, sid: Sid, process: &mut Process) {
        while let Some(output) = process.replica.poll_output() {
            match output {
                Output::Reply { conn, bytes, .. } => {
                    if let Some(shell) = process.conns.get_mut(&conn) {
                        shell.in_flight = shell.in_flight.saturating_sub(1);
                        let pipe = shell.pipe;
                        self.send(pipe, 1, Item::Frames(bytes));
                    }
                }
                Output::Event { conn, bytes } => {
                    if let Some(shell) = process.conns.get(&conn) {
                        self.send(shell.pipe, 1, Item::Frames(bytes));
                    }
                }
                Output::SessionOpened { conn, bytes, opened } => {
                    if let Some(shell) = process.conns.get_mut(&conn) {
                        shell.active = Some((opened.session, opened.lease, opened.timeout_ms));
                        let pipe = shell.pipe;
                        self.send(pipe, 1, Item::Frames(bytes));
                    }
                }
                Output::SessionRefused { conn, bytes, session, .. } => {
                    self.trace.line(self.now, || format!("s{sid} refuses session {session}"));
                    if let Some(shell) = process.conns.get(&conn) {
                        self.send(shell.pipe, 1, Item::Frames(bytes));
                    }
                    self.let_go(sid, process, conn);
                }
                Output::CloseConn { conn, .. } => self.let_go(sid, process, conn),
                Output::RollLog => process.queue.push(DiskItem::Roll),
                Output::TakeSnapshot => {
                    let image = Box::new(Image::of(&process.db));
                    process.snapshots_under_way += 1;
                    let (life, takes) = (self.server(sid).life, self.rng.between(5 * MS, 200 * MS));
                    self.after(takes, Event::WriteSnapshot(sid, life, image));
                }
                Output::Standing { standing, serving } => self.stands(sid, process, standing, serving),
                Output::Fatal { code, why } => {
                    self.fail("Fatal", format!("server {sid} gives up with code {code}: {why}"));
                }
                Output::Zab(output) => self.carry_out_zab(sid, process, output),
            }
        }
    }

    fn stands(&mut self, sid: Sid, process: &mut Process, standing: Standing, serving: bool) {
        self.trace.line(self.now, || format!("s{sid} STANDS {standing:?} serving {serving}"));
        if let Standing::Leading { epoch } = standing
            && serving
        {
            self.witness.leads(sid, epoch);
        }
        let ghost = self.witness.server(sid);
        (ghost.standing, ghost.serving) = (standing, serving);
        if !serving {
            ghost.applied_before = None;
            let conns: Vec<ConnId> = process.conns.keys().copied().collect();
            conns.into_iter().for_each(|conn| self.let_go(sid, process, conn));
        }
    }

    fn let_go(&mut self, sid: Sid, process: &mut Process, conn: ConnId) {
        if let Some(shell) = process.conns.remove(&conn) {
            self.close(shell.pipe, 1, "closed by the server", 0);
        }
        let life = self.server(sid).life;
        process.inbox.push(Arrival::Input(Input::ConnClosed { conn }));
        if !std::mem::replace(&mut process.has_turn, true) {
            self.after(100, Event::Turn(sid, life));
        }
    }

    fn carry_out_zab(&mut self, sid: Sid, process: &mut Process, output: zab::Output) {
        use zab::Output as Z;
        match output {
            Z::SendNotification { to, notification } => self.notify(sid, to, notification),
            Z::ReconnectElection => {
                for peer in self.sids().filter(|peer| *peer != sid) {
                    self.dial_election(sid, peer);
                }
            }
            Z::OpenQuorumPort => {
                process.port_is_open = true;
                self.answer(sid, process, zab::Input::QuorumPort(Ok(())));
            }
            Z::CloseQuorumPort => {
                process.port_is_open = false;
                for (_, pipe) in std::mem::take(&mut process.learners) {
                    self.close(pipe, 1, "the leader has closed its port", 0);
                }
            }
            Z::DialLeader { link, leader } => {
                let known = LeaderLink {
                    leader,
                    pipe: None,
                    snap: None,
                    synced: Zxid::ZERO,
                    has_new_leader: false,
                    offered: Epoch(0),
                };
                process.leaders.insert(link, known);
                let (life, latency) = (self.server(sid).life, self.latency());
                self.after(latency, Event::Dial(sid, life, link));
            }
            Z::CloseLeader { link } => {
                if let Some(LeaderLink { pipe: Some(pipe), .. }) = process.leaders.remove(&link) {
                    self.close(pipe, 0, "closed by the learner", 0);
                }
            }
            Z::SendToLearner { link, packet } => self.send_to_learner(sid, process, link, packet),
            Z::CloseLearner { link, why } => {
                self.trace.line(self.now, || format!("s{sid} closes {link}: {why}"));
                if let Some(pipe) = process.learners.remove(&link) {
                    self.close(pipe, 1, "closed by the leader", 0);
                }
            }
            Z::SendToLeader { link, packet } => self.send_to_leader(sid, process, link, packet),
            Z::ProbeLog { link, from, until } => {
                let refuses = self.rng.chance(self.scenario.refuses_log);
                let found = if refuses { None } else { self.probe(sid, from, until) };
                self.answer(sid, process, zab::Input::LogProbed { link, found });
            }
            Z::StreamLog { link, after, through } => self.stream_log(sid, process, link, after, through),
            Z::StreamSnapshot { link, zxid } => {
                let Some(pipe) = process.learners.get(&link).copied() else { return };
                let body = Image::of(&process.db).body();
                let ghost = self.witness.server(sid);
                let history = ghost.history.list()[..ghost.history.through(process.db.last_zxid())].to_vec();
                self.trace.line(self.now, || format!("s{sid} {link} streams a snapshot of {zxid}"));
                // Now and then longer than any limit, but with signs of life.
                let part = if self.rng.chance(100) { self.scenario.tick_ms * MS } else { 10 * MS };
                let life = self.server(sid).life;
                for _ in 0..self.rng.below(5) {
                    let latency = self.rng.between(0, part);
                    self.send_late(pipe, 1, Item::Progress, latency);
                    self.after(latency, Event::Progress(sid, life, link));
                }
                let latency = self.latency();
                self.send_late(pipe, 1, Item::Snapshot { body, history }, latency);
            }
            Z::Persist { token, what } => self.persist(sid, process, token, what),
        }
    }

    /// What a server hears from itself a moment later.
    fn answer(&mut self, sid: Sid, process: &mut Process, input: zab::Input) {
        let life = self.server(sid).life;
        process.inbox.push(Arrival::Input(Input::Zab(input)));
        if !std::mem::replace(&mut process.has_turn, true) {
            let delay = self.rng.below(2 * MS);
            self.after(delay, Event::Turn(sid, life));
        }
    }

    fn send_to_learner(&mut self, sid: Sid, process: &mut Process, link: LinkId, packet: QuorumPacket) {
        if packet.kind == PacketType::NEWLEADER {
            self.witness.leads(sid, packet.zxid.epoch());
        }
        if packet.kind == PacketType::LEADERINFO {
            self.witness.promises(sid, packet.zxid.epoch());
        }
        if packet.kind == PacketType::TRUNC {
            self.counts.truncs += 1;
        }
        let Some(pipe) = process.learners.get(&link).copied() else { return };
        self.trace.line(self.now, || format!("s{sid} {link} sends {}", show(&packet)));
        self.send(pipe, 1, Item::Packet(packet));
    }

    fn send_to_leader(&mut self, sid: Sid, process: &mut Process, link: LinkId, packet: QuorumPacket) {
        let Some(known) = process.leaders.get(&link) else { return };
        let (pipe, synced, offered) = (known.pipe, known.synced, known.offered);
        if packet.kind == PacketType::ACKEPOCH {
            self.witness.promises(sid, offered);
        }
        // An ack of an observer that keeps nothing stands for nothing.
        if packet.kind == PacketType::ACK && !self.forgets(sid) {
            self.witness.acks(sid, packet.zxid, packet.zxid.counter() == 0, synced);
        }
        self.trace.line(self.now, || format!("s{sid} to leader sends {}", show(&packet)));
        let Some(pipe) = pipe else { return };
        self.send(pipe, 0, Item::Packet(packet));
        if self.rng.chance(self.scenario.crash_on_send) && self.phase == Phase::Chaos {
            self.server(sid).doomed = true;
        }
    }

    pub fn dial(&mut self, sid: Sid, life: u32, link: LinkId) {
        if !self.is_alive(sid, life) {
            return;
        }
        let Some(known) = self.server(sid).process.as_ref().and_then(|p| p.leaders.get(&link)) else {
            return;
        };
        let leader = known.leader;
        let (here, there) = (Node::server(sid), Node::server(leader));
        let target = &self.servers[leader.0 as usize - 1];
        let listens = target.process.as_ref().is_some_and(|p| p.port_is_open);
        if !listens || !self.net.passes(here, there) || !self.net.passes(there, here) {
            let again = self.rng.between(20 * MS, 120 * MS);
            return self.after(again, Event::Dial(sid, life, link));
        }
        let from = End { node: here, life, port: Port::Leader(link), open: true };
        let to = End { node: there, life: target.life, port: Port::Learner, open: true };
        let pipe = self.connect(from, to);
        if let Some(known) = self.server(sid).process.as_mut().and_then(|p| p.leaders.get_mut(&link)) {
            known.pipe = Some(pipe);
        }
        self.send(pipe, 0, Item::Syn);
        self.give(sid, life, Arrival::Input(Input::Zab(zab::Input::LeaderOpened { link })));
    }

    fn log_of(
        &mut self,
        sid: Sid,
        from: Zxid,
        mut each: impl FnMut(Zxid, &[u8]),
    ) -> Result<(), StorageError> {
        let disk = self.server(sid).disk();
        let mut reader = LogReader::open(disk, &files(), from, DbOptions::default().limits.for_files())?;
        while let Some(entry) = reader.next()? {
            each(entry.zxid(), entry.txn);
        }
        Ok(())
    }

    fn probe(&mut self, sid: Sid, from: Zxid, until: Zxid) -> Option<LogProbe> {
        let (disk, limits) = (self.server(sid).disk(), DbOptions::default().limits.for_files());
        match storage::probe_log(&disk, &files(), &files(), from..=until, 0.0, limits) {
            Ok(found) => {
                found.map(|storage::LogProbe { before, first, last }| LogProbe { before, first, last })
            }
            Err(e) => {
                self.fail("Driver", format!("the log of server {sid} cannot be read: {e}"));
                None
            }
        }
    }

    fn stream_log(&mut self, sid: Sid, process: &mut Process, link: LinkId, after: Zxid, through: Zxid) {
        let Some(pipe) = process.learners.get(&link).copied() else { return };
        self.counts.log_streams += 1;
        let mut packets = Vec::new();
        let read = self.log_of(sid, after.next(), |zxid, txn| {
            if zxid > after && zxid <= through {
                let data = Bytes::copy_from_slice(txn);
                packets.push(QuorumPacket::with_data(PacketType::PROPOSAL, zxid, data));
                packets.push(QuorumPacket::new(PacketType::COMMIT, zxid));
            }
        });
        if let Err(e) = read {
            return self.fail("Driver", format!("the log of server {sid} cannot be streamed: {e}"));
        }
        self.trace.line(self.now, || {
            format!(
                "s{sid} {link} streams {} txns of its log behind {after} through {through}",
                packets.len() / 2
            )
        });
        packets.into_iter().for_each(|packet| self.send(pipe, 1, Item::Packet(packet)));
    }

    fn persist(&mut self, sid: Sid, process: &mut Process, token: Token, what: Persist) {
        let is_learner = !process.leaders.is_empty();
        let item = match what {
            Persist::Append { zxid, txn } => {
                let logged = Logged { zxid, hash: hash_of(&txn) };
                self.trace.line(self.now, || format!("s{sid} logs {zxid} {token:?}"));
                self.txns.insert((zxid, logged.hash), txn.clone());
                self.witness.logs(sid, logged);
                DiskItem::Append { token, logged, txn }
            }
            Persist::Truncate { to } => {
                self.trace.line(self.now, || format!("s{sid} truncates to {to}"));
                let forgets = self.forgets(sid);
                let ghost = self.witness.server(sid);
                if forgets {
                    ghost.history.replace(ghost.durable.list().to_vec());
                }
                ghost.history.cut(ghost.history.through(to));
                DiskItem::Truncate { token, to }
            }
            Persist::AcceptedEpoch(epoch) => DiskItem::Accepted { token, epoch },
            Persist::CurrentEpoch(epoch) => DiskItem::Current { token, epoch },
            Persist::Snapshot => {
                let ghost = self.witness.server(sid);
                let history = ghost.history.list()[..ghost.history.through(process.db.last_zxid())].to_vec();
                self.trace.line(self.now, || format!("s{sid} snapshots {}", process.db.last_zxid()));
                DiskItem::Snapshot { token, image: Box::new(Image::of(&process.db)), history }
            }
        };
        match (self.options.canary, &item) {
            // The epoch overtakes what is on its way to the log.
            (Some(Canary::EpochBeforeTxns | Canary::EarlyNewLeaderAck), DiskItem::Current { epoch, .. })
                if is_learner =>
            {
                let disk = self.server(sid).disk();
                let _ = storage::write_epoch(&*disk, &files(), EpochFile::Current, *epoch);
                self.witness.server(sid).current_epoch = *epoch;
            }
            _ => {}
        }
        if self.options.canary == Some(Canary::EarlyNewLeaderAck)
            && is_learner
            && !self.witness.server(sid).serving
            && matches!(item, DiskItem::Append { .. } | DiskItem::Current { .. })
        {
            self.answer(sid, process, zab::Input::Persisted { token });
        }
        process.queue.push(item);
    }

    fn begin_batch(&mut self, sid: Sid, process: &mut Process) {
        if process.disk_is_busy || process.queue.is_empty() {
            return;
        }
        process.disk_is_busy = true;
        process.batch = std::mem::take(&mut process.queue);
        let (low, high) = self.scenario.fsync;
        let takes = self.rng.between(low, high);
        let takes = if self.server(sid).slow_disk { takes + self.rng.between(0, 600 * MS) } else { takes };
        let life = self.server(sid).life;
        self.after(takes, Event::Disk(sid, life));
    }

    pub fn disk_done(&mut self, sid: Sid, life: u32) {
        if !self.is_alive(sid, life) || self.put_off(sid, || Event::Disk(sid, life)) {
            return;
        }
        let disk = self.server(sid).disk();
        let Some(process) = &mut self.server(sid).process else { return };
        let batch = std::mem::take(&mut process.batch);
        process.disk_is_busy = false;
        let answers = match write(&mut process.log, &disk, &batch) {
            Ok(answers) => answers,
            Err(_) if self.server(sid).broken => {
                self.crash(sid, Down::Killed);
                self.server(sid).replaces = batch.iter().rev().find_map(DiskItem::replaces);
                return;
            }
            Err(e) => return self.fail("Fatal", format!("the log thread of server {sid} fails: {e}")),
        };
        batch.iter().for_each(|item| self.is_durable(sid, item));
        let last = batch.iter().rev().find_map(DiskItem::token);
        self.trace.line(self.now, || format!("s{sid} disk has {} items, {last:?}", batch.len()));
        answers.into_iter().for_each(|answer| self.give(sid, life, Arrival::Input(answer)));
        if let Some(mut process) = self.server(sid).process.take() {
            self.begin_batch(sid, &mut process);
            self.server(sid).process = Some(process);
        }
        if self.phase == Phase::Chaos && self.rng.chance(self.scenario.crash_on_disk) {
            self.crash(sid, Down::PowerLost);
        }
    }

    fn is_durable(&mut self, sid: Sid, item: &DiskItem) {
        let ghost = self.witness.server(sid);
        match item {
            DiskItem::Append { logged, .. } => ghost.durable.push(*logged),
            DiskItem::Truncate { to, .. } => {
                let len = ghost.durable.through(*to);
                ghost.durable.cut(len);
            }
            DiskItem::Current { epoch, .. } => ghost.current_epoch = *epoch,
            DiskItem::Accepted { epoch, .. } => ghost.accepted_epoch = *epoch,
            DiskItem::Snapshot { history, .. } => {
                ghost.durable.replace(history.clone());
            }
            DiskItem::Roll => {}
        }
    }

    pub fn write_snapshot(&mut self, sid: Sid, life: u32, image: &Image) {
        if !self.is_alive(sid, life) {
            return;
        }
        let written = image.write(&self.server(sid).disk(), &files());
        if written.is_err() && self.server(sid).broken {
            return self.crash(sid, Down::Killed);
        }
        if let Err(e) = written {
            return self.fail("Fatal", format!("server {sid} cannot write a snapshot: {e}"));
        }
        self.trace.line(self.now, || format!("s{sid} has a snapshot of {}", image.zxid));
        if let Some(process) = &mut self.server(sid).process {
            process.snapshots_under_way -= 1;
        }
        self.give(sid, life, Arrival::Input(Input::SnapshotDone));
    }

    fn notify(&mut self, from: Sid, to: Sid, notification: Notification) {
        self.trace
            .line(self.now, || format!("s{from} tells s{to} {} {:?}", notification.state, notification.vote));
        if from == to {
            let life = self.server(from).life;
            let input = zab::Input::Notification { from, notification };
            self.give(from, life, Arrival::Input(Input::Zab(input)));
            return;
        }
        self.net.outboxes.entry((from, to)).or_default().pending = Some(notification);
        if self.net.pair(from, to).up {
            self.depart_soon(from, to);
        } else {
            self.dial_election(from, to);
        }
    }

    fn depart_soon(&mut self, from: Sid, to: Sid) {
        let outbox = self.net.outboxes.entry((from, to)).or_default();
        if outbox.pending.is_some() && !std::mem::replace(&mut outbox.departing, true) {
            let delay = self.rng.below(2 * MS);
            self.after(delay, Event::ElectionDepart(from, to));
        }
    }

    fn dial_election(&mut self, from: Sid, to: Sid) {
        let pair = self.net.pair(from, to);
        if !pair.up && !std::mem::replace(&mut pair.dialing, true) {
            let latency = self.latency();
            self.after(latency, Event::ElectionDial(from, to));
        }
    }

    pub fn election_dial(&mut self, from: Sid, to: Sid) {
        let (here, there) = (Node::server(from), Node::server(to));
        let reaches = self.net.passes(here, there) && self.net.passes(there, here);
        let both_up = [from, to].iter().all(|sid| self.servers[sid.0 as usize - 1].process.is_some());
        let pair = self.net.pair(from, to);
        pair.dialing = false;
        if pair.up || !reaches || !both_up {
            return;
        }
        pair.up = true;
        pair.incarnation += 1;
        for (sid, peer) in [(from, to), (to, from)] {
            let life = self.server(sid).life;
            self.give(
                sid,
                life,
                Arrival::Input(Input::Zab(zab::Input::ElectionLink { sid: peer, up: true })),
            );
            self.depart_soon(sid, peer);
        }
    }

    pub fn election_depart(&mut self, from: Sid, to: Sid) {
        let outbox = self.net.outboxes.entry((from, to)).or_default();
        outbox.departing = false;
        if !self.net.pair(from, to).up {
            return;
        }
        let latency = self.latency();
        let outbox = self.net.outboxes.entry((from, to)).or_default();
        let Some(notification) = outbox.pending.take() else { return };
        let at = outbox.last_at.max(self.now + latency);
        outbox.last_at = at;
        let incarnation = self.net.pair(from, to).incarnation;
        let notification = Box::new(notification);
        self.at(at, Event::ElectionArrive { from, to, incarnation, notification });
    }

    pub fn election_arrive(&mut self, from: Sid, to: Sid, incarnation: u32, notification: Notification) {
        let passes = self.net.passes(Node::server(from), Node::server(to));
        let pair = self.net.pair(from, to);
        if !pair.up || pair.incarnation != incarnation {
            return;
        }
        if !passes {
            pair.stalled.push((to, notification));
            return;
        }
        let life = self.server(to).life;
        self.give(to, life, Arrival::Input(Input::Zab(zab::Input::Notification { from, notification })));
    }

    pub fn break_election(&mut self, a: Sid, b: Sid) {
        if a == b {
            return;
        }
        for (from, to) in [(a, b), (b, a)] {
            self.net.outboxes.entry((from, to)).or_default().pending = None;
        }
        let pair = self.net.pair(a, b);
        if !std::mem::replace(&mut pair.up, false) {
            return;
        }
        pair.stalled.clear();
        for (sid, peer) in [(a, b), (b, a)] {
            let (life, latency) = (self.server(sid).life, self.latency());
            self.after(latency, Event::ElectionDown { sid, life, peer });
        }
    }

    pub fn election_down(&mut self, sid: Sid, life: u32, peer: Sid) {
        if !self.net.pair(sid, peer).up {
            self.give(
                sid,
                life,
                Arrival::Input(Input::Zab(zab::Input::ElectionLink { sid: peer, up: false })),
            );
        }
    }

    fn ensemble(&self) -> Ensemble {
        let spec = |role: &PeerType| ServerSpec {
            host: "127.0.0.1".to_owned(),
            quorum_port: 2888,
            election_port: 3888,
            role: *role,
            client_address: None,
        };
        let servers = self.scenario.roles.iter().zip(1..).map(|(role, n)| (Sid(n), spec(role))).collect();
        Ensemble { servers, hierarchy: None, version: 0 }
    }
}

/// Does what a batch asks for, strictly in its order, and says what is to be answered: `log_thread`.
fn write(log: &mut LogWriter, disk: &Arc<dyn Disk>, batch: &[DiskItem]) -> Result<Vec<Input>, StorageError> {
    let dir = files();
    let failed = |e| StorageError::io("write the log in", &dir, e);
    let mut answers = Vec::new();
    let mut last = None;
    for item in batch {
        match item {
            DiskItem::Append { logged, txn, .. } => log.append(logged.zxid, txn).map_err(failed)?,
            DiskItem::Roll => log.roll().map_err(failed)?,
            DiskItem::Accepted { epoch, .. } => {
                log.sync().map_err(failed)?;
                storage::write_epoch(&**disk, &dir, EpochFile::Accepted, *epoch)?;
            }
            DiskItem::Current { epoch, .. } => {
                log.sync().map_err(failed)?;
                storage::write_epoch(&**disk, &dir, EpochFile::Current, *epoch)?;
            }
            DiskItem::Snapshot { image, .. } => {
                log.sync().map_err(failed)?;
                image.write(disk, &dir)?;
                log.cut_behind_snapshot(&dir, image.zxid)?;
            }
            DiskItem::Truncate { token, to } => {
                if let Some(token) = last.take() {
                    log.sync().map_err(failed)?;
                    answers.push(Input::Zab(zab::Input::Persisted { token }));
                }
                log.truncate(&dir, *to)?;
                let db = Box::new(recover(disk)?.sink.into_database());
                answers.push(Input::Reloaded { token: *token, db });
                continue;
            }
        }
        last = item.token().or(last);
    }
    log.sync().map_err(failed)?;
    answers.extend(last.map(|token| Input::Zab(zab::Input::Persisted { token })));
    Ok(answers)
}

fn show(packet: &QuorumPacket) -> String {
    format!("{} {}", packet.kind.name(), packet.zxid)
}
