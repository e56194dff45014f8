//! What a machine does to a server: no room, no right to write, somebody else's files, damage, a port that is taken, an end
//! in the middle of everything. The server says what and where, ends with the code of B§7.3, keeps what was
//! acknowledged, and overwrites nothing that could still be read.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::net::TcpListener;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use compat_tests::need;
use compat_tests::process::{Builder, Kind, Server, ferrokeeper_bin};
use compat_tests::test_name;
use compat_tests::wire::Client;

const PATIENCE: Duration = Duration::from_secs(30);

fn builder() -> Builder {
    Builder::new(Kind::Ferrokeeper)
}

fn on(data: &Path) -> Builder {
    builder().line(format!("dataDir={}", data.display()))
}

/// Starts it, waits for its end, and checks the code and that its log says each of `says`.
fn refuses(builder: Builder, code: i32, says: &[&str]) {
    let mut server = builder.spawn().unwrap();
    let status = server.wait(PATIENCE).unwrap();
    let log = server.log();
    assert_eq!(status.code(), Some(code), "{log}");
    for text in says {
        assert!(log.contains(text), "{text:?} is missing in:\n{log}");
    }
    assert!(!log.contains("panicked"), "{log}");
}

fn client(server: &Server) -> Client {
    Client::connect(server.client_addr(), 10_000).unwrap()
}

/// Every file below `dir` with what is in it; the lock is no data.
fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else if path.file_name().unwrap() != ".lock" {
            let mut bytes = read_data(&path);
            bytes.extend(fs::metadata(&path).unwrap().len().to_be_bytes());
            found.insert(path, bytes);
        }
    }
    found
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_dir(&entry.path(), &target),
            false => copy_without_padding(&entry.path(), &target),
        }
    }
}

fn copy_without_padding(from: &Path, to: &Path) {
    let bytes = read_data(from);
    fs::write(to, bytes).unwrap();
}

/// The first mebibyte: in these tests the rest of a log's 64 MiB is padding.
fn read_data(path: &Path) -> Vec<u8> {
    let mut bytes = vec![0; 1 << 20];
    let n = fs::File::open(path).unwrap().read(&mut bytes).unwrap();
    bytes.truncate(n);
    bytes
}

fn files(dir: &Path, prefix: &str) -> Vec<PathBuf> {
    let zxid = |path: &Path| i64::from_str_radix(path.file_name()?.to_str()?.strip_prefix(prefix)?, 16).ok();
    let mut found: Vec<(i64, PathBuf)> = fs::read_dir(dir.join("version-2"))
        .unwrap()
        .filter_map(|entry| entry.ok().and_then(|e| Some((zxid(&e.path())?, e.path()))))
        .collect();
    found.sort();
    found.into_iter().map(|(_, path)| path).collect()
}

/// Where each entry of a log begins, and the end of the last (B§6.2: checksum 8, length 4, the txn, 'B').
fn entries(log: &Path) -> Vec<usize> {
    let bytes = read_data(log);
    let mut starts = vec![16];
    loop {
        let at = *starts.last().unwrap();
        let Some(length) = bytes.get(at + 8..at + 12) else { return starts };
        let length = u32::from_be_bytes(length.try_into().unwrap()) as usize;
        if length == 0 {
            return starts;
        }
        assert_eq!(bytes[at + 12 + length], b'B');
        starts.push(at + 13 + length);
    }
}

fn overwrite(file: &Path, offset: usize, change: impl FnOnce(u8) -> u8) {
    let mut file = fs::File::options().read(true).write(true).open(file).unwrap();
    let mut byte = [0];
    file.seek(SeekFrom::Start(offset as u64)).unwrap();
    file.read_exact(&mut byte).unwrap();
    file.seek(SeekFrom::Start(offset as u64)).unwrap();
    file.write_all(&[change(byte[0])]).unwrap();
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A small file system of its own; unmounted when dropped.
struct Disk {
    dir: tempfile::TempDir,
}

impl Disk {
    /// `None`, said loudly, where mounting is not allowed.
    fn new(test: &str, kib: u32) -> Option<Disk> {
        let disk = Disk { dir: tempfile::tempdir().unwrap() };
        let option = format!("size={kib}k");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &option, "tmpfs"]).arg(disk.path()).output();
        if mounted.is_ok_and(|out| out.status.success()) {
            return Some(disk);
        }
        need::skipped(test, "needs the right to mount a tmpfs: run as root");
        None
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        assert!(Command::new("mount").args(["-o", &options]).arg(self.path()).status().unwrap().success());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).output();
    }
}

