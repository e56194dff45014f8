//! Ensembles of real servers, of one kind or mixed, with the usual ports and an address for each.
//!
//! 1. A mix is a word, a letter for each server from id 1 on: J is Java 3.5.7, N is Java 3.9.3, F is Ferrokeeper.
//! 2. Who leads is what the servers say in `srvr`; `start_led_by` and `lead` bring it about by the order of starting
//!    (B§4.3: equal zxids, the larger sid wins among those that are there).
//! 3. With `faulty_network` every server reaches the others through a `Net`. All have the same configuration, with names; the
//!    names mean something else to each of them. Different texts would not do: Java makes the first leader's text the
//!    ensemble's, and a later leader that finds itself there with another address never commits (Leader.getDesignatedLeader).

use std::collections::{BTreeMap, HashMap};
use std::ops::{Index, IndexMut};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};

use crate::java::JavaHome;
use crate::net::{ELECTION_PORT, Net, QUORUM_PORT};
use crate::process::{Builder, Kind, Server, tail};
use crate::wire::Client;

pub const JAVA: &str = "3.5.7";
pub const NEWER_JAVA: &str = "3.9.3";

/// With this variable set to 1 tests run every mix they have, not the important ones alone.
pub const ALL_MIXES: &str = "FERROKEEPER_ALL_MIXES";
/// Mixes to run instead of those a test names, e.g. `JJJ`: how the tests themselves are shown to be right.
pub const MIXES: &str = "FERROKEEPER_MIXES";

/// The mixes to run: `important`, with `FERROKEEPER_ALL_MIXES=1` also `others`, or those of `FERROKEEPER_MIXES` that have as
/// many servers.
pub fn mixes(important: &[&str], others: &[&str]) -> Vec<String> {
    if let Ok(named) = std::env::var(MIXES) {
        let fits = |mix: &&str| important.iter().chain(others).any(|m| m.len() == mix.len());
        return named.split(',').map(str::trim).filter(fits).map(str::to_string).collect();
    }
    let all = std::env::var(ALL_MIXES).is_ok_and(|v| v == "1");
    important.iter().chain(others.iter().filter(|_| all)).map(|m| m.to_string()).collect()
}

pub fn kinds(mix: &str) -> Result<Vec<Kind>> {
    let kind = |letter| match letter {
        'J' => Ok(Kind::java(JAVA)),
        'N' => Ok(Kind::java(NEWER_JAVA)),
        'F' => Ok(Kind::Ferrokeeper),
        other => bail!("a mix is made of J, N and F, not {other:?}"),
    };
    mix.chars().map(kind).collect()
}

/// Why the mix cannot run on this machine.
pub fn missing(mix: &str) -> Option<String> {
    let versions = [('J', JAVA), ('N', NEWER_JAVA)];
    versions.iter().filter(|(letter, _)| mix.contains(*letter)).find_map(|(_, v)| JavaHome::find(v).err())
}

/// `for mix in need_mixes!(["JFF"], ["FFF"])` in a test: the mixes that can run here, the others loudly skipped.
#[macro_export]
macro_rules! need_mixes {
    (faulty network: [$($important:expr),* $(,)?], [$($other:expr),* $(,)?]) => {
        $crate::need_mixes!([$($important),*], [$($other),*]).filter(|mix| {
            let possible = !mix.contains('F') || $crate::process::namespaces().is_some();
            if !possible {
                let test = format!("{} {mix}", $crate::test_name!());
                $crate::need::skipped(&test, $crate::process::NO_NAMESPACES);
            }
            possible
        })
    };
    ([$($important:expr),* $(,)?], [$($other:expr),* $(,)?]) => {
        $crate::ensemble::mixes(&[$($important),*], &[$($other),*]).into_iter().filter(|mix| {
            let missing = $crate::ensemble::missing(mix);
            if let Some(why) = &missing {
                $crate::need::skipped(&format!("{} {mix}", $crate::test_name!()), why);
            }
            missing.is_none()
        })
    };
}

/// An ensemble in the making.
#[derive(Clone, Debug)]
pub struct Plan {
    mix: String,
    observers: Vec<u64>,
    lines: Vec<String>,
    flags: Vec<String>,
    tick_ms: u32,
    faulty_network: bool,
    measured: Option<(u32, PathBuf)>,
}

impl Plan {
    pub fn new(mix: &str) -> Plan {
        Plan {
            mix: mix.to_string(),
            observers: Vec::new(),
            lines: Vec::new(),
            flags: Vec::new(),
            tick_ms: 500,
            faulty_network: false,
            measured: None,
        }
    }

