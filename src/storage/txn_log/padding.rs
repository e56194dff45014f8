//! Preallocation (`FilePadding`): how long Java's file would be.

use super::FILE_HEADER;

/// The length grows when the *flushed* position comes near the end, so this
/// follows what a `BufferedOutputStream` flushes by itself.
pub(super) struct Padding {
    /// 0: no preallocation.
    pub(super) step: u64,
    pub(super) size: u64,
    flushed: u64,
    buffered: u64,
}

impl Padding {
    pub(super) fn new(prealloc_kib: i64) -> Padding {
        let step = u64::try_from(prealloc_kib).unwrap_or(0).saturating_mul(1024);
        let header = FILE_HEADER.len() as u64;
        Padding { step, size: header, flushed: header, buffered: 0 }
    }

    pub(super) fn before_append(&mut self) {
        self.size = self.size_for_append();
    }

    /// `FilePadding.calculateFileSizeWithPadding`.
    pub(super) fn size_for_append(&self) -> u64 {
        if self.step == 0 || self.flushed + 4096 < self.size {
            self.size
        } else if self.flushed > self.size {
            let size = self.flushed + self.step;
            size - size % self.step
        } else {
            self.size + self.step
        }
    }

    pub(super) fn append(&mut self, txn_len: usize) {
        self.chunk(8);
        for _ in 0..4 {
            self.byte();
        }
        self.chunk(txn_len as u64);
        self.byte();
    }

    fn chunk(&mut self, len: u64) {
        if len >= STREAM_BUFFER {
            self.flush();
            self.flushed += len;
            return;
        }
        if len > STREAM_BUFFER - self.buffered {
            self.flush();
        }
        self.buffered += len;
    }

    fn byte(&mut self) {
        if self.buffered >= STREAM_BUFFER {
            self.flush();
        }
        self.buffered += 1;
    }

    pub(super) fn flush(&mut self) {
        self.flushed += self.buffered;
        self.buffered = 0;
    }
}

/// Java's `BufferedOutputStream`.
const STREAM_BUFFER: u64 = 8192;

#[cfg(test)]
mod tests {
    use super::*;

    /// The sizes that `calculateFileSizeWithPadding` gives when every entry is flushed at once.
    fn sizes(prealloc_kib: i64, txn_lens: &[usize]) -> Vec<u64> {
        let mut padding = Padding::new(prealloc_kib);
        let mut size = |len: &usize| {
            padding.before_append();
            padding.append(*len);
            padding.flush();
            padding.size
        };
        txn_lens.iter().map(&mut size).collect()
    }

    #[test]
    fn the_first_file_is_a_step_behind_the_header() {
        assert_eq!(sizes(65536, &[100, 100]), [67_108_880, 67_108_880]);
        assert_eq!(sizes(1, &[100, 100, 100]), [16 + 1024, 16 + 2 * 1024, 16 + 3 * 1024]);
        assert_eq!(sizes(0, &[100]), [16]);
        assert_eq!(sizes(-1, &[100]), [16]);
    }

    #[test]
    fn a_file_grows_4096_bytes_before_its_end_and_to_a_multiple_when_that_is_past() {
        // 8208 - 4096 - 16 - 13 bytes reach the margin exactly; one byte less does not.
        assert_eq!(sizes(8, &[4083, 0]), [8208, 16400]);
        assert_eq!(sizes(8, &[4082, 0]), [8208, 8208]);
        // Flushed to 20029, past 8208: 20029 + 8192 rounded down to a multiple of 8192.
        assert_eq!(sizes(8, &[20_000, 0]), [8208, 24_576]);
    }

    /// Entries wait in an 8 KiB buffer, and the size follows only what has left it.
    #[test]
    fn what_is_buffered_does_not_count() {
        let mut padding = Padding::new(8);
        for _ in 0..2 {
            padding.before_append();
            padding.append(4083);
        }
        assert_eq!((padding.size, padding.flushed), (8208, 16));
        padding.before_append();
        padding.append(9000);
        assert_eq!((padding.size, padding.flushed), (8208, 16 + 2 * 4096 + 12 + 9000));
    }
}
