//! `log.<hex zxid>` and `snapshot.<hex zxid>`: how files are named, recognised and chosen (`Util`, `FileTxnLog.getLogFiles`).

use std::{
    io,
    path::{Path, PathBuf},
};

use super::Disk;
use crate::ids::Zxid;

pub const LOG: &str = "log";
pub const SNAPSHOT: &str = "snapshot";

pub fn log_name(zxid: Zxid) -> String {
    format!("{LOG}.{:x}", zxid.0)
}

pub fn snapshot_name(zxid: Zxid) -> String {
    format!("{SNAPSHOT}.{:x}", zxid.0)
}

/// The zxid of `<prefix>.<hex>`; anything else is somebody else's file.
pub fn zxid_of(name: &str, prefix: &str) -> Option<Zxid> {
    // Java's split drops empty trailing parts, so `log.5.` counts as `log.5`.
    let (head, tail) = name.trim_end_matches('.').split_once('.')?;
    let zxid = i64::from_str_radix(tail, 16).ok()?;
    (head == prefix && zxid >= 0).then_some(Zxid(zxid))
}

/// The files of one kind in `dir`, by ascending zxid.
pub fn sorted(disk: &dyn Disk, dir: &Path, prefix: &str) -> io::Result<Vec<(Zxid, PathBuf)>> {
    let mut files: Vec<(Zxid, PathBuf)> = disk
        .list(dir)?
        .into_iter()
        .filter_map(|name| Some((zxid_of(&name, prefix)?, dir.join(name))))
        .collect();
    files.sort();
    Ok(files)
}

/// Of log files by ascending zxid: the newest that starts at or before `from`, and all behind it.
pub fn covering(mut files: Vec<(Zxid, PathBuf)>, from: Zxid) -> Vec<(Zxid, PathBuf)> {
    let first = files.iter().rposition(|(start, _)| *start <= from).unwrap_or(0);
    files.split_off(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_java_reads_them() {
        assert_eq!(zxid_of("log.1a", LOG), Some(Zxid(26)));
        assert_eq!(zxid_of("log.100000001", LOG), Some(Zxid(0x1_0000_0001)));
        assert_eq!(zxid_of("log.5.", LOG), Some(Zxid(5)));
        assert_eq!(zxid_of("snapshot.0", SNAPSHOT), Some(Zxid::ZERO));
        for other in
            ["log", "log.", "log.xyz", "log.1.gz", "snapshot.1", ".log.1", "log.-1", "log.8000000000000000"]
        {
            assert_eq!(zxid_of(other, LOG), None, "{other}");
        }
        assert_eq!(log_name(Zxid(0xabc)), "log.abc");
        assert_eq!(snapshot_name(Zxid(0)), "snapshot.0");
    }

    #[test]
    fn the_chosen_logs_begin_with_the_one_that_spans_the_zxid() {
        let files = |zxids: &[i64]| zxids.iter().map(|z| (Zxid(*z), PathBuf::new())).collect::<Vec<_>>();
        let chosen =
            |from| covering(files(&[5, 10, 20]), Zxid(from)).iter().map(|f| f.0.0).collect::<Vec<_>>();
        assert_eq!(chosen(4), [5, 10, 20]);
        assert_eq!(chosen(9), [5, 10, 20]);
        assert_eq!(chosen(10), [10, 20]);
        assert_eq!(chosen(99), [20]);
        assert!(covering(Vec::new(), Zxid(1)).is_empty());
    }
}
