//! Files that Java wrote, against what Java's tools say about them (see `testdata/README.md`).

use std::{collections::BTreeMap, fs, path::PathBuf};

use super::*;

fn testdata(version: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/storage/testdata").join(version)
}

fn disk() -> Arc<dyn Disk> {
    Arc::new(RealDisk)
}

fn read_log(dir: &Path, from: i64) -> Vec<(TxnHeader, Vec<u8>, PathBuf)> {
    let mut log = LogReader::open(disk(), dir, Zxid(from), Limits::default()).expect("open");
    let mut entries = Vec::new();
    while let Some(entry) = log.next().expect("entry") {
        entries.push((entry.header, entry.txn.to_vec(), entry.file.to_owned()));
    }
    assert_eq!(log.torn(), []);
    entries
}

/// `LogFormatter`'s line, without date and record.
fn formatted(header: &TxnHeader) -> String {
    format!(
        "session {} cxid {:#x} zxid {} {}",
        header.session,
        header.cxid,
        header.zxid,
        header.op().name().unwrap_or("?")
    )
}

fn check_log(version: &str, from: i64) {
    let dir = testdata(version);
    let expected = fs::read_to_string(dir.join("LogFormatter.txt")).expect("LogFormatter.txt");
    let got: Vec<String> = read_log(&dir, from).iter().map(|(header, ..)| formatted(header)).collect();
    assert_eq!(got, expected.lines().collect::<Vec<_>>());
}

#[test]
fn logs_of_java_are_read() {
    check_log("java-3.5.7", 0);
    check_log("java-3.9.3", 0);
}

#[test]
fn reading_starts_at_the_zxid_asked_for() {
    let zxids = |from| -> Vec<i64> {
        read_log(&testdata("java-3.5.7"), from).iter().map(|(header, ..)| header.zxid.0).collect()
    };
    assert_eq!(zxids(0x20), (0x20..=0x55).collect::<Vec<_>>());
    assert_eq!(zxids(0x2e), (0x2e..=0x55).collect::<Vec<_>>());
    assert_eq!(zxids(0x56), [0; 0]);
}

/// Every file of Java's, padding included, comes out of the writer again. Its client waited for each answer, so every
/// txn was a batch; only the burst in the last four files was batched in a way that cannot be known.
#[test]
fn the_writer_writes_what_java_wrote() {
    let dir = testdata("java-3.5.7");
    let entries = read_log(&dir, 0);
    let out = tempfile::tempdir().expect("tempdir");
    let options = LogOptions { prealloc_kib: 1, ..LogOptions::default() };
    let mut log = LogWriter::new(disk(), out.path(), options);
    for (i, (header, txn, file)) in entries.iter().enumerate() {
        if i > 0 && *file != entries[i - 1].2 {
            log.roll().expect("roll");
        }
        log.append(header.zxid, txn).expect("append");
        log.sync().expect("sync");
    }
    for (name, is_exact) in [
        ("log.1", true),
        ("log.c", true),
        ("log.1b", true),
        ("log.25", true),
        ("log.2e", false),
        ("log.3b", false),
        ("log.48", false),
    ] {
        let java = fs::read(dir.join(name)).expect(name);
        let ours = fs::read(out.path().join(name)).expect(name);
        let common = java.len().min(ours.len());
        assert!(java[..common] == ours[..common], "{name} differs");
        assert!(java[common..].iter().chain(&ours[common..]).all(|b| *b == 0), "{name}: more than padding");
        if is_exact {
            assert_eq!(java.len(), ours.len(), "{name}: length");
        }
    }
}