#[test]
fn a_second_server_on_the_same_directory_is_refused() {
    let first = builder().start().unwrap();
    client(&first).create("/a", b"", 0).unwrap().unwrap();
    let dir = first.data_dir();
    let before = contents(&dir);
    let path = dir.join("version-2").display().to_string();
    refuses(
        on(&dir),
        3,
        &[&path, "another server is running", "Unable to access datadir, exiting abnormally"],
    );
    let log_dir = builder().line(format!("dataLogDir={}", dir.display()));
    refuses(log_dir, 3, &[&path, "another server is running"]);
    assert_eq!(contents(&dir), before);
    client(&first).create("/b", b"", 0).unwrap().unwrap();
}

#[test]
fn a_data_directory_that_cannot_be_written_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "not a directory").unwrap();
    let unable = "Unable to access datadir, exiting abnormally";
    refuses(on(&file), 3, &[&file.display().to_string(), unable]);
    refuses(on(&file.join("data")), 3, &[&file.display().to_string(), unable]);
    // Not even root may create anything there.
    refuses(on(Path::new("/proc/zookeeper")), 3, &["/proc/zookeeper", unable]);
    assert_eq!(fs::read_to_string(&file).unwrap(), "not a directory");
    let in_the_way = dir.path().join("data");
    fs::create_dir(&in_the_way).unwrap();
    fs::write(in_the_way.join("version-2"), "").unwrap();
    refuses(on(&in_the_way), 3, &[&in_the_way.join("version-2").display().to_string(), unable]);
    let missing = dir.path().join("missing");
    let no_autocreate = on(&missing).flag("-Dzookeeper.datadir.autocreate=false");
    refuses(
        no_autocreate,
        3,
        &["automatic data directory creation is disabled", &missing.display().to_string()],
    );
    assert!(!missing.exists());
    let Some(disk) = Disk::new(test_name!(), 1024) else { return };
    fs::create_dir(disk.path().join("version-2")).unwrap();
    disk.remount("ro");
    refuses(on(disk.path()), 3, &[&disk.path().display().to_string(), "Read-only file system", unable]);
}

#[test]
fn files_of_others_are_left_alone() {
    let mut server = builder().start().unwrap();
    client(&server).create("/kept", b"", 0).unwrap().unwrap();
    server.kill9().unwrap();
    let dir = server.data_dir().join("version-2");
    let names: [&[u8]; 10] = [
        b"README",
        b"log.",
        b"log.zz",
        b"log.5.swp",
        b"snapshot.1.bak",
        b"snapshot.",
        b"logs.1",
        b".DS_Store",
        b"core.4711",
        b"\xff\xfe",
    ];
    for name in names {
        fs::write(dir.join(std::ffi::OsStr::from_bytes(name)), "somebody's").unwrap();
    }
    fs::create_dir(dir.join("lost+found")).unwrap();
    server.restart().unwrap();
    server.wait_serving(PATIENCE).unwrap();
    assert!(client(&server).exists("/kept", false).unwrap().is_ok());
    for name in names {
        assert_eq!(fs::read(dir.join(std::ffi::OsStr::from_bytes(name))).unwrap(), b"somebody's");
    }
}

