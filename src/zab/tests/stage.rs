//! One peer, its virtual disk and clock, and the links to servers that the story plays.

use std::collections::{BTreeSet, VecDeque};

use bytes::{BufMut, Bytes, BytesMut};

use crate::{
    config::{Ensemble, PeerType, ServerSpec},
    ids::{Epoch, LinkId, Millis, SessionId, Sid, Zxid},
    jute,
    proto::{
        OpCode,
        quorum::{LearnerInfo, Notification, PacketType, QuorumPacket, ServerState, Vote},
    },
    zab::{
        Input, LogProbe, Output, PeerConfig, Persist, Timing, Token,
        effects::{Delivery, Event},
        peer::{Peer, Recovered},
        quorum::{Quorums, Voters},
        sync::SyncRules,
    },
};

/// Sessions that a leader of a story knows.
const KNOWN_SESSIONS: std::ops::Range<i64> = 1..0x100;

pub struct Stage {
    sid: Sid,
    voters: BTreeSet<Sid>,
    observers: BTreeSet<Sid>,
    config: Options,
    history: Vec<Zxid>,
    epochs: (Epoch, Epoch),
    peer: Option<Peer>,
    now: Millis,
    /// What the story calls 0.
    zero: Millis,
    disk: Disk,
    /// Deliveries wait for `apply`.
    holds: bool,
    /// A database that is to be put into place ends with this.
    arriving: Option<Zxid>,
    database: Zxid,
    shows_pings: bool,
    /// Links whose servers answer pings.
    alive: BTreeSet<LinkId>,
    leader_link: LinkId,
    was_looking: bool,
    trace: Vec<String>,
}

struct Options {
    timing: Timing,
    sync: SyncRules,
    observer_logs: bool,
    initial_counter: Option<u32>,
    config_version: i64,
}

#[derive(Default)]
struct Disk {
    /// What is durable.
    snapshot: Zxid,
    log: Vec<Zxid>,
    queue: VecDeque<(Token, Job)>,
}

enum Job {
    Append(Zxid),
    Truncate(Zxid),
    Snapshot(Zxid),
    Epoch,
}

impl Default for Stage {
    fn default() -> Stage {
        Stage {
            sid: Sid(1),
            voters: [1, 2, 3].map(Sid).into(),
            observers: BTreeSet::new(),
            config: Options {
                timing: Timing { tick_ms: 2000, init_limit: 10, sync_limit: 5 },
                sync: SyncRules { force_snapshot: false, may_read_log: true, max_snapshots: 10 },
                observer_logs: true,
                initial_counter: None,
                config_version: 0,
            },
            history: Vec::new(),
            epochs: (Epoch(0), Epoch(0)),
            peer: None,
            now: 0,
            zero: 0,
            disk: Disk::default(),
            holds: false,
            arriving: None,
            database: Zxid::ZERO,
            shows_pings: false,
            alive: BTreeSet::new(),
            leader_link: LinkId(0),
            was_looking: false,
            trace: Vec::new(),
        }
    }
}

impl Stage {
    pub fn take_trace(&mut self) -> Vec<String> {
        std::mem::take(&mut self.trace)
    }

