//! ZooKeeper 3.5.7's own client tests, unchanged from its test jar, against Ferrokeeper.
//!
//! They start their server inside their JVM, through a factory that a property names. The factory named here
//! (`java/clients/own/ExternalServer.java`) starts the server under test as a process, with the same folders, port and
//! properties. Tests that reach into the server's memory cannot pass that way, also not against Java: `own/left-out.txt`.

#[path = "java_clients/support.rs"]
#[macro_use]
mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use compat_tests::java::{JavaHome, target_dir};
use compat_tests::need_java;
use compat_tests::process::ferrokeeper_bin;

use support::{PATIENCE, run, sources};

/// Classes of ZooKeeper's own tests that need nothing of the server but its port, in shards that take about as long. Left out
/// as a whole: what looks into the server's memory (containers, TTL, JMX) or starts an ensemble.
const OWN_TESTS: &[&[&str]] = &[
    &["RemoveWatchesTest/0/4"],
    &["RemoveWatchesTest/1/4"],
    &["RemoveWatchesTest/2/4"],
    &["RemoveWatchesTest/3/4"],
    &["test.WatcherTest"],
    &["test.DisconnectedWatcherTest", "test.SessionTest"],
    &[
        "test.ClientTest",
        "test.WatcherFuncTest",
        "test.AuthTest",
        "test.CreateTest",
        "test.ACLTest",
        "test.ACLRootTest",
        "test.ChrootTest",
    ],
    &[
        "test.MultiTransactionTest",
        "test.MultiAsyncTransactionTest",
        "test.AsyncOpsTest",
        "test.NullDataTest",
        "test.SyncCallTest",
        "test.StatTest",
        "test.GetChildren2Test",
        "test.ClientRetryTest",
    ],
    &[
        "ZooKeeperTest",
        "RemoveWatchesCmdTest",
        "test.ZooKeeperQuotaTest",
        "test.SessionTimeoutTest",
        "test.SessionInvalidationTest",
        "test.FourLetterWordsTest",
        "test.ServerCnxnTest",
        "test.MaxCnxnsTest",
    ],
];
/// How many tests they have at least.
const OWN_TESTS_PASSED: usize = 200;

#[test]
fn ferrokeeper_passes_zookeepers_own_client_tests() {
    let clients = need_clients!();
    let bin = ferrokeeper_bin().unwrap();
    own_tests_pass(&clients, "ferrokeeper", &format!("{}|server|-D", bin.display()));
}

#[test]
#[ignore = "the baseline that own/left-out.txt rests on: several minutes"]
fn an_external_java_passes_zookeepers_own_client_tests() {
    let clients = need_clients!();
    let home = JavaHome::find("3.5.7").unwrap();
    let main = "org.apache.zookeeper.server.quorum.QuorumPeerMain";
    let options = "-Xmx256m|-XX:+UseSerialGC|-XX:TieredStopAtLevel=1";
    own_tests_pass(&clients, "java", &format!("java|{options}|-D|-cp|{}|{main}", home.classpath()));
}

/// `server` is a command line with '|' between its words; `-D` stands for the properties that a test has set.
fn own_tests_pass(clients: &Path, name: &str, server: &str) {
    let patience = if name == "java" { 6 * PATIENCE } else { PATIENCE };
    let shards: Vec<_> = OWN_TESTS
        .iter()
        .zip(1..)
        .map(|(classes, nth)| {
            let dir = tempfile::Builder::new().prefix("own-tests-").tempdir().unwrap();
            let log = target_dir().join(format!("own-tests-{name}-{nth}.log"));
            let mut command = shard(clients, server, dir.path(), nth);
            command.args(*classes);
            std::thread::spawn(move || {
                run(command, &log, patience);
                (fs::read_to_string(&log).unwrap(), log, dir)
            })
        })
        .collect();
    let left_out = fs::read_to_string(sources().join("own/left-out.txt")).unwrap();
    let left_out: Vec<&str> = left_out.lines().collect();
    let (mut passed, mut failed) = (0, Vec::new());
    for shard in shards {
        let (text, log, _dir) = shard.join().expect("the shard ends");
        assert!(text.contains("\nEND "), "see {}", log.display());
        passed += text.lines().filter(|l| l.starts_with("PASS ")).count();
        for line in text.lines().filter_map(|l| l.strip_prefix("FAIL ")) {
            // Class.method, and the number of the parameter in brackets.
            let test = line.split([':', '[']).next().unwrap_or(line);
            if !left_out.contains(&test) {
                failed.push(format!("{line} ({})", log.display()));
            }
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
    assert!(passed >= OWN_TESTS_PASSED, "only {passed} tests were run");
}

fn shard(clients: &Path, server: &str, dir: &Path, nth: usize) -> Command {
    let mut command = Command::new("java");
    command.args(["-Xmx400m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
    command.arg("-Dzookeeper.serverCnxnFactory=ExternalServer");
    command.arg(format!("-Dexternal.server={server}"));
    command.arg(format!("-Dexternal.log={}/server.log", dir.display()));
    command.arg(format!("-Dbuild.test.dir={}", dir.display()));
    // Shards take their ports from ranges of their own.
    command.arg("-Dtest.junit.threads=16").arg(format!("-Dzookeeper.junit.threadid={nth}"));
    command.arg("-cp").arg(format!("{0}/own/classes:{0}/own/lib/*", clients.display()));
    command.arg("OwnTests").current_dir(dir).stdin(Stdio::null());
    command
}
