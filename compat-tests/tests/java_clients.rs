//! Java's own client libraries and Curator, unchanged, against Ferrokeeper; and the same stories against Java.
//!
//! The stories are in `java/clients`: one main class per library and topic, a line `PASS name` or `FAIL name: why` for each
//! story, and `END count`. Two class paths, because 3.5.7 and 3.9.3 cannot share one.

#[path = "java_clients/support.rs"]
#[macro_use]
mod support;

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

use compat_tests::java::JavaHome;
use compat_tests::need_java;
use compat_tests::process::{Builder, Kind, Server};

use support::{PATIENCE, run, sources};

/// A library version, the main class of its stories, and how many there are at least.
#[derive(Clone, Copy)]
struct Client {
    libraries: &'static str,
    main: &'static str,
    stories: usize,
}

const CORE_3_5: Client = Client { libraries: "3.5", main: "Core", stories: 26 };
const CORE_3_9: Client = Client { libraries: "3.9", main: "Core", stories: 26 };
const MODERN: Client = Client { libraries: "3.9", main: "Modern", stories: 11 };
const CURATOR_4: Client = Client { libraries: "3.5", main: "Recipes", stories: 20 };
const CURATOR_5: Client = Client { libraries: "3.9", main: "Recipes", stories: 20 };
const CURATOR_5_CACHES: Client = Client { libraries: "3.9", main: "Caches", stories: 6 };

#[test]
fn java_3_5_7_serves_the_client_of_3_5_7() {
    let clients = need_clients!();
    all_pass(&clients, Kind::java("3.5.7"), &[CORE_3_5]);
}

#[test]
fn java_3_5_7_serves_the_client_of_3_9_3() {
    let clients = need_clients!();
    all_pass(&clients, Kind::java("3.5.7"), &[CORE_3_9]);
}

#[test]
fn ferrokeeper_serves_both_clients() {
    let clients = need_clients!();
    all_pass(&clients, Kind::Ferrokeeper, &[CORE_3_5]);
    all_pass(&clients, Kind::Ferrokeeper, &[CORE_3_9, MODERN]);
}

#[test]
fn java_3_9_3_serves_the_later_operations() {
    let clients = need_clients!();
    need_java!("3.9.3");
    all_pass(&clients, Kind::java("3.9.3"), &[MODERN]);
}

#[test]
fn java_3_5_7_serves_curator_4() {
    let clients = need_clients!();
    all_pass(&clients, Kind::java("3.5.7"), &[CURATOR_4]);
}

#[test]
fn java_3_9_3_serves_curator_5() {
    let clients = need_clients!();
    need_java!("3.9.3");
    all_pass(&clients, Kind::java("3.9.3"), &[CURATOR_5, CURATOR_5_CACHES]);
}

#[test]
fn ferrokeeper_serves_curator_4() {
    let clients = need_clients!();
    all_pass(&clients, Kind::Ferrokeeper, &[CURATOR_4]);
}

#[test]
fn ferrokeeper_serves_curator_5() {
    let clients = need_clients!();
    all_pass(&clients, Kind::Ferrokeeper, &[CURATOR_5, CURATOR_5_CACHES]);
}

/// Java's ZooKeeperMain, one script, two servers: what it prints must be alike to the letter.
#[test]
fn the_shell_prints_the_same() {
    let clients = need_clients!();
    let home = JavaHome::find("3.5.7").unwrap();
    let shown = |kind| {
        let server = start(kind);
        let log = server.dir().join("shell.out");
        let script = sources().join("zkcli.script");
        let mut command = Command::new("java");
        // Without JLine, whose echo an event may cut in two.
        command.arg("-cp").arg(format!("{}:{}/conf", without_jline(&home), home.path.display()));
        command.arg("-Dferrokeeper.java.log.level=OFF").arg("org.apache.zookeeper.ZooKeeperMain");
        command.arg("-server").arg(server.client_addr().to_string());
        command.stdin(File::open(script).unwrap());
        run(command, &log, PATIENCE);
        Shown::of(&fs::read_to_string(&log).unwrap(), &server.client_addr().to_string())
    };
    let (java, ours) = (shown(Kind::java("3.5.7")), shown(Kind::Ferrokeeper));
    assert!(java.lines.len() > 90, "the script ended early: {:#?}", java.lines);
    assert_eq!(java.events.len(), 3, "{:?}", java.events);
    assert_eq!(java.events, ours.events);
    for (nth, (java, ours)) in java.lines.iter().zip(&ours.lines).enumerate() {
        assert_eq!(java, ours, "line {nth}");
    }
    assert_eq!(java.lines.len(), ours.lines.len());
    drop(clients);
}

fn without_jline(home: &JavaHome) -> String {
    let jars = fs::read_dir(home.path.join("lib")).unwrap().map(|entry| entry.unwrap().path());
    let jars = jars.filter(|jar| !jar.display().to_string().contains("jline"));
    jars.map(|jar| jar.display().to_string()).collect::<Vec<_>>().join(":")
}

/// The shell's output without what must differ (addresses, times) or may (whether an event is printed a line earlier).
struct Shown {
    lines: Vec<String>,
    events: Vec<String>,
}

impl Shown {
    fn of(text: &str, server: &str) -> Shown {
        let (mut lines, mut events) = (Vec::new(), Vec::new());
        for line in text.lines() {
            let line = line.replace(server, "SERVER").replace("(CONNECTING)", "(CONNECTED)");
            let (name, _) = line.split_once(" = ").unwrap_or((&line, ""));
            match name {
                _ if line.starts_with("WatchedEvent ") => events.push(line),
                "WATCHER::" | "" | "Welcome to ZooKeeper!" | "JLine support is disabled" => {}
                "ctime" | "mtime" if !line.contains("1970") => lines.push(format!("{name} = TIME")),
                _ => lines.push(line),
            }
        }
        Shown { lines, events }
    }
}

fn start(kind: Kind) -> Server {
    Builder::new(kind)
        .line("tickTime=500")
        .flag("-Dzookeeper.extendedTypesEnabled=true")
        .flag("-Dznode.container.checkIntervalMs=300")
        .flag("-Dzookeeper.DigestAuthenticationProvider.superDigest=super:D/InIHSb7yEEbrWz8b9l71RjZJU=")
        .start()
        .unwrap()
}

/// Starts a server, runs the clients against it one after the other, and wants every story of theirs passed.
fn all_pass(clients: &Path, kind: Kind, which: &[Client]) {
    let server = start(kind);
    for client in which {
        let libraries = clients.join(client.libraries);
        let log = server.dir().join(format!("{}-{}.out", client.main, client.libraries));
        let mut command = Command::new("java");
        command.arg("-Xmx256m").arg("-XX:+UseSerialGC").arg("-cp");
        command.arg(format!("{0}/classes:{0}/lib/*", libraries.display()));
        command.arg(client.main).arg(server.client_addr().to_string()).stdin(Stdio::null());
        run(command, &log, PATIENCE);
        let text = fs::read_to_string(&log).unwrap();
        let lines = |start: &str| text.lines().filter(|l| l.starts_with(start)).count();
        let failed: Vec<&str> = text.lines().filter(|l| l.starts_with("FAIL ")).collect();
        let what = format!("{} of {} against {:?}", client.main, client.libraries, server.kind());
        assert!(failed.is_empty(), "{what}: {failed:#?}");
        assert!(
            lines("PASS ") >= client.stories && text.contains(&format!("\nEND {}", lines("PASS "))),
            "{what} did not end; see {}:\n{text}",
            log.display()
        );
    }
}
