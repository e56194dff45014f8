//! The learner's side: finding the leader (`Learner.connectToLeader`; B§3.2).
//!
//! Java tries five times, a second apart. The core knows when to give up; until then the pauses are short at first: a leader
//! opens its port at about the time at which its followers know that it is one.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::net::TcpStream;

use super::{
    Net,
    link::{self, Link, Side},
};
use crate::{replica::Input, zab};

#[allow(clippy::disallowed_methods, reason = "server/ owns the tasks")]
pub(super) fn spawn(net: Arc<Net>, link: Arc<Link>, host: String, port: u16) {
    tokio::spawn(async move {
        let stream = tokio::select! {
            _ = link.ended() => return,
            stream = connect(&net, &link, &host, port) => stream,
        };
        let _ = stream.set_nodelay(net.options.follower_nodelay);
        if net.report(Input::Zab(zab::Input::LeaderOpened { link: link.name })).await {
            link::run(&net, &link, Side::Leader, stream).await;
        }
    });
}

async fn connect(net: &Net, link: &Link, host: &str, port: u16) -> TcpStream {
    let mut pause = FIRST_PAUSE;
    loop {
        let timeout = net.options.connect_timeout;
        let failed = match tokio::time::timeout(timeout, attempt(host, port)).await {
            Ok(Ok(stream)) => return stream,
            Ok(Err(e)) => e,
            Err(_) => io::Error::new(io::ErrorKind::TimedOut, format!("no answer in {timeout:?}")),
        };
        // The first failures are as good as certain.
        match pause >= LONGEST_PAUSE {
            true => tracing::warn!("cannot connect to {}: {failed}; trying again", link.peer),
            false => tracing::debug!("cannot connect to {}: {failed}", link.peer),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Every address that the name has now.
async fn attempt(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut failed = None;
    for address in tokio::net::lookup_host((host, port)).await? {
        match TcpStream::connect(address).await {
            Ok(stream) if is_itself(&stream) => {
                failed = Some(io::Error::new(io::ErrorKind::ConnectionRefused, "nobody listens there"));
            }
            Ok(stream) => return Ok(stream),
            Err(e) => failed = Some(e),
        }
    }
    Err(failed.unwrap_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address")))
}

/// A port of this machine from which connections are made may connect to itself while nobody listens on it.
fn is_itself(stream: &TcpStream) -> bool {
    let end = |address: io::Result<SocketAddr>| address.ok();
    end(stream.local_addr()) == end(stream.peer_addr())
}

const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
