//! Real servers as child processes: Java ZooKeeper of some version, or Ferrokeeper.
//!
//! 1. Every server has a loopback address of its own and the usual ports, so tests that run side by side never clash.
//! 2. Dropping a `Server` kills its process, by its own pid. The folder goes with it unless the test is failing.
//! 3. Both kinds get the same zoo.cfg and the same `-D` flags: a difference between them is never one of set-up.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::java::{JavaHome, lock_file, target_dir, workspace_dir};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Java ZooKeeper of this version, e.g. `3.5.7`.
    Java(String),
    Ferrokeeper,
}

impl Kind {
    pub fn java(version: &str) -> Kind {
        Kind::Java(version.to_string())
    }
}

/// What to start: a zoo.cfg in the making. `start` waits until it serves, `spawn` does not.
#[derive(Clone, Debug)]
pub struct Builder {
    kind: Kind,
    addr: Ipv4Addr,
    lines: Vec<String>,
    flags: Vec<String>,
    env: Vec<(String, String)>,
    myid: Option<u64>,
    heap_mb: u32,
    default_client_lines: bool,
    hosts: Vec<(String, Ipv4Addr)>,
    /// No JVM options but those of Java's own scripts.
    plain_jvm: bool,
    parent: PathBuf,
}

impl Builder {
    pub fn new(kind: Kind) -> Builder {
        Builder {
            kind,
            addr: loopback_address(),
            lines: Vec::new(),
            flags: Vec::new(),
            env: Vec::new(),
            myid: None,
            heap_mb: 256,
            default_client_lines: true,
            hosts: Vec::new(),
            plain_jvm: false,
            parent: std::env::temp_dir(),
        }
    }

    /// A line of zoo.cfg. It comes after the defaults, and the last duplicate of a key wins (B§7.1).
    pub fn line(mut self, line: impl Into<String>) -> Builder {
        self.lines.push(line.into());
        self
    }

    /// A `-Dkey=value` for either kind, or any other JVM option (Java only).
    pub fn flag(mut self, flag: impl Into<String>) -> Builder {
        self.flags.push(flag.into());
        self
    }

    pub fn env(mut self, key: impl Into<String>, value: impl Into<String>) -> Builder {
        self.env.push((key.into(), value.into()));
        self
    }

    pub fn myid(mut self, id: u64) -> Builder {
        self.myid = Some(id);
        self
    }

    pub fn addr(mut self, addr: Ipv4Addr) -> Builder {
        self.addr = addr;
        self
    }

    pub fn heap_mb(mut self, mb: u32) -> Builder {
        self.heap_mb = mb;
        self
    }

    /// Leaves out `clientPort` and `clientPortAddress`, for ensembles that name them in the server lines.
    pub fn without_client_port(mut self) -> Builder {
        self.default_client_lines = false;
        self
    }

    /// As a benchmark wants it: the JVM as Java's scripts start it, and the files below `parent`.
    pub fn measured(mut self, heap_mb: u32, parent: &Path) -> Builder {
        (self.heap_mb, self.plain_jvm, self.parent) = (heap_mb, true, parent.to_path_buf());
        self
    }

    /// What this server alone takes `name` for.
    pub fn host(mut self, name: impl Into<String>, addr: Ipv4Addr) -> Builder {
        self.hosts.push((name.into(), addr));
        self
    }

    pub fn kind(mut self, kind: Kind) -> Builder {
        self.kind = kind;
        self
    }

    pub fn address(&self) -> Ipv4Addr {
        self.addr
    }

    pub fn start(self) -> Result<Server> {
        let server = self.spawn()?;
        server.wait_serving(Duration::from_secs(60))?;
        Ok(server)
    }

    pub fn spawn(self) -> Result<Server> {
        let mut server = self.prepare()?;
        server.launch()?;
        Ok(server)
    }

    /// The folder with zoo.cfg and myid, and no process yet.
    pub fn prepare(self) -> Result<Server> {
        let dir = tempfile::Builder::new().prefix("zk-").tempdir_in(&self.parent);
        let dir = dir.context("cannot create a temporary folder")?;
        fs::create_dir(dir.path().join("data"))?;
        if let Some(id) = self.myid {
            fs::write(dir.path().join("data/myid"), format!("{id}\n"))?;
        }
        let server = Server { builder: self, dir: Some(dir), child: None };
        server.write_cfg()?;
        Ok(server)
    }
}

