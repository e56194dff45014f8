//! Connections of the election port (B§4.1; `QuorumCnxManager`): one per pair of servers, opened by the one with the larger sid.
//!
//! Invariants:
//! 1. Whoever has the smaller sid only rings: it sends who it is, closes, and is dialed back.
//! 2. At most one connection per peer; a new one replaces it.
//! 3. One message at most waits for a peer: a newer one replaces it, for an old vote is worth nothing.
//! 4. One task per peer does everything that concerns it, so that none waits because another is out of reach
//!    (ZOOKEEPER-3756). None of them is waited for by the core.

mod greeting;
mod peer;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeSet, HashMap},
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use parking_lot::Mutex;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::Handle,
    sync::mpsc,
    task::JoinSet,
};

use self::{
    greeting::{Greeting, HostPort},
    peer::{Accepted, Peer},
};
use super::shared::CoreMsg;
use crate::{config::Ensemble, ids::Sid, proto::quorum::Notification, replica, zab};

/// Who in no configuration may be connected at a time. Java knows no limit.
const STRANGERS: usize = 64;

#[derive(Clone, Debug)]
pub struct NetSettings {
    pub sid: Sid,
    /// The committed configuration.
    pub ensemble: Ensemble,
    /// Where a peer is looked for if it cannot be reached at its committed address.
    pub last_seen: Option<Ensemble>,
    /// `cnxTimeout`
    pub connect_timeout: Duration,
    /// For a peer to say who it is: tickTime · syncLimit.
    pub greeting_timeout: Duration,
    /// `electionPortBindRetry`; 0: for ever.
    pub bind_retry: u32,
    /// `quorumListenOnAllIPs`
    pub listen_on_all_ips: bool,
    /// `tcpKeepAlive`
    pub tcp_keep_alive: bool,
}

impl NetSettings {
    fn addresses(&self, sid: Sid) -> Vec<HostPort> {
        let mut found: Vec<HostPort> = Vec::new();
        for ensemble in std::iter::once(&self.ensemble).chain(&self.last_seen) {
            if let Some(server) = ensemble.servers.get(&sid) {
                let address = HostPort { host: server.host.clone(), port: server.election_port };
                if !found.contains(&address) {
                    found.push(address);
                }
            }
        }
        found
    }

    fn members(&self) -> BTreeSet<Sid> {
        let ensembles = std::iter::once(&self.ensemble).chain(&self.last_seen);
        ensembles.flat_map(|ensemble| ensemble.servers.keys().copied()).collect()
    }
}

/// Without a listener nobody can vote with this server: the process ends with exit code 14 (B§7.3).
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error(
        "server.{0} is not in the list of servers, so it has no election port; add its line or correct myid"
    )]
    NotAMember(Sid),
    #[error(
        "the election port {address} cannot be listened on, tried {tries} times: {error}; correct server.{sid}, or set \
         quorumListenOnAllIPs=true if that address is not one of this machine"
    )]
    Socket { sid: Sid, address: HostPort, tries: u32, error: io::Error },
}

impl BindError {
    pub const EXIT_CODE: i32 = 14;
}

/// Open until it is dropped.
#[derive(Debug)]
pub struct ElectionNet {
    hub: Arc<Hub>,
    local: SocketAddr,
}

/// What the tasks share.
#[derive(Debug)]
struct Hub {
    settings: NetSettings,
    core: mpsc::Sender<CoreMsg>,
    peers: Mutex<HashMap<Sid, Arc<Peer>>>,
    runtime: Handle,
    /// Aborted when the net is dropped.
    tasks: Mutex<JoinSet<()>>,
    /// Orders what is accepted and what is dialed.
    order: AtomicU64,
    /// Observers without an id are −1, −2, …
    anonymous: AtomicI64,
}

impl ElectionNet {
    pub async fn bind(settings: NetSettings, core: mpsc::Sender<CoreMsg>) -> Result<ElectionNet, BindError> {
        let listener = listen_on_own_port(&settings).await?;
        let unknown = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
        let local = listener.local_addr().unwrap_or(unknown);
        tracing::info!("My election bind port: {local}");
        let hub = Arc::new(Hub {
            settings,
            core,
            runtime: Handle::current(),
            peers: Mutex::default(),
            tasks: Mutex::default(),
            order: AtomicU64::new(0),
            anonymous: AtomicI64::new(-1),
        });
        hub.spawn(accept(hub.clone(), listener));
        Ok(ElectionNet { hub, local })
    }

    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Never waits. Dials where there is no connection; a message for the same peer that has not gone out is forgotten.
    pub fn send(&self, to: Sid, notification: &Notification) {
        debug_assert_ne!(to, self.hub.settings.sid, "a server hears itself without a network");
        match self.hub.peer(to) {
            Some(peer) => peer.post(notification.encode()),
            None => {
                tracing::warn!("server {to} is in no configuration and not connected: nothing is sent to it")
            }
        }
    }

    /// Dials every member that something was ever sent to and that is not connected.
    pub fn connect_all(&self) {
        self.hub.peers.lock().values().for_each(|peer| peer.dial());
    }
}

