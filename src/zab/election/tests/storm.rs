//! Random histories, delays, losses, cuts and restarts; then quiet. Once it is quiet, all who can talk to a quorum must agree
//! on one leader, and soon.

use std::fmt::Debug;

use super::*;

/// How long a server waits for a leader it has decided on, and a leader for a quorum of followers: initLimit.
const PATIENCE: Millis = 2000;
const STORM_MS: Millis = 20_000;
/// The last resend may be a minute away.
const QUIET_MS: Millis = 200_000;

#[test]
fn after_the_storm_all_agree_on_one_leader() {
    for seed in seeds() {
        Storm::new(seed).run();
    }
}

#[test]
fn in_fair_weather_the_best_vote_wins_at_once() {
    for seed in seeds() {
        let mut storm = Storm::new(seed);
        storm.loss = 0;
        let sids: Vec<Sid> = storm.servers.keys().copied().collect();
        sids.iter().for_each(|sid| storm.start(*sid, true));
        // Three messages of at most 50 ms, and the wait for whoever may come late.
        storm.pass_and_agree(370);
        // In the next round all have heard each other, so nobody waits for anybody.
        sids.iter().for_each(|sid| storm.look(*sid));
        storm.pass_and_agree(150);
    }
}

/// `ELECTION_STORMS=10000` for a long look.
fn seeds() -> std::ops::RangeInclusive<u64> {
    1..=std::env::var("ELECTION_STORMS").ok().and_then(|n| n.parse().ok()).unwrap_or(100)
}

struct Random(u64);

impl Random {
    /// xorshift64*
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % n
    }
}

#[derive(Debug)]
struct Server {
    zxid: Zxid,
    epoch: Epoch,
    machine: Option<Election>,
    /// Since when it has decided, and whether its leader was established since.
    decided: Option<(Millis, bool)>,
    /// From everybody else.
    cut: bool,
}

#[derive(Debug)]
struct Storm {
    seed: u64,
    random: Random,
    now: Millis,
    servers: BTreeMap<Sid, Server>,
    /// By arrival; one that overtakes another of the same link is later all the same.
    on_the_way: BTreeMap<(Millis, u64), (Sid, Sid, Bytes)>,
    last_arrival: BTreeMap<(Sid, Sid), Millis>,
    sent: u64,
    /// Of 100 messages.
    loss: u64,
    newest_epoch: Epoch,
}

impl Debug for Random {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

impl Storm {
    fn new(seed: u64) -> Storm {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        (0..8).for_each(|_| _ = random.below(2));
        let servers = (1..=3 + random.below(5) as i64).map(|sid| {
            let epoch = Epoch(1 + random.below(3) as u32);
            let zxid = Zxid::new(epoch, random.below(4) as u32);
            (Sid(sid), Server { zxid, epoch, machine: None, decided: None, cut: false })
        });
        Storm {
            seed,
            servers: servers.collect(),
            random,
            now: 0,
            on_the_way: BTreeMap::new(),
            last_arrival: BTreeMap::new(),
            sent: 0,
            loss: 10,
            newest_epoch: Epoch(3),
        }
    }

    fn run(mut self) {
        while self.now < STORM_MS {
            self.strike();
            let pause = self.random.below(400) as Millis;
            self.pass(pause);
        }
        self.loss = 0;
        let sids: Vec<Sid> = self.servers.keys().copied().collect();
        for sid in &sids {
            self.set_cut(*sid, false);
            if self.servers[sid].machine.is_none() {
                self.start(*sid, false);
            }
        }
        self.pass(QUIET_MS);
        let leaders: BTreeSet<Sid> = self.machines().map(|m| m.vote().leader).collect();
        let looking = self.machines().filter(|m| m.state() == ServerState::Looking).count();
        assert!(leaders.len() == 1 && looking == 0, "seed {}: {leaders:?}\n{self:#?}", self.seed);
    }

    fn pass_and_agree(&mut self, ms: Millis) {
        let best = self.servers.iter().map(|(sid, s)| (s.epoch, s.zxid, *sid)).max().unwrap().2;
        self.pass(ms);
        for (sid, server) in &self.servers {
            let machine = server.machine.as_ref().unwrap();
            let why = format!("seed {}, server {sid}: {:#?}", self.seed, machine.story());
            assert_eq!(machine.vote().leader, best, "{why}");
            assert_ne!(machine.state(), ServerState::Looking, "{why}");
        }
    }

    fn machines(&self) -> impl Iterator<Item = &Election> {
        self.servers.values().filter_map(|s| s.machine.as_ref())
    }

    fn strike(&mut self) {
        let sid = Sid(1 + self.random.below(self.servers.len() as u64) as i64);
        match self.random.below(6) {
            0 => self.set_cut(sid, true),
            1 => self.set_cut(sid, false),
            2 if self.servers[&sid].machine.is_some() => self.kill(sid),
            _ if self.servers[&sid].machine.is_none() => self.start(sid, false),
            _ => {}
        }
    }

    fn start(&mut self, sid: Sid, linked_first: bool) {
        let members = Members { voters: self.servers.keys().copied().collect(), ..Members::default() };
        let mut machine = Election::new(config(sid, &members));
        if linked_first {
            members.voters.iter().for_each(|other| machine.link(self.now, *other, true));
        }
        self.servers.get_mut(&sid).unwrap().machine = Some(machine);
        self.look(sid);
        self.links_of(sid);
    }