    pub fn run(&mut self, command: &str) {
        let (verb, rest) = command.split_once(' ').unwrap_or((command, ""));
        let words: Vec<&str> = rest.split_whitespace().collect();
        match verb {
            // Who plays: `server 1 of 1 2 3`, `observers 4`; what it has on disk: `history 1:1 1:2`, `epochs ACCEPTED CURRENT`.
            "server" => {
                *self = Stage::default();
                self.sid = sid(words[0]);
                self.voters = words[2..].iter().map(|w| sid(w)).collect();
            }
            "observers" => self.observers = words.iter().map(|w| sid(w)).collect(),
            "history" => self.history = words.iter().flat_map(|w| range(w)).collect(),
            "epochs" => self.epochs = (Epoch(number(words[0]) as u32), Epoch(number(words[1]) as u32)),
            "option" => self.option(&words),
            "start" => self.start(),
            // The election's outcome.
            "elected" => self.elected(sid(words[0])),
            // What has been told elsewhere: `leads with 2 3`, `follows 3 in epoch 2`, up to the moment it serves.
            "leads" => self.leads(&words[1..]),
            "follows" => self.follows(sid(words[0]), words[3]),
            // The disk has done everything, or as many things as said.
            "disk" => self.disk(words.first().map_or(usize::MAX, |w| number(w) as usize)),
            // Decided txns wait from `hold` to `apply`.
            "hold" => self.holds = true,
            "apply" => {
                self.holds = false;
                self.collect();
            }
            "wait" => self.wait(number(words[0])),
            "alive" => self.alive = words.iter().map(|w| link(w)).collect(),
            "pings" => self.shows_pings = true,
            "propose" => (0..words.first().map_or(1, |w| number(w))).for_each(|_| self.propose()),
            // A learner's link (named as its server, unless it has two): `open 2`, `2> PACKET, PACKET`, `close 2`.
            "open" => {
                let peer = "somewhere".to_owned();
                self.input(Input::LearnerOpened { link: link(words[0]), peer });
            }
            "close" => self.input(Input::LearnerClosed { link: link(words[0]), why: "it ended".to_owned() }),
            "probed" => self.probed(&words),
            "progress" => self.input(Input::Progress { link: link(words[0]) }),
            "port-fails" => self.input(Input::QuorumPort(Err("Address already in use".to_owned()))),
            // The link to the leader: `reached`, `leader> PACKET, PACKET`, `lost`.
            "reached" => self.input(Input::LeaderOpened { link: self.leader_link }),
            "leader>" => self.leader_says(self.leader_link, rest),
            "old-leader>" => self.leader_says(LinkId(self.leader_link.0 - 1), rest),
            "lost" => {
                self.input(Input::LeaderClosed { link: self.leader_link, why: "it ended".to_owned() });
            }
            "revalidate" => {
                self.peer().revalidate(SessionId(number(words[0])), 4000);
                self.collect();
            }
            "state" => self.tell_state(),
            _ => {
                let learner = verb.strip_suffix('>').unwrap_or_else(|| panic!("unknown command: {command}"));
                let packets = rest.split(", ").map(packet).collect();
                self.input(Input::LearnerPackets { link: link(learner), packets });
            }
        }
    }

    fn option(&mut self, words: &[&str]) {
        let value = words.get(1).map_or(0, |w| number(w));
        match words[0] {
            "forceSnapshotSync" => self.config.sync.force_snapshot = true,
            "maxConcurrentSnapshots" => self.config.sync.max_snapshots = value as usize,
            "no-log-sync" => self.config.sync.may_read_log = false,
            "observer-without-log" => self.config.observer_logs = false,
            "initialZxid" => self.config.initial_counter = Some(value as u32),
            "config-version" => self.config.config_version = value,
            "initLimit" => self.config.timing.init_limit = value as u32,
            other => panic!("unknown option {other}"),
        }
    }

    fn start(&mut self) {
        let spec = |sid: &Sid, role| {
            let spec = format!("host{sid}:2888:3888:{role}");
            (*sid, ServerSpec::parse(*sid, &spec).unwrap())
        };
        let voters = self.voters.iter().map(|sid| spec(sid, PeerType::Participant));
        let observers = self.observers.iter().map(|sid| spec(sid, PeerType::Observer));
        let servers = voters.chain(observers).collect();
        let ensemble = Ensemble { servers, hierarchy: None, version: self.config.config_version };
        let config = PeerConfig {
            sid: self.sid,
            role: match self.voters.contains(&self.sid) {
                true => PeerType::Participant,
                false => PeerType::Observer,
            },
            quorums: Quorums::new(Voters::of(&ensemble)),
            ensemble,
            timing: self.config.timing,
            sync: self.config.sync,
            observer_logs: self.config.observer_logs,
            initial_counter: self.config.initial_counter,
        };
        let last_zxid = self.history.last().copied().unwrap_or_default();
        let recovered = Recovered {
            last_zxid,
            accepted_epoch: self.epochs.0,
            current_epoch: self.epochs.1,
            recent: self.history.iter().map(|zxid| (*zxid, txn(*zxid))).collect(),
        };
        self.database = last_zxid;
        self.disk.log = self.history.clone();
        self.peer = Some(Peer::member(config, self.now, recovered));
        self.collect();
    }

