//! The quorum port: connections between a leader and its learners, on both sides (`Leader.LearnerCnxAcceptor`,
//! `LearnerHandler`, `Learner`; B§3.1, B§3.2).
//!
//! 1. The core never waits here: what it sends goes into a link's outbox and leaves with the next [`LearnerNet::flush`].
//! 2. A link is one task. What one read brings is handed to the core as one batch; while the core's inbox is full, nothing
//!    more is read.
//! 3. A stream (a snapshot, or a part of the log) has its place in the outbox, between what was sent before and after it,
//!    and takes a few chunks of memory however long it is.
//! 4. The end of a link is reported once, and is logged here, unless the core has asked for it.

mod dial;
mod link;
mod port;
mod stream;
#[cfg(test)]
mod tests;

use std::{
    path::PathBuf,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use tokio::sync::mpsc;

use self::{link::Link, port::Port};
use super::{shared::CoreMsg, snapshot_job::Lend};
use crate::{
    config::{ClientAddress, Config},
    db::{DbOptions, capture::Capture},
    ids::{LinkId, Sid, Zxid},
    jute::Limits,
    proto::quorum::QuorumPacket,
    replica::Input,
    storage::{self, Disk},
    zab,
};

/// What the links need to know.
#[derive(Clone)]
pub struct NetOptions {
    pub limits: Limits,
    /// Of the databases that a leader's snapshots are read into.
    pub db: DbOptions,
    pub leader_nodelay: bool,
    pub follower_nodelay: bool,
    /// Of one attempt.
    pub connect_timeout: Duration,
    pub disk: Arc<dyn Disk>,
    /// Both with `version-2`.
    pub snap_dir: PathBuf,
    pub log_dir: PathBuf,
    /// `zookeeper.snapshotSizeFactor`
    pub snapshot_size_factor: f64,
}

impl NetOptions {
    pub fn new(config: &Config, db: DbOptions, disk: Arc<dyn Disk>) -> NetOptions {
        let settings = &config.settings;
        let timeout_ms = config.tick_time_ms.saturating_mul(config.sync_limit.min(config.init_limit).into());
        NetOptions {
            limits: db.limits,
            db,
            leader_nodelay: settings.leader_nodelay,
            follower_nodelay: settings.follower_nodelay,
            connect_timeout: Duration::from_millis(timeout_ms.max(1).unsigned_abs()),
            disk,
            snap_dir: config.data_dir.join(storage::recovery::VERSION_DIR),
            log_dir: config.data_log_dir.join(storage::recovery::VERSION_DIR),
            snapshot_size_factor: settings.snapshot_size_factor,
        }
    }
}

/// What every task of a link has.
struct Net {
    core: mpsc::Sender<CoreMsg>,
    options: NetOptions,
    /// Names of accepted links; those of dialled ones are the core's.
    last_link: AtomicU64,
}

impl Net {
    /// False: the core is gone.
    async fn report(&self, input: Input) -> bool {
        self.core.send(CoreMsg::Input(input)).await.is_ok()
    }

    /// Not worth waiting for.
    fn progress(&self, link: LinkId) {
        let _ = self.core.try_send(CoreMsg::Input(Input::Zab(zab::Input::Progress { link })));
    }
}

/// The core's handle on all links. To be used within the runtime.
pub struct LearnerNet {
    net: Arc<Net>,
    port: Option<Port>,
    leader: Option<Arc<Link>>,
    /// Links with something new in their outbox.
    touched: Vec<Arc<Link>>,
}

impl LearnerNet {
    pub fn new(core: mpsc::Sender<CoreMsg>, options: NetOptions) -> LearnerNet {
        let net = Arc::new(Net { core, options, last_link: AtomicU64::new(0) });
        LearnerNet { net, port: None, leader: None, touched: Vec::new() }
    }

    /// Listens for learners; `QuorumPort` says whether that worked. Without a host: on every address.
    pub fn open_port(&mut self, address: ClientAddress) {
        let previous = self.port.take().map(Port::close);
        self.port = Some(Port::open(self.net.clone(), address, previous));
    }

    /// Stops listening and closes every learner's link, without a report.
    pub fn close_port(&mut self) {
        if let Some(port) = &mut self.port {
            port.shut();
        }
    }

    pub fn send(&mut self, link: LinkId, packet: &QuorumPacket) {
        if let Some(link) = self.learner(link) {
            self.push(link, packet);
        }
    }

    /// Closes a learner's link at once, without a report.
    pub fn close(&mut self, link: LinkId, why: &str) {
        let Some(link) = self.port.as_ref().and_then(|port| port.take(link)) else { return };
        tracing::warn!("closing the link of {}: {why}", link.peer);
        link.close();
    }

    /// The body of a snapshot, for behind a SNAP packet. The capture must be of `zxid`; it is ended when it is written or not
    /// wanted any more, on a thread of its own: the caller may hold the database's lock.
    pub fn stream_snapshot<D: Lend>(&mut self, link: LinkId, zxid: Zxid, db: Arc<D>, capture: Arc<Capture>) {
        let chunks = self.begin_stream(link);
        stream::spawn_snapshot(chunks, zxid, db, capture);
    }

    /// PROPOSAL and COMMIT of every logged txn in `after < zxid <= through`.
    pub fn stream_log(&mut self, link: LinkId, after: Zxid, through: Zxid) {
        let chunks = self.begin_stream(link);
        stream::spawn_log(chunks, &self.net.options, after, through);
    }

    /// Looks into the log on behalf of a learner; `LogProbed` says what was found.
    pub fn probe_log(&self, link: LinkId, from: Zxid, until: Zxid) {
        stream::spawn_probe(self.net.clone(), link, from, until);
    }

    /// Connects to the quorum port of `leader`, again and again until that works or [`LearnerNet::close_leader`]. The name is
    /// resolved anew for every attempt.
    pub fn dial(&mut self, link: LinkId, leader: Sid, host: &str, port: u16) {
        if let Some(old) = self.leader.take() {
            old.close();
        }
        let link = Arc::new(Link::new(link, format!("leader {leader} ({host}:{port})")));
        self.leader = Some(link.clone());
        dial::spawn(self.net.clone(), link, host.to_owned(), port);
    }

    /// Without a report.
    pub fn close_leader(&mut self, link: LinkId) {
        if let Some(link) = self.leader.take_if(|leader| leader.name == link) {
            link.close();
        }
    }

    pub fn send_to_leader(&mut self, link: LinkId, packet: &QuorumPacket) {
        if let Some(link) = self.leader.clone().filter(|leader| leader.name == link) {
            self.push(link, packet);
        }
    }

    /// At the end of a batch: what was sent leaves with one write for each link.
    pub fn flush(&mut self) {
        self.touched.drain(..).for_each(|link| link.wake());
    }

    fn learner(&self, link: LinkId) -> Option<Arc<Link>> {
        self.port.as_ref()?.get(link)
    }

    fn push(&mut self, link: Arc<Link>, packet: &QuorumPacket) {
        if link.push(packet) {
            self.touched.push(link);
        }
    }

    /// Where a stream to `link` begins. To a link that is gone it may be written, too; nobody takes it.
    fn begin_stream(&mut self, link: LinkId) -> mpsc::Sender<stream::Chunk> {
        let (chunks, taker) = mpsc::channel(stream::CHUNKS);
        if let Some(link) = self.learner(link)
            && link.push_stream(taker)
        {
            self.touched.push(link);
        }
        chunks
    }
}
