//! A server that costs nothing: it keeps no tree and no log, and answers getData and setData with the right number of
//! bytes. It shows what the generator can do at most, and, told to misbehave, that the generator notices.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::thread::JoinHandle;

use anyhow::{Context, Result, anyhow};
use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustix::io::Errno;

use crate::bench::requests::{REPLY_HEADER, STAT};
use crate::wire::{Enc, frame, op};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    /// The 100th request of a connection fails with this code.
    Error(i32),
    /// Its reply lacks a byte, and says so.
    Short,
    /// Its reply answers another request.
    WrongXid,
    /// The connection ends.
    Close,
}

pub struct NullServer {
    pub addr: SocketAddr,
    thread: JoinHandle<Result<()>>,
}

impl NullServer {
    /// Serves exactly `sessions` connections and ends when they have.
    pub fn start(sessions: usize, value_len: usize, fault: Fault) -> Result<NullServer> {
        let listener = TcpListener::bind("127.0.0.1:0").context("cannot listen on loopback")?;
        let addr = listener.local_addr()?;
        let thread = std::thread::spawn(move || serve(&listener, sessions, value_len, fault));
        Ok(NullServer { addr, thread })
    }

    pub fn join(self) -> Result<()> {
        self.thread.join().map_err(|_| anyhow!("the null server panicked"))?
    }
}

fn serve(listener: &TcpListener, sessions: usize, value_len: usize, fault: Fault) -> Result<()> {
    let epoll: OwnedFd = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let mut conns = Vec::with_capacity(sessions);
    for n in 0..sessions {
        // The handshake is answered before the next connection is taken: the generator opens them one by one.
        let (stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        let mut conn = NullConn {
            stream,
            inbox: vec![0; 64 * 1024],
            filled: 0,
            value_len,
            fault,
            requests: 0,
            open: true,
        };
        conn.handshake()?;
        epoll::add(&epoll, &conn.stream, epoll::EventData::new_u64(n as u64), epoll::EventFlags::IN)?;
        conns.push(conn);
    }
    let mut events = Vec::with_capacity(sessions);
    while conns.iter().any(|c| c.open) {
        match epoll::wait(&epoll, spare_capacity(&mut events), None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        for event in events.drain(..) {
            let conn = &mut conns[event.data.u64() as usize];
            // The generator ends a run by dropping its connections; that is no error here.
            if conn.answer().is_err() && std::mem::take(&mut conn.open) {
                epoll::delete(&epoll, &conn.stream)?;
            }
        }
    }
    Ok(())
}

struct NullConn {
    stream: TcpStream,
    inbox: Vec<u8>,
    filled: usize,
    value_len: usize,
    fault: Fault,
    requests: u64,
    open: bool,
}

impl NullConn {
    fn handshake(&mut self) -> Result<()> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let mut body = vec![0; usize::try_from(i32::from_be_bytes(length))?];
        self.stream.read_exact(&mut body)?;
        let reply = Enc::new().int(0).int(40_000).long(1).buffer(Some(&[0; 16])).bool(false);
        self.stream.write_all(&frame(&reply.bytes()))?;
        Ok(())
    }

    /// One read, then a reply to every whole request, in one write.
    fn answer(&mut self) -> Result<()> {
        let n = self.stream.read(&mut self.inbox[self.filled..])?;
        if n == 0 {
            return Err(anyhow!("closed"));
        }
        self.filled += n;
        let (mut at, mut out) = (0, Vec::with_capacity(16 * 1024));
        while let Some(head) = self.inbox[at..self.filled].first_chunk::<12>() {
            let int = |at: usize| i32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
            let (length, xid, op) = (usize::try_from(int(0))?, int(4), int(8));
            if self.filled - at < 4 + length {
                break;
            }
            at += 4 + length;
            self.requests += 1;
            self.reply(xid, op, &mut out)?;
        }
        self.inbox.copy_within(at..self.filled, 0);
        self.filled -= at;
        self.stream.write_all(&out)?;
        Ok(())
    }

    fn reply(&self, xid: i32, op: i32, out: &mut Vec<u8>) -> Result<()> {
        let fault = if self.requests == 100 { self.fault } else { Fault::None };
        let mut body = match op {
            op::GET_DATA => 4 + self.value_len + STAT,
            op::CLOSE_SESSION => 0,
            _ => STAT,
        };
        let (mut xid, mut err) = (xid, 0);
        match fault {
            Fault::None => {}
            Fault::Error(code) => (err, body) = (code, 0),
            Fault::Short => body -= 1,
            Fault::WrongXid => xid += 1,
            Fault::Close => return Err(anyhow!("told to close")),
        }
        out.extend_from_slice(&i32::try_from(REPLY_HEADER + body)?.to_be_bytes());
        out.extend_from_slice(&xid.to_be_bytes());
        out.extend_from_slice(&1i64.to_be_bytes());
        out.extend_from_slice(&err.to_be_bytes());
        out.resize(out.len() + body, 0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::bench::generator::{Generator, Shape, Stop, Tally};
    use crate::bench::requests::{Creates, Random};

    fn paths() -> Vec<String> {
        (0..10).map(|n| format!("/n{n}")).collect()
    }

    fn read_under(fault: Fault) -> Result<Tally> {
        let server = NullServer::start(3, 50, fault)?;
        let mut generator = Generator::connect(&[server.addr], 3, &[])?;
        let window = Duration::from_millis(100);
        let stop = Stop::Window { warm_up: window, window };
        let tally =
            generator.run(&mut Random::reads(&paths(), 50)?, Shape { in_flight: 4, pace: None, stop });
        drop(generator);
        server.join()?;
        tally
    }

    fn complaint(fault: Fault) -> String {
        format!("{:#}", read_under(fault).unwrap_err())
    }

    #[test]
    fn right_replies_are_counted_and_the_sessions_can_be_closed() {
        let tally = read_under(Fault::None).unwrap();
        assert_eq!(tally.latency.len(), tally.ops);
        assert!(tally.ops > 0);
    }

    #[test]
    fn every_request_of_a_bounded_source_is_sent_once_and_answered() {
        let server = NullServer::start(2, 0, Fault::None).unwrap();
        let mut generator = Generator::connect(&[server.addr], 2, &[]).unwrap();
        // The null server answers a create with a Stat: a pattern as long as that, less the length field, fits.
        let pattern = format!("/{:#<63}", "");
        let mut creates = Creates::new(&pattern, &[1], b"x", 5..1005).unwrap();
        let tally =
            generator.run(&mut creates, Shape { in_flight: 8, pace: None, stop: Stop::Exhausted }).unwrap();
        assert_eq!(tally.ops, 1000);
        generator.close().unwrap();
        server.join().unwrap();
    }

    #[test]
    fn an_error_a_short_reply_a_wrong_xid_and_a_close_each_end_the_run() {
        assert!(complaint(Fault::Error(-101)).contains("got xid 100 err -101 and 16 bytes"));
        assert!(
            complaint(Fault::Short)
                .contains("expected xid 100 err 0 and 138 bytes, got xid 100 err 0 and 137")
        );
        assert!(complaint(Fault::WrongXid).contains("got xid 101 err 0"));
        assert!(complaint(Fault::Close).contains("the server closed"));
    }
}
