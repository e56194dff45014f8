//! The load: one thread, one epoll, sessions with a fixed number of requests in flight.
//!
//! 1. A session's replies come in the order of its requests: the xid, err and length of each are checked, and anything else
//!    than what was expected ends the run.
//! 2. All replies that one read brought are answered with new requests in one write, as a client with a queue does.
//! 3. With a pace, a request that was due while its session was still waiting counts from when it was due, not from when it
//!    could be sent: a server that stalls does not get fewer samples for it.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use hdrhistogram::Histogram;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;

use crate::bench::procfs::CpuMark;
use crate::bench::requests::{REPLY_HEADER, Source};
use crate::bench::stats::histogram;
use crate::wire::{Conn, ConnectRequest, frame, op, request};

#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub in_flight: usize,
    /// Requests per second over all sessions; None is as fast as the replies come.
    pub pace: Option<f64>,
    pub stop: Stop,
}

#[derive(Clone, Copy, Debug)]
pub enum Stop {
    /// Warm up, then count for a window, without a pause between them.
    Window { warm_up: Duration, window: Duration },
    /// Until the source has nothing left; everything counts.
    Exhausted,
}

/// What was counted.
#[derive(Clone, Debug)]
pub struct Tally {
    pub ops: u64,
    pub seconds: f64,
    pub latency: Histogram<u64>,
    /// Of all servers together.
    pub server_cpu: f64,
    /// Of the thread that makes the load.
    pub generator_cpu: f64,
    /// CPU seconds of everything else on the machine.
    pub foreign_cpu: f64,
}

#[derive(Debug)]
pub struct Generator {
    lanes: Vec<Lane>,
    epoll: OwnedFd,
    servers: Vec<u32>,
}

impl Generator {
    /// Opens the sessions, on each address in turn. `servers` are the processes whose CPU time the tally shall hold.
    pub fn connect(addrs: &[SocketAddr], sessions: usize, servers: &[u32]) -> Result<Generator> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut lanes = Vec::with_capacity(sessions);
        for (n, addr) in addrs.iter().cycle().take(sessions).enumerate() {
            let lane = Lane::open(*addr, n)?;
            epoll::add(&epoll, &lane.stream, epoll::EventData::new_u64(n as u64), epoll::EventFlags::IN)?;
            lanes.push(lane);
        }
        Ok(Generator { lanes, epoll, servers: servers.to_vec() })
    }

    pub fn run<S: Source>(&mut self, source: &mut S, shape: Shape) -> Result<Tally> {
        let mut run = Run::new(shape, self.lanes.len(), self.servers.clone())?;
        let mut events = Vec::with_capacity(self.lanes.len());
        self.start(&mut run, source)?;
        while !self.is_over(&mut run)? {
            self.wait(&mut events, &run)?;
            for event in events.drain(..) {
                let lane =
                    self.lanes.get_mut(event.data.u64() as usize).ok_or_else(|| anyhow!("no such lane"))?;
                lane.receive(&mut run)?;
                lane.send(&mut run, source)?;
            }
            if run.shape.pace.is_some() || self.lanes.iter().any(Lane::has_unsent) {
                self.lanes.iter_mut().try_for_each(|lane| lane.send(&mut run, source))?;
            }
        }
        run.tally()
    }

    /// Ends the sessions, so that they do not expire in somebody's window.
    pub fn close(mut self) -> Result<()> {
        for lane in &mut self.lanes {
            lane.stream.set_nonblocking(false)?;
            lane.stream.set_read_timeout(Some(PATIENCE))?;
            lane.stream.write_all(&frame(&request(lane.next_xid, op::CLOSE_SESSION, &[])))?;
        }
        for lane in &mut self.lanes {
            let mut reply = [0; 4 + REPLY_HEADER];
            lane.stream.read_exact(&mut reply).context("no reply to closeSession")?;
        }
        Ok(())
    }

    fn start<S: Source>(&mut self, run: &mut Run, source: &mut S) -> Result<()> {
        for (n, lane) in self.lanes.iter_mut().enumerate() {
            // Paced sessions do not all fire at once.
            lane.due = run.began + run.interval.mul_f64(n as f64 / run.sessions as f64);
            lane.last_reply = run.began;
            lane.send(run, source)?;
        }
        Ok(())
    }

    fn is_over(&self, run: &mut Run) -> Result<bool> {
        let now = Instant::now();
        run.advance(now)?;
        let quiet = self.lanes.iter().all(|l| l.pending.is_empty());
        if run.exhausted && quiet {
            run.end(now)?;
        }
        if let Some(stuck) =
            self.lanes.iter().find(|l| !l.pending.is_empty() && now - l.last_reply > PATIENCE)
        {
            bail!("session {} has had no reply for {PATIENCE:?}", stuck.number);
        }
        Ok(run.ended.is_some() && quiet)
    }

    fn wait(&self, events: &mut Vec<epoll::Event>, run: &Run) -> Result<()> {
        let now = Instant::now();
        let patience = if self.lanes.iter().any(Lane::has_unsent) {
            Duration::from_millis(1)
        } else if run.shape.pace.is_some() && run.ended.is_none() {
            self.lanes.iter().map(|l| l.due.saturating_duration_since(now)).min().unwrap_or_default()
        } else {
            Duration::from_millis(20)
        };
        // A session that is due but full has to wait for its reply: no busy loop.
        let patience = patience.clamp(Duration::from_millis(1), Duration::from_millis(20));
        let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(patience.subsec_nanos()) };
        match epoll::wait(&self.epoll, spare_capacity(events), Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(e) => Err(e).context("epoll_wait"),
        }
    }
}