    fn peer(&mut self) -> &mut Peer {
        self.peer.as_mut().expect("`start` comes first")
    }

    fn input(&mut self, input: Input) {
        let now = self.now;
        self.peer().handle(now, input);
        self.collect();
    }

    /// The others are told to say what makes it so.
    fn elected(&mut self, leader: Sid) {
        let mut vote = self.peer().election().expect("a member").vote();
        let others: Vec<Sid> = self.voters.iter().copied().filter(|sid| *sid != self.sid).collect();
        if leader != self.sid {
            vote = Vote { leader, zxid: Zxid(i64::MAX), round: vote.round, peer_epoch: i64::MAX };
        }
        for from in others {
            let state = match (leader == self.sid, leader == from) {
                (true, _) => ServerState::Looking,
                (_, true) => ServerState::Leading,
                (_, false) => ServerState::Following,
            };
            let notification =
                Notification { state, vote, version: Notification::VERSION, config: Bytes::new() };
            self.input(Input::Notification { from, notification });
        }
        // A winner waits a moment for better votes.
        while self.is_looking() {
            let due = self.peer().poll_timeout().expect("an election has a timer");
            self.now = self.now.max(due);
            self.timeout();
        }
        self.zero = self.now;
    }

    fn is_looking(&mut self) -> bool {
        let peer = self.peer();
        peer.leader().is_none() && peer.learner().is_none()
    }

    fn leads(&mut self, others: &[&str]) {
        self.elected(self.sid);
        for other in others {
            self.run(&format!("open {other}"));
            let kind = if self.observers.contains(&sid(other)) { "OBSERVERINFO" } else { "FOLLOWERINFO" };
            self.run(&format!("{other}> {kind} 0:0 sid {other}"));
        }
        self.disk(usize::MAX);
        let (last, current) = (show(self.database), self.peer().current_epoch());
        for other in others {
            self.run(&format!("{other}> ACKEPOCH {last} current {current}"));
        }
        self.disk(usize::MAX);
        let epoch = self.peer().current_epoch();
        for other in others {
            self.run(&format!("{other}> ACK {epoch}:0"));
            self.run(&format!("{other}> ACK {epoch}:0"));
        }
        assert!(self.peer().leader().is_some_and(|leader| leader.is_serving()));
        self.trace.clear();
        self.zero = self.now;
    }

    fn follows(&mut self, leader: Sid, epoch: &str) {
        self.elected(leader);
        self.run("reached");
        self.run(&format!("leader> LEADERINFO {epoch}:0"));
        self.disk(usize::MAX);
        self.run(&format!("leader> DIFF {}, NEWLEADER {epoch}:0", show(self.database)));
        self.disk(usize::MAX);
        self.run("leader> UPTODATE");
        assert!(self.peer().learner().is_some_and(|learner| learner.is_serving()));
        self.trace.clear();
        self.zero = self.now;
    }

    fn leader_says(&mut self, link: LinkId, packets: &str) {
        for one in packets.split(", ").map(packet) {
            let now = self.now;
            if one.kind == PacketType::SNAP {
                if self.peer().snapshot_received(now, link) {
                    self.arriving = Some(one.zxid);
                }
                self.collect();
            } else {
                self.input(Input::LeaderPackets { link, packets: vec![one] });
            }
        }
    }

    fn probed(&mut self, words: &[&str]) {
        let zxid = |name| Some(zxid(words.iter().skip_while(|w| **w != name).nth(1)?));
        let found = zxid("first").zip(zxid("last"));
        let found = found.map(|(first, last)| LogProbe { before: zxid("before"), first, last });
        self.input(Input::LogProbed { link: link(words[0]), found });
    }

    fn propose(&mut self) {
        let now = self.now;
        if self.peer().may_propose(now) {
            let zxid = self.peer().next_zxid();
            self.peer().propose(now, zxid, txn(zxid));
        } else {
            self.tell("may not propose");
        }
        self.collect();
    }