/// A server process and its folder: `zoo.cfg`, `data/`, `server.log` (stdout and stderr, appended over restarts).
#[derive(Debug)]
pub struct Server {
    builder: Builder,
    dir: Option<TempDir>,
    child: Option<Child>,
}

impl Server {
    pub fn kind(&self) -> &Kind {
        &self.builder.kind
    }
    pub fn address(&self) -> Ipv4Addr {
        self.builder.addr
    }
    pub fn client_addr(&self) -> SocketAddr {
        SocketAddr::from((self.builder.addr, 2181))
    }
    pub fn dir(&self) -> &Path {
        self.dir.as_ref().map_or(Path::new(""), |d| d.path())
    }
    pub fn data_dir(&self) -> PathBuf {
        self.dir().join("data")
    }
    pub fn cfg_file(&self) -> PathBuf {
        self.dir().join("zoo.cfg")
    }
    pub fn log_file(&self) -> PathBuf {
        self.dir().join("server.log")
    }
    pub fn log(&self) -> String {
        fs::read(self.log_file()).map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default()
    }
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    pub fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|c| matches!(c.try_wait(), Ok(None)))
    }

    /// The answer to a four-letter word.
    pub fn four_letter(&self, word: &str) -> Result<String> {
        four_letter(self.client_addr(), word.as_bytes(), Duration::from_secs(5))
            .map(|b| String::from_utf8_lossy(&b).into_owned())
    }

    /// `Mode:` of srvr: standalone, leader, follower, observer, read-only; None while it does not serve.
    pub fn mode(&self) -> Option<String> {
        self.mode_within(Duration::from_secs(5))
    }

    pub fn mode_within(&self, patience: Duration) -> Option<String> {
        let text = four_letter(self.client_addr(), b"srvr", patience).ok()?;
        String::from_utf8_lossy(&text).lines().find_map(|l| l.strip_prefix("Mode: ")).map(str::to_string)
    }

    pub fn wait_serving(&self, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            if self.mode().is_some() {
                return Ok(());
            }
            if let Some(pid) = self.pid()
                && process_state(pid).is_none_or(|state| state == 'Z')
            {
                bail!("{:?} ended before it served; its log:\n{}", self.builder.kind, tail(&self.log(), 40));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!(
            "{:?} does not serve after {patience:?}; its log:\n{}",
            self.builder.kind,
            tail(&self.log(), 40)
        )
    }

    /// kill -9, and waits for the process to be gone.
    pub fn kill9(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::KILL)?;
        self.wait(Duration::from_secs(20))
    }

    /// SIGTERM, and waits.
    pub fn terminate(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.wait(Duration::from_secs(20))
    }

    /// Returns when every thread stands still: one that runs on for a moment could still read what comes next.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)?;
        let tasks = format!("/proc/{}/task", self.pid().context("the server was not started")?);
        let deadline = Instant::now() + Duration::from_secs(10);
        while !all_stopped(&tasks)? {
            if Instant::now() > deadline {
                bail!("the server does not stop on SIGSTOP");
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// Waits for the process to end by itself.
    pub fn wait(&mut self, patience: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + patience;
        let child = self.child.as_mut().ok_or_else(|| anyhow!("the server was not started"))?;
        loop {
            if let Some(status) = child.try_wait()? {
                self.child = None;
                return Ok(status);
            }
            if Instant::now() >= deadline {
                bail!("process {} still runs after {patience:?}", child.id());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Starts the process again on the same folders and address; `wait_serving` is the caller's.
    pub fn restart(&mut self) -> Result<()> {
        if self.is_running() {
            self.kill9()?;
        }
        self.launch()
    }

    /// As `restart`, as another kind of server: how a data folder changes hands.
    pub fn restart_as(&mut self, kind: Kind) -> Result<()> {
        if self.is_running() {
            self.kill9()?;
        }
        self.builder.kind = kind;
        self.launch()
    }

    /// Changes zoo.cfg, the flags or the kind; the next start of the process sees it.
    pub fn reshape(&mut self, change: impl FnOnce(Builder) -> Builder) -> Result<()> {
        self.builder = change(self.builder.clone());
        self.write_cfg()
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let child = self.child.as_ref().ok_or_else(|| anyhow!("the server was not started"))?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or_else(|| anyhow!("bad pid"))?;
        kill_process(pid, signal).with_context(|| format!("cannot send {signal:?} to {}", child.id()))
    }

    fn write_cfg(&self) -> Result<()> {
        let b = &self.builder;
        let mut cfg = format!("dataDir={}\ntickTime=2000\n", self.data_dir().display());
        if b.default_client_lines {
            cfg += &format!("clientPort=2181\nclientPortAddress={}\n", b.addr);
        }
        cfg += "admin.enableServer=false\n4lw.commands.whitelist=*\nmaxClientCnxns=0\n";
        for line in &b.lines {
            cfg += line;
            cfg.push('\n');
        }
        fs::write(self.cfg_file(), cfg).context("cannot write zoo.cfg")?;
        let hosts: String = b.hosts.iter().map(|(name, addr)| format!("{addr} {name}\n")).collect();
        fs::write(self.hosts_file(), format!("127.0.0.1 localhost\n{hosts}")).context("cannot write hosts")
    }

    fn hosts_file(&self) -> PathBuf {
        self.dir().join("hosts")
    }

    /// Starts the process, which must not be running.
    pub fn launch(&mut self) -> Result<()> {
        let b = &self.builder;
        let mut command = match &b.kind {
            Kind::Java(version) => {
                let home = JavaHome::find(version).map_err(|e| anyhow!(e))?;
                let mut c = Command::new("java");
                if !b.hosts.is_empty() {
                    c.arg(format!("-Djdk.net.hosts.file={}", self.hosts_file().display()));
                }
                c.arg(format!("-Xmx{}m", b.heap_mb));
                c.args((!b.plain_jvm).then_some("-XX:+UseSerialGC")).args(&b.flags);
                c.arg("-cp").arg(home.classpath()).arg("org.apache.zookeeper.server.quorum.QuorumPeerMain");
                c
            }
            Kind::Ferrokeeper => {
                let mut c = match b.hosts.is_empty() {
                    true => Command::new(ferrokeeper_bin()?),
                    false => with_hosts(&self.hosts_file(), &ferrokeeper_bin()?)?,
                };
                c.arg("server").args(b.flags.iter().filter(|f| f.starts_with("-D")));
                c
            }
        };
        let log = File::options().create(true).append(true).open(self.log_file())?;
        command.arg(self.cfg_file()).current_dir(self.dir()).stdin(Stdio::null());
        command.stdout(log.try_clone()?).stderr(log);
        command.envs(b.env.iter().map(|(k, v)| (k.as_str(), v.as_str())));
        let child = command.spawn().with_context(|| format!("cannot start {:?}", command.get_program()))?;
        self.child = Some(child);
        Ok(())
    }
}

/// `program` with a file of its own in the place of /etc/hosts: in a mount namespace, and without being root in a user
/// namespace around it. The process keeps its pid.
fn with_hosts(hosts: &Path, program: &Path) -> Result<Command> {
    let namespaces = namespaces().ok_or_else(|| anyhow!(NO_NAMESPACES))?;
    let mut c = Command::new("unshare");
    c.arg(namespaces)
        .args(["sh", "-c", "mount --bind \"$0\" /etc/hosts && exec \"$@\""])
        .arg(hosts)
        .arg(program);
    Ok(c)
}

/// The flags of unshare that work here; None where names cannot be given a meaning for one process.
pub fn namespaces() -> Option<&'static str> {
    static FOUND: OnceLock<Option<&'static str>> = OnceLock::new();
    *FOUND.get_or_init(|| {
        let works = |flags: &&str| {
            let mut c = Command::new("unshare");
            c.args([flags, "sh", "-c", "mount --bind /etc/hosts /etc/hosts"]).stdin(Stdio::null());
            c.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
        };
        ["-m", "-rm"].into_iter().find(works)
    })
}

pub const NO_NAMESPACES: &str = "needs unshare and mount namespaces, for a hosts file per server";

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = self.child.as_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let keep = std::thread::panicking() || std::env::var_os("FERROKEEPER_KEEP").is_some();
        if let Some(dir) = self.dir.take()
            && keep
        {
            eprintln!(
                "{:?} {}: folder kept in {}",
                self.builder.kind,
                self.builder.addr,
                dir.keep().display()
            );
        }
    }
}

/// A 127.x.y.z of 127.20.0.0–127.250.255.255 where nobody listens on 2181, different for every call in every process.
pub fn loopback_address() -> Ipv4Addr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    const HOSTS: u32 = 254;
    const SPACE: u32 = 231 * 256 * HOSTS;
    loop {
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let slot = std::process::id().wrapping_mul(97).wrapping_add(n) % SPACE;
        let [_, _, hi, lo] = (slot / HOSTS).to_be_bytes();
        // slot / 254 < 231 * 256, so `hi` is below 231.
        let addr = Ipv4Addr::new(127, 20 + hi, lo, 1 + (slot % HOSTS) as u8);
        if TcpListener::bind((addr, 2181)).is_ok() {
            return addr;
        }
    }
}

