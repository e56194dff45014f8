//! Data folders that pass from Java's server to Ferrokeeper and back, written under load and killed in the middle of it.
//!
//! After every kill each server opens a copy of the folder. Two things must hold: everything that was acknowledged is
//! there, and both show the same tree to the last field of every Stat.

#[path = "files/dump.rs"]
mod dump;
#[path = "files/folder.rs"]
mod folder;
#[path = "files/load.rs"]
mod load;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use compat_tests::java::JavaHome;
use compat_tests::need_java;
use compat_tests::process::Kind;
use compat_tests::wire::{Client, ConnectRequest};

use dump::{Tree, differences, dump};
use folder::{Folder, Setup, entries};
use load::{Ledger, Load};

const WRITERS: usize = 5;
/// Several times the snapCount of `Setup::small`.
const REQUESTS: usize = 1200;

fn java() -> Kind {
    Kind::java("3.5.7")
}

/// The harness against itself: what Java writes, Java reads; and a log that lost its end is not taken for a whole one.
#[test]
fn java_reads_its_own_and_a_loss_is_seen() {
    need_java!("3.5.7");
    rounds(&Setup::small(), &[java()], &[java()], true);

    let folder = Folder::new(&Setup::default().line("preAllocSize=64"));
    let mut server = folder.start(&java());
    let load = Load::start(server.client_addr(), "loss", WRITERS, 1, false);
    load.wait_for(REQUESTS);
    server.kill9().unwrap();
    let mut ledgers = load.finish();
    let log = folder.logs().pop().unwrap();
    let all = entries(&log);
    let lost = folder.copy();
    let cut = all[all.len() - 40].0;
    File::options().write(true).open(same_file(&lost, &log)).unwrap().set_len(cut as u64).unwrap();
    let why = all_agree(&lost, &[java()], &mut ledgers).unwrap_err();
    assert!(why.contains("acknowledged"), "{why}");
    let trees = [&folder, &lost].map(|f| dump(f.copy().start(&java()).client_addr()).unwrap());
    assert!(!differences(&trees[0], &trees[1]).is_empty());
}

#[test]
fn a_folder_goes_back_and_forth() {
    need_java!("3.5.7");
    let hands = [java(), Kind::Ferrokeeper, java(), Kind::Ferrokeeper];
    rounds(&Setup::small(), &hands, &[java(), Kind::Ferrokeeper], true);
}

#[test]
fn logs_in_a_folder_of_their_own_and_files_of_the_usual_size() {
    need_java!("3.5.7");
    let setup = Setup::default().apart().line("snapCount=1000");
    rounds(&setup, &[java(), Kind::Ferrokeeper], &[java(), Kind::Ferrokeeper], true);
}

#[test]
fn without_preallocation() {
    need_java!("3.5.7");
    let setup = Setup::default().line("preAllocSize=0").line("snapCount=500");
    rounds(&setup, &[Kind::Ferrokeeper, java()], &[java(), Kind::Ferrokeeper], false);
}

/// 3.9 appends digests to its records and to its snapshots; 3.5.7 reads over them.
#[test]
fn a_folder_of_3_9_3() {
    need_java!("3.5.7");
    need_java!("3.9.3");
    let modern = Kind::java("3.9.3");
    let readers = [modern.clone(), java(), Kind::Ferrokeeper];
    rounds(&Setup::small(), &[modern.clone(), Kind::Ferrokeeper, modern], &readers, false);
}

#[test]
fn a_folder_of_3_9_3_with_gzipped_snapshots() {
    need_java!("3.9.3");
    let modern = Kind::java("3.9.3");
    compressed("gz", &[modern.clone(), Kind::Ferrokeeper, modern]);
}

#[test]
fn a_folder_of_3_9_3_with_snappy_snapshots() {
    need_java!("3.9.3");
    compressed("snappy", &[Kind::java("3.9.3")]);
}