#[test]
fn a_data_directory_of_java_is_recovered() {
    let dir = tempfile::tempdir().expect("tempdir");
    let version_2 = dir.path().join("version-2");
    fs::create_dir(&version_2).expect("mkdir");
    for entry in fs::read_dir(testdata("java-3.5.7")).expect("testdata") {
        let path = entry.expect("entry").path();
        fs::copy(&path, version_2.join(path.file_name().expect("name"))).expect("copy");
    }
    let recovered =
        open(&disk(), dir.path(), dir.path(), RecoveryOptions::default(), Kept::default).expect("open");
    assert_eq!(recovered.warnings, Vec::<String>::new());
    assert_eq!(recovered.snapshot.map(|(zxid, _)| zxid), Some(Zxid(0x2c)));
    assert_eq!(recovered.sink.ended, Some(Zxid(0x2c)));
    assert_eq!(recovered.sink.zxids(), (0x2d..=0x55).collect::<Vec<_>>());
    assert_eq!(recovered.last_zxid, Zxid(0x55));
    assert!(!recovered.fresh);
}

/// `SnapshotFormatter`'s numbers of every node, by path.
type Nodes = BTreeMap<String, Vec<(String, String)>>;

fn formatter_nodes(text: &str) -> Nodes {
    let nodes = text.split("----\n").filter(|block| block.starts_with('/'));
    nodes
        .map(|block| {
            let mut lines = block.lines();
            let path = lines.next().unwrap_or_default().to_owned();
            let fields = lines.filter_map(|l| l.trim().split_once(" = "));
            let numbers = fields.filter(|(name, _)| !name.ends_with("time"));
            (path, numbers.map(|(n, v)| (n.to_owned(), v.to_owned())).collect())
        })
        .collect()
}

/// 3.5 prints no length for null data, 3.9 prints 0.
fn our_nodes(kept: &Kept, prints_null: bool) -> Nodes {
    let node = |(path, data, _, stat): &(String, Option<Vec<u8>>, i64, StatPersisted)| {
        let hex = |n: i64| format!("0x{n:014x}");
        let fields = [
            ("cZxid", hex(stat.czxid.0)),
            ("mZxid", hex(stat.mzxid.0)),
            ("pZxid", hex(stat.pzxid.0)),
            ("cversion", stat.cversion.to_string()),
            ("dataVersion", stat.version.to_string()),
            ("aclVersion", stat.aversion.to_string()),
            ("ephemeralOwner", hex(stat.ephemeral_owner)),
            ("dataLength", data.as_ref().map_or(0, Vec::len).to_string()),
        ];
        let path = if path.is_empty() { "/".to_owned() } else { path.clone() };
        let printed = if data.is_none() && !prints_null { &fields[..7] } else { &fields[..] };
        (path, printed.iter().map(|(n, v)| ((*n).to_owned(), v.clone())).collect())
    };
    kept.nodes.iter().map(node).collect()
}

fn check_snapshot(version: &str, name: &str) -> Kept {
    let dir = testdata(version);
    let mut kept = Kept::default();
    snapshot::read_file(&RealDisk, &dir.join(name), Limits::default(), &mut kept).expect(name);
    let text = dir.join(format!("SnapshotFormatter.{}.txt", name.strip_prefix("snapshot.").expect(name)));
    let text = fs::read_to_string(text).expect("SnapshotFormatter");
    let expected = formatter_nodes(&text);
    assert!(expected.len() > 10, "the formatter's text was not understood");
    assert_eq!(our_nodes(&kept, version != "java-3.5.7"), expected);
    for (id, timeout_ms) in &kept.sessions {
        assert!(text.contains(&format!("{id:#x}, {timeout_ms}, ")), "session {id:#x}");
    }
    kept
}

#[test]
fn snapshots_of_java_are_read() {
    let kept = check_snapshot("java-3.5.7", "snapshot.19");
    assert_eq!(kept.sessions, [(0x100004e20bd0000, 30000)]);
    check_snapshot("java-3.5.7", "snapshot.2c");
}

#[test]
fn snapshots_of_newer_versions_are_read() {
    check_snapshot("java-3.9.3", "snapshot.24");
    check_snapshot("java-3.9.3", "snapshot.18.gz");
    check_snapshot("java-3.9.3", "snapshot.18.snappy");
}

