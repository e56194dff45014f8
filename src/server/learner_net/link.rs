//! One connection: its outbox, and the task that reads and writes it.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::{Buf, BytesMut};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{Notify, mpsc},
    time::Instant,
};

use super::{Net, stream::Chunk};
use crate::{
    ids::{LinkId, Zxid},
    proto::quorum::{PacketType, QuorumPacket},
    replica::Input,
    server::restore::Restore,
    storage::{SnapshotSink, snapshot::SnapshotDecoder},
    zab,
};

pub(super) struct Link {
    pub(super) name: LinkId,
    /// How logs call the other side.
    pub(super) peer: String,
    outbox: Mutex<Outbox>,
    filled: Notify,
    ended: Notify,
}

#[derive(Default)]
struct Outbox {
    segments: VecDeque<Segment>,
    /// In the segments and in the task's hands, streams apart.
    unsent: usize,
    /// Whether there is anything that the task has not been woken for.
    touched: bool,
    /// An empty buffer for the next segment.
    spare: BytesMut,
    end: Option<End>,
}

enum Segment {
    Bytes(BytesMut),
    Stream(mpsc::Receiver<Chunk>),
}

/// Why a link ends.
#[derive(Clone, Debug)]
pub(super) enum End {
    /// The core wants it so; it is not told.
    Closed,
    Failed(String),
}

impl Link {
    pub(super) fn new(name: LinkId, peer: String) -> Link {
        Link { name, peer, outbox: Mutex::default(), filled: Notify::new(), ended: Notify::new() }
    }

    /// Whether the task must be woken for it.
    pub(super) fn push(&self, packet: &QuorumPacket) -> bool {
        let mut outbox = self.outbox.lock();
        if outbox.end.is_some() {
            return false;
        }
        if !matches!(outbox.segments.back(), Some(Segment::Bytes(_))) {
            let spare = std::mem::take(&mut outbox.spare);
            outbox.segments.push_back(Segment::Bytes(spare));
        }
        let mut added = 0;
        if let Some(Segment::Bytes(buf)) = outbox.segments.back_mut() {
            let before = buf.len();
            packet.encode(buf);
            added = buf.len() - before;
        }
        outbox.unsent += added;
        if outbox.unsent > UNSENT_LIMIT {
            let why = format!("it has not taken {} bytes that were sent to it", outbox.unsent);
            outbox.end = Some(End::Failed(why));
            outbox.segments.clear();
            self.ended.notify_one();
        }
        !std::mem::replace(&mut outbox.touched, true)
    }

    pub(super) fn push_stream(&self, chunks: mpsc::Receiver<Chunk>) -> bool {
        let mut outbox = self.outbox.lock();
        if outbox.end.is_some() {
            return false;
        }
        outbox.segments.push_back(Segment::Stream(chunks));
        !std::mem::replace(&mut outbox.touched, true)
    }

    pub(super) fn wake(&self) {
        self.filled.notify_one();
    }

    pub(super) fn close(&self) {
        let mut outbox = self.outbox.lock();
        outbox.end = Some(End::Closed);
        outbox.segments.clear();
        self.ended.notify_one();
    }

    /// Ends when somebody has closed the link.
    pub(super) async fn ended(&self) -> End {
        loop {
            if let Some(end) = self.outbox.lock().end.clone() {
                return end;
            }
            self.ended.notified().await;
        }
    }

    fn next(&self) -> Option<Segment> {
        let mut outbox = self.outbox.lock();
        outbox.touched = false;
        outbox.segments.pop_front()
    }

    fn sent(&self, mut buf: BytesMut, len: usize) {
        let mut outbox = self.outbox.lock();
        outbox.unsent = outbox.unsent.saturating_sub(len);
        if buf.capacity() <= KEEP {
            buf.clear();
            outbox.spare = buf;
        }
    }

    /// Whatever the task finds first: nothing is reported when the core has closed the link.
    fn settle(&self, found: End) -> End {
        let mut outbox = self.outbox.lock();
        outbox.segments.clear();
        outbox.end.get_or_insert(found).clone()
    }
}

