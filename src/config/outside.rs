//! All that reading a configuration asks of the machine, in one place: tests answer from memory.

use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::path::Path;

pub trait Outside {
    fn read(&self, file: &Path) -> io::Result<Vec<u8>>;

    /// `InetAddress.getByName`: one address, IPv4 first.
    fn resolve(&self, host: &str) -> io::Result<IpAddr>;
}

/// The disk and the resolver of this machine.
pub struct Machine;

impl Outside for Machine {
    fn read(&self, file: &Path) -> io::Result<Vec<u8>> {
        std::fs::read(file)
    }

    fn resolve(&self, host: &str) -> io::Result<IpAddr> {
        let addresses: Vec<IpAddr> = (host, 0).to_socket_addrs()?.map(|a| a.ip()).collect();
        let v4 = addresses.iter().find(|a| a.is_ipv4());
        v4.or(addresses.first()).copied().ok_or_else(|| io::Error::other("no address"))
    }
}