    fn wait(&mut self, ms: Millis) {
        let until = self.now + ms;
        while let Some(due) = self.peer().poll_timeout().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            for link in self.alive.clone() {
                let packets = vec![QuorumPacket::with_data(PacketType::PING, Zxid::ZERO, Bytes::new())];
                self.input(Input::LearnerPackets { link, packets });
            }
            self.timeout();
            assert!(self.peer().poll_timeout().is_none_or(|due| due > self.now), "a timer stands still");
        }
        self.now = until;
    }

    fn timeout(&mut self) {
        let now = self.now;
        self.peer().handle_timeout(now);
        self.collect();
    }

    /// The disk does its next `jobs` things, in order, and says so once; a cut is answered on its own.
    fn disk(&mut self, jobs: usize) {
        let mut last = None;
        let ready = jobs.min(self.disk.queue.len());
        let jobs: Vec<(Token, Job)> = self.disk.queue.drain(..ready).collect();
        for (token, job) in jobs {
            match job {
                Job::Append(zxid) => self.disk.log.push(zxid),
                Job::Epoch => {}
                Job::Snapshot(zxid) => {
                    self.disk.snapshot = zxid;
                    self.disk.log.retain(|logged| *logged <= zxid);
                }
                Job::Truncate(to) => {
                    if let Some(token) = last.take() {
                        self.input(Input::Persisted { token });
                    }
                    self.disk.log.retain(|logged| *logged <= to);
                    let end = self.disk.log.last().copied().unwrap_or_default().max(self.disk.snapshot);
                    self.arriving = Some(end);
                    let now = self.now;
                    self.peer().reloaded(now, token);
                    self.collect();
                    continue;
                }
            }
            last = Some(token);
        }
        if let Some(token) = last {
            self.input(Input::Persisted { token });
        }
    }

    /// Carries out what the peer wants until it is silent.
    fn collect(&mut self) {
        loop {
            if let Some(output) = self.peer().poll_output() {
                self.output(output);
            } else if let Some(event) = self.peer().poll_event() {
                self.event(event);
            } else if self.holds {
                break;
            } else if let Some(delivery) = self.peer().poll_delivery() {
                self.deliver(delivery);
            } else if let Some(end) = self.arriving.take() {
                self.database = end;
                self.tell(&format!("the database is replaced, and ends with {}", show(end)));
                let now = self.now;
                self.peer().replaced(now, end);
            } else {
                break;
            }
        }
        let looking = self.is_looking() && self.peer().election().is_some_and(|e| e.poll_timeout().is_some());
        if looking && !self.was_looking {
            let (last, epoch) = (self.peer().history().last_logged(), self.peer().current_epoch());
            self.tell(&format!("looks for a leader, votes with {} in epoch {epoch}", show(last)));
        }
        self.was_looking = looking;
    }

    fn output(&mut self, output: Output) {
        let line = match output {
            Output::SendNotification { .. } | Output::ReconnectElection => return,
            Output::OpenQuorumPort => "opens the quorum port".to_owned(),
            Output::CloseQuorumPort => "closes the quorum port".to_owned(),
            Output::DialLeader { link, leader } => {
                self.leader_link = link;
                format!("dials server {leader}")
            }
            Output::CloseLeader { .. } => "closes the link to the leader".to_owned(),
            Output::SendToLearner { packet, .. } | Output::SendToLeader { packet, .. }
                if packet.kind == PacketType::PING && !self.shows_pings =>
            {
                return;
            }
            Output::SendToLearner { link, packet } => format!("> {}: {}", link.0, describe(&packet)),
            Output::SendToLeader { packet, .. } => format!("> leader: {}", describe(&packet)),
            Output::CloseLearner { link, why } => format!("closes {}: {why}", link.0),
            Output::ProbeLog { link, from, until } => {
                format!("looks into the log for {} from {} to {}", link.0, show(from), show(until))
            }
            Output::StreamLog { link, after, through } => {
                format!("> {}: the log behind {} through {}", link.0, show(after), show(through))
            }
            Output::StreamSnapshot { link, zxid } => {
                assert_eq!(zxid, self.database, "what is announced is what is there");
                format!("> {}: a snapshot of {}", link.0, show(zxid))
            }
            Output::Persist { token, what } => {
                let (job, line) = match what {
                    Persist::Append { zxid, .. } => (Job::Append(zxid), format!("log {}", show(zxid))),
                    Persist::Truncate { to } => (Job::Truncate(to), format!("cut behind {}", show(to))),
                    Persist::AcceptedEpoch(epoch) => (Job::Epoch, format!("acceptedEpoch {epoch}")),
                    Persist::CurrentEpoch(epoch) => (Job::Epoch, format!("currentEpoch {epoch}")),
                    Persist::Snapshot => {
                        (Job::Snapshot(self.database), format!("snapshot of {}", show(self.database)))
                    }
                };
                self.disk.queue.push_back((token, job));
                format!("disk: {line}")
            }
        };
        self.tell(&line);
    }

    /// As a replica would.
    fn event(&mut self, event: Event) {
        match event {
            Event::Stopped => self.tell("serves nobody any more"),
            Event::Forwarded { link, packet } => {
                let data = packet.data.unwrap_or_default();
                if data.get(12..16) == Some(&OpCode::SYNC.0.to_be_bytes()) {
                    self.peer().sync_learner(link);
                } else {
                    self.propose();
                }
            }
            Event::Revalidate { link, packet } => {
                let id = packet.data.as_deref().and_then(|d| d.first_chunk::<8>().copied());
                let valid = id.is_some_and(|id| KNOWN_SESSIONS.contains(&i64::from_be_bytes(id)));
                self.peer().answer_revalidate(link, packet, valid);
            }
            Event::Touched { table } if table.is_empty() => {}
            Event::Touched { table } => self.tell(&format!("has heard of {} sessions", table.len() / 12)),
            Event::Ping { zxid } => {
                let mut table = BytesMut::new();
                table.put_i64(7);
                table.put_i32(4000);
                self.peer().answer_ping(zxid, table.freeze());
            }
            Event::Revalidated { session, valid } => {
                self.tell(&format!("session {session} is {}", if valid { "valid" } else { "gone" }));
            }
        }
    }

    fn deliver(&mut self, delivery: Delivery) {
        match delivery {
            Delivery::Txn { zxid, .. } => {
                assert!(zxid > self.database, "{} over {}", show(zxid), show(self.database));
                self.database = zxid;
                self.peer().applied(zxid);
                self.tell(&format!("applies {}", show(zxid)));
            }
            Delivery::Serving { standing, from } => {
                if let Some(zxid) = from {
                    self.database = zxid;
                    self.peer().applied(zxid);
                }
                self.tell(&format!("serves, {standing}"));
            }
            Delivery::Synced => self.tell("a client's sync is answered"),
        }
    }

    fn tell_state(&mut self) {
        let peer = self.peer();
        let role = match (peer.leader(), peer.learner()) {
            (Some(leader), _) if leader.is_serving() => "leads",
            (Some(_), _) => "is to lead",
            (_, Some(learner)) if learner.is_serving() => "follows",
            (_, Some(_)) => "joins a leader",
            _ => "looks",
        };
        let vote = peer.election().expect("a member").vote();
        let line = format!(
            "{role}; accepted epoch {}, current epoch {}, logged {}; its vote: server {} in epoch {}",
            peer.accepted_epoch(),
            peer.current_epoch(),
            show(peer.history().last_logged()),
            vote.leader,
            vote.peer_epoch
        );
        self.tell(&line);
    }

    fn tell(&mut self, line: &str) {
        self.trace.push(format!("{:>6} {line}", self.now - self.zero));
    }
}

