//! The leader's side: listening, and the links of learners (`Leader.LearnerCnxAcceptor`).

use std::{collections::HashMap, net::SocketAddr, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::JoinHandle,
};

use super::{
    Net,
    link::{self, Link, Side},
};
use crate::{
    config::ClientAddress,
    ids::LinkId,
    replica::Input,
    server::{conn::java_address, listener},
    zab,
};

/// One time of leading.
pub(super) struct Port {
    learners: Arc<Learners>,
    accepting: JoinHandle<()>,
}

#[derive(Default)]
struct Learners {
    /// `None` once the port is closed.
    links: Mutex<Option<HashMap<LinkId, Arc<Link>>>>,
    shut: Notify,
}

impl Port {
    /// `previous`: what still has to let go of the address.
    #[allow(clippy::disallowed_methods, reason = "server/ owns the tasks")]
    pub(super) fn open(net: Arc<Net>, address: ClientAddress, previous: Option<JoinHandle<()>>) -> Port {
        let learners = Arc::new(Learners { links: Mutex::new(Some(HashMap::new())), shut: Notify::new() });
        let accepting = tokio::spawn(serve(net, learners.clone(), address, previous));
        Port { learners, accepting }
    }

    /// Stops listening and closes every link.
    pub(super) fn shut(&mut self) {
        let links = self.learners.links.lock().take();
        links.into_iter().flat_map(HashMap::into_values).for_each(|link| link.close());
        self.learners.shut.notify_one();
    }

    /// The task that lets go of the address.
    pub(super) fn close(mut self) -> JoinHandle<()> {
        self.shut();
        self.accepting
    }

    pub(super) fn get(&self, link: LinkId) -> Option<Arc<Link>> {
        self.learners.links.lock().as_ref()?.get(&link).cloned()
    }

    pub(super) fn take(&self, link: LinkId) -> Option<Arc<Link>> {
        self.learners.links.lock().as_mut()?.remove(&link)
    }
}

impl Learners {
    fn is_shut(&self) -> bool {
        self.links.lock().is_none()
    }

    /// False when the port has been closed meanwhile.
    fn admit(&self, link: &Arc<Link>) -> bool {
        match &mut *self.links.lock() {
            None => false,
            Some(links) => links.insert(link.name, link.clone()).is_none(),
        }
    }

    fn forget(&self, link: LinkId) {
        if let Some(links) = &mut *self.links.lock() {
            links.remove(&link);
        }
    }
}

async fn serve(
    net: Arc<Net>,
    learners: Arc<Learners>,
    address: ClientAddress,
    previous: Option<JoinHandle<()>>,
) {
    if let Some(previous) = previous {
        let _ = previous.await;
    }
    // A name may take its time to be resolved.
    let bound = tokio::task::spawn_blocking(move || listener::bind_to(&address, "the quorum port")).await;
    let bound = bound.map_err(anyhow::Error::from).and_then(|bound| bound);
    if learners.is_shut() {
        return;
    }
    let (listener, result) = match bound {
        Ok(listener) => (Some(listener), Ok(())),
        Err(e) => (None, Err(format!("{e:#}"))),
    };
    net.report(Input::Zab(zab::Input::QuorumPort(result))).await;
    let Some(listener) = listener else { return };
    tokio::select! {
        () = learners.shut.notified() => {}
        () = accept(&net, &learners, &listener) => {}
    }
}

async fn accept(net: &Arc<Net>, learners: &Arc<Learners>, listener: &TcpListener) {
    let mut warned = false;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => begin(net, learners, stream, peer),
            Err(e) => {
                if !std::mem::replace(&mut warned, true) {
                    tracing::warn!("cannot accept a learner: {e}");
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "server/ owns the tasks")]
fn begin(net: &Arc<Net>, learners: &Arc<Learners>, stream: TcpStream, peer: SocketAddr) {
    let peer = java_address(SocketAddr::new(peer.ip().to_canonical(), peer.port()));
    let name = LinkId(net.last_link.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1);
    let link = Arc::new(Link::new(name, format!("learner {peer}")));
    if !learners.admit(&link) {
        return;
    }
    let _ = stream.set_nodelay(net.options.leader_nodelay);
    let (net, learners) = (net.clone(), learners.clone());
    tokio::spawn(async move {
        let opened = Input::Zab(zab::Input::LearnerOpened { link: name, peer });
        if net.report(opened).await {
            link::run(&net, &link, Side::Learner, stream).await;
        }
        learners.forget(name);
    });
}