    fn kill(&mut self, sid: Sid) {
        self.servers.get_mut(&sid).unwrap().machine = None;
        self.links_of(sid);
    }

    fn set_cut(&mut self, sid: Sid, cut: bool) {
        if self.servers[&sid].cut != cut {
            self.servers.get_mut(&sid).unwrap().cut = cut;
            self.links_of(sid);
        }
    }

    fn look(&mut self, sid: Sid) {
        let server = self.servers.get_mut(&sid).unwrap();
        server.decided = None;
        if let Some(machine) = &mut server.machine {
            machine.look(self.now, server.zxid, server.epoch);
        }
        self.carry_out(sid);
    }

    fn talks(&self, a: Sid, b: Sid) -> bool {
        let up = |sid| self.servers[&sid].machine.is_some() && !self.servers[&sid].cut;
        up(a) && up(b)
    }

    fn links_of(&mut self, sid: Sid) {
        let others: Vec<Sid> = self.servers.keys().copied().filter(|other| *other != sid).collect();
        self.on_the_way.retain(|_, (from, to, _)| *from != sid && *to != sid);
        for other in others {
            let up = self.talks(sid, other);
            for (one, far) in [(sid, other), (other, sid)] {
                if let Some(machine) = &mut self.servers.get_mut(&one).unwrap().machine {
                    machine.link(self.now, far, up);
                }
                self.carry_out(one);
            }
        }
    }

    fn carry_out(&mut self, sid: Sid) {
        loop {
            let server = self.servers.get_mut(&sid).unwrap();
            let Some(output) = server.machine.as_mut().and_then(Election::poll_output) else { return };
            match output {
                Output::Send { to, notification } => self.send(sid, to, notification.encode()),
                Output::Decided { .. } => server.decided = Some((self.now, false)),
                Output::Reconnect => {}
            }
        }
    }

    fn send(&mut self, from: Sid, to: Sid, bytes: Bytes) {
        if !self.talks(from, to) || self.random.below(100) < self.loss {
            return;
        }
        let last = self.last_arrival.entry((from, to)).or_default();
        *last = (*last).max(self.now + 1 + self.random.below(49) as Millis);
        self.sent += 1;
        self.on_the_way.insert((*last, self.sent), (from, to, bytes));
    }

    fn pass(&mut self, ms: Millis) {
        let until = self.now + ms;
        loop {
            let arrives = self.on_the_way.first_key_value().map(|((at, _), _)| *at);
            let due = self.machines().filter_map(Election::poll_timeout).min();
            let next = arrives.into_iter().chain(due).min().map_or(until, |at| at.max(self.now)).min(until);
            // What the roles notice, they notice at the tenth of a second.
            let tick = (self.now / 100 + 1) * 100;
            self.now = next.min(tick);
            if self.now == tick {
                self.roles();
            }
            self.timers();
            while let Some(entry) = self.on_the_way.first_entry().filter(|e| e.key().0 <= self.now) {
                let (from, to, bytes) = entry.remove();
                if let Some(machine) = &mut self.servers.get_mut(&to).unwrap().machine {
                    machine.handle(self.now, from, &Notification::decode(bytes).unwrap());
                }
                self.carry_out(to);
            }
            if self.now >= until {
                return;
            }
        }
    }

    fn timers(&mut self) {
        let sids: Vec<Sid> = self.servers.keys().copied().collect();
        for sid in sids {
            let now = self.now;
            if let Some(machine) = &mut self.servers.get_mut(&sid).unwrap().machine
                && machine.poll_timeout().is_some_and(|at| at <= now)
            {
                machine.handle_timeout(now);
            }
            self.carry_out(sid);
        }
    }

    /// What Zab would do: a leader with a quorum of followers is established; who waits in vain looks again.
    fn roles(&mut self) {
        let sids: Vec<Sid> = self.servers.keys().copied().collect();
        for sid in &sids {
            let Some((since, established)) = self.servers[sid].decided else { continue };
            let Some(machine) = &self.servers[sid].machine else { continue };
            let leader = machine.vote().leader;
            if leader != *sid {
                let leads = self.talks(*sid, leader)
                    && self.servers[&leader]
                        .machine
                        .as_ref()
                        .is_some_and(|m| m.state() == ServerState::Leading);
                if !leads && (established || self.now - since > PATIENCE) {
                    self.look(*sid);
                }
                continue;
            }
            let followers: Vec<Sid> =
                sids.iter().copied().filter(|f| f == sid || self.follows(*f, *sid)).collect();
            if followers.len() <= sids.len() / 2 {
                if established || self.now - since > PATIENCE {
                    self.look(*sid);
                }
                continue;
            }
            if !established {
                self.newest_epoch.0 += 1;
                self.servers.get_mut(sid).unwrap().epoch = self.newest_epoch;
            }
            let (zxid, epoch) = (self.servers[sid].zxid, self.servers[sid].epoch);
            for follower in followers {
                let server = self.servers.get_mut(&follower).unwrap();
                (server.zxid, server.epoch) = (zxid, epoch);
                server.decided = server.decided.map(|(since, _)| (since, true));
                if let Some(machine) = &mut server.machine {
                    machine.established(epoch);
                }
            }
        }
    }

    fn follows(&self, follower: Sid, leader: Sid) -> bool {
        let machine = self.servers[&follower].machine.as_ref();
        self.talks(follower, leader)
            && machine.is_some_and(|m| m.state() == ServerState::Following && m.vote().leader == leader)
    }
}
