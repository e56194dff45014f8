//! Everything that was measured, as JSON, with what is needed to judge it: machine, versions, settings, the generator.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::bench::generator::{Generator, Shape, Stop, Tally};
use crate::bench::null_server::{Fault, NullServer};
use crate::bench::requests::Random;
use crate::bench::stats::{Latency, histogram, median};
use crate::bench::subject::bench_dir;
use crate::bench::table::{self, Row};
use crate::bench::{CONNS, IN_FLIGHT, Settings, Side, procfs};
use crate::process::Kind;

/// One value of one run.
#[derive(Clone, Debug, Serialize)]
pub struct Sample {
    pub run: usize,
    pub side: Side,
    pub measure: &'static str,
    pub value: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub struct Window {
    pub ops: u64,
    pub seconds: f64,
    pub latency_ms: Latency,
    pub server_cpu_us_per_op: f64,
    pub generator_cpu_us_per_op: f64,
    /// Cores kept busy by neither the server nor the benchmark, kernel threads included.
    pub foreign_cores: f64,
}

impl From<&Tally> for Window {
    fn from(t: &Tally) -> Window {
        let per_op = |seconds: f64| seconds * 1e6 / t.ops as f64;
        Window {
            ops: t.ops,
            seconds: t.seconds,
            latency_ms: Latency::of(&t.latency),
            server_cpu_us_per_op: per_op(t.server_cpu),
            generator_cpu_us_per_op: per_op(t.generator_cpu),
            foreign_cores: t.foreign_cpu / t.seconds,
        }
    }
}

/// Where the suites write down what they measure; every line is also shown at once.
#[derive(Debug)]
pub struct Journal {
    pub samples: Vec<Sample>,
    pub versions: [Option<String>; 2],
    names: [String; 2],
    started: Instant,
}

impl Journal {
    pub fn new(kinds: &[Kind; 2]) -> Journal {
        let names = [name(&kinds[0]), name(&kinds[1])];
        Journal { samples: Vec::new(), versions: [None, None], names, started: Instant::now() }
    }

    pub fn add(&mut self, run: usize, side: Side, measure: &'static str, value: f64) {
        self.push(Sample { run, side, measure, value, window: None });
    }

    pub fn add_window(&mut self, run: usize, side: Side, measure: &'static str, value: f64, window: Window) {
        self.push(Sample { run, side, measure, value, window: Some(window) });
    }

    /// Throughput and CPU per request of one window.
    pub fn add_load(&mut self, run: usize, side: Side, keys: [&'static str; 2], tally: &Tally) {
        let window = Window::from(tally);
        self.add_window(run, side, keys[0], tally.ops as f64 / tally.seconds, window);
        self.add(run, side, keys[1], window.server_cpu_us_per_op);
    }

    pub fn step(&self, run: usize, side: Side, what: &str) {
        eprintln!(
            "[{:>4}s] run {run}, {}: {what}",
            self.started.elapsed().as_secs(),
            self.names[side as usize]
        );
    }

    fn push(&mut self, s: Sample) {
        let unit = table::MEASURES.iter().find(|m| m.key == s.measure).map(|m| m.unit);
        let shown = unit.map_or(format!("{:.1}", s.value), |u| table::show(u, s.value));
        let busy = s.window.filter(|w| w.foreign_cores > FOREIGN_NOTICED);
        let note = busy.map_or(String::new(), |w| format!("   (others took {:.2} cores)", w.foreign_cores));
        self.step(s.run, s.side, &format!("{} {shown}{note}", s.measure));
        self.samples.push(s);
    }
}

#[derive(Debug, Serialize)]
pub struct Report {
    pub date: String,
    pub machine: Machine,
    pub settings: Shown,
    pub versions: [String; 2],
    pub generator: Ceiling,
    pub rows: Vec<Row>,
    pub runs: Vec<Sample>,
    #[serde(skip)]
    names: [String; 2],
}

#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    pub cores: usize,
    pub cpu: String,
    pub kernel: String,
    pub memory_mb: u64,
    /// Of 1 KiB each into an allocated file, where the servers have theirs.
    pub fdatasync_ms: Latency,
    pub java: String,
}

#[derive(Debug, Serialize)]
pub struct Shown {
    runs: usize,
    window_s: f64,
    warm_up_s: f64,
    tail_window_s: f64,
    tree_nodes: u64,
    java_heap_mb: u32,
    java_tree_heap_mb: u32,
    ensemble: bool,
    behind_txns: u64,
    leaders_killed: usize,
    release_build: bool,
}

/// The generator against a server that costs next to nothing.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Ceiling {
    pub reads_per_second: f64,
    pub cpu_us_per_read: f64,
    pub writes_per_second: f64,
    pub cpu_us_per_write: f64,
}

impl Report {
    pub fn new(settings: &Settings, machine: Machine, ceiling: Ceiling, journal: Journal) -> Report {
        Report {
            date: said_by("date", &["-u", "+%Y-%m-%dT%H:%M:%SZ"]),
            machine,
            settings: Shown {
                runs: settings.runs,
                window_s: settings.window.as_secs_f64(),
                warm_up_s: settings.warm_up.as_secs_f64(),
                tail_window_s: settings.tail_window.as_secs_f64(),
                tree_nodes: settings.tree_nodes,
                java_heap_mb: settings.java_heap_mb,
                java_tree_heap_mb: settings.java_tree_heap_mb,
                ensemble: settings.ensemble,
                behind_txns: settings.behind_txns,
                leaders_killed: settings.kills * settings.runs,
                release_build: !cfg!(debug_assertions),
            },
            versions: journal.versions.map(Option::unwrap_or_default),
            generator: ceiling,
            rows: table::rows(&journal.samples),
            runs: journal.samples,
            names: journal.names,
        }
    }

