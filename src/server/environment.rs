//! What the operating system says of this process, in the words of Java's `Environment` (B§8.2).

use std::path::{Path, PathBuf};

use crate::ids::Millis;

/// The lines of `envi`, in order. What only a JVM has is answered by what stands in its place here.
pub fn entries() -> Vec<(&'static str, String)> {
    let os = rustix::system::uname();
    let env = |name: &str| std::env::var(name).unwrap_or_else(|_| "<NA>".to_owned());
    let memory = memory();
    let mb = |kib: u64| format!("{}MB", kib / 1024);
    vec![
        ("zookeeper.version", crate::version::FULL.to_owned()),
        ("host.name", os.nodename().to_string_lossy().into_owned()),
        ("java.version", "<NA>".to_owned()),
        ("java.vendor", format!("ferrokeeper {}", crate::version::OWN)),
        ("java.home", "<NA>".to_owned()),
        ("java.class.path", own_path()),
        ("java.library.path", "<NA>".to_owned()),
        ("java.io.tmpdir", std::env::temp_dir().display().to_string()),
        ("java.compiler", "<NA>".to_owned()),
        ("os.name", os.sysname().to_string_lossy().into_owned()),
        ("os.arch", java_arch(&os.machine().to_string_lossy())),
        ("os.version", os.release().to_string_lossy().into_owned()),
        ("user.name", env("USER")),
        ("user.home", env("HOME")),
        ("user.dir", std::env::current_dir().map_or_else(|_| "<NA>".to_owned(), |d| d.display().to_string())),
        ("os.memory.free", mb(memory.available)),
        ("os.memory.max", mb(memory.total)),
        ("os.memory.total", mb(memory.total)),
    ]
}

fn own_path() -> String {
    std::env::current_exe().map_or_else(|_| "<NA>".to_owned(), |p| p.display().to_string())
}

fn java_arch(machine: &str) -> String {
    if machine == "x86_64" { "amd64".to_owned() } else { machine.to_owned() }
}

#[derive(Default)]
struct Memory {
    total: u64,
    available: u64,
}

/// KiB, from `/proc/meminfo`; zeros where there is none.
fn memory() -> Memory {
    let mut memory = Memory::default();
    for line in std::fs::read_to_string("/proc/meminfo").unwrap_or_default().lines() {
        let Some((key, value)) = line.split_once(':') else { continue };
        let kib = value.trim().trim_end_matches(" kB").parse().unwrap_or(0);
        match key {
            "MemTotal" => memory.total = kib,
            "MemAvailable" => memory.available = kib,
            _ => {}
        }
    }
    memory
}

/// How many file descriptors are open, and how many may be.
pub fn file_descriptors() -> (u64, u64) {
    let open = std::fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64);
    let max = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
    (open, max)
}

pub fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// `java.util.Date.toString()`: `Mon Nov 23 01:35:35 UTC 2026`, in local time.
pub fn java_date(wall: Millis) -> String {
    match jiff::Timestamp::from_millisecond(wall) {
        Ok(time) => time
            .to_zoned_datetime(jiff::tz::TimeZone::system())
            .strftime("%a %b %d %H:%M:%S %Z %Y")
            .to_string(),
        Err(_) => wall.to_string(),
    }
}
