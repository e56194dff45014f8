//! Takes a snapshot's body apart, from slices as they come: a file's buffer or a learner's socket.
//!
//! Values are lent to the sink straight from the input; nothing is allocated for a node.

use super::SnapshotSink;
use crate::{
    ids::{SessionId, Zxid},
    jute::{self, Limits, Ustring},
    proto::data::{Acl, StatPersisted, WireAcl},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of the input that are done with.
    pub consumed: usize,
    /// What must be there behind `consumed` before another call can get on; 0 when the body has ended.
    pub need: usize,
}

pub struct SnapshotDecoder {
    state: State,
    limits: Limits,
}

#[derive(Clone, Copy, Debug)]
enum State {
    SessionCount,
    Sessions(i32),
    AclCount,
    Acls(i32),
    Nodes,
    Ended,
}

/// Why an item cannot be decoded: the input must reach that far, or it never will be.
enum Stop {
    Need(usize),
    Bad(String),
}

impl SnapshotDecoder {
    pub fn new(limits: Limits) -> Self {
        SnapshotDecoder { state: State::SessionCount, limits }
    }

    /// Hands everything that is whole in `input` to the sink.
    pub fn decode<S: SnapshotSink + ?Sized>(
        &mut self,
        input: &[u8],
        sink: &mut S,
    ) -> Result<Progress, String> {
        let mut rest = Input { bytes: input, at: 0, limits: self.limits };
        loop {
            let consumed = rest.at;
            match self.item(&mut rest, sink) {
                Ok(()) => {}
                Err(Stop::Need(end)) => return Ok(Progress { consumed, need: end - consumed }),
                Err(Stop::Bad(reason)) => return Err(reason),
            }
            if let State::Ended = self.state {
                return Ok(Progress { consumed: rest.at, need: 0 });
            }
        }
    }

    #[inline]
    fn item<S: SnapshotSink + ?Sized>(&mut self, input: &mut Input<'_>, sink: &mut S) -> Result<(), Stop> {
        self.state = match self.state {
            State::Nodes => return self.node(input, sink),
            State::SessionCount => State::Sessions(input.int()?),
            State::Sessions(left) if left > 0 => {
                input.require(12)?;
                sink.session(SessionId(input.long()?), input.int()?);
                State::Sessions(left - 1)
            }
            State::Sessions(_) => State::AclCount,
            State::AclCount => State::Acls(input.int()?),
            State::Acls(left) if left > 0 => {
                let key = input.long()?;
                let acl = input.acl()?;
                sink.acl(key, acl);
                State::Acls(left - 1)
            }
            State::Acls(_) => State::Nodes,
            State::Ended => State::Ended,
        };
        Ok(())
    }

    #[inline]
    fn node<S: SnapshotSink + ?Sized>(&mut self, input: &mut Input<'_>, sink: &mut S) -> Result<(), Stop> {
        let path = input.buffer()?.ok_or_else(|| Stop::Bad("a node has no path".to_owned()))?;
        if path == b"/" {
            self.state = State::Ended;
            return Ok(());
        }
        let data = input.buffer()?;
        input.require(8 + STAT)?;
        let acl_key = input.long()?;
        let stat = input.stat()?;
        let result = match std::str::from_utf8(path) {
            Ok(path) => sink.node(path, data, acl_key, &stat),
            Err(_) => sink.node(&lossy(path), data, acl_key, &stat),
        };
        result.map_err(Stop::Bad)
    }
}

/// The part of the input that is not consumed yet. Every getter either moves on or says how much is missing.
struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
    limits: Limits,
}

impl<'a> Input<'a> {
    #[inline]
    fn require(&self, n: usize) -> Result<(), Stop> {
        if self.bytes.len() - self.at < n { Err(Stop::Need(self.at + n)) } else { Ok(()) }
    }

    #[inline]
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Stop> {
        match self.bytes[self.at..].first_chunk::<N>() {
            Some(chunk) => {
                self.at += N;
                Ok(*chunk)
            }
            None => Err(Stop::Need(self.at + N)),
        }
    }

    #[inline]
    fn int(&mut self) -> Result<i32, Stop> {
        self.take().map(i32::from_be_bytes)
    }

    #[inline]
    fn long(&mut self) -> Result<i64, Stop> {
        self.take().map(i64::from_be_bytes)
    }

    #[inline]
    fn buffer(&mut self) -> Result<Option<&'a [u8]>, Stop> {
        let length = self.int()?;
        match usize::try_from(length) {
            Err(_) if length == -1 => Ok(None),
            Ok(n) if n <= self.limits.max_field => {
                self.require(n)?;
                let value = &self.bytes[self.at..self.at + n];
                self.at += n;
                Ok(Some(value))
            }
            _ => Err(Stop::Bad(format!(
                "Unreasonable length = {length} (a larger -Djute.maxbuffer may be needed)"
            ))),
        }
    }

    fn acl(&mut self) -> Result<Vec<Acl>, Stop> {
        let rest = &self.bytes[self.at..];
        match jute::take_from_bytes::<Vec<WireAcl<'_>>>(rest, self.limits) {
            Ok((acl, behind)) => {
                self.at += rest.len() - behind.len();
                Ok(acl.into_iter().map(Acl::from).collect())
            }
            Err(jute::Error::Truncated { .. }) if rest.len() > MAX_ACL_FIELDS * self.limits.max_field => {
                Err(Stop::Bad("an ACL list does not end".to_owned()))
            }
            Err(jute::Error::Truncated { .. }) => Err(Stop::Need(self.bytes.len() + 1)),
            Err(e) => Err(Stop::Bad(format!("an ACL list cannot be read: {e}"))),
        }
    }

    #[inline]
    fn stat(&mut self) -> Result<StatPersisted, Stop> {
        Ok(StatPersisted {
            czxid: Zxid(self.long()?),
            mzxid: Zxid(self.long()?),
            ctime: self.long()?,
            mtime: self.long()?,
            version: self.int()?,
            cversion: self.int()?,
            aversion: self.int()?,
            ephemeral_owner: self.long()?,
            pzxid: Zxid(self.long()?),
        })
    }
}

/// As Java decodes a string that is not UTF-8.
fn lossy(path: &[u8]) -> String {
    let mut field = (path.len() as i32).to_be_bytes().to_vec();
    field.extend_from_slice(path);
    let limits = Limits { max_field: path.len(), ..Limits::default() }.for_files();
    jute::from_bytes::<Ustring<'_>>(&field, limits).map(Ustring::into_owned).unwrap_or_default()
}

const STAT: usize = 60;
/// An ACL list came in one request, so it is no longer than a field or two.
const MAX_ACL_FIELDS: usize = 4;