/// Who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Learner,
    Leader,
}

impl Side {
    fn packets(self, link: LinkId, packets: Vec<QuorumPacket>) -> Input {
        Input::Zab(match self {
            Side::Learner => zab::Input::LearnerPackets { link, packets },
            Side::Leader => zab::Input::LeaderPackets { link, packets },
        })
    }

    fn closed(self, link: LinkId, why: String) -> Input {
        Input::Zab(match self {
            Side::Learner => zab::Input::LearnerClosed { link, why },
            Side::Leader => zab::Input::LeaderClosed { link, why },
        })
    }
}

/// Serves a connection to its end, and reports that.
pub(super) async fn run(net: &Net, link: &Arc<Link>, side: Side, stream: TcpStream) {
    let (read, write) = stream.into_split();
    let mut reader = Reader { net, link, side, read, buf: BytesMut::new() };
    let end = tokio::select! {
        end = link.ended() => end,
        end = reader.run() => end,
        end = write_out(net, link, write) => end,
    };
    if let End::Failed(why) = link.settle(end) {
        let why = format!("{}: {why}", link.peer);
        tracing::warn!("the link with {why}");
        net.report(side.closed(link.name, why)).await;
    }
}

async fn write_out(net: &Net, link: &Link, mut socket: OwnedWriteHalf) -> End {
    loop {
        let written = match link.next() {
            None => {
                link.filled.notified().await;
                continue;
            }
            Some(Segment::Bytes(buf)) => {
                let written = socket.write_all(&buf).await;
                let len = buf.len();
                link.sent(buf, len);
                written.map_err(|e| e.to_string())
            }
            Some(Segment::Stream(chunks)) => write_stream(net, link, chunks, &mut socket).await,
        };
        if let Err(why) = written {
            return End::Failed(why);
        }
    }
}

async fn write_stream(
    net: &Net,
    link: &Link,
    mut chunks: mpsc::Receiver<Chunk>,
    socket: &mut OwnedWriteHalf,
) -> Result<(), String> {
    let mut pulse = Pulse::new();
    loop {
        match chunks.recv().await {
            None => return Err("what was being sent to it was never finished".to_owned()),
            Some(Chunk::End) => return Ok(()),
            Some(Chunk::Failed(why)) => return Err(why),
            Some(Chunk::Bytes(mut bytes)) => {
                while bytes.has_remaining() {
                    socket.write_buf(&mut bytes).await.map_err(|e| e.to_string())?;
                    if pulse.is_due() {
                        net.progress(link.name);
                    }
                }
            }
        }
    }
}

/// Whether it is time to say that something gets on.
struct Pulse {
    last: Instant,
}

impl Pulse {
    fn new() -> Pulse {
        Pulse { last: Instant::now() }
    }

    fn is_due(&mut self) -> bool {
        let now = Instant::now();
        let due = now.duration_since(self.last) >= PULSE;
        if due {
            self.last = now;
        }
        due
    }
}

struct Reader<'a> {
    net: &'a Net,
    link: &'a Link,
    side: Side,
    read: OwnedReadHalf,
    buf: BytesMut,
}

/// What the bytes at hand end with.
enum Then {
    /// A part of a packet, or nothing.
    More,
    /// A leader's SNAP packet: what follows is no packet.
    Snapshot(Zxid),
    Garbage(String),
}

