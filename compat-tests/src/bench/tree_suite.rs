//! The large tree: its memory, a restart with it, and what a client feels while it is written out.
//!
//! Each server fills its own tree once. What it leaves on disk (one snapshot and a log of known length behind it) is copied
//! before every start that is measured, so each start finds the same.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};

use crate::bench::generator::{Generator, Shape, Stop, Tally};
use crate::bench::report::{Journal, Window};
use crate::bench::requests::{Bounded, Creates, Random, path_of, value};
use crate::bench::subject::{Plan, Subject, copy_files, fresh_folder};
use crate::bench::{CONNS, IN_FLIGHT, Settings, Side, procfs};
use crate::process::Kind;

pub const NAMES: [&str; 3] = ["tree", "restart", "snapshots"];

/// What `fill` left behind for the runs.
#[derive(Debug)]
pub struct Seed {
    plan: Plan,
}

impl Seed {
    pub fn remove(self) -> Result<()> {
        fs::remove_dir_all(&self.plan.folder).context("cannot remove the large tree")
    }
}

/// Fills the tree, measures the memory it takes, and prepares the folder that the restarts begin with.
pub fn fill(settings: &Settings, side: Side, journal: &mut Journal) -> Result<Option<Seed>> {
    if !settings.wants_any(&NAMES) {
        return Ok(None);
    }
    let plan = plan(settings, side, &format!("tree-{}", side.name()))?;
    let mut subject = plan.spawn()?;
    subject.wait_session(None)?;
    journal.versions[side as usize] = Some(subject.version()?);
    let parents = settings.tree_nodes.div_ceil(PER_PARENT);
    create_all(&subject, "/tree", "/tree/p###", &[1], b"", parents)?;
    let tally = create_all(&subject, "", NODE, &DIVISORS, &value(VALUE_LEN), settings.tree_nodes)?;
    if settings.wants("tree") {
        let fill = tally.ops as f64 / tally.seconds;
        journal.add_window(1, side, "tree.fill", fill, Window::from(&tally));
        memory(&subject, side, ["tree.rss", "tree.peak"], journal)?;
        collect_garbage(&subject, &plan.kind)?;
        journal.add(1, side, "tree.rss_gc", subject.memory()?.rss as f64);
    }
    subject.stop()?;
    leave_snapshot_and_tail(settings, &plan, side, journal)?;
    Ok(Some(Seed { plan }))
}

/// One restart that is measured, and the two windows of writes.
pub fn run(settings: &Settings, run: usize, side: Side, seed: &Seed, journal: &mut Journal) -> Result<()> {
    let mut plan = Plan { folder: fresh_folder("tree-run")?, snap_count: Some(NEVER), ..seed.plan.clone() };
    copy_files(&seed.plan.version_dir(), &plan.version_dir())?;
    let path = path_of(NODE, &DIVISORS, 0);
    let mut subject = plan.spawn()?;
    let took = subject.wait_session(Some(&path))?;
    if settings.wants("restart") {
        journal.add(run, side, "restart.ms", took.as_secs_f64() * 1000.0);
    }
    if settings.wants("snapshots") {
        subject.wait_no_snapshot()?;
        let without = Window::from(&paced_writes(settings, &subject)?);
        subject.stop()?;
        plan.snap_count = Some(settings.tree_nodes / BACK_TO_BACK);
        subject = plan.spawn()?;
        subject.wait_session(Some(&path))?;
        subject.wait_no_snapshot()?;
        let before = snapshots(&plan.version_dir())?.len();
        let (tally, share) = while_watching_snapshots(&subject, || paced_writes(settings, &subject))?;
        let with = Window::from(&tally);
        let taken = snapshots(&plan.version_dir())?.len() - before;
        if taken == 0 {
            bail!("{:?} took no snapshot in the window that is to have them back to back", plan.kind);
        }
        journal.add_window(run, side, "snapshots.p999_without", without.latency_ms.p999, without);
        journal.add_window(run, side, "snapshots.p999_with", with.latency_ms.p999, with);
        journal.add(run, side, "snapshots.growth", with.latency_ms.p999 / without.latency_ms.p999);
        journal.add(run, side, "snapshots.share", share * 100.0);
        journal.add(run, side, "snapshots.taken", taken as f64);
        journal.add(run, side, "tree.rss_worked", subject.memory()?.rss as f64);
    }
    subject.stop()?;
    fs::remove_dir_all(&plan.folder).context("cannot remove the folder of a run")
}

