//! What is too long for an outbox: a snapshot's body and parts of the log, made by threads as the link takes them; and what
//! else is read from the log for a learner.

use std::{
    io::{self, Write},
    path::PathBuf,
    sync::Arc,
};

use bytes::{BufMut, Bytes, BytesMut};
use tokio::sync::mpsc;

use super::{Net, NetOptions, link::SIGNATURE};
use crate::{
    db::capture::Capture,
    ids::{LinkId, Zxid},
    jute::{self, Limits},
    proto::quorum::PacketType,
    replica::Input,
    server::{
        fatal,
        shared::CoreMsg,
        snapshot_job::{self, Lend},
    },
    storage::{self, Disk, LogReader, SnapshotEncoder, recovery::follows},
    zab,
};

pub(super) enum Chunk {
    Bytes(Bytes),
    /// The stream is complete.
    End,
    Failed(String),
}

/// Chunks that are ready and not taken.
pub(super) const CHUNKS: usize = 4;
const CHUNK: usize = 256 << 10;

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) {
    if let Err(e) = std::thread::Builder::new().name(name.to_owned()).spawn(run) {
        fatal::stop(fatal::UNEXPECTED, &format!("no thread for {name}: {e}"));
    }
}

pub(super) fn spawn_snapshot<D: Lend>(
    chunks: mpsc::Sender<Chunk>,
    zxid: Zxid,
    db: Arc<D>,
    capture: Arc<Capture>,
) {
    spawn("SnapshotSender", move || {
        let mut out = Chunked::new(chunks);
        let written = match capture.zxid == zxid {
            true => snapshot(&*db, &capture, &mut out),
            false => Err(io::Error::other(format!("{zxid} was announced and {} captured", capture.zxid))),
        };
        db.end_capture(&capture);
        out.finish(written.map_err(|e| format!("the snapshot for it cannot be made: {e}")));
    });
}

/// As in a file, without header and checksum (B§3.5).
fn snapshot<D: Lend>(db: &D, capture: &Capture, out: &mut Chunked) -> io::Result<()> {
    let mut encoder = SnapshotEncoder::new(out);
    snapshot_job::encode(db, capture, &mut encoder, || {})?;
    encoder.end_nodes()?;
    encoder.flush()?;
    encoder.get_mut().write_all(SIGNATURE)
}

pub(super) fn spawn_log(chunks: mpsc::Sender<Chunk>, options: &NetOptions, after: Zxid, through: Zxid) {
    let log = Log {
        disk: options.disk.clone(),
        dir: options.log_dir.clone(),
        limits: options.limits.for_files(),
        after,
        through,
    };
    spawn("LogSender", move || {
        let mut out = Chunked::new(chunks);
        let written = log.send(&mut out);
        out.finish(written.map_err(|e| format!("the log for it cannot be read: {e}")));
    });
}

/// A part of the log.
struct Log {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    limits: Limits,
    after: Zxid,
    through: Zxid,
}

impl Log {
    /// A learner must not get a log with a gap (ZOOKEEPER-2846), whatever has become of the files since they were probed.
    fn send(&self, out: &mut Chunked) -> Result<(), String> {
        let mut log = LogReader::open(self.disk.clone(), &self.dir, self.after.next(), self.limits)
            .map_err(|e| e.to_string())?;
        let mut last = self.after;
        // The last zxid asked for may be that of an epoch's beginning, which is no txn's.
        let is_complete = |last: Zxid| last >= self.through || follows(last, self.through.next());
        while last < self.through {
            let Some(entry) = log.next().map_err(|e| e.to_string())? else {
                if is_complete(last) {
                    break;
                }
                return Err(format!("it ends at {last}, before {}", self.through));
            };
            let zxid = entry.zxid();
            if zxid > self.through && is_complete(last) {
                break;
            }
            if !follows(last, zxid) || zxid > self.through {
                return Err(format!("it goes from {last} to {zxid}"));
            }
            out.packet(PacketType::PROPOSAL, zxid, Some(entry.txn));
            out.packet(PacketType::COMMIT, zxid, None);
            out.drain(CHUNK).map_err(|e| e.to_string())?;
            last = zxid;
        }
        Ok(())
    }
}

pub(super) fn spawn_probe(net: Arc<Net>, link: LinkId, from: Zxid, until: Zxid) {
    spawn("LogProbe", move || {
        let options = &net.options;
        let found = storage::probe_log(
            &options.disk,
            &options.snap_dir,
            &options.log_dir,
            from..=until,
            options.snapshot_size_factor,
            options.limits.for_files(),
        );
        let found = found.unwrap_or_else(|e| {
            tracing::warn!("the log cannot be read for a learner that stands at {from}: {e}");
            None
        });
        let found = found.map(|p| zab::LogProbe { before: p.before, first: p.first, last: p.last });
        let _ = net.core.blocking_send(CoreMsg::Input(Input::Zab(zab::Input::LogProbed { link, found })));
    });
}

/// Cuts what is written into chunks, and waits until they are taken.
struct Chunked {
    chunks: mpsc::Sender<Chunk>,
    buf: BytesMut,
}

impl Chunked {
    fn new(chunks: mpsc::Sender<Chunk>) -> Chunked {
        Chunked { chunks, buf: BytesMut::with_capacity(CHUNK + CHUNK / 4) }
    }

    fn packet(&mut self, kind: PacketType, zxid: Zxid, data: Option<&[u8]>) {
        self.buf.put_i32(kind.0);
        self.buf.put_i64(zxid.0);
        jute::put_bytes(&mut self.buf, data);
        self.buf.put_i32(-1);
    }

    /// Sends what has gathered, if it is that much.
    fn drain(&mut self, enough: usize) -> io::Result<()> {
        if self.buf.len() < enough.max(1) {
            return Ok(());
        }
        let full = std::mem::replace(&mut self.buf, BytesMut::with_capacity(CHUNK + CHUNK / 4));
        let sent = self.chunks.blocking_send(Chunk::Bytes(full.freeze()));
        sent.map_err(|_| io::Error::new(io::ErrorKind::BrokenPipe, "the link is closed"))
    }

    fn finish(mut self, written: Result<(), String>) {
        let last = match written.and_then(|()| self.drain(0).map_err(|e| e.to_string())) {
            Ok(()) => Chunk::End,
            Err(why) => Chunk::Failed(why),
        };
        // If the link is closed, nobody waits for it.
        let _ = self.chunks.blocking_send(last);
    }
}

impl Write for Chunked {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buf.extend_from_slice(bytes);
        self.drain(CHUNK)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