    pub fn observer(mut self, id: u64) -> Plan {
        self.observers.push(id);
        self
    }

    /// A line of every zoo.cfg.
    pub fn line(mut self, line: impl Into<String>) -> Plan {
        self.lines.push(line.into());
        self
    }

    /// A flag of every server.
    pub fn flag(mut self, flag: impl Into<String>) -> Plan {
        self.flags.push(flag.into());
        self
    }

    pub fn tick_ms(mut self, ms: u32) -> Plan {
        self.tick_ms = ms;
        self
    }

    /// See `Builder::measured`.
    pub fn measured(mut self, heap_mb: u32, parent: &Path) -> Plan {
        self.measured = Some((heap_mb, parent.to_path_buf()));
        self
    }

    pub fn faulty_network(mut self) -> Plan {
        self.faulty_network = true;
        self
    }

    /// Folders, configurations and the network; no server runs yet.
    pub fn prepare(self) -> Result<Ensemble> {
        let builders: BTreeMap<u64, Builder> =
            (1..).zip(kinds(&self.mix)?.into_iter().map(Builder::new)).collect();
        let real: HashMap<u64, _> = builders.iter().map(|(id, b)| (*id, b.address())).collect();
        let net = self.faulty_network.then(|| Net::between(real.clone())).transpose()?;
        let ids: Vec<u64> = builders.keys().copied().collect();
        let mut servers = BTreeMap::new();
        for (id, mut builder) in builders {
            builder = builder.myid(id).line(format!("tickTime={}", self.tick_ms));
            builder = builder.line("initLimit=20").line("syncLimit=10").line("maxSessionTimeout=60000");
            if self.observers.contains(&id) {
                builder = builder.line("peerType=observer");
            }
            for peer in &ids {
                let addr = match &net {
                    Some(net) => {
                        let addr = if *peer == id { real[peer] } else { net.entrance(id, *peer)? };
                        builder = builder.host(Net::name(*peer), addr);
                        Net::name(*peer)
                    }
                    None => real[peer].to_string(),
                };
                let role = if self.observers.contains(peer) { ":observer" } else { "" };
                builder = builder.line(format!("server.{peer}={addr}:{QUORUM_PORT}:{ELECTION_PORT}{role}"));
            }
            builder = self.lines.iter().fold(builder, Builder::line);
            builder = self.flags.iter().fold(builder, Builder::flag);
            if let Some((heap_mb, parent)) = &self.measured {
                builder = builder.measured(*heap_mb, parent);
            }
            servers.insert(id, builder.prepare()?);
        }
        Ok(Ensemble { servers, net, observers: self.observers })
    }

    /// Starts all of them and waits until they have settled.
    pub fn start(self) -> Result<Ensemble> {
        let mut ensemble = self.prepare()?;
        let ids = ensemble.ids();
        ensemble.launch(&ids)?;
        ensemble.settled()?;
        Ok(ensemble)
    }

    /// As `start`, and `leader` leads. Its id must be the largest of some majority.
    pub fn start_led_by(self, leader: u64) -> Result<Ensemble> {
        let mut ensemble = self.prepare()?;
        ensemble.launch_led_by(leader)?;
        Ok(ensemble)
    }
}

#[derive(Debug)]
pub struct Ensemble {
    servers: BTreeMap<u64, Server>,
    net: Option<Net>,
    observers: Vec<u64>,
}

impl Index<u64> for Ensemble {
    type Output = Server;
    fn index(&self, id: u64) -> &Server {
        &self.servers[&id]
    }
}

impl IndexMut<u64> for Ensemble {
    fn index_mut(&mut self, id: u64) -> &mut Server {
        self.servers.get_mut(&id).unwrap_or_else(|| panic!("there is no server {id}"))
    }
}

impl Ensemble {
    pub fn ids(&self) -> Vec<u64> {
        self.servers.keys().copied().collect()
    }

    pub fn voters(&self) -> Vec<u64> {
        self.ids().into_iter().filter(|id| !self.observers.contains(id)).collect()
    }

    pub fn running(&self) -> Vec<u64> {
        self.ids().into_iter().filter(|id| self[*id].pid().is_some()).collect()
    }

    /// The faulty network; the plan must have asked for it.
    pub fn net(&self) -> &Net {
        self.net.as_ref().expect("the plan asked for a faulty network")
    }

    pub fn launch(&mut self, ids: &[u64]) -> Result<()> {
        ids.iter().try_for_each(|id| self[*id].launch())
    }

    pub fn kill9(&mut self, ids: &[u64]) -> Result<()> {
        ids.iter().try_for_each(|id| self[*id].kill9().map(drop))
    }