fn compressed(method: &str, writers: &[Kind]) {
    let setup = Setup::small().flag(&format!("-Dzookeeper.snapshot.compression.method={method}"));
    rounds(&setup, writers, &[Kind::java("3.9.3"), Kind::Ferrokeeper], false);
}

/// One server after the other writes into the same folder and is killed; all readers must agree after each.
fn rounds(setup: &Setup, writers: &[Kind], readers: &[Kind], quotas: bool) {
    // FILES_SEED for another load than the usual one.
    let seed: u64 = std::env::var("FILES_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(0) << 16;
    let mut folder = Folder::new(setup);
    let mut ledgers: Vec<Ledger> = Vec::new();
    for (nth, writer) in writers.iter().enumerate() {
        let mut server = folder.start(writer);
        let load =
            Load::start(server.client_addr(), &format!("r{nth}"), WRITERS, seed + 10 * nth as u64, quotas);
        load.wait_for(REQUESTS);
        server.kill9().unwrap();
        ledgers.extend(load.finish());
        let what = format!("round {nth}, written by {writer:?}");
        if let Err(why) = all_agree(&folder, readers, &mut ledgers) {
            panic!("{what}: {why}\nthe folder is {}", folder.keep().display());
        }
    }
    assert!(folder.logs().len() > writers.len() && folder.snapshots().len() > writers.len());
}

fn all_agree(folder: &Folder, readers: &[Kind], ledgers: &mut [Ledger]) -> Result<(), String> {
    let mut first: Option<Tree> = None;
    for reader in readers {
        let copy = folder.copy();
        let server = copy.start(reader);
        let tree = dump(server.client_addr()).map_err(|e| format!("{reader:?}: {e:#}"))?;
        let wrong: Vec<String> = ledgers.iter().flat_map(|l| l.complaints(&tree)).collect();
        if !wrong.is_empty() {
            return Err(format!("{reader:?} lacks what was acknowledged:\n{}", shortened(&wrong)));
        }
        if let Some(first) = &first {
            let found = differences(first, &tree);
            if !found.is_empty() {
                return Err(format!("{:?} | {reader:?}:\n{}", readers[0], shortened(&found)));
            }
        }
        let last = ledgers.last().expect("there was a load");
        sessions_live_on(&server, last).map_err(|e| format!("{reader:?}: {e}"))?;
        first.get_or_insert(tree);
    }
    if let Some(tree) = &first {
        ledgers.iter_mut().for_each(|ledger| ledger.settle(tree));
    }
    Ok(())
}

/// What Java's own tools make of files that Ferrokeeper wrote (B§6.9): every log and snapshot is read to its end.
#[test]
fn javas_tools_read_what_ferrokeeper_wrote() {
    need_java!("3.5.7");
    let home = JavaHome::find("3.5.7").unwrap();
    let folder = Folder::new(&Setup::small());
    let mut server = folder.start(&Kind::Ferrokeeper);
    let load = Load::start(server.client_addr(), "tools", WRITERS, 9, false);
    load.wait_for(REQUESTS);
    server.kill9().unwrap();
    load.finish();
    let tool = |class: &str, file: &Path| {
        let mut command = Command::new("java");
        command.args(["-XX:TieredStopAtLevel=1", "-Dferrokeeper.java.log.level=OFF"]);
        command.arg("-Dzookeeper.extendedTypesEnabled=true").arg("-cp").arg(home.classpath());
        let out = command.arg(format!("org.apache.zookeeper.server.{class}")).arg(file).output().unwrap();
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(out.status.success(), "{class} {}: {}\n{text}", file.display(), out.status);
        text
    };
    let logs = folder.logs();
    for log in &logs[logs.len() - 2..] {
        let text = tool("LogFormatter", log);
        let shown = text.lines().filter(|l| l.contains(" session 0x")).count();
        assert_eq!(shown, entries(log).len(), "{}:\n{text}", log.display());
    }
    // The last one may be cut by the kill.
    let snapshots = folder.snapshots();
    let text = tool("SnapshotFormatter", &snapshots[snapshots.len() - 2]);
    assert!(text.contains("\n/tools-0\n") && text.contains("Session Details"), "{text}");
}

/// A session nobody comes back for expires under the other server as well, and its ephemeral goes with it.
#[test]
fn sessions_expire_in_other_hands() {
    need_java!("3.5.7");
    for (writer, reader) in [(java(), Kind::Ferrokeeper), (Kind::Ferrokeeper, java())] {
        let folder = Folder::new(&Setup::default().line("preAllocSize=64").line("tickTime=500"));
        let mut server = folder.start(&writer);
        let mut brief = Client::connect(server.client_addr(), 1500).unwrap();
        brief.create("/brief", b"", 1).unwrap().unwrap();
        let mut lasting = Client::connect(server.client_addr(), 60_000).unwrap();
        lasting.create("/lasting", b"", 1).unwrap().unwrap();
        server.kill9().unwrap();
        let server = folder.start(&reader);
        let mut client = Client::connect(server.client_addr(), 10_000).unwrap();
        assert!(client.exists("/lasting", false).unwrap().is_ok());
        let deadline = Instant::now() + Duration::from_secs(10);
        while client.exists("/brief", false).unwrap().is_ok() {
            assert!(Instant::now() < deadline, "{writer:?} to {reader:?}: the session does not expire");
            std::thread::sleep(Duration::from_millis(50));
        }
        assert!(client.exists("/lasting", false).unwrap().is_ok());
        let request = ConnectRequest::reattach(1500, brief.connect.session, &brief.connect.password);
        assert!(Client::connect_with(server.client_addr(), &request).is_err());
    }
}

/// The session of a writer is known with its password, and its ephemerals go when it is closed.
fn sessions_live_on(server: &compat_tests::process::Server, ledger: &Ledger) -> Result<(), String> {
    let request = ConnectRequest::reattach(dump::SESSION_MS, ledger.session, &ledger.password);
    let client = Client::connect_with(server.client_addr(), &request).map_err(|e| format!("{e:#}"))?;
    if client.connect.session != ledger.session {
        return Err(format!("session {:#x} came back as {:#x}", ledger.session, client.connect.session));
    }
    client.close().map_err(|e| format!("{e:#}"))?;
    let mut client = dump::super_client(server.client_addr()).map_err(|e| format!("{e:#}"))?;
    for path in ledger.ephemerals() {
        if client.exists(&path, false).map_err(|e| format!("{e:#}"))? != Err(-101) {
            return Err(format!("{path} outlives its session"));
        }
    }
    Ok(())
}

fn shortened(lines: &[String]) -> String {
    let mut text = lines.iter().take(12).map(|l| format!("  {l}\n")).collect::<String>();
    if lines.len() > 12 {
        text += &format!("  and {} more", lines.len() - 12);
    }
    text
}

/// A folder that was written under load, and the last of its log files that has entries.
fn killed(writer: &Kind) -> (Folder, PathBuf) {
    let folder = Folder::new(&Setup::default().line("preAllocSize=64"));
    let mut server = folder.start(writer);
    let load = Load::start(server.client_addr(), "torn", 2, 3, false);
    load.wait_for(200);
    server.kill9().unwrap();
    load.finish();
    let log = folder.logs().into_iter().rev().find(|log| entries(log).len() > 20).expect("a log of the load");
    (folder, log)
}

fn same_file(folder: &Folder, log: &Path) -> PathBuf {
    let name = log.file_name();
    folder.logs().into_iter().find(|l| l.file_name() == name).expect("a copy has the same files")
}

/// The last entry is cut at every kind of place, as a crash of the machine may leave it.
#[test]
fn a_torn_tail() {
    need_java!("3.5.7");
    torn_tail(&java());
}

#[test]
fn a_torn_tail_of_ferrokeeper() {
    need_java!("3.5.7");
    torn_tail(&Kind::Ferrokeeper);
}

fn torn_tail(writer: &Kind) {
    let (folder, log) = killed(writer);
    let (start, end) = *entries(&log).last().unwrap();
    // In the checksum, in the length, in the record, before the trailer, and between two entries.
    for cut in [start + 3, start + 10, (start + end) / 2, end - 1, start] {
        // What was preallocated stays and reads as zeros; for one of them the file also ends there.
        for zeros in [true].into_iter().chain((cut == (start + end) / 2).then_some(false)) {
            let tear = |folder: &Folder| {
                // What Ferrokeeper noted as synced cannot be torn by a crash; Java has no such note.
                folder.forget_what_was_synced();
                let file = File::options().write(true).open(same_file(folder, &log)).unwrap();
                let length = file.metadata().unwrap().len();
                file.set_len(cut as u64).unwrap();
                if zeros {
                    file.set_len(length).unwrap();
                }
            };
            same_outcome(&folder, &format!("cut at {cut} of {start}..{end}, zeros after it: {zeros}"), tear);
        }
    }
}

/// A record in the middle that does not match its checksum is no torn tail: neither server may start.
#[test]
fn a_damaged_record_in_the_middle() {
    need_java!("3.5.7");
    let (folder, log) = killed(&java());
    let all = entries(&log);
    let (start, end) = all[all.len() / 2];
    let refused = same_outcome(&folder, "a flipped bit in the middle", |folder| {
        let file = same_file(folder, &log);
        let mut bytes = fs::read(&file).unwrap();
        bytes[(start + 12 + end) / 2] ^= 1;
        fs::write(&file, bytes).unwrap();
    });
    assert!(refused);
}

/// The newest snapshot is cut short: the one before it and the logs since then give the same tree.
#[test]
fn a_snapshot_that_was_not_finished() {
    need_java!("3.5.7");
    let folder = Folder::new(&Setup::small());
    let mut server = folder.start(&java());
    let load = Load::start(server.client_addr(), "snap", 3, 5, false);
    load.wait_for(REQUESTS);
    server.kill9().unwrap();
    load.finish();
    assert!(folder.snapshots().len() > 1);
    let refused = same_outcome(&folder, "half a snapshot", |folder| {
        let newest = folder.snapshots().pop().unwrap();
        let length = fs::metadata(&newest).unwrap().len();
        File::options().write(true).open(&newest).unwrap().set_len(length / 2).unwrap();
    });
    assert!(!refused);
}

/// Logs without a snapshot: something was deleted that must not be.
#[test]
fn logs_without_a_snapshot_are_refused() {
    need_java!("3.5.7");
    let (folder, _) = killed(&java());
    let refused = same_outcome(&folder, "no snapshot", |folder| {
        for snapshot in folder.snapshots() {
            fs::remove_file(snapshot).unwrap();
        }
    });
    assert!(refused);
}

/// Damages two copies alike and opens one with each server: the same tree, or refusals with the same exit code.
/// True when both refused.
fn same_outcome(folder: &Folder, what: &str, damage: impl Fn(&Folder)) -> bool {
    let mut outcomes = [java(), Kind::Ferrokeeper].map(|kind| {
        let copy = folder.copy();
        damage(&copy);
        let outcome = copy.try_start(&kind).map(|server| dump(server.client_addr()).unwrap());
        (copy, outcome)
    });
    let [(_, java), (ours_in, ours)] = &mut outcomes;
    let complaint = match (&java, &ours) {
        (Ok(java), Ok(ours)) => shortened(&differences(java, ours)),
        (Err(java), Err(ours)) if java == ours => String::new(),
        (java, ours) => {
            let said =
                |o: &Result<Tree, Option<i32>>| o.as_ref().map(|tree| tree.len()).map_err(|code| *code);
            format!("Java: {:?}, Ferrokeeper: {:?} (nodes, or exit code)", said(java), said(ours))
        }
    };
    assert!(complaint.is_empty(), "{what}:\n{complaint}\nthe folder is {}", ours_in.keep().display());
    java.is_err()
}