/// `KIND ZXID …`, with what its data needs.
fn packet(text: &str) -> QuorumPacket {
    let words: Vec<&str> = text.split_whitespace().collect();
    let at = words.get(1).filter(|w| w.contains(':')).map(|w| zxid(w));
    let named = |name| words.iter().skip_while(|w| **w != name).nth(1).map(|w| number(w));
    let mut data = BytesMut::new();
    let kind = match words[0] {
        "FOLLOWERINFO" | "OBSERVERINFO" => {
            let info = LearnerInfo {
                sid: Sid(named("sid").expect("sid")),
                protocol_version: named("protocol").map_or(LearnerInfo::PROTOCOL_VERSION, |v| v as i32),
                config_version: named("config").unwrap_or(0),
            };
            jute::put(&mut data, &info);
            if words[0] == "FOLLOWERINFO" { PacketType::FOLLOWERINFO } else { PacketType::OBSERVERINFO }
        }
        "LEADERINFO" => {
            data.put_i32(LearnerInfo::PROTOCOL_VERSION);
            PacketType::LEADERINFO
        }
        "ACKEPOCH" => {
            data.put_i32(named("current").expect("current") as i32);
            PacketType::ACKEPOCH
        }
        "PROPOSAL" | "INFORM" => {
            data.extend_from_slice(&txn(at.expect("a zxid")));
            if words[0] == "INFORM" { PacketType::INFORM } else { PacketType::PROPOSAL }
        }
        "REQUEST" => {
            data.put_i64(7);
            data.put_i32(1);
            data.put_i32(if words[1] == "sync" { OpCode::SYNC.0 } else { OpCode::CREATE.0 });
            PacketType::REQUEST
        }
        "REVALIDATE" => {
            data.put_i64(number(words[1]));
            match words.get(2) {
                Some(answer) => data.put_u8((*answer == "valid").into()),
                None => data.put_i32(4000),
            }
            PacketType::REVALIDATE
        }
        "PING" => {
            for session in 0..named("sessions").unwrap_or(0) {
                data.put_i64(session);
                data.put_i32(4000);
            }
            PacketType::PING
        }
        name => {
            let known = (1..=19).map(PacketType).find(|kind| kind.name() == name);
            known.unwrap_or_else(|| PacketType(number(name) as i32))
        }
    };
    let data = (!data.is_empty() || kind == PacketType::PING).then(|| data.freeze());
    QuorumPacket { kind, zxid: at.unwrap_or(Zxid(-1)), data, auth: None }
}

