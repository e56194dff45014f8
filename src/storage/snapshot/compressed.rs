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

#[cfg(test)]
mod tests {
    use super::*;

    fn block(bytes: &[u8]) -> Vec<u8> {
        let raw = snap::raw::Encoder::new().compress_vec(bytes).expect("compress");
        [&(raw.len() as u32).to_be_bytes()[..], &raw].concat()
    }

    fn read(stream: &[u8]) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        SnappyReader::new(stream).read_to_end(&mut bytes).map(|_| bytes)
    }

    const HEADER: &[u8] = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01";

    #[test]
    fn blocks_and_joined_streams_are_read_on_end() {
        let (one, two) = (vec![1; 40_000], b"two".to_vec());
        let stream = [HEADER, &block(&one), &block(&two), HEADER, &block(&[]), &block(&two)].concat();
        assert_eq!(read(&stream).expect("readable"), [one, two.clone(), two].concat());
        assert_eq!(read(HEADER).expect("readable"), [0; 0]);
    }

    #[test]
    fn what_is_cut_or_strange_is_an_error() {
        let stream = [HEADER, &block(&[5; 1000])].concat();
        for cut in (0..HEADER.len()).chain(HEADER.len() + 1..stream.len()) {
            assert!(read(&stream[..cut]).is_err(), "cut at {cut}");
        }
        assert!(read(&block(b"no header")).is_err());
        let huge = [HEADER, &u32::to_be_bytes(0x7fff_ffff)].concat();
        assert!(read(&huge).is_err());
        // A block that says it unpacks to 4 GiB.
        let bomb = [HEADER, &[0, 0, 0, 6, 0xff, 0xff, 0xff, 0xff, 0x0f, 0]].concat();
        assert!(read(&bomb).is_err());
    }
}
