//! The first bytes of a connection: who speaks, and where it is to be dialed (`QuorumCnxManager.InitialMessage`).

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
};

use bytes::{BufMut, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::ids::Sid;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    pub host: String,
    pub port: u16,
}

impl HostPort {
    /// Asks anew each time, for names move (B§11.3).
    pub async fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        let found: Vec<SocketAddr> =
            tokio::net::lookup_host((self.host.as_str(), self.port)).await?.collect();
        match found.is_empty() {
            true => Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address")),
            false => Ok(found),
        }
    }

    /// Dialing "every address" reaches whoever listens on this machine, and that is this server.
    pub fn is_wildcard(&self) -> bool {
        self.host.parse().is_ok_and(|ip: IpAddr| ip.to_canonical().is_unspecified())
    }

    fn parse(text: &str) -> Result<HostPort, GreetingError> {
        let malformed = || GreetingError::Address(text.to_owned());
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => rest.split_once("]:"),
            None => text.split_once(':').filter(|(_, port)| !port.contains(':')),
        }
        .ok_or_else(malformed)?;
        let port = port.parse().map_err(|_| malformed())?;
        let host = if host.is_empty() { "localhost" } else { host };
        Ok(HostPort { host: host.to_owned(), port })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// `formatInetAddr`: an IPv6 address in brackets, and without `::`.
pub fn java_text(address: SocketAddr) -> String {
    let port = address.port();
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => format!("{ip}:{port}"),
        IpAddr::V6(ip) => {
            let groups: Vec<String> = ip.segments().iter().map(|group| format!("{group:x}")).collect();
            format!("[{}]:{port}", groups.join(":"))
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum GreetingError {
    #[error("has closed before it said who it is: {0}")]
    Closed(#[from] io::Error),
    #[error("begins with {0:#018x}, which no election begins with")]
    Protocol(i64),
    #[error("announces an address of {0} bytes (1 to {max} are allowed)", max = Greeting::MAX_ADDRESS)]
    AddressLength(i32),
    #[error("names {0:?} as its address, which is not host:port")]
    Address(String),
}

#[derive(Debug, PartialEq, Eq)]
pub struct Greeting {
    pub sid: Sid,
    /// None from a server of the old protocol, which sends its sid alone.
    pub address: Option<HostPort>,
}

impl Greeting {
    /// What an observer without an id sends as its sid.
    pub const ANONYMOUS: Sid = Sid(i64::MAX);
    const PROTOCOL_VERSION: i64 = -65536;
    const MAX_ADDRESS: i32 = 2048;

    /// To be written at once: Java reads the address with a single read, and refuses the connection if that brings less.
    pub fn encode(sid: Sid, address: &str) -> BytesMut {
        let mut out = BytesMut::with_capacity(20 + address.len());
        out.put_i64(Greeting::PROTOCOL_VERSION);
        out.put_i64(sid.0);
        out.put_i32(address.len() as i32);
        out.put_slice(address.as_bytes());
        out
    }

    pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Greeting, GreetingError> {
        let version = stream.read_i64().await?;
        if version >= 0 {
            return Ok(Greeting { sid: Sid(version), address: None });
        }
        if version != Greeting::PROTOCOL_VERSION {
            return Err(GreetingError::Protocol(version));
        }
        let sid = Sid(stream.read_i64().await?);
        let length = stream.read_i32().await?;
        if !(1..=Greeting::MAX_ADDRESS).contains(&length) {
            return Err(GreetingError::AddressLength(length));
        }
        let mut address = vec![0; length as usize];
        stream.read_exact(&mut address).await?;
        let address = HostPort::parse(&String::from_utf8_lossy(&address))?;
        Ok(Greeting { sid, address: Some(address) })
    }
}
