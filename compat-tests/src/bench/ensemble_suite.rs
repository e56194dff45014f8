//! Three servers: the loads of the single server spread over them, what the death of the leader costs, and how long one that
//! was away takes to be of use again.

use std::net::SocketAddr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use fastrand::Rng;

use crate::bench::generator::{Generator, Shape, Stop, Tally};
use crate::bench::load_suite::VALUE_LEN;
use crate::bench::report::{self, Journal, Window};
use crate::bench::requests::{Bounded, Creates, Mixed, Random, Source, path_of, value};
use crate::bench::subject::bench_dir;
use crate::bench::{CONNS, IN_FLIGHT, Settings, Side, procfs};
use crate::ensemble::{Ensemble, Plan, kinds};
use crate::load;
use crate::process::four_letter;

/// What the letters of a mix stand for.
pub fn name(mix: &str) -> String {
    match kinds(mix) {
        Ok(kinds) if kinds.windows(2).all(|two| two[0] == two[1]) => {
            format!("{} × {}", kinds.len(), report::name(&kinds[0]))
        }
        Ok(kinds) => kinds.iter().map(report::name).collect::<Vec<_>>().join(" + "),
        Err(_) => mix.to_string(),
    }
}

pub fn run(settings: &Settings, run: usize, side: Side, mix: &str, journal: &mut Journal) -> Result<()> {
    let mut suite = Suite::start(settings, mix)?;
    let versions = suite.ensemble[1].four_letter("srvr")?;
    journal.versions[side as usize] =
        Some(versions.lines().next().unwrap_or_default().replace("Zookeeper version: ", ""));
    suite.loads(run, side, journal)?;
    if settings.wants("e.catchup") {
        journal.add(run, side, "e.catchup", suite.catch_up()?.as_secs_f64() * 1000.0);
    }
    if settings.wants("e.failover") {
        for _ in 0..FAILOVERS {
            journal.add(run, side, "e.failover", suite.failover()?.as_secs_f64() * 1000.0);
        }
    }
    Ok(())
}

struct Suite<'a> {
    settings: &'a Settings,
    ensemble: Ensemble,
    paths: Vec<String>,
}

