//! What Linux says about processes: CPU time, memory, open files; and about the machine.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, anyhow};

/// CPU seconds at one moment: of the servers, of the calling thread, of this process, of the whole machine.
#[derive(Clone, Copy, Debug)]
pub struct CpuMark {
    pub server: f64,
    pub thread: f64,
    pub own: f64,
    pub machine: f64,
}

impl CpuMark {
    /// `pids` is empty for the null server, which is a thread of this process.
    pub fn now(pids: &[u32]) -> Result<CpuMark> {
        Ok(CpuMark {
            server: pids.iter().map(|pid| cpu_seconds(*pid)).sum::<Result<f64>>()?,
            thread: cpu_seconds_in("/proc/thread-self/stat")?,
            own: cpu_seconds_in("/proc/self/stat")?,
            machine: machine_busy_seconds()?,
        })
    }

    pub fn since(&self, earlier: &CpuMark) -> CpuMark {
        CpuMark {
            server: self.server - earlier.server,
            thread: self.thread - earlier.thread,
            own: self.own - earlier.own,
            machine: self.machine - earlier.machine,
        }
    }
}

/// utime + stime of all threads, also of those that have ended.
pub fn cpu_seconds(pid: u32) -> Result<f64> {
    cpu_seconds_in(&format!("/proc/{pid}/stat"))
}

fn cpu_seconds_in(file: &str) -> Result<f64> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {file}: has it ended?"))?;
    parse_cpu_ticks(&text)
        .map(|t| t / ticks_per_second())
        .ok_or_else(|| anyhow!("{file} reads strangely: {text}"))
}

/// utime and stime are fields 14 and 15; the name (field 2) may hold blanks and brackets.
fn parse_cpu_ticks(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let utime: f64 = fields.next()?.parse().ok()?;
    let stime: f64 = fields.next()?.parse().ok()?;
    Some(utime + stime)
}

fn machine_busy_seconds() -> Result<f64> {
    let text = fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
    parse_busy_ticks(&text)
        .map(|t| t / ticks_per_second())
        .ok_or_else(|| anyhow!("/proc/stat reads strangely"))
}

/// user nice system idle iowait irq softirq steal: all but idle and iowait, so that a greedy neighbour shows as well.
fn parse_busy_ticks(stat: &str) -> Option<f64> {
    let line = stat.lines().find_map(|l| l.strip_prefix("cpu "))?;
    let ticks: Vec<f64> = line.split_whitespace().map_while(|t| t.parse().ok()).collect();
    let busy = [0, 1, 2, 5, 6, 7];
    busy.iter().map(|&i| ticks.get(i).copied()).sum()
}

fn ticks_per_second() -> f64 {
    rustix::param::clock_ticks_per_second() as f64
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Memory {
    pub rss: u64,
    pub high_water: u64,
}

/// VmRSS and VmHWM in bytes.
pub fn memory(pid: u32) -> Result<Memory> {
    let file = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&file).with_context(|| format!("cannot read {file}: has it ended?"))?;
    parse_memory(&text).ok_or_else(|| anyhow!("{file} has no VmRSS"))
}

fn parse_memory(status: &str) -> Option<Memory> {
    let field = |name: &str| -> Option<u64> {
        let value = status.lines().find_map(|l| l.strip_prefix(name))?;
        let kb: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kb * 1024)
    };
    Some(Memory { rss: field("VmRSS:")?, high_water: field("VmHWM:")? })
}

/// Whether the process has a snapshot file open, under whatever name it has while it is being written.
pub fn holds_snapshot(pid: u32) -> bool {
    let Ok(fds) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    fds.flatten().filter_map(|fd| fs::read_link(fd.path()).ok()).any(|target| names_snapshot(&target))
}

fn names_snapshot(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().contains("snapshot"))
}

pub fn kernel() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_string()
}

pub fn cpu_model() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|l| l.strip_prefix("model name"));
    model.map(|m| m.trim_start_matches([' ', '\t', ':']).to_string()).unwrap_or_default()
}

pub fn memory_mb() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = text.lines().find_map(|l| l.strip_prefix("MemTotal:"));
    total.and_then(|t| t.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()).map_or(0, |kb| kb / 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_fields_are_found_behind_a_name_with_brackets() {
        let stat = "42 (a) b) S 1 42 42 0 -1 4194304 100 0 0 0 750 250 0 0 20 0 5 0 99 1 2";
        assert_eq!(parse_cpu_ticks(stat), Some(1000.0));
        assert_eq!(parse_cpu_ticks("42 (a) S 1"), None);
    }

    #[test]
    fn idle_and_iowait_are_not_busy() {
        assert_eq!(parse_busy_ticks("cpu  1 2 4 1000 2000 8 16 32 0 0\ncpu0 9 9"), Some(63.0));
        assert_eq!(parse_busy_ticks("cpu  1 2"), None);
    }

    #[test]
    fn memory_is_in_bytes() {
        let status = "Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n";
        assert_eq!(parse_memory(status), Some(Memory { rss: 1_048_576, high_water: 2_097_152 }));
        assert_eq!(parse_memory("VmRSS:\t 1 kB"), None);
    }

    #[test]
    fn a_snapshot_is_known_by_its_name_also_while_it_is_temporary() {
        assert!(names_snapshot(Path::new("/d/version-2/snapshot.1a")));
        assert!(names_snapshot(Path::new("/d/version-2/.snapshot.1a.tmp")));
        assert!(!names_snapshot(Path::new("/d/snapshots/log.1")));
    }
}