/// Java's order of sessions, ACLs and children kept, the encoder gives Java's bytes.
#[test]
fn the_encoder_writes_what_java_wrote() {
    for name in ["snapshot.0", "snapshot.a", "snapshot.19", "snapshot.23", "snapshot.2c"] {
        let java = testdata("java-3.5.7").join(name);
        let mut kept = Kept::default();
        snapshot::read_file(&RealDisk, &java, Limits::default(), &mut kept).expect(name);
        let out = tempfile::tempdir().expect("tempdir");
        let zxid = file_name::zxid_of(name, file_name::SNAPSHOT).expect("name");
        let mut file =
            SnapshotFile::create(disk(), out.path(), zxid, SnapshotOptions::default()).expect("create");
        kept.encode(file.encoder());
        let ours = file.finish().expect("finish");
        assert_eq!(ours, out.path().join(name));
        assert!(fs::read(&java).expect("java") == fs::read(&ours).expect("ours"), "{name} differs");
    }
}

/// For a Java server to be started on by hand: `FERROKEEPER_OUT=dir cargo test -- --ignored directory_for_java`. The log is
/// Java's, rewritten by our writer behind our snapshot, then torn in the way that Java would refuse to read, recovered,
/// and continued with `/from-ferrokeeper`.
#[test]
#[ignore = "writes a directory for a Java server"]
fn a_directory_for_java() {
    let Some(out) = std::env::var_os("FERROKEEPER_OUT").map(PathBuf::from) else { return };
    let version_2 = out.join("version-2");
    fs::create_dir_all(&version_2).expect("mkdir");
    let mut kept = Kept::default();
    let java = testdata("java-3.5.7");
    snapshot::read_file(&RealDisk, &java.join("snapshot.19"), Limits::default(), &mut kept)
        .expect("snapshot");
    let options = SnapshotOptions::default();
    let mut file = SnapshotFile::create(disk(), &version_2, Zxid(0x19), options).expect("create");
    kept.encode(file.encoder());
    file.finish().expect("finish");
    let mut log = LogWriter::new(disk(), &version_2, LogOptions::default());
    let mut end = 16;
    for (header, txn, _) in read_log(&java, 0) {
        log.append(header.zxid, &txn).expect("append");
        end += 12 + txn.len() as u64 + 1;
    }
    log.sync().expect("sync");

    let mut torn = 64u64.to_be_bytes().to_vec();
    torn.extend(600u32.to_be_bytes());
    torn.resize(12 + 600, 0);
    torn.push(b'B');
    let log_1 = version_2.join("log.1");
    RealDisk.open_rw(&log_1).expect("open").write_all_at(&torn, end).expect("write");
    let recovered = open(&disk(), &out, &out, RecoveryOptions::default(), Kept::default).expect("open");
    assert_eq!(recovered.warnings.len(), 1, "{:?}", recovered.warnings);
    assert_eq!(recovered.last_zxid, Zxid(0x55));
    assert_eq!(fs::metadata(&log_1).expect("log.1").len(), end);

    let header = TxnHeader {
        session: SessionId(0x100004e20bd0000),
        cxid: 0x50,
        zxid: Zxid(0x56),
        time: 1_800_000_000_000,
        kind: OpCode::CREATE.0,
    };
    let create = Txn::Create(CreateTxn {
        path: "/from-ferrokeeper".into(),
        data: Some(serde_bytes::Bytes::new(b"hello")),
        acl: vec![Acl::new(31, "world", "anyone")],
        ephemeral: false,
        parent_cversion: 2,
    });
    let mut txn = BytesMut::new();
    txn::encode(&header, &create, &mut txn);
    let mut log = LogWriter::new(disk(), &version_2, LogOptions::default());
    log.append(Zxid(0x56), &txn).expect("append");
    log.sync().expect("sync");
}