/// All nodes under one parent: memory and one restart, once per server.
pub fn flat(settings: &Settings, side: Side, journal: &mut Journal) -> Result<()> {
    if !settings.wants("flat") {
        return Ok(());
    }
    let plan = plan(settings, side, "flat")?;
    let mut subject = plan.spawn()?;
    subject.wait_session(None)?;
    create_all(&subject, "/flat", "/flat/n#######", &[1], &value(VALUE_LEN), settings.tree_nodes)?;
    memory(&subject, side, ["flat.rss", "flat.peak"], journal)?;
    subject.stop()?;
    let mut subject = plan.spawn()?;
    let took = subject.wait_session(Some("/flat/n0000000"))?;
    journal.add(1, side, "flat.restart", took.as_secs_f64() * 1000.0);
    subject.stop()?;
    fs::remove_dir_all(&plan.folder).context("cannot remove the flat tree")
}

fn plan(settings: &Settings, side: Side, folder: &str) -> Result<Plan> {
    Ok(Plan {
        kind: settings.kinds[side as usize].clone(),
        folder: fresh_folder(folder)?,
        snap_count: Some(settings.tree_nodes / 5),
        java_heap_mb: settings.java_tree_heap_mb,
        member: None,
    })
}

/// Creates `parent` (unless it is empty) and `count` nodes of the pattern.
fn create_all(
    subject: &Subject,
    parent: &str,
    pattern: &str,
    divisors: &[u64],
    value: &[u8],
    count: u64,
) -> Result<Tally> {
    if !parent.is_empty() {
        let mut client = subject.connect()?;
        client.create(parent, b"", 0)?.map_err(|code| anyhow!("cannot create {parent}: error {code}"))?;
        client.close()?;
    }
    let mut generator = Generator::connect(&[subject.client_addr()], CONNS, &[subject.pid()])?;
    let mut source = Creates::new(pattern, divisors, value, 0..count)?;
    let tally = generator.run(&mut source, Shape { in_flight: 32, pace: None, stop: Stop::Exhausted })?;
    generator.close()?;
    Ok(tally)
}

fn memory(subject: &Subject, side: Side, keys: [&'static str; 2], journal: &mut Journal) -> Result<()> {
    subject.wait_no_snapshot()?;
    std::thread::sleep(Duration::from_secs(3));
    let memory = subject.memory()?;
    journal.add(1, side, keys[0], memory.rss as f64);
    journal.add(1, side, keys[1], memory.high_water as f64);
    Ok(())
}

/// A full collection, where there is a garbage collector and the JDK's jcmd to ask it.
fn collect_garbage(subject: &Subject, kind: &Kind) -> Result<()> {
    if matches!(kind, Kind::Java(_)) {
        let pid = subject.pid().to_string();
        let quiet =
            Command::new("jcmd").args([&pid, "GC.run"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
        if !quiet.is_ok_and(|status| status.success()) {
            eprintln!("no jcmd: Java's RSS after a full GC is its RSS as it stands");
        }
        std::thread::sleep(Duration::from_secs(2));
    }
    Ok(())
}

/// A start writes a snapshot (Java's `ZooKeeperServer.loadData`); the writes after it are the log that a restart replays.
fn leave_snapshot_and_tail(
    settings: &Settings,
    plan: &Plan,
    side: Side,
    journal: &mut Journal,
) -> Result<()> {
    let mut subject = plan.spawn()?;
    subject.wait_session(None)?;
    subject.wait_no_snapshot()?;
    // Less than half of snapCount, so that no further snapshot follows (SyncRequestProcessor draws from its upper half).
    let tail = settings.tree_nodes / 5 * 9 / 20;
    let mut generator = Generator::connect(&[subject.client_addr()], CONNS, &[])?;
    let mut writes = Bounded { source: tree_writes(settings)?, left: tail };
    generator.run(&mut writes, Shape { in_flight: IN_FLIGHT, pace: None, stop: Stop::Exhausted })?;
    generator.close()?;
    let mut client = subject.connect()?;
    client
        .set_data(&path_of(NODE, &DIVISORS, 0), b"", -1)?
        .map_err(|code| anyhow!("setData: error {code}"))?;
    let last = client.last_zxid;
    client.close()?;
    subject.wait_no_snapshot()?;
    subject.stop()?;
    let snapshot = keep_newest_snapshot(&plan.version_dir())?;
    journal.add(1, side, "restart.txns_to_replay", last.saturating_sub_unsigned(snapshot) as f64);
    Ok(())
}

fn tree_writes(settings: &Settings) -> Result<Random> {
    // A thousand nodes all over the tree: requests for all of them would cost the generator its cache.
    let step = (settings.tree_nodes / 1000).max(1) as usize;
    let numbers = (0..settings.tree_nodes).step_by(step);
    Random::writes(&numbers.map(|n| path_of(NODE, &DIVISORS, n)).collect::<Vec<_>>(), &value(VALUE_LEN))
}

fn paced_writes(settings: &Settings, subject: &Subject) -> Result<Tally> {
    let mut generator = Generator::connect(&[subject.client_addr()], 8, &[subject.pid()])?;
    let stop = Stop::Window { warm_up: settings.warm_up, window: settings.tail_window };
    let shape = Shape { in_flight: 1, pace: Some(WRITES_PER_SECOND), stop };
    let tally = generator.run(&mut tree_writes(settings)?, shape)?;
    generator.close()?;
    Ok(tally)
}

/// The share of the time in which the server had a snapshot open.
fn while_watching_snapshots(subject: &Subject, work: impl FnOnce() -> Result<Tally>) -> Result<(Tally, f64)> {
    let (over, pid) = (AtomicBool::new(false), subject.pid());
    std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let (mut looks, mut seen) = (0u32, 0u32);
            while !over.load(Ordering::Relaxed) {
                looks += 1;
                seen += u32::from(procfs::holds_snapshot(pid));
                std::thread::sleep(Duration::from_millis(25));
            }
            f64::from(seen) / f64::from(looks.max(1))
        });
        let tally = work();
        over.store(true, Ordering::Relaxed);
        let share = watch.join().map_err(|_| anyhow!("the watch on the snapshots panicked"))?;
        Ok((tally?, share))
    })
}

