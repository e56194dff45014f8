//! Asks a server one four-letter word (`FourLetterWordMain`).

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream, ToSocketAddrs},
    time::Duration,
};

use anyhow::Context;

const TIMEOUT: Duration = Duration::from_secs(5);

/// The answer of `host:port` to `word`; the output is shut down before it is read, as Java's client does.
pub fn ask(host: &str, port: u16, word: &str) -> anyhow::Result<String> {
    let mut failed = None;
    let addresses = (host, port).to_socket_addrs().with_context(|| format!("{host} cannot be resolved"))?;
    for address in addresses {
        match TcpStream::connect_timeout(&address, TIMEOUT) {
            Ok(stream) => {
                return exchange(stream, word).with_context(|| format!("{address} did not answer {word}"));
            }
            Err(e) => failed = Some((address, e)),
        }
    }
    match failed {
        Some((address, e)) => Err(e).with_context(|| format!("nobody answers at {address}")),
        None => anyhow::bail!("{host} has no address"),
    }
}

fn exchange(mut stream: TcpStream, word: &str) -> std::io::Result<String> {
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.write_all(word.as_bytes())?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
