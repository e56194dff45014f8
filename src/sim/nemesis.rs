//! Faults, and their end.

use super::{
    net::Node,
    scenario::Fault,
    world::{Event, MS, Micros, Phase, World},
};
use crate::{config::PeerType, ids::Sid, zab::Standing};

/// What ends by itself.
#[derive(Clone, Debug)]
pub enum Healing {
    Cuts(Vec<(Node, Node)>),
    Latency((Micros, Micros)),
    Disk(Sid),
}

/// How a server goes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Down {
    Killed,
    PowerLost,
}

impl World {
    pub fn fault(&mut self) {
        let faults = self.scenario.faults.clone();
        if self.phase != Phase::Chaos || faults.is_empty() {
            return;
        }
        let fault = *self.rng.pick(&faults);
        self.trace.line(self.now, || format!("FAULT {fault:?}"));
        self.counts.faults += 1;
        self.act(fault);
        let next = self.rng.about(self.scenario.fault_every);
        self.after(next, Event::Fault);
    }

    fn act(&mut self, fault: Fault) {
        let sids: Vec<Sid> = self.sids().collect();
        let any = *self.rng.pick(&sids);
        let leader = self.leader().unwrap_or(any);
        match fault {
            Fault::CrashOne => self.crash(any, Down::PowerLost),
            Fault::CrashLeader => self.crash(leader, Down::PowerLost),
            Fault::CrashMinority => {
                let n = (self.voters().len() - 1) / 2;
                self.crash_some(n);
            }
            Fault::CrashMajority => {
                let n = self.voters().len() / 2 + 1;
                self.crash_some(n);
            }
            Fault::CrashAll => sids.iter().for_each(|sid| self.crash(*sid, Down::PowerLost)),
            Fault::Kill => self.crash(any, Down::Killed),
            Fault::RollingRestart => {
                for sid in &sids {
                    if self.rng.chance(500) {
                        self.crash(*sid, Down::Killed);
                    }
                }
            }
            Fault::Isolate => self.cut_off(&[any]),
            Fault::IsolateLeader => self.cut_off(&[leader]),
            Fault::Split => {
                let side: Vec<Sid> = sids.into_iter().filter(|_| self.rng.chance(500)).collect();
                self.cut_off(&side);
            }
            Fault::OneWay => {
                let other = *self.rng.pick(&sids);
                self.cut(vec![(Node::server(any), Node::server(other))]);
            }
            Fault::Reset => {
                let pipes: Vec<_> = self.net.pipes.keys().copied().collect();
                if !pipes.is_empty() {
                    let pipe = *self.rng.pick(&pipes);
                    self.reset(pipe);
                }
            }
            Fault::ResetElection => {
                let other = *self.rng.pick(&sids);
                self.break_election(any, other);
            }
            Fault::SlowNet => {
                let before = std::mem::replace(&mut self.scenario.latency, (10 * MS, 300 * MS));
                let until = self.rng.about(1000 * MS);
                self.after(until, Event::Heal(Healing::Latency((before.0, before.1.min(40 * MS)))));
            }
            Fault::Pause => self.pause(any),
            Fault::PauseLeader => self.pause(leader),
            Fault::SlowDisk => {
                self.server(any).slow_disk = true;
                let until = self.rng.about(1500 * MS);
                self.after(until, Event::Heal(Healing::Disk(any)));
            }
            Fault::ClockJump => {
                let jump = self.rng.between(0, 20_000) as i64 - 10_000;
                self.server(any).wall_skew_ms += jump;
            }
            Fault::ClientCut => {
                let n = self.rng.below(self.clients.len() as u64) as usize;
                let cuts = sids.iter().flat_map(|sid| {
                    let (client, server) = (Node::client(n), Node::server(*sid));
                    [(client, server), (server, client)]
                });
                self.cut(cuts.collect());
            }
            Fault::ClientMove => {
                let n = self.rng.below(self.clients.len() as u64) as usize;
                self.client_leaves(n, "it moves");
            }
            Fault::DiskError => {
                let left = self.rng.below(4);
                self.break_disk(any, left);
            }
            Fault::WipeObserver => {
                let observers: Vec<Sid> =
                    sids.into_iter().filter(|sid| self.role(*sid) == PeerType::Observer).collect();
                if let Some(sid) = observers.first() {
                    self.crash(*sid, Down::PowerLost);
                    self.wipe(*sid);
                }
            }
        }
    }

    pub fn role(&self, sid: Sid) -> PeerType {
        self.scenario.roles[sid.0 as usize - 1]
    }

    fn voters(&self) -> Vec<Sid> {
        self.sids().filter(|sid| self.role(*sid) == PeerType::Participant).collect()
    }

    /// The newest that believes it leads.
    fn leader(&self) -> Option<Sid> {
        let led = self.witness.servers.values().filter_map(|g| match g.standing {
            Standing::Leading { epoch } if g.up => Some((epoch, g.sid)),
            _ => None,
        });
        led.max().map(|(_, sid)| sid)
    }

    fn crash_some(&mut self, n: usize) {
        let mut voters = self.voters();
        for _ in 0..n {
            let at = self.rng.below(voters.len() as u64) as usize;
            let sid = voters.swap_remove(at);
            self.crash(sid, Down::PowerLost);
        }
    }

    fn cut_off(&mut self, side: &[Sid]) {
        let mut cuts = Vec::new();
        for a in self.sids().filter(|sid| side.contains(sid)) {
            for b in self.sids().filter(|sid| !side.contains(sid)) {
                cuts.push((Node::server(a), Node::server(b)));
                cuts.push((Node::server(b), Node::server(a)));
            }
        }
        self.cut(cuts);
    }

    fn cut(&mut self, cuts: Vec<(Node, Node)>) {
        self.trace
            .line(self.now, || format!("cut {:?}", cuts.iter().map(|(a, b)| (a.0, b.0)).collect::<Vec<_>>()));
        self.net.cuts.extend(cuts.iter().copied());
        let until = self.rng.about(1500 * MS);
        self.after(until, Event::Heal(Healing::Cuts(cuts)));
    }

    pub fn heal(&mut self, healing: Healing) {
        match healing {
            Healing::Cuts(cuts) => {
                cuts.iter().for_each(|cut| {
                    self.net.cuts.remove(cut);
                });
                self.release_all();
            }
            Healing::Latency(latency) => self.scenario.latency = latency,
            Healing::Disk(sid) => self.server(sid).slow_disk = false,
        }
    }

    fn release_all(&mut self) {
        let cuts = self.net.cuts.clone();
        self.release(|from, to| !cuts.contains(&(from, to)));
    }

    pub fn heal_everything(&mut self) {
        self.net.cuts.clear();
        self.release_all();
        self.scenario.latency = (100, 5 * MS);
        self.scenario.crash_on_disk = 0;
        self.scenario.crash_on_send = 0;
        for sid in self.sids() {
            self.server(sid).slow_disk = false;
            self.mend_disk(sid);
        }
    }

    fn pause(&mut self, sid: Sid) {
        let length = self.rng.about(1200 * MS);
        let until = self.now + length;
        self.server(sid).paused_until = until;
    }
}
