//! What stands where no valid entry stands: nothing, what a crash tore, or something that rotted.
//!
//! A write that was never synced may reach the disk in any subset of its sectors; the others keep the zeros that the
//! file was created with. So torn bytes always lack something: the end of the entry, or a sector that is all zeros. Bytes
//! that lack nothing and still do not check were once whole, and are corrupt (CORDS, PAR). Valid entries behind the damage
//! belong to the same unfinished batch only if the log is known to have been synced no further; the next batch waits for
//! the sync of this one.

use std::io;

use super::{END_OF_ENTRY, ENTRY_HEADER, adler32, is_known_kind, reader::read_full};
use crate::{jute::Limits, proto::txn::TxnHeader, storage::DiskFile};

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Only zeros to the end.
    Clean,
    /// A valid entry begins here, at or behind the place asked about.
    ValidAt(u64),
    /// An unfinished write: that many bytes up to the last that is not zero.
    Torn {
        bytes: u64,
    },
    Corrupt(String),
}

/// Judges a file from `offset` on, where no valid entry was found. `synced`: what lies before that was durable once.
pub(super) fn examine(
    file: &dyn DiskFile,
    offset: u64,
    len: u64,
    limits: Limits,
    synced: Option<u64>,
) -> io::Result<Verdict> {
    let mut scan = Scan { file, len, buf: Vec::new(), buf_at: 0 };
    let (mut valid, mut last_nonzero) = (None, None);
    let mut at = offset;
    while let Some(nonzero) = scan.next_nonzero(at)? {
        last_nonzero = Some(nonzero);
        if valid.is_none() && nonzero - at >= 4 {
            valid = valid_entry_around(file, nonzero, at, len, limits)?;
        }
        at = nonzero + 1;
    }
    let Some(last) = last_nonzero else { return Ok(Verdict::Clean) };
    let verdict = match valid {
        None => judge_tail(file, offset, last, limits)?,
        Some(valid) if valid == offset => return Ok(Verdict::ValidAt(valid)),
        Some(valid) if synced.is_some() && lost_a_sector(file, offset, valid, len)? => {
            Verdict::Torn { bytes: last + 1 - offset }
        }
        Some(valid) => Verdict::ValidAt(valid),
    };
    Ok(match (verdict, synced) {
        (Verdict::Torn { .. }, Some(synced)) if offset < synced => Verdict::Corrupt(format!(
            "it was whole and synced up to byte {synced} once, says .log.synced beside it (remove that file too if you cut)"
        )),
        (verdict, _) => verdict,
    })
}

/// An entry's checksum is a long below 2^32: four zeros, then at least one byte of four that is not.
fn valid_entry_around(
    file: &dyn DiskFile,
    nonzero: u64,
    not_before: u64,
    len: u64,
    limits: Limits,
) -> io::Result<Option<u64>> {
    for at in nonzero.saturating_sub(7).max(not_before)..=nonzero.saturating_sub(4) {
        if is_valid_at(file, at, len, limits.max_field)? {
            return Ok(Some(at));
        }
    }
    Ok(None)
}

/// Nothing valid follows `offset`, and `last` is the last byte that is not zero.
fn judge_tail(file: &dyn DiskFile, offset: u64, last: u64, limits: Limits) -> io::Result<Verdict> {
    let torn = Verdict::Torn { bytes: last + 1 - offset };
    let mut head = [0; ENTRY_HEADER];
    read_full(file, &mut head, offset)?;
    let word = i32::from_be_bytes([head[8], head[9], head[10], head[11]]);
    let body = offset + ENTRY_HEADER as u64;
    let Some(length) = claimed_length(&head).filter(|n| *n <= limits.max_field) else {
        // A lost sector makes a length smaller, never unreasonable, and zero only together with its neighbours. Without
        // a checksum this was never an entry.
        let in_one_sector = offset / SECTOR == (body - 1) / SECTOR;
        if head[..8] != [0; 8] && (word != 0 || last >= body && in_one_sector) {
            return Ok(Verdict::Corrupt(format!("unreasonable length {word}")));
        }
        return Ok(torn);
    };
    let trailer = body + length as u64;
    if trailer > last {
        return match fits_another_length(file, &head, body, last, limits)? {
            Some(fits) => Ok(Verdict::Corrupt(format!("the length {length} should be {fits}"))),
            None => Ok(torn),
        };
    }
    if lost_a_sector(file, offset, trailer + 1, last + 1)? {
        return Ok(torn);
    }
    let mut end = [0];
    read_full(file, &mut end, trailer)?;
    let what = if end[0] == END_OF_ENTRY { "CRC check failed" } else { "the entry does not end with B" };
    Ok(Verdict::Corrupt(what.to_owned()))
}

