//! Accepting clients, and ending connections that have fallen silent (`NIOServerCnxnFactory`).

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use anyhow::Context;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

use super::{
    conn::{Connection, java_address},
    registry::{CloseCause, ConnShared},
    shared::Shared,
};
use crate::{
    config::{ClientAddress, ConnectionFactory},
    ids::Millis,
};

/// Binds the client port. Without an address: every one, IPv6 included where the machine has it, as Java does.
pub fn bind(address: &ClientAddress) -> anyhow::Result<TcpListener> {
    bind_to(address, "the client port")
}

/// `what`: the port's name in an error.
pub fn bind_to(address: &ClientAddress, what: &str) -> anyhow::Result<TcpListener> {
    let candidates: Vec<SocketAddr> = match &address.host {
        None => vec![
            SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), address.port),
            SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), address.port),
        ],
        Some(host) => {
            use std::net::ToSocketAddrs;
            (host.as_str(), address.port)
                .to_socket_addrs()
                .with_context(|| format!("{host}, the address of {what}, cannot be resolved"))?
                .collect()
        }
    };
    let mut failed = None;
    for candidate in candidates {
        match listen(candidate) {
            Ok(listener) => return Ok(listener),
            Err(e) => failed = Some((candidate, e)),
        }
    }
    match failed {
        Some((candidate, e)) => Err(e).with_context(|| format!("{what} {candidate} cannot be bound")),
        None => anyhow::bail!("the address of {what} names no address"),
    }
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(1024)?;
    TcpListener::from_std(socket.into())
}

#[allow(clippy::disallowed_methods, reason = "server/ owns the tasks")]
pub async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut warned = 0;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
                match admit(&stream, peer, &shared) {
                    Some(conn) => drop(tokio::spawn(Connection::new(shared.clone(), conn, stream).run())),
                    // Nothing is sent; the client sees a reset (B§1.9).
                    None => drop(SockRef::from(&stream).set_linger(Some(Duration::ZERO))),
                }
            }
            Err(e) => {
                // Out of file descriptors this is a hundred times a second.
                let now = shared.clock.mono();
                if now - warned >= 1000 {
                    tracing::warn!("Error accepting a connection: {e}");
                    warned = now;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
}

fn admit(stream: &TcpStream, peer: SocketAddr, shared: &Shared) -> Option<Arc<ConnShared>> {
    let config = &shared.config;
    // Netty in 3.5.7 does not count (B§1.9).
    let limit = match config.settings.connection_factory {
        ConnectionFactory::Nio => config.max_client_cnxns,
        ConnectionFactory::Netty => 0,
    };
    let _ = stream.set_nodelay(true);
    let now = shared.clock.now();
    let wait = config.settings.sessionless_cnxn_timeout_ms as i32;
    let admitted = shared.conns.admit(peer, limit, now.wall, now.mono, wait);
    if admitted.is_none() {
        let address = java_address(peer);
        let ip = address.rsplit_once(':').map_or(address.as_str(), |(ip, _)| ip);
        tracing::warn!("Too many connections from {ip} - max is {limit}");
    }
    admitted
}

/// Bytes that all connections together may keep for clients before those that do not read are cut off.
const HELD_LIMIT: usize = 256 << 20;
/// Who is one of those: this much is ready for it, and it has taken nothing for so long.
const NOT_READING: usize = 512 << 10;
const NOT_READING_MS: Millis = 1000;

/// When silence ends a connection: its timeout after it was last heard, rounded up to the sweep's interval.
pub fn idle_deadline(conn: &ConnShared, shared: &Shared) -> Millis {
    let interval = shared.config.settings.sessionless_cnxn_timeout_ms.max(1);
    let due = conn.last_heard.load(Relaxed) + Millis::from(conn.timeout_ms.load(Relaxed));
    (due / interval + 1) * interval
}

/// NIO closes what has been silent for its timeout; Netty never does (B§1.8), unless the server has closed it already and
/// the client does not read the rest.
pub async fn sweep_idle(shared: Arc<Shared>) {
    let closes_silent = shared.config.settings.connection_factory == ConnectionFactory::Nio;
    let pause =
        Duration::from_millis(shared.config.settings.sessionless_cnxn_timeout_ms.clamp(10, 1000) as u64);
    loop {
        tokio::time::sleep(pause).await;
        let now = shared.clock.mono();
        let (mut held, mut not_reading) = (0, Vec::new());
        for conn in shared.conns.all() {
            let silent = now >= idle_deadline(&conn, &shared);
            if silent && (closes_silent || conn.outbox.lock().close.is_some()) {
                tracing::info!("Closing idle connection of client {}", java_address(conn.peer));
                conn.close(CloseCause::Idle);
            }
            let unread = conn.unread();
            held += unread;
            if unread > NOT_READING && now - conn.last_heard.load(Relaxed) > NOT_READING_MS {
                not_reading.push(conn);
            }
        }
        if held > HELD_LIMIT {
            for conn in not_reading {
                tracing::warn!(
                    "Closing the connection of client {}: {held} bytes wait for clients that do not read",
                    java_address(conn.peer)
                );
                conn.close(CloseCause::NotReading);
            }
        }
    }
}
