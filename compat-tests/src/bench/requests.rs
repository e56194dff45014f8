//! What the generator sends: frames encoded once, into which only the xid (and a counter) is written per request.

use anyhow::{Result, bail};
use fastrand::Rng;

use crate::wire::{Acl, Enc, frame, op, request};

/// Where requests come from. One source feeds all connections of a generator.
pub trait Source {
    /// Appends the next request, length field included, and returns the length its reply must have (behind the length
    /// field); None when there is nothing left to send.
    fn push(&mut self, xid: i32, out: &mut Vec<u8>) -> Option<usize>;
}

/// Requests of one kind to a set of nodes, drawn at random.
#[derive(Clone, Debug)]
pub struct Random {
    bytes: Vec<u8>,
    size: usize,
    reply_len: usize,
    rng: Rng,
}

impl Random {
    pub fn reads(paths: &[String], value_len: usize) -> Result<Random> {
        let frames = paths.iter().map(|p| encode(op::GET_DATA, Enc::new().string(p).bool(false)));
        Random::new(frames, REPLY_HEADER + 4 + value_len + STAT)
    }

    pub fn writes(paths: &[String], value: &[u8]) -> Result<Random> {
        let body = |p: &String| Enc::new().string(p).buffer(Some(value)).int(-1);
        Random::new(paths.iter().map(|p| encode(op::SET_DATA, body(p))), REPLY_HEADER + STAT)
    }

    fn new(frames: impl Iterator<Item = Vec<u8>>, reply_len: usize) -> Result<Random> {
        let (mut bytes, mut size) = (Vec::new(), 0);
        for frame in frames {
            if size != 0 && size != frame.len() {
                bail!("the paths of one load must be of one length");
            }
            size = frame.len();
            bytes.extend(frame);
        }
        if bytes.is_empty() {
            bail!("a load needs at least one path");
        }
        Ok(Random { bytes, size, reply_len, rng: Rng::with_seed(7) })
    }
}

impl Source for Random {
    fn push(&mut self, xid: i32, out: &mut Vec<u8>) -> Option<usize> {
        let at = self.rng.usize(..self.bytes.len() / self.size) * self.size;
        append(&self.bytes[at..at + self.size], xid, out);
        Some(self.reply_len)
    }
}

/// Seven reads for every three writes, in random order.
#[derive(Clone, Debug)]
pub struct Mixed {
    pub reads: Random,
    pub writes: Random,
    pub rng: Rng,
}

impl Source for Mixed {
    fn push(&mut self, xid: i32, out: &mut Vec<u8>) -> Option<usize> {
        if self.rng.u8(..10) < 7 { self.reads.push(xid, out) } else { self.writes.push(xid, out) }
    }
}

/// The first `left` requests of a source.
#[derive(Clone, Debug)]
pub struct Bounded<S> {
    pub source: S,
    pub left: u64,
}

impl<S: Source> Source for Bounded<S> {
    fn push(&mut self, xid: i32, out: &mut Vec<u8>) -> Option<usize> {
        self.left = self.left.checked_sub(1)?;
        self.source.push(xid, out)
    }
}

/// Creates of persistent nodes, numbered; every run of `#` in the pattern is filled with digits of the number.
#[derive(Clone, Debug)]
pub struct Creates {
    template: Vec<u8>,
    fields: Vec<Field>,
    next: u64,
    end: u64,
    reply_len: usize,
}

/// `width` digits of the number divided by `divisor`.
#[derive(Clone, Copy, Debug)]
struct Field {
    at: usize,
    width: usize,
    divisor: u64,
}

impl Creates {
    /// `/t/p###/n#######` with divisors `[1000, 1]`: number 12345 is `/t/p012/n0012345`.
    pub fn new(
        pattern: &str,
        divisors: &[u64],
        value: &[u8],
        numbers: std::ops::Range<u64>,
    ) -> Result<Creates> {
        let runs = runs_of_hash(pattern);
        if runs.len() != divisors.len() {
            bail!("{pattern} has {} fields and {} divisors", runs.len(), divisors.len());
        }
        let body = Enc::new().string(pattern).buffer(Some(value)).acls(&Acl::open()).int(0);
        let fields = runs
            .iter()
            .zip(divisors)
            .map(|(&(at, width), &divisor)| Field { at: PATH_AT + at, width, divisor })
            .collect();
        Ok(Creates {
            template: encode(op::CREATE, body),
            fields,
            next: numbers.start,
            end: numbers.end,
            reply_len: REPLY_HEADER + 4 + pattern.len(),
        })
    }
}

