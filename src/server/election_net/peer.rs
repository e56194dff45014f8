//! Everything that concerns one peer: its mailbox, dialing it, and the connection while there is one.

use std::{fmt, io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::{BufMut, Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    sync::Notify,
    time::{Instant, sleep_until, timeout},
};

use super::{
    Hub,
    greeting::{Greeting, HostPort, java_text},
};
use crate::{ids::Sid, proto::quorum::Notification, zab};

/// `PACKETMAXSIZE`
const LARGEST_MESSAGE: i32 = 524_288;
/// Between attempts to reach a peer that something waits for; twice as long each time.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(2);
/// A peer that was rung has to dial back. It takes every further ring for a lost connection.
const FIRST_PAUSE_AFTER_RING: Duration = Duration::from_secs(1);
const LAST_PAUSE_AFTER_RING: Duration = Duration::from_secs(10);
/// A connection that ends sooner is no reason to dial at once.
const STEADY: Duration = Duration::from_secs(1);
/// Who looks for a leader sends again within this time, so nobody waits for an older message.
const WORTH_DIALING: Duration = Duration::from_secs(70);
/// A peer that stays out of reach is named in the log this often.
const REMIND: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub struct Peer {
    sid: Sid,
    /// None for a stranger.
    addresses: Vec<HostPort>,
    mailbox: Mutex<Mailbox>,
    /// `outgoing` has been filled.
    posted: Notify,
    /// One of the other fields has.
    asked: Notify,
}

#[derive(Debug, Default)]
struct Mailbox {
    outgoing: Option<Bytes>,
    posted_at: Option<Instant>,
    /// Taken from `outgoing` and not written yet.
    in_flight: Option<Bytes>,
    /// What was taken last: said again on a new connection, for it may have been lost with the old one.
    last: Option<Bytes>,
    accepted: Option<Accepted>,
    ring: Option<Ring>,
    /// Even if there is nothing to send.
    dial: bool,
}

#[derive(Debug)]
pub struct Accepted {
    pub stream: TcpStream,
    pub from: SocketAddr,
}

/// The peer has the smaller sid and no connection.
#[derive(Debug)]
struct Ring {
    address: Option<HostPort>,
    order: u64,
}

/// What a peer without a connection does next.
enum Next {
    Converse(Accepted),
    Dial(Option<HostPort>),
}

enum Dialed {
    Connected(Accepted),
    /// The peer has the larger sid and is to dial back.
    Rang,
    Failed(String),
}

/// Why a connection has ended.
enum End {
    Closed(io::Error),
    Garbage(i32),
    Unwritable(io::Error),
    Replaced,
    Rung,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Closed(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
                f.write_str("the other side has closed it")
            }
            End::Closed(e) => write!(f, "it is broken: {e}"),
            End::Garbage(length) => write!(
                f,
                "the other side announced a message of {length} bytes, and an election has such of 1 to {LARGEST_MESSAGE}"
            ),
            End::Unwritable(e) => write!(f, "a message could not be sent: {e}"),
            End::Replaced => f.write_str("the other side has opened a new one"),
            End::Rung => f.write_str("the other side has lost it and asks for a new one"),
        }
    }
}

impl Peer {
    pub fn new(sid: Sid, addresses: Vec<HostPort>) -> Peer {
        Peer { sid, addresses, mailbox: Mutex::default(), posted: Notify::new(), asked: Notify::new() }
    }

    pub fn post(&self, message: Bytes) {
        let mut mail = self.mailbox.lock();
        mail.outgoing = Some(message);
        mail.posted_at = Some(Instant::now());
        self.posted.notify_one();
    }

    pub fn dial(&self) {
        self.mailbox.lock().dial = true;
        self.asked.notify_one();
    }

    pub fn dial_back(&self, address: Option<HostPort>, order: u64) {
        self.mailbox.lock().ring = Some(Ring { address, order });
        self.asked.notify_one();
    }

    pub fn accept(&self, accepted: Accepted) {
        self.mailbox.lock().accepted = Some(accepted);
        self.asked.notify_one();
    }

    fn is_stranger(&self) -> bool {
        self.addresses.is_empty()
    }

    async fn next(&self, not_before: Instant) -> Next {
        loop {
            let due = {
                let mut mail = self.mailbox.lock();
                if let Some(accepted) = mail.accepted.take() {
                    return Next::Converse(accepted);
                }
                if let Some(ring) = mail.ring.take() {
                    return Next::Dial(ring.address);
                }
                let posted = mail.posted_at.filter(|_| mail.outgoing.is_some());
                let worth = mail.dial || posted.is_some_and(|at| at.elapsed() < WORTH_DIALING);
                if worth && not_before <= Instant::now() {
                    mail.dial = false;
                    return Next::Dial(None);
                }
                worth.then_some(not_before)
            };
            tokio::select! {
                () = self.asked.notified() => {}
                () = self.posted.notified() => {}
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            }
        }
    }

