//! What the log on disk has for a learner whose last txn is too old for the window in memory (B§3.5, case 5;
//! `ZKDatabase.getProposalsFromTxnLog`, `FileTxnIterator`).

use std::{ops::RangeInclusive, path::Path, sync::Arc};

use super::{Disk, LogReader, StorageError, error::Doing, file_name, recovery::follows, snapshot};
use crate::{ids::Zxid, jute::Limits};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogProbe {
    /// The last record before the zxid asked for, where the files that were read have one.
    pub before: Option<Zxid>,
    /// The first record at or behind it.
    pub first: Zxid,
    /// The last record that can be read without a gap, or the first at or behind the end of what was asked for.
    pub last: Zxid,
}

/// As far as the range's end: a log may grow as fast as it is read.
///
/// `None`: the log does not reach back to the range's beginning, has a gap there, or is larger than `size_factor` times the newest snapshot
/// (a negative factor: never look; 0: however large).
///
/// Java does not look for gaps and sends a learner what is there (ZOOKEEPER-2846).
pub fn probe_log(
    disk: &Arc<dyn Disk>,
    snap_dir: &Path,
    log_dir: &Path,
    range: RangeInclusive<Zxid>,
    size_factor: f64,
    limits: Limits,
) -> Result<Option<LogProbe>, StorageError> {
    let (from, until) = range.into_inner();
    if size_factor < 0.0 {
        return Ok(None);
    }
    let snapshots = snapshot::files(&**disk, snap_dir).doing("list", snap_dir)?;
    let logs = file_name::sorted(&**disk, log_dir, file_name::LOG).doing("list", log_dir)?;
    let logs = file_name::covering(logs, from);
    let Some((start, _)) = logs.first().filter(|(start, _)| *start <= from) else { return Ok(None) };

    let newest = snapshots.iter().rev().find(|(_, path)| snapshot::is_candidate(&**disk, path));
    let newest_len = newest.and_then(|(_, path)| disk.len(path).ok()).unwrap_or(0);
    // As Java counts: the file that is read first is not.
    let limit = (newest_len as f64 * size_factor) as u64;
    let size: u64 = logs[1..].iter().filter_map(|(_, path)| disk.len(path).ok()).sum();
    if limit > 0 && size > limit {
        tracing::info!("Txnlog size: {size} exceeds sizeLimit: {limit}");
        return Ok(None);
    }
    let snapshots: Vec<Zxid> = snapshots.into_iter().map(|(zxid, _)| zxid).collect();
    let mut log = LogReader::open(disk.clone(), log_dir, *start, limits)?;
    walk(&mut log, from, until, &snapshots)
}