/// The length with which the last bytes of the file would be a valid entry.
fn fits_another_length(
    file: &dyn DiskFile,
    head: &[u8],
    body: u64,
    last: u64,
    limits: Limits,
) -> io::Result<Option<usize>> {
    let length = last.saturating_sub(body) as usize;
    if length < TxnHeader::LEN || length > limits.max_field {
        return Ok(None);
    }
    let mut rest = vec![0; length + 1];
    read_full(file, &mut rest, body)?;
    let mut entry = head.to_vec();
    entry.append(&mut rest);
    Ok(checked_txn(&entry).map(|_| length))
}

/// Whether a sector of `from..to` has nothing but zeros from `from` on, as before it was written.
fn lost_a_sector(file: &dyn DiskFile, from: u64, to: u64, len: u64) -> io::Result<bool> {
    let mut at = from;
    let mut sector = [0; SECTOR as usize];
    while at < to {
        let end = (at / SECTOR + 1) * SECTOR;
        let part = &mut sector[..(end.min(len) - at) as usize];
        let n = read_full(file, part, at)?;
        if part[..n].iter().all(|b| *b == 0) {
            return Ok(true);
        }
        at = end;
    }
    Ok(false)
}

/// What a disk writes whole or not at all.
const SECTOR: u64 = 512;

/// The length word of an entry header, if it can be one.
pub(super) fn claimed_length(head: &[u8]) -> Option<usize> {
    let word = head.get(8..ENTRY_HEADER)?;
    let length = i32::from_be_bytes([word[0], word[1], word[2], word[3]]);
    usize::try_from(length).ok().filter(|n| *n > 0)
}

/// The txn of an entry that is given from its checksum to its trailer.
pub(super) fn checked_txn(entry: &[u8]) -> Option<&[u8]> {
    let (head, rest) = entry.split_at_checked(ENTRY_HEADER)?;
    let (end, txn) = rest.split_last()?;
    let checksum = u64::from(adler32(txn)).to_be_bytes();
    (*end == END_OF_ENTRY && head[..8] == checksum).then_some(txn)
}

/// Whether a whole entry begins at `at`; reads no more than it must to say no.
pub(super) fn is_valid_at(file: &dyn DiskFile, at: u64, len: u64, max_len: usize) -> io::Result<bool> {
    let mut head = [0; ENTRY_HEADER + TxnHeader::LEN];
    if read_full(file, &mut head, at)? < head.len() || head[..4] != [0; 4] {
        return Ok(false);
    }
    let kind = i32::from_be_bytes([head[40], head[41], head[42], head[43]]);
    let Some(length) = claimed_length(&head).filter(|n| *n >= TxnHeader::LEN && *n <= max_len) else {
        return Ok(false);
    };
    let end = at + (ENTRY_HEADER + length) as u64;
    let mut trailer = [0];
    if end >= len
        || !is_known_kind(kind)
        || read_full(file, &mut trailer, end)? != 1
        || trailer[0] != END_OF_ENTRY
    {
        return Ok(false);
    }
    let mut sum = simd_adler32::Adler32::new();
    let mut chunk = [0; 8192];
    let mut from = at + ENTRY_HEADER as u64;
    while from < end {
        let want = chunk.len().min((end - from) as usize);
        let n = read_full(file, &mut chunk[..want], from)?;
        if n < want {
            return Ok(false);
        }
        sum.write(&chunk[..n]);
        from += n as u64;
    }
    Ok(head[4..8] == sum.finish().to_be_bytes())
}

/// A window that runs forward over a file.
struct Scan<'a> {
    file: &'a dyn DiskFile,
    len: u64,
    buf: Vec<u8>,
    buf_at: u64,
}

impl Scan<'_> {
    fn next_nonzero(&mut self, mut at: u64) -> io::Result<Option<u64>> {
        loop {
            let have = self.buf_at + self.buf.len() as u64;
            if at >= self.buf_at && at < have {
                let rest = &self.buf[(at - self.buf_at) as usize..];
                if let Some(skip) = first_nonzero(rest) {
                    return Ok(Some(at + skip as u64));
                }
                at = have;
            }
            if at >= self.len {
                return Ok(None);
            }
            let Some(data) = self.file.next_data(at)? else { return Ok(None) };
            at = at.max(data);
            let room = self.len.saturating_sub(at).min(1 << 20) as usize;
            self.buf.resize(room, 0);
            let n = read_full(self.file, &mut self.buf, at)?;
            self.buf.truncate(n);
            self.buf_at = at;
            if n == 0 {
                return Ok(None);
            }
        }
    }
}

fn first_nonzero(bytes: &[u8]) -> Option<usize> {
    let zeros = bytes.chunks_exact(64).take_while(|c| c.iter().fold(0, |all, b| all | b) == 0).count() * 64;
    bytes[zeros..].iter().position(|b| *b != 0).map(|n| zeros + n)
}
