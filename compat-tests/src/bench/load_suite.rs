//! Start, idle memory, then the loads on a small tree: reads, writes, mixed, one client alone, creates.

use std::time::Duration;

use anyhow::{Result, bail};
use fastrand::Rng;

use crate::bench::generator::{Generator, Shape, Stop, Tally};
use crate::bench::report::{Journal, Window};
use crate::bench::requests::{Creates, Mixed, Random, Source, path_of, value};
use crate::bench::subject::{Plan, Subject, fresh_folder};
use crate::bench::{CONNS, IN_FLIGHT, Settings, Side};

/// The measures of this suite.
pub const NAMES: [&str; 8] = ["cold", "idle", "reads", "writes", "mixed", "sync", "rss", "creates"];

pub fn run(settings: &Settings, run: usize, side: Side, journal: &mut Journal) -> Result<()> {
    if !settings.wants_any(&NAMES) {
        return Ok(());
    }
    if settings.wants("cold") {
        for _ in 0..STARTS {
            journal.add(run, side, "cold.ruok", millis(start_until(settings, side, Subject::wait_ruok)?));
            let session = start_until(settings, side, |s| s.wait_session(None))?;
            journal.add(run, side, "cold.session", millis(session));
        }
    }
    let mut subject = plan(settings, side)?.spawn()?;
    subject.wait_session(None)?;
    journal.versions[side as usize] = Some(subject.version()?);
    if settings.wants("idle") {
        std::thread::sleep(SETTLE);
        journal.add(run, side, "idle.rss", subject.memory()?.rss as f64);
    }
    if settings.wants_any(&NAMES[2..]) {
        loads(settings, run, side, &subject, journal)?;
    }
    subject.stop()
}

fn start_until(
    settings: &Settings,
    side: Side,
    until: impl Fn(&mut Subject) -> Result<Duration>,
) -> Result<Duration> {
    let mut subject = plan(settings, side)?.spawn()?;
    let took = until(&mut subject)?;
    subject.stop()?;
    Ok(took)
}

fn loads(
    settings: &Settings,
    run: usize,
    side: Side,
    subject: &Subject,
    journal: &mut Journal,
) -> Result<()> {
    let value = value(VALUE_LEN);
    let paths: Vec<String> = (0..NODES).map(|n| path_of(NODE, &[1], n)).collect();
    fill(subject, &value, &paths)?;
    let mut reads = Random::reads(&paths, VALUE_LEN)?;
    let mut writes = Random::writes(&paths, &value)?;
    let load = Load { settings, subject };
    if settings.wants("reads") {
        journal.add_load(run, side, ["reads.ops", "reads.cpu"], &load.measure(&mut reads, CONNS, IN_FLIGHT)?);
    }
    if settings.wants("writes") {
        journal.add_load(
            run,
            side,
            ["writes.ops", "writes.cpu"],
            &load.measure(&mut writes, CONNS, IN_FLIGHT)?,
        );
    }
    if settings.wants("mixed") {
        let mut mixed = Mixed { reads, writes: writes.clone(), rng: Rng::with_seed(3) };
        journal.add_load(run, side, ["mixed.ops", "mixed.cpu"], &load.measure(&mut mixed, CONNS, IN_FLIGHT)?);
    }
    if settings.wants("rss") {
        let memory = subject.memory()?;
        journal.add(run, side, "rss.end", memory.rss as f64);
        journal.add(run, side, "rss.peak", memory.high_water as f64);
    }
    if settings.wants("sync") {
        let tally = load.measure(&mut writes, 1, 1)?;
        let window = Window::from(&tally);
        journal.add_window(run, side, "sync.p50", window.latency_ms.p50, window);
        journal.add(run, side, "sync.p99", window.latency_ms.p99);
    }
    if settings.wants("creates") {
        // Last: the faster server would have the larger tree in what follows.
        let mut creates = Creates::new(CREATED, &[1], &value, 0..u64::MAX)?;
        let tally = load.measure(&mut creates, CONNS, IN_FLIGHT)?;
        journal.add_load(run, side, ["creates.ops", "creates.cpu"], &tally);
    }
    Ok(())
}

struct Load<'a> {
    settings: &'a Settings,
    subject: &'a Subject,
}

impl Load<'_> {
    fn measure<S: Source>(&self, source: &mut S, conns: usize, in_flight: usize) -> Result<Tally> {
        let stop = Stop::Window { warm_up: self.settings.warm_up, window: self.settings.window };
        let mut generator = Generator::connect(&[self.subject.client_addr()], conns, &[self.subject.pid()])?;
        let tally = generator.run(source, Shape { in_flight, pace: None, stop })?;
        generator.close()?;
        Ok(tally)
    }
}

/// The nodes, and a look whether a read brings what was written: the generator itself checks lengths only.
fn fill(subject: &Subject, value: &[u8], paths: &[String]) -> Result<()> {
    let mut client = subject.connect()?;
    for parent in ["/bench", "/created"] {
        if let Err(code) = client.create(parent, b"", 0)? {
            bail!("cannot create {parent}: error {code}");
        }
    }
    let mut generator = Generator::connect(&[subject.client_addr()], 4, &[])?;
    let stop = Stop::Exhausted;
    generator.run(
        &mut Creates::new(NODE, &[1], value, 0..NODES)?,
        Shape { in_flight: IN_FLIGHT, pace: None, stop },
    )?;
    generator.close()?;
    for path in paths.iter().step_by(97) {
        match client.get_data(path, false)? {
            Ok((Some(data), _)) if data == value => {}
            other => bail!("{path} should hold {} bytes as written, but it is {other:?}", value.len()),
        }
    }
    client.close()
}

fn plan(settings: &Settings, side: Side) -> Result<Plan> {
    Ok(Plan {
        kind: settings.kinds[side as usize].clone(),
        folder: fresh_folder(&format!("load-{}", side.name()))?,
        snap_count: None,
        java_heap_mb: settings.java_heap_mb,
        member: None,
    })
}

fn millis(d: Duration) -> f64 {
    d.as_secs_f64() * 1000.0
}

pub const VALUE_LEN: usize = 1024;
const NODES: u64 = 1000;
const NODE: &str = "/bench/n####";
const CREATED: &str = "/created/n#########";
/// Of each kind in a turn: cheap, and one start is a matter of luck.
const STARTS: usize = 3;
/// After a start, until memory is what an idle server has.
const SETTLE: Duration = Duration::from_secs(2);
