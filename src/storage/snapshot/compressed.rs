//! Snapshots as 3.6 and newer may write them: `snapshot.<zxid>.gz` and `.snappy` (B§12.3). Read, never written.

use std::io::{self, Read};

/// snappy-java's `SnappyOutputStream`: a 16-byte header, then blocks of raw snappy behind their length. Where streams are
/// joined, the header may come again.
pub(super) struct SnappyReader<R> {
    input: R,
    block: Vec<u8>,
    at: usize,
    started: bool,
}

pub(super) const SNAPPY_MAGIC: &[u8; 8] = b"\x82SNAPPY\0";
pub(super) const GZIP_MAGIC: &[u8; 2] = b"\x1f\x8b";

impl<R: Read> SnappyReader<R> {
    pub(super) fn new(input: R) -> Self {
        SnappyReader { input, block: Vec::new(), at: 0, started: false }
    }

    /// False at a clean end.
    fn next_block(&mut self) -> io::Result<bool> {
        let mut word = [0; 4];
        match self.input.read(&mut word[..1])? {
            0 if self.started => return Ok(false),
            0 => return Err(invalid("the file is empty")),
            _ => self.input.read_exact(&mut word[1..])?,
        }
        if word == SNAPPY_MAGIC[..4] {
            let mut header = [0; 12];
            self.input.read_exact(&mut header)?;
            if header[..4] != SNAPPY_MAGIC[4..] {
                return Err(invalid("the snappy header is damaged"));
            }
            self.started = true;
            return Ok(true);
        }
        let length = u32::from_be_bytes(word) as usize;
        if !self.started || length > MAX_BLOCK {
            return Err(invalid("this is not a stream of snappy-java"));
        }
        let mut raw = Vec::new();
        if (&mut self.input).take(length as u64).read_to_end(&mut raw)? < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if snap::raw::decompress_len(&raw).map_err(io::Error::from)? > MAX_BLOCK {
            return Err(invalid("a snappy block is too large"));
        }
        self.block = snap::raw::Decoder::new().decompress_vec(&raw).map_err(io::Error::from)?;
        self.at = 0;
        Ok(true)
    }
}

impl<R: Read> Read for SnappyReader<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.at == self.block.len() {
            if !self.next_block()? {
                return Ok(0);
            }
        }
        let n = buf.len().min(self.block.len() - self.at);
        buf[..n].copy_from_slice(&self.block[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}

fn invalid(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

/// snappy-java's default block is 32 KiB; this only stops a damaged length.
const MAX_BLOCK: usize = 64 << 20;