    async fn accepted(&self) -> Accepted {
        loop {
            if let Some(accepted) = self.mailbox.lock().accepted.take() {
                return accepted;
            }
            self.asked.notified().await;
        }
    }

    async fn outgoing(&self) -> Bytes {
        loop {
            {
                let mut mail = self.mailbox.lock();
                if let Some(message) = mail.outgoing.take() {
                    mail.last = Some(message.clone());
                    mail.in_flight = Some(message.clone());
                    return message;
                }
            }
            self.posted.notified().await;
        }
    }

    /// Ends when the connection that began at `order` is to make room for another.
    async fn superseded(&self, order: u64) -> End {
        loop {
            {
                let mut mail = self.mailbox.lock();
                if mail.accepted.is_some() {
                    return End::Replaced;
                }
                if mail.ring.as_ref().is_some_and(|ring| ring.order > order) {
                    return End::Rung;
                }
                // It rang before it had this connection.
                mail.ring = None;
                mail.dial = false;
            }
            self.asked.notified().await;
        }
    }
}

/// Lives as long as the net; that of a stranger as long as its connection.
pub async fn run(hub: Arc<Hub>, peer: Arc<Peer>) {
    let mut attempts = Attempts::new();
    loop {
        let connection = match peer.next(attempts.not_before).await {
            Next::Converse(accepted) => Some(accepted),
            Next::Dial(told) => tokio::select! {
                accepted = peer.accepted() => Some(accepted),
                dialed = dial(&hub, &peer, told) => attempts.outcome(&hub, &peer, dialed).await,
            },
        };
        if let Some(connection) = connection {
            let began = Instant::now();
            converse(&hub, &peer, connection).await;
            let pause = attempts.pause;
            attempts = Attempts::new();
            if began.elapsed() < STEADY {
                attempts.pause = pause;
                attempts.wait(FIRST_PAUSE, LAST_PAUSE);
            }
        }
        if peer.is_stranger() && forget(&hub, &peer) {
            return;
        }
    }
}

fn forget(hub: &Hub, peer: &Peer) -> bool {
    let mut peers = hub.peers.lock();
    let mail = peer.mailbox.lock();
    let idle = mail.accepted.is_none() && mail.ring.is_none();
    if idle {
        peers.remove(&peer.sid);
    }
    idle
}

/// Attempts to reach a peer since there was a connection.
struct Attempts {
    not_before: Instant,
    pause: Duration,
    warned: Option<Instant>,
    /// The core knows that the peer cannot be reached.
    told: bool,
}

impl Attempts {
    fn new() -> Attempts {
        Attempts { not_before: Instant::now(), pause: Duration::ZERO, warned: None, told: false }
    }

    async fn outcome(&mut self, hub: &Hub, peer: &Peer, dialed: Dialed) -> Option<Accepted> {
        match dialed {
            Dialed::Connected(accepted) => return Some(accepted),
            Dialed::Rang => self.wait(FIRST_PAUSE_AFTER_RING, LAST_PAUSE_AFTER_RING),
            Dialed::Failed(why) => {
                self.wait(FIRST_PAUSE, LAST_PAUSE);
                if self.warned.is_none_or(|at| at.elapsed() >= REMIND) {
                    self.warned = Some(Instant::now());
                    tracing::warn!("Cannot open channel to server {}: {why}; still trying", peer.sid);
                } else {
                    tracing::debug!("Cannot open channel to server {}: {why}", peer.sid);
                }
                if !std::mem::replace(&mut self.told, true) {
                    hub.tell(zab::Input::ElectionLink { sid: peer.sid, up: false }).await;
                }
            }
        }
        None
    }

    fn wait(&mut self, first: Duration, last: Duration) {
        self.pause = (self.pause * 2).clamp(first, last);
        self.not_before = Instant::now() + self.pause;
    }
}

async fn dial(hub: &Hub, peer: &Peer, told: Option<HostPort>) -> Dialed {
    let mut failed = String::from("it has told no address, and is in no configuration");
    let known = peer.addresses.iter().filter(|address| Some(*address) != told.as_ref());
    for address in told.iter().chain(known) {
        let limit = hub.settings.connect_timeout;
        let tried = match timeout(limit, open(hub, address)).await {
            Ok(tried) => tried,
            Err(_) => {
                Err(io::Error::new(io::ErrorKind::TimedOut, format!("no answer in {} ms", limit.as_millis())))
            }
        };
        match tried {
            Ok(accepted) if peer.sid < hub.settings.sid => {
                tracing::info!("connected to server {} at election address {address}", peer.sid);
                return Dialed::Connected(accepted);
            }
            Ok(_) => {
                tracing::debug!("server {} at {address} has the larger sid and is to dial back", peer.sid);
                return Dialed::Rang;
            }
            Err(e) => failed = format!("its election address {address}: {e}"),
        }
    }
    Dialed::Failed(failed)
}

