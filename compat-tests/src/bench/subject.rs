//! A server under measure. Not the harness's `process::Server`: here the JVM has the options of Java's own scripts and no
//! more, the data folder outlives the process, the clock starts with the process, and cfg lines change between two starts.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use crate::bench::procfs::{self, Memory};
use crate::java::{JavaHome, target_dir};
use crate::process::{Kind, ferrokeeper_bin, four_letter, loopback_address, tail};
use crate::wire::{Client, Conn, ConnectReply, ConnectRequest, Enc, Incoming, Reply, op};

#[derive(Clone, Debug)]
pub struct Plan {
    pub kind: Kind,
    /// Holds zoo.cfg, server.log and data/; created if missing, kept.
    pub folder: PathBuf,
    pub snap_count: Option<u64>,
    pub java_heap_mb: u32,
    /// None: it is alone, at an address of its own at every start.
    pub member: Option<Member>,
}

/// A place in an ensemble.
#[derive(Clone, Debug)]
pub struct Member {
    pub id: u64,
    /// Of servers 1, 2, ….
    pub addrs: Vec<Ipv4Addr>,
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
        let addr = self.place()?;
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

    /// The address, and the file that tells a member who it is.
    fn place(&self) -> Result<Ipv4Addr> {
        let Some(member) = &self.member else { return Ok(loopback_address()) };
        fs::write(self.data_dir().join("myid"), format!("{}\n", member.id))?;
        let own = member.addrs.get(member.id as usize - 1);
        own.copied().ok_or_else(|| anyhow!("server {} has no address", member.id))
    }

    fn cfg(&self, addr: Ipv4Addr) -> String {
        let mut cfg =
            format!("dataDir={}\nclientPort=2181\nclientPortAddress={addr}\n", self.data_dir().display());
        cfg += "tickTime=2000\nmaxClientCnxns=0\n4lw.commands.whitelist=*\nadmin.enableServer=false\n";
        // An unknown key becomes zookeeper.KEY, which is where Java looks for it (B§7.1).
        if let Some(n) = self.snap_count {
            cfg += &format!("snapCount={n}\n");
        }
        if let Some(member) = &self.member {
            // As in conf/zoo_sample.cfg.
            cfg += "initLimit=10\nsyncLimit=5\n";
            for (id, addr) in (1..).zip(&member.addrs) {
                cfg += &format!("server.{id}={addr}:2888:3888\n");
            }
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
        self.poll("`imok`", |addr| is_ok(addr).ok().filter(|&ok| ok).map(drop))?;
        Ok(self.began.elapsed())
    }

    /// Since the start of the process until a session was given and, where a path is named, a read of it answered.
    pub fn wait_session(&mut self, path: Option<&str>) -> Result<Duration> {
        let mut knocks = Knocks::default();
        let mut conn = self.poll("session", |addr| knocks.first_session(addr))?;
        if let Some(path) = path {
            ask(&mut conn, 1, op::GET_DATA, &Enc::new().string(path).bool(false).bytes())?;
        }
        let took = self.began.elapsed();
        ask(&mut conn, 2, op::CLOSE_SESSION, &[])?;
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

    /// `Mode:` of `srvr`; None while it has none.
    pub fn mode(&self) -> Option<String> {
        let text = four_letter(self.client_addr(), b"srvr", Duration::from_millis(500)).ok()?;
        let text = String::from_utf8_lossy(&text).into_owned();
        text.lines().find_map(|l| l.strip_prefix("Mode: ")).map(str::to_string)
    }

    /// What it calls itself in `srvr`; Ferrokeeper says there what it is compatible with, so its own version comes first.
    pub fn version(&self) -> Result<String> {
        let text = four_letter(self.client_addr(), b"srvr", Duration::from_secs(5))?;
        let text = String::from_utf8_lossy(&text).into_owned();
        let version = text.lines().find_map(|l| l.strip_prefix("Zookeeper version: ")).unwrap_or("unknown");
        if self.plan.kind != Kind::Ferrokeeper {
            return Ok(version.to_string());
        }
        let own = Command::new(ferrokeeper_bin()?).arg("--version").stdin(Stdio::null()).output()?;
        Ok(format!("{} ({version})", String::from_utf8_lossy(&own.stdout).trim()))
    }

    pub fn log_tail(&self) -> String {
        let bytes = fs::read(self.plan.log_file()).unwrap_or_default();
        tail(&String::from_utf8_lossy(&bytes), 30)
    }

    /// kill -9: what is acknowledged is on disk.
    pub fn stop(mut self) -> Result<()> {
        self.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// kill -9 that does not wait for the process to be gone.
    pub fn kill(&mut self) -> Result<()> {
        Ok(self.child.kill()?)
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Does not wait for the close: Java 3.5.7 may forget it when it is asked while it starts (its log has the
/// NullPointerException of ZooKeeperServer.removeCnxn).
fn is_ok(addr: SocketAddr) -> Result<bool> {
    let mut stream = TcpStream::connect(addr)?;
    stream.set_read_timeout(Some(Duration::from_millis(500)))?;
    stream.write_all(b"ruok")?;
    let mut answer = [0; 4];
    stream.read_exact(&mut answer)?;
    Ok(answer == *b"imok")
}

/// Attempts at a session. Several may wait at once: Java 3.5.7 can leave a connection that comes while it starts without
/// any answer, and what a client lucky enough to come a moment later sees is what shall be measured.
#[derive(Debug, Default)]
pub struct Knocks {
    waiting: Vec<Conn>,
    last: Option<Instant>,
}

impl Knocks {
    /// A connection whose session is open, if one of the attempts has come so far.
    pub fn first_session(&mut self, addr: SocketAddr) -> Option<Conn> {
        if self.last.is_none_or(|last| last.elapsed() > AGAIN)
            && let Some(conn) = knock(addr)
        {
            self.last = Some(Instant::now());
            self.waiting.push(conn);
        }
        for n in (0..self.waiting.len()).rev() {
            match self.waiting[n].read_frame(Duration::from_millis(1)) {
                Ok(Incoming::TimedOut) => {}
                Ok(Incoming::Frame(frame)) if ConnectReply::decode(&frame).is_ok_and(|r| r.session != 0) => {
                    return Some(self.waiting.swap_remove(n));
                }
                // A closed connection is a server that has not come so far.
                _ => drop(self.waiting.swap_remove(n)),
            }
        }
        if self.waiting.len() > 5 {
            self.waiting.remove(0);
        }
        if self.waiting.is_empty() {
            self.last = None;
        }
        None
    }
}

fn knock(addr: SocketAddr) -> Option<Conn> {
    let mut conn = Conn::open(addr).ok()?;
    conn.send_frame(&ConnectRequest::new(SESSION_TIMEOUT_MS).encode()).ok()?;
    Some(conn)
}

pub fn ask(conn: &mut Conn, xid: i32, op: i32, body: &[u8]) -> Result<()> {
    conn.send_request(xid, op, body)?;
    match conn.read_frame(PATIENCE)? {
        Incoming::Frame(frame) => match Reply::decode(&frame)? {
            Reply { err: 0, .. } => Ok(()),
            Reply { err, .. } => bail!("the first request (op {op}) was answered with error {err}"),
        },
        other => bail!("the first request (op {op}) was answered with {other:?}"),
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
const AGAIN: Duration = Duration::from_millis(25);
/// Between two attempts while a server starts: tight against 100 ms, and no load for a core.
const POLL: Duration = Duration::from_micros(300);
