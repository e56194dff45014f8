//! Three servers each: the loads over all of them, one client alone, a follower that comes back, and the loss of the leader.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use fastrand::Rng;

use crate::bench::cluster::{Cluster, SIZE};
use crate::bench::failover::{self, Load};
use crate::bench::generator::{Generator, Shape, Stop, Tally};
use crate::bench::load_suite::VALUE_LEN;
use crate::bench::report::{Journal, Window};
use crate::bench::requests::{Creates, Mixed, Random, Source, path_of, value};
use crate::bench::{IN_FLIGHT, Settings, Side};
use crate::process::Kind;
use crate::wire::Client;

/// The measures of this suite.
pub const NAMES: [&str; 8] = ["reads", "writes", "mixed", "rss", "sync", "behind", "failover", "mix"];

pub fn run(settings: &Settings, run: usize, side: Side, journal: &mut Journal) -> Result<()> {
    if !settings.wants_any(&NAMES[..7]) {
        return Ok(());
    }
    let kind = settings.kinds[side as usize].clone();
    let kinds = [kind.clone(), kind.clone(), kind];
    let mut cluster = Cluster::start(settings, &kinds, &format!("ensemble-{}", side.name()))?;
    journal.versions[side as usize] = Some(cluster.subject(0)?.version()?);
    let paths = fill(&cluster)?;
    let mut turn = Turn { settings, run, side, cluster: &mut cluster, journal, paths };
    turn.loads()?;
    turn.alone()?;
    if settings.wants("behind") {
        turn.behind()?;
    }
    if settings.wants("failover") {
        turn.failover("3.failover", settings.kills)?;
    }
    cluster.stop()
}

/// The loss of leaders where both kinds are members; who leads changes with every kill.
pub fn run_mix(settings: &Settings, run: usize, journal: &mut Journal) -> Result<()> {
    if !settings.wants("mix") {
        return Ok(());
    }
    let [left, right] = &settings.kinds;
    // Two of one and one of the other, every turn in another place.
    let (many, one) = if run % 2 == 1 { (right, left) } else { (left, right) };
    let mut kinds: [Kind; SIZE] = std::array::from_fn(|_| many.clone());
    kinds[(run + 1) % SIZE] = one.clone();
    let mut cluster = Cluster::start(settings, &kinds, "ensemble-mix")?;
    let paths = fill(&cluster)?;
    let mut turn = Turn { settings, run, side: Side::Right, cluster: &mut cluster, journal, paths };
    turn.failover("3.failover_mix", settings.kills)?;
    cluster.stop()
}

/// One ensemble's turn in one run.
struct Turn<'a> {
    settings: &'a Settings,
    run: usize,
    side: Side,
    cluster: &'a mut Cluster,
    journal: &'a mut Journal,
    paths: Vec<String>,
}