impl Source for Creates {
    fn push(&mut self, xid: i32, out: &mut Vec<u8>) -> Option<usize> {
        if self.next >= self.end {
            return None;
        }
        let start = out.len();
        append(&self.template, xid, out);
        for field in &self.fields {
            let at = start + field.at;
            write_digits(self.next / field.divisor, &mut out[at..at + field.width]);
        }
        self.next += 1;
        Some(self.reply_len)
    }
}

/// The path a pattern of `Creates` gives to a number.
pub fn path_of(pattern: &str, divisors: &[u64], number: u64) -> String {
    let mut bytes = pattern.as_bytes().to_vec();
    for ((at, width), divisor) in runs_of_hash(pattern).into_iter().zip(divisors) {
        write_digits(number / divisor, &mut bytes[at..at + width]);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// No run of equal bytes, nothing a compressor could use; the same in every run.
pub fn value(length: usize) -> Vec<u8> {
    let mut rng = Rng::with_seed(length as u64);
    (0..length).map(|_| rng.u8(..)).collect()
}

fn runs_of_hash(pattern: &str) -> Vec<(usize, usize)> {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for (at, _) in pattern.match_indices('#') {
        match runs.last_mut() {
            Some((start, width)) if *start + *width == at => *width += 1,
            _ => runs.push((at, 1)),
        }
    }
    runs
}

fn write_digits(mut number: u64, out: &mut [u8]) {
    for digit in out.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

fn encode(op: i32, body: Enc) -> Vec<u8> {
    frame(&request(0, op, &body.bytes()))
}

fn append(frame: &[u8], xid: i32, out: &mut Vec<u8>) {
    let at = out.len();
    out.extend_from_slice(frame);
    out[at + XID_AT..at + XID_AT + 4].copy_from_slice(&xid.to_be_bytes());
}

/// xid, zxid, err (B§1).
pub const REPLY_HEADER: usize = 16;
pub const STAT: usize = 68;
/// Behind the frame's length.
const XID_AT: usize = 4;
/// Behind length, xid, op and the path's length.
const PATH_AT: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Dec;

    #[test]
    fn a_create_carries_its_number_in_every_field() {
        let mut creates = Creates::new("/t/p###/n#####", &[100, 1], b"xy", 12_345..12_346).unwrap();
        let mut out = vec![0xff];
        assert_eq!(creates.push(9, &mut out), Some(16 + 4 + 14));
        let mut d = Dec(&out[1..]);
        assert_eq!(d.int().unwrap() as usize, out.len() - 5);
        assert_eq!((d.int().unwrap(), d.int().unwrap()), (9, op::CREATE));
        assert_eq!(d.string().unwrap(), "/t/p123/n12345");
        assert_eq!(d.buffer().unwrap(), Some(&b"xy"[..]));
        assert_eq!(d.acls().unwrap(), Acl::open());
        assert_eq!(d.int().unwrap(), 0);
        assert!(d.is_empty());
        assert_eq!(creates.push(10, &mut out), None);
        assert_eq!(path_of("/t/p###/n#####", &[100, 1], 12_345), "/t/p123/n12345");
    }

    #[test]
    fn a_load_of_paths_of_two_lengths_is_refused() {
        assert!(Random::reads(&["/a".to_string(), "/bb".to_string()], 1).is_err());
        assert!(Random::reads(&[], 1).is_err());
        assert!(Creates::new("/a##", &[], b"", 0..1).is_err());
    }

    #[test]
    fn a_write_is_a_set_data_of_any_version() {
        let mut writes = Random::writes(&["/a".to_string()], b"v").unwrap();
        let mut out = Vec::new();
        assert_eq!(writes.push(3, &mut out), Some(16 + 68));
        let mut d = Dec(&out[4..]);
        assert_eq!((d.int().unwrap(), d.int().unwrap()), (3, op::SET_DATA));
        assert_eq!(d.string().unwrap(), "/a");
        assert_eq!(d.buffer().unwrap(), Some(&b"v"[..]));
        assert_eq!(d.int().unwrap(), -1);
    }
}