fn walk(
    log: &mut LogReader,
    from: Zxid,
    until: Zxid,
    snapshots: &[Zxid],
) -> Result<Option<LogProbe>, StorageError> {
    // A snapshot between two records is of a state that came from elsewhere: the txns that led there are not in this log.
    let goes_on =
        |last: Zxid, zxid: Zxid| follows(last, zxid) && !snapshots.iter().any(|s| last < *s && *s < zxid);
    let mut before = None;
    let mut probe: Option<LogProbe> = None;
    loop {
        if probe.is_some_and(|found| found.last >= until) {
            return Ok(probe);
        }
        let zxid = match log.next() {
            Ok(Some(entry)) => entry.zxid(),
            Ok(None) => return Ok(probe),
            // The end of a file that is being written may look like damage; what was read is good.
            Err(e) if probe.is_none() => return Err(e),
            Err(_) => return Ok(probe),
        };
        match (&mut probe, before) {
            (Some(found), _) if goes_on(found.last, zxid) => found.last = zxid,
            (Some(_), _) => return Ok(probe),
            (None, _) if zxid < from => before = Some(zxid),
            (None, None) if zxid > from => return Ok(None),
            (None, Some(last)) if zxid > from && !goes_on(last, zxid) => return Ok(None),
            (None, _) => probe = Some(LogProbe { before, first: zxid, last: zxid }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        proto::{
            OpCode,
            txn::{self, Txn, TxnHeader},
        },
        storage::{LogOptions, LogWriter, SnapshotFile, SnapshotOptions, testing::CrashDisk},
    };

    const E2: i64 = 2 << 32;

    struct Setup {
        disk: Arc<dyn Disk>,
    }

    impl Setup {
        /// One file for each list, without preallocation: an entry has 57 bytes.
        fn new(files: &[&[i64]]) -> Setup {
            let disk: Arc<dyn Disk> = Arc::new(CrashDisk::with_dir("/d"));
            let options = LogOptions { prealloc_kib: 0, ..LogOptions::default() };
            let mut log = LogWriter::new(disk.clone(), "/d", options);
            for zxid in files.iter().flat_map(|file| file.iter().map(Some).chain([None])) {
                let Some(zxid) = zxid else {
                    log.roll().expect("roll");
                    continue;
                };
                let header = TxnHeader {
                    session: crate::ids::SessionId(1),
                    cxid: 0,
                    zxid: Zxid(*zxid),
                    time: 0,
                    kind: OpCode::CLOSE_SESSION.0,
                };
                let mut out = bytes::BytesMut::new();
                txn::encode(&header, &Txn::CloseSession, &mut out);
                log.append(Zxid(*zxid), &out).expect("append");
            }
            Setup { disk }
        }

        fn snapshot(self, zxid: i64) -> Setup {
            let options = SnapshotOptions::default();
            let mut file = SnapshotFile::create(self.disk.clone(), Path::new("/d"), Zxid(zxid), options)
                .expect("create");
            file.encoder().sessions([].into_iter()).expect("sessions");
            file.encoder().acls([].into_iter()).expect("acls");
            file.finish().expect("finish");
            self
        }

        /// (before, first, last)
        fn probe(&self, from: i64, factor: f64) -> Option<(Option<i64>, i64, i64)> {
            let dir = Path::new("/d");
            let probe =
                probe_log(&self.disk, dir, dir, Zxid(from)..=Zxid(i64::MAX), factor, Limits::default());
            probe.expect("readable").map(|p| (p.before.map(|z| z.0), p.first.0, p.last.0))
        }
    }

    #[test]
    fn the_log_is_read_from_the_learner_s_last_txn_on() {
        let setup = Setup::new(&[&[1, 2, 3], &[4, 5]]);
        assert_eq!(setup.probe(2, 0.0), Some((Some(1), 2, 5)));
        assert_eq!(setup.probe(4, 0.0), Some((None, 4, 5)));
        assert_eq!(setup.probe(1, 0.0), Some((None, 1, 5)));
        assert_eq!(setup.probe(0, 0.0), None, "it begins later");
        assert_eq!(setup.probe(6, 0.0), None, "it ends before");
    }

    #[test]
    fn only_files_behind_the_first_count_and_only_against_a_limit() {
        // The snapshot: 16 + 4 + 4 + 5 + 8 + 5 = 42 bytes; the second file: 16 + 2 * 45 = 106.
        let setup = Setup::new(&[&[1, 2, 3], &[4, 5]]).snapshot(5);
        assert_eq!(setup.probe(2, 2.5), None, "105 bytes are allowed");
        assert_eq!(setup.probe(2, 2.6), Some((Some(1), 2, 5)));
        assert_eq!(setup.probe(4, 0.1), Some((None, 4, 5)), "nothing is behind that file");
        assert_eq!(setup.probe(2, -1.0), None);
        assert_eq!(setup.probe(2, 0.0), Some((Some(1), 2, 5)));
    }

    #[test]
    fn a_learner_that_has_what_the_leader_has_not_gets_the_record_before() {
        let setup = Setup::new(&[&[1, 2, E2 + 1, E2 + 2]]);
        assert_eq!(setup.probe(7, 0.0), Some((Some(2), E2 + 1, E2 + 2)));
    }

    #[test]
    fn nothing_is_read_over_a_gap() {
        assert_eq!(Setup::new(&[&[1, 2, 4, 5]]).probe(1, 0.0), Some((None, 1, 2)));
        assert_eq!(Setup::new(&[&[1, 2, 5, 6]]).probe(4, 0.0), None, "what would be cut is not known");
        assert_eq!(Setup::new(&[&[1, 2], &[E2 + 3]]).probe(1, 0.0), Some((None, 1, 2)));
        // Epoch 1 may have gone on to 9 elsewhere.
        let jumped = Setup::new(&[&[1, 2], &[E2 + 1]]);
        assert_eq!(jumped.probe(1, 0.0), Some((None, 1, E2 + 1)));
        assert_eq!(jumped.snapshot(9).probe(1, 0.0), Some((None, 1, 2)));
    }
}
