//! The event heap and the clock; what happens when an event is due.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BinaryHeap},
};

use bytes::Bytes;

use super::{
    client::Client,
    image::Image,
    invariants::{Ghost, Logged, Violation, Witness},
    model::Model,
    nemesis::Healing,
    net::{End, Item, Net, Node, PipeId, Port},
    rng::Rng,
    scenario::{Options, Scenario},
    server::{Arrival, Server},
    trace::Trace,
};
use crate::{
    config::PeerType,
    ids::{LinkId, Sid, Zxid},
    proto::quorum::Notification,
    zab::Standing,
};

/// Virtual time since the run began.
pub type Micros = u64;

pub const MS: Micros = 1000;

#[derive(Debug)]
pub enum Event {
    /// A server takes what has arrived. The number is the life it is meant for.
    Turn(Sid, u32),
    Timer(Sid, u32),
    /// The disk is done with a batch.
    Disk(Sid, u32),
    WriteSnapshot(Sid, u32, Box<Image>),
    /// The next item of a pipe, for that end of it.
    Arrive(PipeId, usize),
    Dial(Sid, u32, LinkId),
    /// Bytes of a long transfer go out.
    Progress(Sid, u32, LinkId),
    ElectionDial(Sid, Sid),
    ElectionDepart(Sid, Sid),
    ElectionArrive {
        from: Sid,
        to: Sid,
        incarnation: u32,
        notification: Box<Notification>,
    },
    /// A server hears that an election connection is gone.
    ElectionDown {
        sid: Sid,
        life: u32,
        peer: Sid,
    },
    Start(Sid),
    Client(usize),
    Fault,
    Heal(Healing),
    EndOfChaos,
    /// Is everything well by now?
    Look,
}

impl Event {
    fn number(&self) -> u64 {
        match self {
            Event::Turn(sid, _) => 100 + sid.0 as u64,
            Event::Timer(sid, _) => 200 + sid.0 as u64,
            Event::Disk(sid, _) => 300 + sid.0 as u64,
            Event::WriteSnapshot(sid, ..) => 400 + sid.0 as u64,
            Event::Arrive(pipe, to) => 1_000_000 + 2 * pipe.0 + *to as u64,
            Event::Dial(sid, ..) => 500 + sid.0 as u64,
            Event::Progress(sid, ..) => 550 + sid.0 as u64,
            Event::ElectionDial(a, b) => 600 + (10 * a.0 + b.0) as u64,
            Event::ElectionDepart(a, b) => 700 + (10 * a.0 + b.0) as u64,
            Event::ElectionArrive { from, to, .. } => 800 + (10 * from.0 + to.0) as u64,
            Event::ElectionDown { sid, peer, .. } => 900 + (10 * sid.0 + peer.0) as u64,
            Event::Start(sid) => 1000 + sid.0 as u64,
            Event::Client(n) => 1100 + *n as u64,
            Event::Fault => 1,
            Event::Heal(_) => 2,
            Event::EndOfChaos => 3,
            Event::Look => 4,
        }
    }
}

struct Due {
    at: Micros,
    seq: u64,
    event: Event,
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.seq).cmp(&(self.at, self.seq))
    }
}
impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Due {}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    Chaos,
    /// Faults have stopped; everybody must be served again.
    Healing,
    /// Clients write no more; everybody must come to the same state.
    Settling,
    Done,
}

pub struct World {
    pub now: Micros,
    seq: u64,
    heap: BinaryHeap<Due>,
    pub rng: Rng,
    pub scenario: Scenario,
    pub options: Options,
    pub trace: Trace,
    pub net: Net,
    pub servers: Vec<Server>,
    pub clients: Vec<Client>,
    pub witness: Witness,
    pub model: Model,
    /// Every txn that any server has logged.
    pub txns: BTreeMap<(Zxid, u64), Bytes>,
    /// The newest txn that a client knows of: what is asked for from now on comes behind it.
    pub acked: Zxid,
    pub failure: Option<Violation>,
    pub phase: Phase,
    deadline: Micros,
    pub counts: Counts,
}

/// What a run has come across, to see that it is worth something.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub crashes: u32,
    pub faults: u32,
    pub epochs: u32,
    pub snaps: u32,
    pub truncs: u32,
    pub log_streams: u32,
    pub replies: u32,
    pub watch_events: u32,
    pub expired: u32,
}

#[derive(Debug)]
pub struct Report {
    pub seed: u64,
    pub hash: u64,
    pub events: u64,
    pub delivered: usize,
    pub counts: Counts,
    pub failure: Option<Violation>,
    pub tail: Vec<String>,
}

/// How long healing and settling may take.
const BOUND: Micros = 90_000 * MS;