/// The state of one run over all sessions.
struct Run {
    shape: Shape,
    sessions: usize,
    /// Between two requests of one session, with a pace.
    interval: Duration,
    servers: Vec<u32>,
    began: Instant,
    counting: Option<(Instant, CpuMark)>,
    ended: Option<(Instant, CpuMark)>,
    exhausted: bool,
    ops: u64,
    latency: Histogram<u64>,
}

impl Run {
    fn new(shape: Shape, sessions: usize, servers: Vec<u32>) -> Result<Run> {
        let interval = shape
            .pace
            .map_or(Duration::ZERO, |per_second| Duration::from_secs_f64(sessions as f64 / per_second));
        let mut run = Run {
            shape,
            sessions,
            interval,
            servers,
            began: Instant::now(),
            counting: None,
            ended: None,
            exhausted: false,
            ops: 0,
            latency: histogram(),
        };
        run.advance(run.began)?;
        Ok(run)
    }

    fn advance(&mut self, now: Instant) -> Result<()> {
        let (from, until) = match self.shape.stop {
            Stop::Window { warm_up, window } => (warm_up, Some(warm_up + window)),
            Stop::Exhausted => (Duration::ZERO, None),
        };
        if self.counting.is_none() && now >= self.began + from {
            self.counting = Some((Instant::now(), CpuMark::now(&self.servers)?));
        }
        if until.is_some_and(|until| now >= self.began + until) {
            self.end(now)?;
        }
        Ok(())
    }

    fn end(&mut self, now: Instant) -> Result<()> {
        if self.ended.is_none() {
            self.ended = Some((now, CpuMark::now(&self.servers)?));
        }
        Ok(())
    }

    fn counts(&self) -> bool {
        self.counting.is_some() && self.ended.is_none()
    }

    fn count(&mut self, from: Instant, now: Instant) {
        if self.counts() {
            self.ops += 1;
            let micros = (now - from).as_micros();
            self.latency.saturating_record(u64::try_from(micros).unwrap_or(u64::MAX));
        }
    }

    fn tally(self) -> Result<Tally> {
        let ((from, cpu_from), (until, cpu_until)) =
            self.counting.zip(self.ended).ok_or_else(|| anyhow!("the run ended before it counted"))?;
        let cpu = cpu_until.since(&cpu_from);
        if self.ops == 0 {
            bail!("not one reply in the window");
        }
        Ok(Tally {
            ops: self.ops,
            seconds: (until - from).as_secs_f64(),
            latency: self.latency,
            server_cpu: cpu.server,
            generator_cpu: cpu.thread,
            foreign_cpu: (cpu.machine - cpu.server - cpu.own).max(0.0),
        })
    }
}

/// One session.
#[derive(Debug)]
struct Lane {
    number: usize,
    stream: TcpStream,
    next_xid: i32,
    pending: VecDeque<Pending>,
    due: Instant,
    last_reply: Instant,
    outbox: Vec<u8>,
    sent: usize,
    inbox: Vec<u8>,
    filled: usize,
}

#[derive(Clone, Copy, Debug)]
struct Pending {
    xid: i32,
    reply_len: usize,
    from: Instant,
}