    pub fn markdown(&self) -> String {
        let [left, right] = &self.names;
        let (m, s, g) = (&self.machine, &self.settings, &self.generator);
        let mut out = table::markdown(left, right, &self.rows);
        out += &format!(
            "\n{}: medians of {} in turns; {} cores of {}, Linux {}, {}; one fdatasync takes {:.1} ms. \
             Java with -Xmx{}m{}.\n",
            self.date,
            if s.runs == 1 { "1 run".to_string() } else { format!("{} runs", s.runs) },
            m.cores,
            m.cpu,
            m.kernel,
            m.java,
            m.fdatasync_ms.p50,
            s.java_heap_mb,
            s.particulars()
        );
        out += &format!(
            "The load generator shares the cores: against a server that does nothing it makes {} ({:.2} µs of CPU each) \
             and {} ({:.2} µs).\n",
            table::show(table::Unit::PerSecond, g.reads_per_second).replace("/s", " reads/s"),
            g.cpu_us_per_read,
            table::show(table::Unit::PerSecond, g.writes_per_second).replace("/s", " writes/s"),
            g.cpu_us_per_write
        );
        out + &self.disturbance()
    }

    /// Says so when something else was at work: such numbers should not be pasted anywhere.
    fn disturbance(&self) -> String {
        let windows: Vec<f64> = self.runs.iter().filter_map(|s| Some(s.window?.foreign_cores)).collect();
        let noticed = windows.iter().filter(|&&cores| cores > FOREIGN_NOTICED).count();
        if noticed == 0 {
            return String::new();
        }
        format!(
            "NOT ALONE: in {noticed} of {} windows other processes and kernel threads kept more than {FOREIGN_NOTICED} cores \
             busy (median {:.2}).\n",
            windows.len(),
            median(&windows).unwrap_or_default()
        )
    }

    pub fn write_json(&self, file: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)?;
        fs::write(file, text + "\n").with_context(|| format!("cannot write {}", file.display()))
    }
}

impl Shown {
    fn particulars(&self) -> String {
        if self.ensemble {
            let Shown { leaders_killed, behind_txns, .. } = self;
            format!(
                "; three servers a side, each with these cores, this disk and the loopback; {leaders_killed} leaders killed; the \
                 follower {behind_txns} txns behind"
            )
        } else {
            format!(" (large tree: -Xmx{}m, {} znodes of 100 bytes)", self.java_tree_heap_mb, self.tree_nodes)
        }
    }
}

impl Machine {
    pub fn look() -> Result<Machine> {
        Ok(Machine {
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            cpu: procfs::cpu_model(),
            kernel: procfs::kernel(),
            memory_mb: procfs::memory_mb(),
            fdatasync_ms: fdatasync_latency()?,
            java: said_by("java", &["--version"]).lines().next().unwrap_or("no java").to_string(),
        })
    }
}

/// What every server here waits for at each write.
fn fdatasync_latency() -> Result<Latency> {
    fs::create_dir_all(bench_dir())?;
    let mut file = tempfile::tempfile_in(bench_dir())?;
    const ROUNDS: usize = 200;
    file.write_all(&vec![1; ROUNDS * 1024])?;
    file.sync_all()?;
    file.seek(SeekFrom::Start(0))?;
    let mut latency = histogram();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        file.write_all(&[2; 1024])?;
        sync_data(&file)?;
        latency.saturating_record(u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX));
    }
    Ok(Latency::of(&latency))
}

fn sync_data(file: &File) -> Result<()> {
    file.sync_data().context("fdatasync in the benchmark's folder")
}

/// The generator's own limits, on both kinds of requests.
pub fn ceiling(settings: &Settings, value_len: usize) -> Result<Ceiling> {
    let paths: Vec<String> = (0..1000).map(|n| format!("/bench/n{n:04}")).collect();
    let reads = against_nothing(settings, value_len, Random::reads(&paths, value_len)?)?;
    let value = crate::bench::requests::value(value_len);
    let writes = against_nothing(settings, value_len, Random::writes(&paths, &value)?)?;
    Ok(Ceiling {
        reads_per_second: reads.ops as f64 / reads.seconds,
        cpu_us_per_read: reads.generator_cpu * 1e6 / reads.ops as f64,
        writes_per_second: writes.ops as f64 / writes.seconds,
        cpu_us_per_write: writes.generator_cpu * 1e6 / writes.ops as f64,
    })
}

fn against_nothing(settings: &Settings, value_len: usize, mut source: Random) -> Result<Tally> {
    let server = NullServer::start(CONNS, value_len, Fault::None)?;
    let mut generator = Generator::connect(&[server.addr], CONNS, &[])?;
    let stop = Stop::Window { warm_up: Duration::from_millis(200), window: settings.window / 4 };
    let tally = generator.run(&mut source, Shape { in_flight: IN_FLIGHT, pace: None, stop })?;
    drop(generator);
    server.join()?;
    Ok(tally)
}

fn said_by(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_string()).unwrap_or_default()
}

fn name(kind: &Kind) -> String {
    match kind {
        Kind::Java(version) => format!("Java {version}"),
        Kind::Ferrokeeper => "Ferrokeeper".to_string(),
    }
}

/// Cores: below this the kernel's own threads explain it (journal, flushing, the network).
const FOREIGN_NOTICED: f64 = 0.25;