impl<'a> Suite<'a> {
    fn start(settings: &'a Settings, mix: &str) -> Result<Suite<'a>> {
        std::fs::create_dir_all(bench_dir())?;
        let plan = Plan::new(mix).tick_ms(2000).line("initLimit=10").line("syncLimit=5");
        let ensemble = plan.measured(settings.java_heap_mb, &bench_dir()).start()?;
        let paths = (0..NODES).map(|n| path_of(NODE, &[1], n)).collect();
        let suite = Suite { settings, ensemble, paths };
        suite.fill()?;
        Ok(suite)
    }

    fn fill(&self) -> Result<()> {
        let mut client = self.ensemble.client(1)?;
        if let Err(code) = client.create("/bench", b"", 0)? {
            bail!("cannot create /bench: error {code}");
        }
        client.close()?;
        let mut generator = Generator::spread(&[self.addr(1)], 4, Vec::new())?;
        let source = &mut Creates::new(NODE, &[1], &value(VALUE_LEN), 0..NODES)?;
        generator.run(source, Shape { in_flight: IN_FLIGHT, pace: None, stop: Stop::Exhausted })?;
        generator.close()?;
        // Readers of a server that is a moment behind would find nothing.
        for id in self.ensemble.ids() {
            let mut client = crate::tree::synced_client(self.addr(id))?;
            if let Err(code) = client.get_data(self.paths.last().context("there are nodes")?, false)? {
                bail!("server {id} lacks a node: error {code}");
            }
            client.close()?;
        }
        Ok(())
    }

    fn addr(&self, id: u64) -> SocketAddr {
        self.ensemble[id].client_addr()
    }

    fn addrs(&self) -> Vec<SocketAddr> {
        self.ensemble.ids().into_iter().map(|id| self.addr(id)).collect()
    }

    fn pids(&self) -> Vec<u32> {
        self.ensemble.ids().into_iter().filter_map(|id| self.ensemble[id].pid()).collect()
    }

    fn loads(&self, run: usize, side: Side, journal: &mut Journal) -> Result<()> {
        let settings = self.settings;
        let mut reads = Random::reads(&self.paths, VALUE_LEN)?;
        let mut writes = Random::writes(&self.paths, &value(VALUE_LEN))?;
        let all = self.addrs();
        if settings.wants("e.reads") {
            let tally = self.measure(&mut reads, &all, CONNS, IN_FLIGHT)?;
            journal.add_load(run, side, ["e.reads.ops", "e.reads.cpu"], &tally);
        }
        if settings.wants("e.writes") {
            let tally = self.measure(&mut writes, &all, CONNS, IN_FLIGHT)?;
            journal.add_load(run, side, ["e.writes.ops", "e.writes.cpu"], &tally);
            journal.add(run, side, "e.writes.p99", Window::from(&tally).latency_ms.p99);
        }
        if settings.wants("e.mixed") {
            let mut mixed = Mixed { reads, writes: writes.clone(), rng: Rng::with_seed(3) };
            let tally = self.measure(&mut mixed, &all, CONNS, IN_FLIGHT)?;
            journal.add_load(run, side, ["e.mixed.ops", "e.mixed.cpu"], &tally);
        }
        if settings.wants("e.rss") {
            let mut largest = 0;
            for pid in self.pids() {
                largest = largest.max(procfs::memory(pid)?.rss);
            }
            journal.add(run, side, "e.rss", largest as f64);
        }
        if settings.wants("e.sync") {
            let leader = self.ensemble.settled()?;
            let follower = self.followers(leader)[0];
            for (id, key) in [(leader, "e.sync.p50"), (follower, "e.sync.p50_follower")] {
                let window = Window::from(&self.measure(&mut writes, &[self.addr(id)], 1, 1)?);
                journal.add_window(run, side, key, window.latency_ms.p50, window);
            }
        }
        Ok(())
    }

    fn measure<S: Source>(
        &self,
        source: &mut S,
        addrs: &[SocketAddr],
        conns: usize,
        in_flight: usize,
    ) -> Result<Tally> {
        let stop = Stop::Window { warm_up: self.settings.warm_up, window: self.settings.window };
        let mut generator = Generator::spread(addrs, conns, self.pids())?;
        let tally = generator.run(source, Shape { in_flight, pace: None, stop })?;
        generator.close()?;
        Ok(tally)
    }

    fn followers(&self, leader: u64) -> Vec<u64> {
        self.ensemble.ids().into_iter().filter(|id| *id != leader).collect()
    }

    /// From the start of the process until it serves with everything that was written while it was away.
    fn catch_up(&mut self) -> Result<Duration> {
        let leader = self.ensemble.settled()?;
        let away = self.followers(leader)[0];
        self.ensemble.kill9(&[away])?;
        let mut source =
            Bounded { source: Random::writes(&self.paths, &value(VALUE_LEN))?, left: TXNS_BEHIND };
        let mut generator = Generator::spread(&[self.addr(leader)], CONNS, Vec::new())?;
        generator.run(&mut source, Shape { in_flight: IN_FLIGHT, pace: None, stop: Stop::Exhausted })?;
        generator.close()?;
        let target = self.ensemble.zxid(leader)?;
        let began = Instant::now();
        self.ensemble.launch(&[away])?;
        while began.elapsed() < PATIENCE {
            if zxid_of_serving(self.addr(away)).is_some_and(|zxid| zxid >= target) {
                return Ok(began.elapsed());
            }
            sleep(Duration::from_millis(1));
        }
        bail!("server {away} has not caught up within {PATIENCE:?}\n{}", self.ensemble.logs(20))
    }

    /// The longest time without an acknowledged write around the kill. Not from the kill on: what the followers knew to be
    /// committed is still acknowledged after it.
    fn failover(&mut self) -> Result<Duration> {
        let leader = self.ensemble.settled()?;
        let shape = load::Shape { sessions: 6, pause: Duration::from_millis(1), ..load::Shape::default() };
        let load = load::Load::start(&self.addrs(), shape)?;
        load.progress(200, PATIENCE)?;
        let killed = Instant::now();
        self.ensemble.kill9(&[leader])?;
        load.progress(200, PATIENCE)?;
        let (history, sessions) = load.stop()?;
        sessions.into_iter().for_each(drop);
        self.ensemble.launch(&[leader])?;
        self.ensemble.settled()?;
        let acked = history.acked_at();
        let gaps = acked.windows(2).filter(|two| two[1] > killed);
        let longest = gaps.map(|two| two[1] - two[0].max(killed)).max();
        longest.context("nothing was acknowledged after the kill")
    }
}

/// None while it does not serve; a server that starts may leave a question without an answer.
fn zxid_of_serving(addr: SocketAddr) -> Option<i64> {
    let text = four_letter(addr, b"srvr", Duration::from_millis(200)).ok()?;
    let text = String::from_utf8_lossy(&text).into_owned();
    let hex = text.lines().find_map(|l| l.strip_prefix("Zxid: 0x"))?;
    i64::from_str_radix(hex, 16).ok().filter(|_| text.contains("Mode: "))
}

const NODES: u64 = 1000;
const NODE: &str = "/bench/n####";
const TXNS_BEHIND: u64 = 100_000;
const FAILOVERS: usize = 3;
const PATIENCE: Duration = Duration::from_secs(180);
