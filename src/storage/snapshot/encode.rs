//! Writes a snapshot into any `io::Write`, through one bounded buffer.

use std::io;

use bytes::{Buf, BufMut, BytesMut};

use super::{FILE_HEADER, TERMINATOR};
use crate::{
    ids::SessionId,
    jute,
    proto::data::{Acl, StatPersisted},
};

/// Call order: `file_header` (files only), `sessions`, `acls`, `node`s, `end_nodes`, `checksum` (files only), `flush`.
pub struct SnapshotEncoder<W> {
    out: W,
    buf: BytesMut,
    sum: simd_adler32::Adler32,
}

impl<W: io::Write> SnapshotEncoder<W> {
    pub fn new(out: W) -> Self {
        SnapshotEncoder {
            out,
            buf: BytesMut::with_capacity(BUFFER + 4096),
            sum: simd_adler32::Adler32::new(),
        }
    }

    pub fn file_header(&mut self) -> io::Result<()> {
        self.buf.put_slice(&FILE_HEADER);
        self.drain_full()
    }

    pub fn sessions(&mut self, sessions: impl ExactSizeIterator<Item = (SessionId, i32)>) -> io::Result<()> {
        self.buf.put_i32(sessions.len() as i32);
        for (id, timeout_ms) in sessions {
            self.buf.put_i64(id.0);
            self.buf.put_i32(timeout_ms);
            self.drain_full()?;
        }
        Ok(())
    }

    pub fn acls<'a>(&mut self, acls: impl ExactSizeIterator<Item = (i64, &'a [Acl])>) -> io::Result<()> {
        self.buf.put_i32(acls.len() as i32);
        for (key, acl) in acls {
            self.buf.put_i64(key);
            jute::put(&mut self.buf, acl);
            self.drain_full()?;
        }
        Ok(())
    }

    /// Parents before children; the root's path is the empty string.
    pub fn node(
        &mut self,
        path: &str,
        data: Option<&[u8]>,
        acl_key: i64,
        stat: &StatPersisted,
    ) -> io::Result<()> {
        jute::put_string(&mut self.buf, path);
        jute::put_bytes(&mut self.buf, data);
        self.buf.put_i64(acl_key);
        jute::put(&mut self.buf, stat);
        self.drain_full()
    }

    pub fn end_nodes(&mut self) -> io::Result<()> {
        self.buf.put_slice(&TERMINATOR);
        Ok(())
    }

    /// The checksum of everything so far, and the tail by which a whole file is told.
    pub fn checksum(&mut self) -> io::Result<()> {
        self.drain()?;
        self.buf.put_u64(self.sum.finish().into());
        self.buf.put_slice(&TERMINATOR);
        Ok(())
    }

    pub fn flush(&mut self) -> io::Result<()> {
        self.drain()?;
        self.out.flush()
    }

    pub fn get_mut(&mut self) -> &mut W {
        &mut self.out
    }

    #[inline]
    fn drain_full(&mut self) -> io::Result<()> {
        if self.buf.len() >= BUFFER { self.drain() } else { Ok(()) }
    }

    fn drain(&mut self) -> io::Result<()> {
        self.sum.write(&self.buf);
        self.out.write_all(&self.buf)?;
        self.buf.advance(self.buf.len());
        if self.buf.capacity() > 4 * BUFFER {
            self.buf = BytesMut::with_capacity(BUFFER + 4096);
        } else {
            self.buf.reserve(BUFFER + 4096);
        }
        Ok(())
    }
}

const BUFFER: usize = 64 << 10;