impl Turn<'_> {
    fn loads(&mut self) -> Result<()> {
        let mut reads = Random::reads(&self.paths, VALUE_LEN)?;
        let mut writes = Random::writes(&self.paths, &value(VALUE_LEN))?;
        let (run, side, all) = (self.run, self.side, self.cluster.addrs());
        if self.settings.wants("reads") {
            let tally = self.measure(&mut reads, &all, CONNS, IN_FLIGHT)?;
            self.journal.add_load(run, side, ["3.reads.ops", "3.reads.cpu"], &tally);
        }
        if self.settings.wants("writes") {
            let tally = self.measure(&mut writes, &all, CONNS, IN_FLIGHT)?;
            self.journal.add_load(run, side, ["3.writes.ops", "3.writes.cpu"], &tally);
            self.add("3.writes.p99", Window::from(&tally).latency_ms.p99);
        }
        if self.settings.wants("mixed") {
            let mut mixed = Mixed { reads, writes, rng: Rng::with_seed(3) };
            let tally = self.measure(&mut mixed, &all, CONNS, IN_FLIGHT)?;
            self.journal.add_load(run, side, ["3.mixed.ops", "3.mixed.cpu"], &tally);
        }
        if self.settings.wants("rss") {
            let leader = self.cluster.leader()?;
            for n in self.cluster.running() {
                let key = if n == leader { "3.rss.leader" } else { "3.rss.follower" };
                self.add(key, self.cluster.memory(n)?.rss as f64);
            }
        }
        Ok(())
    }

    /// One client with one write at a time.
    fn alone(&mut self) -> Result<()> {
        if !self.settings.wants("sync") {
            return Ok(());
        }
        let leader = self.cluster.leader()?;
        let follower = (leader + 1) % SIZE;
        for (n, p50, p99) in [
            (leader, "3.sync.leader.p50", "3.sync.leader.p99"),
            (follower, "3.sync.follower.p50", "3.sync.follower.p99"),
        ] {
            let mut writes = Random::writes(&self.paths, &value(VALUE_LEN))?;
            let addr = self.cluster.subject(n)?.client_addr();
            let window = Window::from(&self.measure(&mut writes, &[addr], 1, 1)?);
            self.journal.add_window(self.run, self.side, p50, window.latency_ms.p50, window);
            self.add(p99, window.latency_ms.p99);
        }
        Ok(())
    }

    /// From the start of a follower's process until it answers a read of the last node that was created without it.
    fn behind(&mut self) -> Result<()> {
        let count = self.settings.behind_txns;
        let follower = (self.cluster.leader()? + 1) % SIZE;
        self.cluster.kill(follower)?;
        let mut creates = Creates::new(MISSED, &[1], &value(MISSED_LEN), 0..count)?;
        let mut generator = Generator::connect(&self.cluster.addrs(), CONNS, &self.cluster.pids())?;
        let stop = Stop::Exhausted;
        generator.run(&mut creates, Shape { in_flight: IN_FLIGHT, pace: None, stop })?;
        generator.close()?;
        let last = path_of(MISSED, &[1], count - 1);
        let took = self.cluster.restart(follower, Some(&last))?;
        self.add("3.behind", millis(took));
        Ok(())
    }

    fn failover(&mut self, key: &'static str, kills: usize) -> Result<()> {
        let value = value(VALUE_LEN);
        let load = Load::start(&self.cluster.addrs(), &self.paths[0], &value);
        let mut worst: f64 = 0.0;
        for _ in 0..kills {
            // New sessions, and whoever came back is up to date.
            std::thread::sleep(Duration::from_millis(500));
            load.wait_for(UNDER_LOAD)?;
            let failover = failover::kill_leader(self.cluster, &self.paths[1], &value)?;
            let took = millis(failover.took);
            if !failover.rejoined {
                // In the JSON only.
                self.add("3.not_rejoined", 1.0);
            }
            self.add(key, took);
            worst = worst.max(took);
            if key == "3.failover" && self.side == Side::Left {
                // What the mix is held against.
                self.add("3.failover_mix", took);
            }
        }
        if key == "3.failover" {
            self.add("3.failover_worst", worst);
        }
        load.stop()
    }

    fn measure<S: Source>(
        &self,
        source: &mut S,
        addrs: &[SocketAddr],
        conns: usize,
        in_flight: usize,
    ) -> Result<Tally> {
        let stop = Stop::Window { warm_up: self.settings.warm_up, window: self.settings.window };
        let mut generator = Generator::connect(addrs, conns, &self.cluster.pids())?;
        let tally = generator.run(source, Shape { in_flight, pace: None, stop })?;
        generator.close()?;
        Ok(tally)
    }

    fn add(&mut self, key: &'static str, value: f64) {
        self.journal.add(self.run, self.side, key, value);
    }
}

/// The nodes, and a look through every server whether a read brings what was written.
fn fill(cluster: &Cluster) -> Result<Vec<String>> {
    let value = value(VALUE_LEN);
    let paths: Vec<String> = (0..NODES).map(|n| path_of(NODE, &[1], n)).collect();
    let mut client = Client::connect(cluster.addrs()[0], 30_000)?;
    for parent in ["/bench", "/missed"] {
        client.create(parent, b"", 0)?.map_err(|code| anyhow!("cannot create {parent}: error {code}"))?;
    }
    client.close()?;
    let mut generator = Generator::connect(&cluster.addrs()[..1], 4, &[])?;
    let mut creates = Creates::new(NODE, &[1], &value, 0..NODES)?;
    generator.run(&mut creates, Shape { in_flight: IN_FLIGHT, pace: None, stop: Stop::Exhausted })?;
    generator.close()?;
    for addr in cluster.addrs() {
        let mut client = Client::connect(addr, 30_000)?;
        client.sync("/bench")?.map_err(|code| anyhow!("sync: error {code}"))?;
        for path in paths.iter().step_by(97) {
            match client.get_data(path, false)? {
                Ok((Some(data), _)) if data == value => {}
                other => bail!(
                    "{path} on {addr} should hold {} bytes as written, but it is {other:?}",
                    value.len()
                ),
            }
        }
        client.close()?;
    }
    Ok(paths)
}

fn millis(d: Duration) -> f64 {
    d.as_secs_f64() * 1000.0
}

/// As many sessions on each server.
pub const CONNS: usize = 33;
const NODES: u64 = 1000;
const NODE: &str = "/bench/n####";
const MISSED: &str = "/missed/n#######";
const MISSED_LEN: usize = 100;
/// Acknowledged writes before a kill.
const UNDER_LOAD: u64 = 2000;
