//! The time from kill -9 of the leader to the next write that is acknowledged.
//!
//! 1. It is not a client library's back-off that is measured: each survivor has a prober that knocks again as soon as it has
//!    been turned away, and the first write acknowledged to any of them stops the clock.
//! 2. Only writes sent after the kill count, on sessions opened after it: one that was on its way is no sign of life.
//! 3. The load goes on over all servers meanwhile; what it loses it sends again elsewhere, as clients do.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};

use crate::bench::cluster::Cluster;
use crate::bench::subject::{Knocks, ask};
use crate::wire::{Conn, ConnectReply, ConnectRequest, Enc, Incoming, Reply, frame, op, request};

#[derive(Clone, Copy, Debug)]
pub struct Failover {
    /// Until the next acknowledged write.
    pub took: Duration,
    /// Whether the ensemble took the killed server back: Java 3.5.7 on a busy machine has been seen not to within two minutes.
    pub rejoined: bool,
}

/// Kills the leader; the time until a survivor acknowledges a write to `path`. The killed server is started again, and all
/// serve when this returns.
pub fn kill_leader(cluster: &mut Cluster, path: &str, value: &[u8]) -> Result<Failover> {
    let leader = cluster.leader()?;
    let dead = cluster.subject(leader)?.client_addr();
    let survivors: Vec<SocketAddr> = cluster.addrs().into_iter().filter(|a| *a != dead).collect();
    let write = Enc::new().string(path).buffer(Some(value)).int(-1).bytes();
    let over = AtomicBool::new(false);
    let killed = Instant::now();
    let took = std::thread::scope(|scope| {
        cluster.begin_to_kill(leader)?;
        let probers: Vec<_> =
            survivors.iter().map(|a| scope.spawn(|| probe(*a, &write, killed, &over))).collect();
        let answers: Vec<_> = probers.into_iter().map(|p| p.join()).collect();
        cluster.kill(leader)?;
        let mut took = Vec::new();
        for answer in answers {
            took.extend(answer.map_err(|_| anyhow!("a prober panicked"))??);
        }
        took.into_iter()
            .min()
            .ok_or_else(|| anyhow!("no write was acknowledged within {PATIENCE:?} of the kill"))
    })?;
    let rejoined = match cluster.restart(leader, None).and_then(|_| cluster.wait_serving()) {
        Ok(()) => true,
        Err(e) => {
            eprintln!("bench: server {} does not come back, all three are started again: {e:#}", leader + 1);
            cluster.restart_all()?;
            false
        }
    };
    Ok(Failover { took, rejoined })
}

/// None: another prober was first, or nobody answered in time.
fn probe(addr: SocketAddr, write: &[u8], killed: Instant, over: &AtomicBool) -> Result<Option<Duration>> {
    let mut knocks = Knocks::default();
    while killed.elapsed() < PATIENCE && !over.load(Relaxed) {
        let Some(mut conn) = knocks.first_session(addr) else {
            std::thread::sleep(POLL);
            continue;
        };
        // An error is a server that has lost its leader since.
        if ask(&mut conn, 1, op::SET_DATA, write).is_ok() {
            let took = killed.elapsed();
            over.store(true, Relaxed);
            let _ = ask(&mut conn, 2, op::CLOSE_SESSION, &[]);
            return Ok(Some(took));
        }
    }
    Ok(None)
}

/// Writes on all servers, from sessions that go elsewhere when they lose theirs.
#[derive(Debug)]
pub struct Load {
    over: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    pub fn start(addrs: &[SocketAddr], path: &str, value: &[u8]) -> Load {
        let (over, acknowledged) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let body = Enc::new().string(path).buffer(Some(value)).int(-1).bytes();
        let threads = (0..SESSIONS_EACH * addrs.len())
            .map(|n| {
                let writer = Writer {
                    addrs: addrs.to_vec(),
                    write: body.clone(),
                    over: over.clone(),
                    acknowledged: acknowledged.clone(),
                };
                std::thread::spawn(move || writer.run(n))
            })
            .collect();
        Load { over, acknowledged, threads }
    }

    /// Waits until this many more writes have been acknowledged: the load is on.
    pub fn wait_for(&self, more: u64) -> Result<()> {
        let (start, until) = (Instant::now(), self.acknowledged.load(Relaxed) + more);
        while self.acknowledged.load(Relaxed) < until {
            if start.elapsed() > PATIENCE {
                bail!("the load does not get on");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    pub fn stop(self) -> Result<()> {
        self.over.store(true, Relaxed);
        self.threads.into_iter().try_for_each(|t| t.join().map_err(|_| anyhow!("a writer panicked")))
    }
}

struct Writer {
    addrs: Vec<SocketAddr>,
    write: Vec<u8>,
    over: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
}

impl Writer {
    fn run(self, first: usize) {
        for addr in self.addrs.iter().cycle().skip(first % self.addrs.len()) {
            if self.over.load(Relaxed) {
                return;
            }
            // However it ends: on to the next.
            let _ = self.session(*addr);
            std::thread::sleep(PAUSE);
        }
    }

    fn session(&self, addr: SocketAddr) -> Result<()> {
        let mut conn = Conn::open(addr)?;
        conn.send_frame(&ConnectRequest::new(SESSION_TIMEOUT_MS).encode())?;
        match conn.read_frame(Duration::from_secs(1))? {
            Incoming::Frame(frame) if ConnectReply::decode(&frame)?.session != 0 => {}
            other => bail!("no session but {other:?}"),
        }
        let mut xid = 0;
        while !self.over.load(Relaxed) {
            let mut batch = Vec::new();
            for _ in 0..AT_ONCE {
                xid += 1;
                batch.extend(frame(&request(xid, op::SET_DATA, &self.write)));
            }
            conn.send_raw(&batch)?;
            for _ in 0..AT_ONCE {
                match conn.read_frame(PATIENCE)? {
                    Incoming::Frame(frame) if Reply::decode(&frame)?.err == 0 => {}
                    other => bail!("no acknowledgement but {other:?}"),
                }
                self.acknowledged.fetch_add(1, Relaxed);
            }
        }
        ask(&mut conn, xid + 1, op::CLOSE_SESSION, &[])
    }
}

const SESSIONS_EACH: usize = 4;
const AT_ONCE: usize = 16;
const SESSION_TIMEOUT_MS: i32 = 10_000;
const PATIENCE: Duration = Duration::from_secs(60);
/// Before a writer that has lost its session tries the next server.
const PAUSE: Duration = Duration::from_millis(20);
const POLL: Duration = Duration::from_micros(300);