/// Connects and says who this server is.
async fn open(hub: &Hub, address: &HostPort) -> io::Result<Accepted> {
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for from in address.resolve().await? {
        match TcpStream::connect(from).await {
            Ok(mut stream) => {
                hub.set_options(&stream);
                let greeting = Greeting::encode(hub.settings.sid, &own_address(hub, &stream).await);
                stream.write_all(&greeting).await?;
                return Ok(Accepted { stream, from });
            }
            Err(e) => failed = e,
        }
    }
    Err(failed)
}

/// Where this server is to be dialed. "Every address" would lead a peer to itself: it gets the one that it is dialed from.
async fn own_address(hub: &Hub, stream: &TcpStream) -> String {
    let Some(own) = hub.settings.addresses(hub.settings.sid).into_iter().next() else { return String::new() };
    if own.is_wildcard() {
        return match stream.local_addr() {
            Ok(local) => java_text(SocketAddr::new(local.ip(), own.port)),
            Err(_) => own.to_string(),
        };
    }
    match own.resolve().await {
        // As a JVM prefers.
        Ok(found) => match found.iter().find(|a| a.is_ipv4()).or(found.first()) {
            Some(address) => java_text(*address),
            None => own.to_string(),
        },
        Err(_) => own.to_string(),
    }
}

async fn converse(hub: &Hub, peer: &Peer, connection: Accepted) {
    let Accepted { stream, from } = connection;
    let sid = peer.sid;
    let order = hub.next_order();
    hub.tell(zab::Input::ElectionLink { sid, up: true }).await;
    let (mut reader, mut writer) = stream.into_split();
    let end = tokio::select! {
        end = receive(hub, sid, from, &mut reader) => end,
        end = deliver(peer, &mut writer) => end,
        end = peer.superseded(order) => end,
    };
    {
        let mut mail = peer.mailbox.lock();
        let unwritten = mail.in_flight.take();
        mail.outgoing = mail.outgoing.take().or(unwritten);
    }
    match end {
        End::Replaced | End::Rung => tracing::info!("election connection of server {sid} ({from}): {end}"),
        _ => {
            tracing::warn!("election connection of server {sid} ({from}) is closed: {end}");
            hub.tell(zab::Input::ElectionLink { sid, up: false }).await;
        }
    }
}

async fn receive(hub: &Hub, sid: Sid, from: SocketAddr, reader: &mut (impl AsyncRead + Unpin)) -> End {
    loop {
        let message = match read_message(reader).await {
            Ok(message) => message,
            Err(end) => return end,
        };
        match Notification::decode(message) {
            Ok(notification) => hub.tell(zab::Input::Notification { from: sid, notification }).await,
            Err(e) => {
                tracing::warn!("a message of server {sid} ({from}) on the election port is dropped: {e}")
            }
        }
    }
}

async fn read_message(reader: &mut (impl AsyncRead + Unpin)) -> Result<Bytes, End> {
    let length = reader.read_i32().await.map_err(End::Closed)?;
    if !(1..=LARGEST_MESSAGE).contains(&length) {
        return Err(End::Garbage(length));
    }
    let mut message = vec![0; length as usize];
    reader.read_exact(&mut message).await.map_err(End::Closed)?;
    Ok(message.into())
}

async fn deliver(peer: &Peer, writer: &mut (impl AsyncWrite + Unpin)) -> End {
    let mut repeated = {
        let mail = peer.mailbox.lock();
        mail.last.clone().filter(|_| mail.outgoing.is_none())
    };
    if let Some(last) = &repeated
        && let Err(e) = write_message(writer, last).await
    {
        return End::Unwritable(e);
    }
    loop {
        let message = peer.outgoing().await;
        // The core says it too, when it hears that there is a connection.
        if repeated.take().as_ref() != Some(&message)
            && let Err(e) = write_message(writer, &message).await
        {
            return End::Unwritable(e);
        }
        peer.mailbox.lock().in_flight = None;
    }
}

async fn write_message(writer: &mut (impl AsyncWrite + Unpin), message: &[u8]) -> io::Result<()> {
    let mut frame = BytesMut::with_capacity(4 + message.len());
    frame.put_i32(message.len() as i32);
    frame.put_slice(message);
    writer.write_all(&frame).await
}