/// Sends `word` (a four-letter word, stmk with its argument) and returns everything until the server closes.
pub fn four_letter(addr: SocketAddr, word: &[u8], patience: Duration) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&addr, patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.write_all(word)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

/// The binary under test: `FERROKEEPER_BIN`, else the one beside the test executable, built once if missing or stale.
pub fn ferrokeeper_bin() -> Result<PathBuf> {
    static FOUND: OnceLock<std::result::Result<PathBuf, String>> = OnceLock::new();
    FOUND.get_or_init(|| find_or_build().map_err(|e| format!("{e:#}"))).clone().map_err(|e| anyhow!(e))
}

fn find_or_build() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("FERROKEEPER_BIN") {
        return Ok(PathBuf::from(path));
    }
    let exe = std::env::current_exe()?;
    let mut profile = exe.parent().ok_or_else(|| anyhow!("the test executable has no folder"))?;
    if profile.ends_with("deps") || profile.ends_with("examples") {
        profile = profile.parent().unwrap_or(profile);
    }
    let bin = profile.join("ferrokeeper");
    let _lock = lock_file(&target_dir().join("ferrokeeper-build.lock")).map_err(|e| anyhow!(e))?;
    if is_fresh(&bin) {
        return Ok(bin);
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "-p", "ferrokeeper", "--bin", "ferrokeeper"]);
    if profile.ends_with("release") {
        command.arg("--release");
    }
    command.arg("--target-dir").arg(target_dir()).current_dir(workspace_dir());
    let status = command.status().context("cannot run cargo")?;
    if !status.success() || !bin.exists() {
        bail!("cargo build of {} ended with {status}", bin.display());
    }
    Ok(bin)
}

/// Not older than any file it is built from.
fn is_fresh(bin: &Path) -> bool {
    let Ok(built) = fs::metadata(bin).and_then(|m| m.modified()) else { return false };
    let root = workspace_dir();
    newest(&root.join("src")).is_none_or(|t| t <= built)
        && newest(&root.join("Cargo.toml")).is_none_or(|t| t <= built)
}

fn newest(path: &Path) -> Option<SystemTime> {
    let meta = fs::metadata(path).ok()?;
    if !meta.is_dir() {
        return meta.modified().ok();
    }
    fs::read_dir(path).ok()?.flatten().filter_map(|entry| newest(&entry.path())).max()
}

/// The state letter of /proc/PID/stat; None when the process is gone.
fn process_state(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.trim_start().chars().next()
}

pub fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
/// Whether every thread is in state T, the letter behind the name in parentheses.
fn all_stopped(tasks: &str) -> Result<bool> {
    for task in fs::read_dir(tasks)? {
        let stat = fs::read_to_string(task?.path().join("stat")).unwrap_or_default();
        if stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['T', 't'])) {
            return Ok(false);
        }
    }
    Ok(true)
}