#[test]
fn logs_and_snapshots_in_each_others_directory_are_refused() {
    for (place, name, says) in [
        ("data", "log.1", "Snapshot directory has log files"),
        ("log", "snapshot.0", "Log directory has snapshot files"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let version_2 = dir.path().join(place).join("version-2");
        fs::create_dir_all(&version_2).unwrap();
        fs::write(version_2.join(name), "").unwrap();
        let apart =
            on(&dir.path().join("data")).line(format!("dataLogDir={}", dir.path().join("log").display()));
        refuses(apart, 3, &[says, &version_2.join(name).display().to_string()]);
        assert!(version_2.join(name).exists());
    }
}

/// Writes one after the other until the server is gone; the names that were acknowledged.
fn write_until_the_end(server: &Server, size: usize) -> Vec<String> {
    let mut client = client(server);
    let mut acknowledged = Vec::new();
    let data = vec![b'd'; size];
    for n in 0..100_000 {
        let path = format!("/w{n}");
        match client.create(&path, &data, 0) {
            Ok(answer) => acknowledged.push(answer.unwrap()),
            Err(_) => return acknowledged,
        }
    }
    panic!("it never ended");
}

fn holds_all(server: &Server, paths: &[String], size: usize) {
    let mut client = client(server);
    for path in paths {
        let data = client.get_data(path, false).unwrap().unwrap_or_else(|e| panic!("{path} is lost: {e}")).0;
        assert_eq!(data.unwrap().len(), size);
    }
}

#[test]
fn a_full_disk_loses_nothing() {
    let Some(disk) = Disk::new(test_name!(), 4096) else { return };
    let mut server = on(disk.path()).start().unwrap();
    let acknowledged = write_until_the_end(&server, 10_000);
    assert_eq!(server.wait(PATIENCE).unwrap().code(), Some(1), "{}", server.log());
    let log = files(disk.path(), "log.").pop().unwrap();
    assert!(server.log().contains(&log.display().to_string()), "{}", server.log());
    assert!(server.log().contains("No space left on device"), "{}", server.log());
    assert!(acknowledged.len() > 300, "{} writes into 4 MiB", acknowledged.len());
    // Still full: it may start or not, but it says why and harms nothing.
    server.restart().unwrap();
    if let Ok(status) = server.wait(Duration::from_secs(3)) {
        assert!(matches!(status.code(), Some(1 | 10)), "{status}: {}", server.log());
        assert!(server.log().matches("No space left on device").count() >= 2, "{}", server.log());
    }
    disk.remount("size=64m");
    server.restart().unwrap();
    server.wait_serving(PATIENCE).unwrap();
    holds_all(&server, &acknowledged, 10_000);
    client(&server).create("/after", b"", 0).unwrap().unwrap();
}

#[test]
fn a_disk_that_is_full_for_a_snapshot_ends_the_server_with_10() {
    let Some(disk) = Disk::new(test_name!(), 1024) else { return };
    let logs = tempfile::tempdir().unwrap();
    let mut server = on(disk.path())
        .line(format!("dataLogDir={}", logs.path().display()))
        .line("snapCount=200")
        .start()
        .unwrap();
    let acknowledged = write_until_the_end(&server, 20_000);
    assert_eq!(server.wait(PATIENCE).unwrap().code(), Some(10), "{}", server.log());
    let text = server.log();
    assert!(text.contains("No space left on device"), "{text}");
    assert!(text.contains(&disk.path().join("version-2").display().to_string()), "{text}");
    disk.remount("size=64m");
    server.restart().unwrap();
    server.wait_serving(PATIENCE).unwrap();
    holds_all(&server, &acknowledged, 20_000);
    let unfinished = |name: &str| name.ends_with(".tmp");
    eventually("nothing unfinished is left", || {
        let mut names = fs::read_dir(disk.path().join("version-2")).unwrap();
        !names.any(|e| unfinished(&e.unwrap().file_name().to_string_lossy()))
    });
}

/// A data directory whose newest log holds creates of /n0 … /n19 behind the session's own txn.
fn killed_after_twenty_creates() -> Server {
    let mut server = builder().start().unwrap();
    let mut client = client(&server);
    for n in 0..20 {
        client.create(&format!("/n{n}"), b"data", 0).unwrap().unwrap();
    }
    server.kill9().unwrap();
    server
}

#[test]
fn a_log_cut_at_any_byte_keeps_every_entry_before_the_cut() {
    let origin = killed_after_twenty_creates();
    let name = files(&origin.data_dir(), "log.").pop().unwrap();
    let starts = entries(&name);
    assert_eq!(starts.len(), 22, "a session and twenty creates, and the end");
    let (second_last, last, end) = (starts[19], starts[20], starts[21]);
    let whole = read_data(&name);
    // The borders and their neighbours, and a sample between them; the library's own tests go through every byte.
    let borders = [second_last, second_last + 1, last - 1, last, last + 1, end - 1, end];
    let between = (second_last + 2..end - 1).step_by(19);
    let cuts = borders.into_iter().chain(between);
    for cut in cuts {
        let dir = tempfile::tempdir().unwrap();
        copy_dir(&origin.data_dir(), dir.path());
        let log = dir.path().join("version-2").join(name.file_name().unwrap());
        fs::write(&log, &whole[..cut]).unwrap();
        // What the mark calls synced cannot be torn by a crash; a log of Java's has no mark.
        let mark = dir.path().join("version-2/.log.synced");
        // Between two entries a log may end by right: Java cuts it there when a leader says so. An entry begins with zeros.
        if !starts.iter().any(|start| (*start..=*start + 4).contains(&cut)) {
            let Err(refused) = on(dir.path()).start() else {
                panic!("cut at byte {cut}: synced entries are missing")
            };
            assert!(format!("{refused:#}").contains("is corrupt at byte"), "cut at byte {cut}: {refused:#}");
            assert_eq!(fs::read(&log).unwrap(), &whole[..cut], "nothing was touched");
        }
        fs::remove_file(&mark).unwrap();
        let mut server = on(dir.path()).start().unwrap();
        let kept = starts[1..].iter().filter(|end| **end <= cut).count();
        let mut names = client(&server).get_children("/", false).unwrap().unwrap();
        names.retain(|name| name != "zookeeper");
        // The first entry is the session's.
        assert_eq!(names.len(), kept - 1, "cut at byte {cut}: {}", server.log());
        client(&server).create("/after", b"", 0).unwrap().unwrap();
        server.kill9().unwrap();
        server.restart().unwrap();
        server.wait_serving(PATIENCE).unwrap();
        assert_eq!(
            client(&server).get_children("/", false).unwrap().unwrap().len(),
            kept + 1,
            "cut at {cut}"
        );
    }
}

#[test]
fn a_log_damaged_in_the_middle_is_refused_and_left_as_it_is() {
    let server = killed_after_twenty_creates();
    let dir = server.data_dir();
    let log = files(&dir, "log.").pop().unwrap();
    let fifth = entries(&log)[5];
    overwrite(&log, fifth + 40, |byte| byte ^ 0x20);
    let before = contents(&dir);
    refuses(on(&dir), 1, &[&format!("{} is corrupt at byte {fifth}", log.display())]);
    assert_eq!(contents(&dir), before);
    overwrite(&log, fifth + 40, |byte| byte ^ 0x20);
    let mended = on(&dir).start().unwrap();
    assert_eq!(client(&mended).get_children("/", false).unwrap().unwrap().len(), 21);
}

#[test]
fn a_damaged_snapshot_gives_way_to_an_older_one_and_the_logs() {
    let mut server = killed_after_twenty_creates();
    let dir = server.data_dir();
    server.restart().unwrap();
    server.wait_serving(PATIENCE).unwrap();
    eventually("the second snapshot is there", || files(&dir, "snapshot.").len() == 2);
    client(&server).create("/later", b"", 0).unwrap().unwrap();
    server.kill9().unwrap();
    let snapshots = files(&dir, "snapshot.");
    let newest = snapshots.last().unwrap();
    let size = read_data(newest).len();
    overwrite(newest, size / 2, |byte| byte ^ 1);
    server.restart().unwrap();
    server.wait_serving(PATIENCE).unwrap();
    assert_eq!(client(&server).get_children("/", false).unwrap().unwrap().len(), 22);
    assert!(server.log().contains(&format!("{} is not used", newest.display())), "{}", server.log());
    server.kill9().unwrap();

    // And with none that is whole, it does not begin from nothing.
    for snapshot in files(&dir, "snapshot.") {
        let size = read_data(&snapshot).len();
        overwrite(&snapshot, size / 2, |byte| byte ^ 2);
    }
    let before = contents(&dir);
    let newest = newest.display().to_string();
    refuses(on(&dir), 1, &["Not able to find valid snapshots in", &newest]);
    assert_eq!(contents(&dir), before);
}

/// Falling back to an older state would be a silent loss: Java does it.
#[test]
fn a_damaged_snapshot_whose_logs_are_gone_is_refused() {
    let mut server = killed_after_twenty_creates();
    let dir = server.data_dir();
    server.restart().unwrap();
    server.wait_serving(PATIENCE).unwrap();
    eventually("the second snapshot is there", || files(&dir, "snapshot.").len() == 2);
    server.kill9().unwrap();
    let newest = files(&dir, "snapshot.").pop().unwrap();
    let size = read_data(&newest).len();
    overwrite(&newest, size / 2, |byte| byte ^ 1);
    for log in files(&dir, "log.") {
        fs::remove_file(log).unwrap();
    }
    let before = contents(&dir);
    refuses(on(&dir), 1, &[&format!("{} is damaged", newest.display())]);
    assert_eq!(contents(&dir), before);
}

#[test]
fn logs_without_any_snapshot_are_refused() {
    let server = killed_after_twenty_creates();
    let dir = server.data_dir();
    for snapshot in files(&dir, "snapshot.") {
        fs::remove_file(snapshot).unwrap();
    }
    let before = contents(&dir);
    let log = files(&dir, "log.").pop().unwrap().display().to_string();
    refuses(on(&dir), 1, &["No snapshot found, but there are log entries. Something is broken!", &log]);
    assert_eq!(contents(&dir), before);
    let trusting = on(&dir).line("snapshot.trust.empty=true").start().unwrap();
    assert_eq!(client(&trusting).get_children("/", false).unwrap().unwrap().len(), 21);
}

#[test]
fn an_entry_above_jute_maxbuffer_is_refused_with_the_way_out() {
    let mut server = builder().start().unwrap();
    client(&server).create("/large", &[7; 100_000], 0).unwrap().unwrap();
    server.kill9().unwrap();
    let dir = server.data_dir();
    let log = files(&dir, "log.").pop().unwrap();
    let second = entries(&log)[1];
    let before = contents(&dir);
    let small = on(&dir).flag("-Djute.maxbuffer=10000");
    refuses(small, 1, &["jute.maxbuffer", &format!("{} holds at byte {second}", log.display())]);
    assert_eq!(contents(&dir), before);
    server.restart().unwrap();
    server.wait_serving(PATIENCE).unwrap();
    assert!(client(&server).exists("/large", false).unwrap().is_ok());
}

#[test]
fn an_address_that_cannot_be_had_is_named() {
    let taken = builder();
    let listener = TcpListener::bind((taken.address(), 2181)).unwrap();
    let name = format!("{}:2181", taken.address());
    refuses(taken, 1, &[&name, "Address already in use"]);
    drop(listener);
    // TEST-NET-1: nobody's.
    refuses(builder().line("clientPortAddress=192.0.2.1"), 1, &["192.0.2.1:2181"]);
    // To Java that is an error of the configuration.
    refuses(builder().line("clientPortAddress=no-such-host.invalid"), 2, &["no-such-host.invalid"]);
}

#[test]
fn sigterm_ends_with_143_and_loses_nothing() {
    let mut server = builder().start().unwrap();
    client(&server).create("/a", b"", 0).unwrap().unwrap();
    assert_eq!(server.terminate().unwrap().code(), Some(143));
    server.restart().unwrap();
    server.wait_serving(PATIENCE).unwrap();
    assert!(client(&server).exists("/a", false).unwrap().is_ok());
}

#[test]
fn kill_9_under_load_keeps_every_acknowledged_write() {
    let mut server = builder().line("snapCount=300").start().unwrap();
    let mut random = fastrand::Rng::with_seed(7);
    let mut acknowledged: Vec<String> = Vec::new();
    for round in 0..4 {
        let addr = server.client_addr();
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                std::thread::spawn(move || {
                    let mut done = Vec::new();
                    let Ok(mut client) = Client::connect(addr, 10_000) else { return done };
                    for n in 0.. {
                        match client.create(&format!("/k-{round}-{writer}-{n}"), &[1; 200], 0) {
                            Ok(answer) => done.push(answer.unwrap()),
                            Err(_) => break,
                        }
                    }
                    done
                })
            })
            .collect();
        std::thread::sleep(Duration::from_millis(random.u64(200..700)));
        server.kill9().unwrap();
        for writer in writers {
            acknowledged.extend(writer.join().unwrap());
        }
        server.restart().unwrap();
        server.wait_serving(PATIENCE).unwrap();
        let names = client(&server).get_children("/", false).unwrap().unwrap();
        let lost =
            acknowledged.iter().filter(|path| names.binary_search(&path[1..].to_string()).is_err()).count();
        assert_eq!(lost, 0, "round {round}: of {} acknowledged writes", acknowledged.len());
    }
    assert!(acknowledged.len() > 100, "{}", acknowledged.len());
}

#[test]
fn configuration_errors_end_with_2() {
    let says = "Invalid config, exiting abnormally";
    for (line, detail) in [
        ("tickTime=abc", "tickTime"),
        ("tickTime=0", "tickTime is not set"),
        ("clientPort=2181x", "clientPort"),
        (
            "maxSessionTimeout=10\nminSessionTimeout=20",
            "minSessionTimeout must not be larger than maxSessionTimeout",
        ),
        ("standaloneEnabled=perhaps", "Invalid option perhaps for standalone mode"),
        ("peerType=king", "Unrecognised peertype: king"),
    ] {
        refuses(builder().line(line), 2, &[says, detail]);
    }
    let missing =
        Command::new(ferrokeeper_bin().unwrap()).args(["server", "/nonexistent/zoo.cfg"]).output().unwrap();
    assert_eq!(missing.status.code(), Some(2));
    let stderr = String::from_utf8_lossy(&missing.stderr);
    assert!(stderr.contains(says));
    assert!(stderr.contains("/nonexistent/zoo.cfg file is missing"), "{stderr}");
}