    pub fn client(&self, id: u64) -> Result<Client> {
        Client::connect(self[id].client_addr(), 30_000)
    }

    /// The leader of those that run, as far as it says so.
    pub fn leader(&self) -> Option<u64> {
        self.running().into_iter().find(|id| self[*id].mode_within(ASK).as_deref() == Some("leader"))
    }

    /// Waits until every server that runs has a role and one of them leads; which one.
    pub fn settled(&self) -> Result<u64> {
        self.settled_within(Duration::from_secs(60))
    }

    pub fn settled_within(&self, patience: Duration) -> Result<u64> {
        let running = self.running();
        self.settled_among(&running, patience)
    }

    /// As `settled`, of the named servers alone: for ensembles of which some do not answer.
    pub fn settled_among(&self, ids: &[u64], patience: Duration) -> Result<u64> {
        let deadline = Instant::now() + patience;
        loop {
            let modes: Vec<(u64, Option<String>)> =
                ids.iter().map(|id| (*id, self[*id].mode_within(ASK))).collect();
            let leaders: Vec<u64> =
                modes.iter().filter(|(_, m)| m.as_deref() == Some("leader")).map(|(id, _)| *id).collect();
            if let [leader] = leaders[..]
                && modes.iter().all(|(_, mode)| mode.is_some())
            {
                return Ok(leader);
            }
            if Instant::now() > deadline {
                bail!("the ensemble has not settled within {patience:?}: {modes:?}\n{}", self.logs(30));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Stops everybody and starts again so that `leader` leads. Who was in step stays in step.
    pub fn lead(&mut self, leader: u64) -> Result<()> {
        for id in self.running() {
            self[id].terminate()?;
        }
        self.launch_led_by(leader)
    }

    /// First a majority in which `leader` has the largest id; when it leads, the others.
    fn launch_led_by(&mut self, leader: u64) -> Result<()> {
        let majority = self.voters().len() / 2 + 1;
        let mut first: Vec<u64> = self.voters().into_iter().filter(|id| *id <= leader).collect();
        if first.len() < majority {
            bail!("server {leader} is not the largest of any majority");
        }
        first.drain(..first.len() - majority);
        self.launch(&first)?;
        self.settled()?;
        let rest: Vec<u64> = self.ids().into_iter().filter(|id| !first.contains(id)).collect();
        self.launch(&rest)?;
        let leads = self.settled()?;
        if leads != leader {
            bail!("server {leads} leads and not {leader}\n{}", self.logs(30));
        }
        Ok(())
    }

    /// Starts the others of an ensemble and waits for them, once `first` has settled.
    pub fn add(&mut self, ids: &[u64]) -> Result<u64> {
        self.launch(ids)?;
        self.settled()
    }

    /// The value of a key of mntr.
    pub fn mntr(&self, id: u64, key: &str) -> Result<String> {
        let text = self[id].four_letter("mntr")?;
        text.lines()
            .find_map(|l| l.strip_prefix(key)?.strip_prefix('\t').map(str::to_string))
            .ok_or_else(|| anyhow!("server {id} has no {key} in mntr:\n{text}"))
    }

    /// `Zxid:` of srvr.
    pub fn zxid(&self, id: u64) -> Result<i64> {
        let text = self[id].four_letter("srvr")?;
        let hex = text.lines().find_map(|l| l.strip_prefix("Zxid: 0x"));
        let hex = hex.ok_or_else(|| anyhow!("server {id} has no zxid:\n{text}"))?;
        Ok(i64::from_str_radix(hex, 16)?)
    }

    /// The last lines of every log that say something, for a failure's text.
    pub fn logs(&self, lines: usize) -> String {
        let noise = ["Processing srvr command", "environment:", "enabled four letter word"];
        let log = |id: &u64| {
            let log = self[*id].log();
            let told: Vec<&str> = log.lines().filter(|l| !noise.iter().any(|n| l.contains(n))).collect();
            format!("---- server {id} ({:?})\n{}\n", self[*id].kind(), tail(&told.join("\n"), lines))
        };
        self.ids().iter().map(log).collect()
    }
}

/// Waits until it holds, or says what did not.
pub fn eventually(what: &str, patience: Duration, mut holds: impl FnMut() -> bool) -> Result<()> {
    let deadline = Instant::now() + patience;
    while !holds() {
        if Instant::now() > deadline {
            bail!("not within {patience:?}: {what}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// A server that starts may leave a question without an answer (Java 3.5.7 does): it is asked again.
const ASK: Duration = Duration::from_millis(500);
