//! A server under measure. Not the harness's `process::Server`: here the JVM has the options of Java's own scripts and no
//! more, the data folder outlives the process, the clock starts with the process, and cfg lines change between two starts.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use crate::bench::procfs::{self, Memory};
use crate::java::{JavaHome, target_dir};
use crate::process::{Kind, ferrokeeper_bin, four_letter, loopback_address, tail};
use crate::wire::Client;

#[derive(Clone, Debug)]
pub struct Plan {
    pub kind: Kind,
    /// Holds zoo.cfg, server.log and data/; created if missing, kept.
    pub folder: PathBuf,
    pub snap_count: Option<u64>,
    pub java_heap_mb: u32,
}

#[derive(Debug)]
pub struct Subject {
    plan: Plan,
    addr: Ipv4Addr,
    began: Instant,
    child: Child,
}

impl Plan {
    pub fn data_dir(&self) -> PathBuf {
        self.folder.join("data")
    }

    pub fn version_dir(&self) -> PathBuf {
        self.data_dir().join("version-2")
    }

    /// Starts the process and does not wait for it.
    pub fn spawn(&self) -> Result<Subject> {
        fs::create_dir_all(self.data_dir())
            .with_context(|| format!("cannot create {}", self.folder.display()))?;
        let addr = loopback_address();
        let cfg = self.folder.join("zoo.cfg");
        fs::write(&cfg, self.cfg(addr)).with_context(|| format!("cannot write {}", cfg.display()))?;
        let log = File::options().create(true).append(true).open(self.log_file())?;
        let mut command = self.command()?;
        command.arg(&cfg).current_dir(&self.folder).stdin(Stdio::null());
        command.stdout(log.try_clone()?).stderr(log);
        let began = Instant::now();
        let child = command.spawn().with_context(|| format!("cannot start {:?}", command.get_program()))?;
        Ok(Subject { plan: self.clone(), addr, began, child })
    }

    fn cfg(&self, addr: Ipv4Addr) -> String {
        let mut cfg =
            format!("dataDir={}\nclientPort=2181\nclientPortAddress={addr}\n", self.data_dir().display());
        cfg += "tickTime=2000\nmaxClientCnxns=0\n4lw.commands.whitelist=*\nadmin.enableServer=false\n";
        // An unknown key becomes zookeeper.KEY, which is where Java looks for it (B§7.1).
        if let Some(n) = self.snap_count {
            cfg += &format!("snapCount={n}\n");
        }
        cfg
    }

    fn command(&self) -> Result<Command> {
        match &self.kind {
            Kind::Java(version) => {
                let home = JavaHome::find(version).map_err(|e| anyhow!(e))?;
                let mut c = Command::new("java");
                c.arg(format!("-Xmx{}m", self.java_heap_mb)).arg("-cp").arg(home.classpath());
                c.arg("org.apache.zookeeper.server.quorum.QuorumPeerMain");
                Ok(c)
            }
            Kind::Ferrokeeper => {
                let mut c = Command::new(ferrokeeper_bin()?);
                c.arg("server");
                Ok(c)
            }
        }
    }

    fn log_file(&self) -> PathBuf {
        self.folder.join("server.log")
    }
}

impl Subject {
    pub fn client_addr(&self) -> SocketAddr {
        SocketAddr::from((self.addr, 2181))
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn memory(&self) -> Result<Memory> {
        procfs::memory(self.pid())
    }

    pub fn connect(&self) -> Result<Client> {
        Client::connect(self.client_addr(), SESSION_TIMEOUT_MS)
    }

    /// Since the start of the process until `imok`. Java 3.5 says that before it has read its data.
    pub fn wait_ruok(&mut self) -> Result<Duration> {
        self.poll("imok", |addr| {
            four_letter(addr, b"ruok", PATIENCE).is_ok_and(|answer| answer == b"imok").then_some(())
        })?;
        Ok(self.began.elapsed())
    }

    /// Since the start of the process until a session was given and, where a path is named, a read of it answered.
    pub fn wait_session(&mut self, path: Option<&str>) -> Result<Duration> {
        let mut client = self.poll("a session", |addr| {
            // A refused or closed connection is a server that has not come so far; asked again.
            Client::connect(addr, SESSION_TIMEOUT_MS).ok()
        })?;
        if let Some(path) = path {
            client.get_data(path, false)?.map_err(|code| anyhow!("getData {path}: error {code}"))?;
        }
        let took = self.began.elapsed();
        client.close()?;
        Ok(took)
    }

    fn poll<T>(&mut self, what: &str, mut ask: impl FnMut(SocketAddr) -> Option<T>) -> Result<T> {
        let addr = self.client_addr();
        while self.began.elapsed() < PATIENCE {
            if let Some(answer) = ask(addr) {
                return Ok(answer);
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("{:?} ended with {status}; its log:\n{}", self.plan.kind, self.log_tail());
            }
            std::thread::sleep(POLL);
        }
        bail!("{:?} gave no {what} within {PATIENCE:?}; its log:\n{}", self.plan.kind, self.log_tail())
    }

    /// Waits until no snapshot has been in the making for half a second: both servers may take one after a start.
    pub fn wait_no_snapshot(&self) -> Result<()> {
        let (start, mut quiet_since) = (Instant::now(), Instant::now());
        while quiet_since.elapsed() < Duration::from_millis(500) {
            if procfs::holds_snapshot(self.pid()) {
                quiet_since = Instant::now();
            }
            if start.elapsed() > PATIENCE {
                bail!("{:?} has been writing snapshots for {PATIENCE:?}", self.plan.kind);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// What it calls itself, from `srvr`.
    pub fn version(&self) -> Result<String> {
        let text = four_letter(self.client_addr(), b"srvr", Duration::from_secs(5))?;
        let text = String::from_utf8_lossy(&text).into_owned();
        let version = text.lines().find_map(|l| l.strip_prefix("Zookeeper version: "));
        Ok(version.unwrap_or("unknown").to_string())
    }

    fn log_tail(&self) -> String {
        let bytes = fs::read(self.plan.log_file()).unwrap_or_default();
        tail(&String::from_utf8_lossy(&bytes), 30)
    }

    /// kill -9: what is acknowledged is on disk.
    pub fn stop(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where the servers' folders are: with the build, so on a real disk.
pub fn bench_dir() -> PathBuf {
    target_dir().join("bench")
}

/// An empty folder of that name.
pub fn fresh_folder(name: &str) -> Result<PathBuf> {
    let folder = bench_dir().join(name);
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    Ok(folder)
}

/// Copies the files of a `version-2` folder.
pub fn copy_files(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

const SESSION_TIMEOUT_MS: i32 = 30_000;
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two attempts while a server starts: tight against 100 ms, and no load for a core.
const POLL: Duration = Duration::from_micros(300);