impl Reader<'_> {
    async fn run(&mut self) -> End {
        loop {
            if let Err(end) = self.step().await {
                return end;
            }
        }
    }

    async fn step(&mut self) -> Result<(), End> {
        let (packets, then) = self.packets();
        if !packets.is_empty() {
            self.report(self.side.packets(self.link.name, packets)).await?;
        }
        match then {
            Then::Garbage(why) => Err(End::Failed(why)),
            Then::Snapshot(zxid) => self.snapshot(zxid).await,
            Then::More if self.fill().await? == 0 => Err(End::Failed(match self.buf.len() {
                0 => "the other side has closed the connection".to_owned(),
                n => format!("the connection ended after {n} bytes of a packet"),
            })),
            Then::More => Ok(()),
        }
    }

    /// Every whole packet at hand.
    fn packets(&mut self) -> (Vec<QuorumPacket>, Then) {
        let mut packets = Vec::new();
        loop {
            match QuorumPacket::take(&mut self.buf, self.net.options.limits) {
                Ok(None) => return (packets, Then::More),
                Ok(Some(packet)) if packet.kind == PacketType::SNAP && self.side == Side::Leader => {
                    return (packets, Then::Snapshot(packet.zxid));
                }
                Ok(Some(packet)) => packets.push(packet),
                Err(e) => return (packets, Then::Garbage(format!("it sent what is no packet: {e}"))),
            }
        }
    }

    /// Reads what there is; 0 at the end.
    async fn fill(&mut self) -> Result<usize, End> {
        // Txns are slices of the buffer and may be kept: small ones must share one.
        if self.buf.capacity() - self.buf.len() < CHUNK / 16 {
            self.buf.reserve(CHUNK);
        }
        self.read.read_buf(&mut self.buf).await.map_err(|e| End::Failed(e.to_string()))
    }

    /// The raw stream behind a SNAP packet, which knows its own end (`Learner.syncWithLeader`).
    async fn snapshot(&mut self, zxid: Zxid) -> Result<(), End> {
        let options = &self.net.options;
        let mut sink = Restore::new(options.db);
        let mut decoder = SnapshotDecoder::new(options.limits.for_files());
        let mut pulse = Pulse::new();
        let mut taken = 0;
        tracing::info!("Getting a snapshot from {} {zxid}", self.link.peer);
        loop {
            let progress = decoder.decode(&self.buf, &mut sink).map_err(|e| bad_snapshot(zxid, taken, &e))?;
            self.buf.advance(progress.consumed);
            taken += progress.consumed as u64;
            if progress.need == 0 {
                break;
            }
            self.require(progress.need, zxid, taken, &mut pulse).await?;
        }
        self.require(SIGNATURE.len(), zxid, taken, &mut pulse).await?;
        if self.buf[..SIGNATURE.len()] != *SIGNATURE {
            return Err(bad_snapshot(zxid, taken, "it is not followed by BenWasHere"));
        }
        self.buf.advance(SIGNATURE.len());
        sink.end(zxid).map_err(|e| bad_snapshot(zxid, taken, &e))?;
        let db = Box::new(sink.into_database());
        tracing::info!("{} sent {taken} bytes, {} nodes, as of {zxid}", self.link.peer, db.node_count());
        self.report(Input::LeaderSnapshot { link: self.link.name, zxid, db }).await
    }

    /// Reads until `n` bytes are at hand.
    async fn require(&mut self, n: usize, zxid: Zxid, taken: u64, pulse: &mut Pulse) -> Result<(), End> {
        while self.buf.len() < n {
            if self.fill().await? == 0 {
                let have = taken + self.buf.len() as u64;
                return Err(bad_snapshot(zxid, have, "the connection ended"));
            }
            if pulse.is_due() {
                self.net.progress(self.link.name);
            }
        }
        Ok(())
    }

    async fn report(&self, input: Input) -> Result<(), End> {
        if self.net.report(input).await { Ok(()) } else { Err(End::Closed) }
    }
}

fn bad_snapshot(zxid: Zxid, at: u64, why: &str) -> End {
    End::Failed(format!("its SNAP of {zxid} is no snapshot behind {at} bytes: {why}; it will be asked again"))
}

/// `oa.writeString("BenWasHere", "signature")`
pub(super) const SIGNATURE: &[u8; 14] = b"\0\0\0\x0aBenWasHere";
/// A learner that takes nothing is closed at syncLimit; until then this much may gather.
const UNSENT_LIMIT: usize = 256 << 20;
/// What is read at once.
const CHUNK: usize = 64 << 10;
/// A buffer that a burst has made larger than this is given back.
const KEEP: usize = 64 << 10;
const PULSE: Duration = Duration::from_secs(1);