fn describe(packet: &QuorumPacket) -> String {
    let mut line = packet.kind.name().to_owned();
    if packet.zxid != Zxid(-1) {
        line = format!("{line} {}", show(packet.zxid));
    }
    let data = packet.data.as_deref().unwrap_or_default();
    match packet.kind {
        PacketType::PROPOSAL | PacketType::INFORM => {
            assert_eq!(data, txn(packet.zxid), "the txn of that zxid");
            line
        }
        PacketType::ACKEPOCH => {
            let current = data.first_chunk::<4>().map(|c| i32::from_be_bytes(*c));
            format!("{line}, current epoch {}", current.expect("an epoch"))
        }
        PacketType::NEWLEADER => {
            let text = std::str::from_utf8(data).expect("a configuration");
            let version = text.rsplit_once("version=").expect("its version").1;
            format!("{line}, configuration {version}")
        }
        PacketType::FOLLOWERINFO | PacketType::OBSERVERINFO => {
            let info = LearnerInfo::decode(data).expect("who it is");
            format!(
                "{line}, sid {}, protocol {:#x}, configuration {:x}",
                info.sid, info.protocol_version, info.config_version
            )
        }
        _ if packet.data.is_some() => {
            let hex: String = data.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{line}, data {hex}")
        }
        _ => line,
    }
}

/// What is proposed as `zxid` looks like.
fn txn(zxid: Zxid) -> Bytes {
    Bytes::from(format!("txn {}", show(zxid)))
}

fn show(zxid: Zxid) -> String {
    format!("{}:{:x}", zxid.epoch(), zxid.counter())
}

fn zxid(word: &str) -> Zxid {
    let (epoch, counter) = word.split_once(':').unwrap_or_else(|| panic!("{word} is no zxid"));
    Zxid::new(Epoch(epoch.parse().unwrap()), u32::from_str_radix(counter, 16).unwrap())
}

/// `1:1..9` or a single zxid.
fn range(word: &str) -> impl Iterator<Item = Zxid> {
    let (first, last) = word.split_once("..").unwrap_or((word, ""));
    let first = zxid(first);
    let last = if last.is_empty() { first.counter() } else { u32::from_str_radix(last, 16).unwrap() };
    (first.counter()..=last).map(move |counter| Zxid::new(first.epoch(), counter))
}

fn number(word: &str) -> i64 {
    let parsed = match word.strip_prefix("0x") {
        Some(hex) => i64::from_str_radix(hex, 16),
        None => word.parse(),
    };
    parsed.unwrap_or_else(|_| panic!("{word} is no number"))
}

fn sid(word: &str) -> Sid {
    Sid(number(word))
}

fn link(word: &str) -> LinkId {
    LinkId(number(word) as u64)
}