/// One run. A failure is in the report.
pub fn run(seed: u64, options: &Options) -> Report {
    run_with(seed, options, false)
}

/// The same with the trace's last lines in the report.
pub fn run_with(seed: u64, options: &Options, keeps: bool) -> Report {
    let mut world = World::new(seed, options.clone(), keeps);
    world.run();
    Report {
        seed,
        hash: world.trace.hash() ^ world.rng.state(),
        events: world.trace.events(),
        delivered: world.witness.delivered.len(),
        counts: Counts { epochs: world.witness.epochs.len() as u32, ..world.counts },
        failure: world.failure.take(),
        tail: world.trace.tail(),
    }
}

impl World {
    fn new(seed: u64, options: Options, keeps: bool) -> World {
        let mut rng = Rng::new(seed);
        let scenario = Scenario::draw(&mut rng);
        let trace = Trace::new(keeps, options.prints);
        let servers = Server::all(&scenario, &mut rng);
        let clients = (0..scenario.clients).map(|_| Client::new(&scenario, &mut rng)).collect();
        let mut world = World {
            now: 0,
            seq: 0,
            heap: BinaryHeap::new(),
            rng,
            scenario,
            options,
            trace,
            net: Net::default(),
            servers,
            clients,
            witness: Witness::default(),
            model: Model::default(),
            txns: BTreeMap::new(),
            acked: Zxid::ZERO,
            failure: None,
            phase: Phase::Chaos,
            deadline: 0,
            counts: Counts::default(),
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        let scenario = self.scenario.clone();
        self.trace.line(0, || format!("{scenario:?}"));
        for sid in self.sids() {
            self.witness.server(sid).votes = self.role(sid) == PeerType::Participant;
            let at = self.rng.between(0, 300 * MS);
            self.at(at, Event::Start(sid));
        }
        for n in 0..self.clients.len() {
            let at = self.rng.between(200 * MS, 1500 * MS);
            self.at(at, Event::Client(n));
        }
        let first = self.rng.about(self.scenario.fault_every) + 500 * MS;
        self.at(first, Event::Fault);
        self.at(self.scenario.chaos, Event::EndOfChaos);
    }

    pub fn at(&mut self, at: Micros, event: Event) {
        self.seq += 1;
        self.heap.push(Due { at, seq: self.seq, event });
    }

    pub fn after(&mut self, delay: Micros, event: Event) {
        self.at(self.now + delay, event);
    }

    pub fn sids(&self) -> impl Iterator<Item = Sid> + use<> {
        (1..=self.servers.len() as i64).map(Sid)
    }

    pub fn server(&mut self, sid: Sid) -> &mut Server {
        &mut self.servers[sid.0 as usize - 1]
    }

    pub fn fail(&mut self, invariant: &'static str, what: impl Into<String>) {
        let violation = Violation { invariant, what: what.into() };
        self.trace.line(self.now, || format!("VIOLATED {violation}"));
        if !self.options.except.contains(&invariant) {
            self.failure.get_or_insert(violation);
        }
    }

    fn run(&mut self) {
        while let Some(Due { at, event, .. }) = self.heap.pop() {
            debug_assert!(at >= self.now, "time goes forward");
            self.now = at;
            self.trace.event(at, event.number(), self.rng.state());
            self.happen(event);
            if let Err(violation) = self.witness.check(&self.options.except) {
                self.trace.line(self.now, || format!("VIOLATED {violation}"));
                self.failure.get_or_insert(violation);
            }
            if self.failure.is_some() || self.phase == Phase::Done {
                return;
            }
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Turn(sid, life) => self.turn(sid, life),
            Event::Timer(sid, life) => self.timer(sid, life),
            Event::Disk(sid, life) => self.disk_done(sid, life),
            Event::WriteSnapshot(sid, life, image) => self.write_snapshot(sid, life, &image),
            Event::Arrive(pipe, to) => self.arrive(pipe, to),
            Event::Dial(sid, life, link) => self.dial(sid, life, link),
            Event::Progress(sid, life, link) => self.progress(sid, life, link),
            Event::ElectionDial(a, b) => self.election_dial(a, b),
            Event::ElectionDepart(from, to) => self.election_depart(from, to),
            Event::ElectionArrive { from, to, incarnation, notification } => {
                self.election_arrive(from, to, incarnation, *notification);
            }
            Event::ElectionDown { sid, life, peer } => self.election_down(sid, life, peer),
            Event::Start(sid) => self.start(sid),
            Event::Client(n) => self.client_acts(n),
            Event::Fault => self.fault(),
            Event::Heal(healing) => self.heal(healing),
            Event::EndOfChaos => self.end_of_chaos(),
            Event::Look => self.look(),
        }
    }

    fn end_of_chaos(&mut self) {
        self.trace.line(self.now, || "the faults end".to_owned());
        self.phase = Phase::Healing;
        self.deadline = self.now + BOUND;
        self.heal_everything();
        for client in &mut self.clients {
            client.served_since_heal = false;
        }
        self.after(100 * MS, Event::Look);
    }

    fn look(&mut self) {
        if self.phase == Phase::Healing && self.is_healed() {
            self.trace.line(self.now, || "everybody is served again".to_owned());
            self.phase = Phase::Settling;
            self.deadline = self.now + BOUND;
        } else if self.phase == Phase::Settling && self.is_settled() {
            self.finish();
            self.phase = Phase::Done;
            return;
        }
        if self.now > self.deadline {
            let states: Vec<String> = (self.witness.servers.values())
                .map(|g| {
                    format!(
                        "server {} {:?} serving {} at {} of {}",
                        g.sid,
                        g.standing,
                        g.serving,
                        g.applied,
                        g.history.last()
                    )
                })
                .collect();
            let clients: Vec<bool> = self.clients.iter().map(|c| c.served_since_heal).collect();
            let what = format!(
                "{:?} for {} s: {}; clients served: {clients:?}",
                self.phase,
                BOUND / 1_000_000,
                states.join(", ")
            );
            return self.fail("Liveness", what);
        }
        self.after(100 * MS, Event::Look);
    }

    fn is_healed(&self) -> bool {
        let ghosts = || self.witness.servers.values();
        let leader = ghosts().find_map(|g| match g.standing {
            Standing::Leading { epoch } if g.serving => Some((g.sid, epoch)),
            _ => None,
        });
        let Some(known) = leader else { return false };
        let belongs = |standing: &Standing| match standing {
            Standing::Leading { epoch } => *epoch == known.1,
            Standing::Following { leader, epoch } | Standing::Observing { leader, epoch } => {
                (*leader, *epoch) == known
            }
            Standing::Looking | Standing::Standalone => false,
        };
        ghosts().all(|g| g.up && g.serving && belongs(&g.standing))
            && ghosts().filter(|g| matches!(g.standing, Standing::Leading { .. })).count() == 1
            && self.clients.iter().all(|c| c.served_since_heal)
    }

    fn is_settled(&self) -> bool {
        let n = self.witness.delivered.len();
        self.is_healed()
            && (self.witness.servers.values()).all(|g| {
                let is_logged = g.durable.list().len() >= n || !self.keeps(g);
                g.shown() == n && g.history.list().len() == n && is_logged
            })
            && self.clients.iter().all(|c| !c.waits())
            && self.servers.iter().all(Server::is_idle)
    }

    /// Whether a server's disk follows what it has in memory.
    fn keeps(&self, ghost: &Ghost) -> bool {
        ghost.votes || self.scenario.observers_log
    }

    /// Every log and every tree is the same, in memory and on disk.
    fn finish(&mut self) {
        let n = self.witness.delivered.len();
        let wrong: Vec<Sid> = (self.witness.servers.values())
            .filter(|g| {
                g.history.list() != self.witness.delivered || g.durable.agreed() != n && self.keeps(g)
            })
            .map(|g| g.sid)
            .collect();
        if !wrong.is_empty() {
            self.fail(
                "Convergence",
                format!("servers {wrong:?} have logs that differ from what was delivered"),
            );
        }
        if self.scenario.is_quiet() && (self.witness.epochs.len() > 1 || self.counts.expired > 0) {
            let what = format!("{} epochs and {:?} without a fault", self.witness.epochs.len(), self.counts);
            self.fail("Quiet", what);
        }
        for sid in self.sids() {
            self.check_tree(sid);
            self.check_disk(sid);
        }
    }

    /// A message's way.
    pub fn latency(&mut self) -> Micros {
        let (low, high) = self.scenario.latency;
        let slow = self.rng.chance(10);
        self.rng.between(low, high) * if slow { 10 } else { 1 }
    }

    /// What `from` puts into a pipe arrives behind what it put there before.
    pub fn send(&mut self, pipe: PipeId, from: usize, item: Item) {
        let latency = self.latency();
        self.send_late(pipe, from, item, latency);
    }

    pub fn send_late(&mut self, pipe: PipeId, from: usize, item: Item, latency: Micros) {
        let to = 1 - from;
        let Some(state) = self.net.pipes.get_mut(&pipe) else { return };
        if !state.ends[from].open {
            return;
        }
        let queue = &mut state.queues[to];
        let at = queue.last_at.max(self.now + latency);
        queue.last_at = at;
        queue.items.push_back(item);
        self.at(at, Event::Arrive(pipe, to));
    }

    /// This end sends no more and hears no more; the other end hears of it behind what is on its way.
    pub fn close(&mut self, pipe: PipeId, end: usize, why: &'static str, delay: Micros) {
        let latency = self.latency() + delay;
        self.send_late(pipe, end, Item::Close { why }, latency);
        if let Some(state) = self.net.pipes.get_mut(&pipe) {
            state.ends[end].open = false;
            if state.ends.iter().all(|end| !end.open) {
                self.net.pipes.remove(&pipe);
            }
        }
    }

    /// Both ends hear of it soon, and what is on its way is lost.
    pub fn reset(&mut self, pipe: PipeId) {
        let Some(state) = self.net.pipes.get_mut(&pipe) else { return };
        for queue in &mut state.queues {
            queue.items.clear();
            queue.stalled = 0;
            queue.items.push_back(Item::Close { why: "connection reset" });
        }
        for to in [0, 1] {
            let latency = self.latency();
            self.after(latency, Event::Arrive(pipe, to));
        }
    }

    fn arrive(&mut self, pipe: PipeId, to: usize) {
        let Some(state) = self.net.pipes.get_mut(&pipe) else { return };
        let (here, there) = (state.ends[to], state.ends[1 - to].node);
        if !self.net.passes(there, here.node) {
            if let Some(state) = self.net.pipes.get_mut(&pipe) {
                state.queues[to].stalled += 1;
            }
            return;
        }
        let Some(state) = self.net.pipes.get_mut(&pipe) else { return };
        let Some(item) = state.queues[to].items.pop_front() else { return };
        if !here.open {
            return;
        }
        if matches!(item, Item::Close { .. }) {
            state.ends[to].open = false;
            if !state.ends[1 - to].open {
                self.net.pipes.remove(&pipe);
            }
        }
        match here.port {
            Port::Client => self.client_hears(pipe, here.node, item),
            _ => self.give(Sid(here.node.0), here.life, Arrival::Item { pipe, port: here.port, item }),
        }
    }

    pub fn connect(&mut self, from: End, to: End) -> PipeId {
        self.net.connect(from, to)
    }

    /// Items that a cut held up go on.
    pub fn release(&mut self, passes: impl Fn(Node, Node) -> bool) {
        let mut released = Vec::new();
        for (id, pipe) in &mut self.net.pipes {
            for to in [0, 1] {
                if pipe.queues[to].stalled > 0 && passes(pipe.ends[1 - to].node, pipe.ends[to].node) {
                    let n = std::mem::take(&mut pipe.queues[to].stalled);
                    released.push((*id, to, n));
                }
            }
        }
        for (pipe, to, n) in released {
            let latency = self.latency();
            if let Some(state) = self.net.pipes.get_mut(&pipe) {
                let at = state.queues[to].last_at.max(self.now + latency);
                state.queues[to].last_at = at;
                for _ in 0..n {
                    self.at(at, Event::Arrive(pipe, to));
                }
            }
        }
        let mut late = Vec::new();
        for ((a, b), pair) in &mut self.net.pairs {
            let held = std::mem::take(&mut pair.stalled);
            for (to, notification) in held {
                let from = if to == *a { *b } else { *a };
                if passes(Node::server(from), Node::server(to)) {
                    late.push((from, to, pair.incarnation, notification));
                } else {
                    pair.stalled.push((to, notification));
                }
            }
        }
        for (from, to, incarnation, notification) in late {
            let latency = self.latency();
            let notification = Box::new(notification);
            self.after(latency, Event::ElectionArrive { from, to, incarnation, notification });
        }
    }

    /// What a serving server shows is delivered: the model takes it, and the trees must be the same.
    pub fn deliver(&mut self, sid: Sid) {
        for Logged { zxid, hash } in self.witness.deliver(sid) {
            let Some(bytes) = self.txns.get(&(zxid, hash)).cloned() else {
                return self.fail("Integrity", format!("nobody has logged {zxid}"));
            };
            if let Err(why) = self.model.apply(&bytes) {
                return self.fail("Model", why);
            }
        }
    }

    pub fn check_tree(&mut self, sid: Sid) {
        let Some(ghost) = self.witness.servers.get(&sid) else { return };
        let (shown, applied) = (ghost.shown(), ghost.applied);
        if ghost.history.agreed() < shown {
            // PrefixConsistency says so, or will when it has looked.
            return;
        }
        let Some(process) = &self.servers[sid.0 as usize - 1].process else { return };
        let found = super::model::digest_of(&process.db);
        if self.model.digest_after(shown).is_some_and(|expected| expected != found) {
            let differences = self.model.differences(&process.db, applied);
            self.fail("EqualTrees", format!("server {sid} at {applied}:\n  {differences}"));
        }
    }
}