/// Removes what a restart does not need; gives the zxid of the snapshot that stays.
fn keep_newest_snapshot(folder: &Path) -> Result<u64> {
    let mut snapshots = snapshots(folder)?;
    let (newest, _) = snapshots.pop().ok_or_else(|| anyhow!("{} holds no snapshot", folder.display()))?;
    let logs = numbered(folder, "log.")?;
    // The log that begins at or before the snapshot may run past it (FileTxnLog.getLogFiles).
    let first = logs.iter().map(|(zxid, _)| *zxid).filter(|zxid| *zxid <= newest).max().unwrap_or(0);
    let old_logs = logs.into_iter().filter(|(zxid, _)| *zxid < first);
    for (_, file) in snapshots.into_iter().chain(old_logs) {
        fs::remove_file(&file).with_context(|| format!("cannot remove {}", file.display()))?;
    }
    Ok(newest)
}

fn snapshots(folder: &Path) -> Result<Vec<(u64, PathBuf)>> {
    numbered(folder, "snapshot.")
}

/// Files `prefix` + hexadecimal zxid, by zxid.
fn numbered(folder: &Path, prefix: &str) -> Result<Vec<(u64, PathBuf)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some(zxid) = name.strip_prefix(prefix).and_then(|z| u64::from_str_radix(z, 16).ok()) {
            files.push((zxid, entry.path()));
        }
    }
    files.sort();
    Ok(files)
}

const VALUE_LEN: usize = 100;
const PER_PARENT: u64 = 1000;
const NODE: &str = "/tree/p###/n#######";
const DIVISORS: [u64; 2] = [PER_PARENT, 1];
/// Far below what either server can do: the p99.9 shall show stalls, not saturation.
const WRITES_PER_SECOND: f64 = 600.0;
const NEVER: u64 = 1_000_000_000;
/// snapCount is the tree's size divided by this: a snapshot falls due before the last one can be done, and a server that is
/// still at it skips one.
const BACK_TO_BACK: u64 = 2000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restart_needs_the_newest_snapshot_and_the_logs_from_it_on() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["snapshot.0", "snapshot.1a", "log.1", "log.9", "log.1b", "log.ff", "other"] {
            fs::write(dir.path().join(name), name).unwrap();
        }
        assert_eq!(keep_newest_snapshot(dir.path()).unwrap(), 0x1a);
        let mut left: Vec<String> = fs::read_dir(dir.path())
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, ["log.1b", "log.9", "log.ff", "other", "snapshot.1a"]);
    }
}