impl Lane {
    fn open(addr: SocketAddr, number: usize) -> Result<Lane> {
        let mut conn = Conn::open(addr)?;
        let reply = conn.handshake(&ConnectRequest::new(SESSION_TIMEOUT_MS))?;
        if reply.is_none_or(|r| r.session == 0) {
            bail!("{addr} refused session {number}");
        }
        let stream = conn.stream().try_clone()?;
        stream.set_nonblocking(true)?;
        let now = Instant::now();
        Ok(Lane {
            number,
            stream,
            next_xid: 1,
            pending: VecDeque::new(),
            due: now,
            last_reply: now,
            outbox: Vec::new(),
            sent: 0,
            inbox: vec![0; 64 * 1024],
            filled: 0,
        })
    }

    fn has_unsent(&self) -> bool {
        self.sent < self.outbox.len()
    }

    /// Puts in flight what may be, and writes it.
    fn send<S: Source>(&mut self, run: &mut Run, source: &mut S) -> Result<()> {
        let now = Instant::now();
        while run.ended.is_none() && !run.exhausted && self.pending.len() < run.shape.in_flight {
            if run.shape.pace.is_some() && self.due > now {
                break;
            }
            let Some(reply_len) = source.push(self.next_xid, &mut self.outbox) else {
                run.exhausted = true;
                break;
            };
            if self.pending.is_empty() {
                self.last_reply = now;
            }
            let from = if run.shape.pace.is_some() { self.pace(run.interval, now) } else { now };
            self.pending.push_back(Pending { xid: self.next_xid, reply_len, from });
            self.next_xid = self.next_xid.checked_add(1).ok_or_else(|| anyhow!("out of xids"))?;
        }
        self.flush()
    }

    /// From when the request counts, see the head of this file; being late by our own timer is not the server's fault.
    fn pace(&mut self, interval: Duration, now: Instant) -> Instant {
        let due = self.due;
        self.due += interval;
        if self.last_reply > due { due } else { now }
    }

    fn flush(&mut self) -> Result<()> {
        while self.has_unsent() {
            match self.stream.write(&self.outbox[self.sent..]) {
                Ok(n) => self.sent += n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e).with_context(|| format!("session {}: cannot send", self.number)),
            }
        }
        self.outbox.clear();
        self.sent = 0;
        Ok(())
    }

    /// One read, then every whole reply in the inbox.
    fn receive(&mut self, run: &mut Run) -> Result<()> {
        match self.stream.read(&mut self.inbox[self.filled..]) {
            Ok(0) => {
                bail!("session {}: the server closed with {} in flight", self.number, self.pending.len())
            }
            Ok(n) => self.filled += n,
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return Ok(()),
            Err(e) => return Err(e).with_context(|| format!("session {}: cannot read", self.number)),
        }
        let now = Instant::now();
        let mut at = 0;
        while let Some(used) = self.reply(at, run, now)? {
            at += used;
            self.last_reply = now;
        }
        self.inbox.copy_within(at..self.filled, 0);
        self.filled -= at;
        Ok(())
    }

    /// The reply that begins at `at`: how many bytes it took; None while it is not all there.
    fn reply(&mut self, at: usize, run: &mut Run, now: Instant) -> Result<Option<usize>> {
        let have = &self.inbox[at..self.filled];
        let Some(head) = have.first_chunk::<{ 4 + REPLY_HEADER }>() else { return Ok(None) };
        let int = |at: usize| i32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let (length, xid, err) = (int(0), int(4), int(16));
        let wanted =
            *self.pending.front().ok_or_else(|| anyhow!("session {}: a reply to nothing", self.number))?;
        if (xid, err) != (wanted.xid, 0) || usize::try_from(length).ok() != Some(wanted.reply_len) {
            bail!(
                "session {}: expected xid {} err 0 and {} bytes, got xid {xid} err {err} and {length} bytes",
                self.number,
                wanted.xid,
                wanted.reply_len
            );
        }
        if have.len() < 4 + wanted.reply_len {
            return Ok(None);
        }
        self.pending.pop_front();
        run.count(wanted.from, now);
        Ok(Some(4 + wanted.reply_len))
    }
}

/// Longer than any measure leaves a session idle.
const SESSION_TIMEOUT_MS: i32 = 40_000;
/// For one reply: a Java server that takes a snapshot under a full heap has been seen to pause for seconds.
const PATIENCE: Duration = Duration::from_secs(60);