impl Drop for ElectionNet {
    fn drop(&mut self) {
        self.hub.tasks.lock().abort_all();
    }
}

impl Hub {
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock();
        while tasks.try_join_next().is_some() {}
        tasks.spawn_on(task, &self.runtime);
    }

    fn next_order(&self) -> u64 {
        self.order.fetch_add(1, Relaxed)
    }

    /// A member's, or that of a stranger who is connected.
    fn peer(self: &Arc<Hub>, sid: Sid) -> Option<Arc<Peer>> {
        let known = self.peers.lock().get(&sid).cloned();
        known.or_else(|| self.settings.members().contains(&sid).then(|| self.new_peer(sid)))
    }

    fn peer_or_stranger(self: &Arc<Hub>, sid: Sid) -> Option<Arc<Peer>> {
        let members = self.settings.members();
        let strangers = self.peers.lock().keys().filter(|sid| !members.contains(sid)).count();
        self.peer(sid).or_else(|| (strangers < STRANGERS).then(|| self.new_peer(sid)))
    }

    fn new_peer(self: &Arc<Hub>, sid: Sid) -> Arc<Peer> {
        let mut peers = self.peers.lock();
        let peer = peers.entry(sid).or_insert_with(|| {
            let peer = Arc::new(Peer::new(sid, self.settings.addresses(sid)));
            self.spawn(peer::run(self.clone(), peer.clone()));
            peer
        });
        peer.clone()
    }

    async fn tell(&self, input: zab::Input) {
        // The core has gone: so will this task.
        let _ = self.core.send(CoreMsg::Input(replica::Input::Zab(input))).await;
    }

    fn set_options(&self, stream: &TcpStream) {
        let _ = stream.set_nodelay(true);
        let _ = SockRef::from(stream).set_keepalive(self.settings.tcp_keep_alive);
    }
}

async fn listen_on_own_port(settings: &NetSettings) -> Result<TcpListener, BindError> {
    let sid = settings.sid;
    let Some(address) = settings.addresses(sid).into_iter().next() else {
        return Err(BindError::NotAMember(sid));
    };
    let mut tries = 0;
    loop {
        let error = match try_listen(&address, settings.listen_on_all_ips).await {
            Ok(listener) => return Ok(listener),
            Err(error) => error,
        };
        tries += 1;
        if settings.bind_retry != 0 && tries >= settings.bind_retry {
            return Err(BindError::Socket { sid, address, tries, error });
        }
        tracing::error!(
            "Exception while listening: election port {address}: {error}; trying again in a second"
        );
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn try_listen(address: &HostPort, all_ips: bool) -> io::Result<TcpListener> {
    let candidates: Vec<SocketAddr> = match all_ips {
        true => vec![
            SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), address.port),
            SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), address.port),
        ],
        false => address.resolve().await?,
    };
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for candidate in candidates {
        match listen(candidate) {
            Ok(listener) => return Ok(listener),
            Err(e) => failed = e,
        }
    }
    Err(failed)
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(128)?;
    TcpListener::from_std(socket.into())
}

async fn accept(hub: Arc<Hub>, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                let from = SocketAddr::new(from.ip().to_canonical(), from.port());
                hub.set_options(&stream);
                hub.spawn(receive(hub.clone(), stream, from, hub.next_order()));
            }
            Err(e) => {
                tracing::warn!("cannot accept on the election port: {e}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Hears who it is, and then keeps the connection or dials back.
async fn receive(hub: Arc<Hub>, mut stream: TcpStream, from: SocketAddr, order: u64) {
    let greeting = tokio::time::timeout(hub.settings.greeting_timeout, Greeting::read(&mut stream)).await;
    let Greeting { sid, address } = match greeting {
        Ok(Ok(greeting)) => greeting,
        Ok(Err(e)) => return tracing::warn!("{from} is connected to the election port, but {e}; closing"),
        Err(_) => {
            let waited = hub.settings.greeting_timeout.as_millis();
            return tracing::warn!(
                "{from} on the election port has not said who it is for {waited} ms; closing"
            );
        }
    };
    let own = hub.settings.sid;
    if sid == own {
        // ZOOKEEPER-2164: Java takes it in, and then the two servers replace each other at all others without end.
        return tracing::error!(
            "{from} says that it is server {own}, which is this server; closing. Two servers have the same myid: correct one"
        );
    }
    let anonymous = sid == Greeting::ANONYMOUS;
    let sid = if anonymous { Sid(hub.anonymous.fetch_sub(1, Relaxed)) } else { sid };
    let Some(peer) = hub.peer_or_stranger(sid) else {
        return tracing::warn!(
            "server {sid} at {from} is in no configuration, and {STRANGERS} such are connected already; closing"
        );
    };
    // The sid of an anonymous observer is the largest there is. Java compares with the one it has assigned.
    if anonymous || sid > own {
        tracing::info!("server {sid} has connected from {from}");
        peer.accept(Accepted { stream, from });
    } else {
        tracing::debug!(
            "server {sid} rings from {from}: dialing it, for the smaller sid does not open connections"
        );
        drop(stream);
        peer.dial_back(address.filter(|address| !address.is_wildcard()), order);
    }
}
