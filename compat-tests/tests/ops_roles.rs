//! What operators see of a server in each role: four-letter words, `bin/zkServer.sh status`, `ferrokeeper election-log`, and
//! refusals at the start.
#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use compat_tests::ensemble::{Ensemble, Plan, eventually};
use compat_tests::java::workspace_dir;
use compat_tests::process::{Builder, Kind, Server, ferrokeeper_bin};
use compat_tests::wire::Client;
use compat_tests::{need_java, need_mixes};

const NOT_SERVING: &str = "This ZooKeeper instance is not currently serving requests\n";
const PATIENCE: Duration = Duration::from_secs(60);

/// Server 2 leads, 1 and 3 follow, 4 observes; three sessions, a node with a kilobyte, an ephemeral and a watch each.
struct Scene {
    ensemble: Ensemble,
    sessions: BTreeMap<u64, Client>,
}

impl Scene {
    fn new(mix: &str) -> Scene {
        Scene::of(Plan::new(mix).observer(4))
    }

    fn of(plan: Plan) -> Scene {
        let ensemble = plan.start_led_by(2).unwrap();
        ensemble.ids().iter().for_each(|id| assert_eq!(ask(&ensemble, *id, "srst"), "Server stats reset.\n"));
        let mut sessions: BTreeMap<u64, Client> =
            [2, 3, 4].map(|id| (id, ensemble.client(id).unwrap())).into_iter().collect();
        for (id, client) in &mut sessions {
            client.create(&format!("/e{id}"), b"", 1).unwrap().unwrap();
        }
        sessions.get_mut(&3).unwrap().create("/kilobyte", &[b'x'; 1000], 0).unwrap().unwrap();
        for client in sessions.values_mut() {
            client.sync("/").unwrap().unwrap();
            client.get_data("/kilobyte", true).unwrap().unwrap();
        }
        eventually("server 1 is up to date", PATIENCE, || {
            ensemble.zxid(1).unwrap() == ensemble.zxid(2).unwrap()
        })
        .unwrap();
        ask(&ensemble, 1, "srst");
        Scene { ensemble, sessions }
    }

    /// What differs from run to run put aside.
    fn masked(&self, id: u64, word: &str) -> String {
        let mut text = ask(&self.ensemble, id, word);
        for (owner, client) in &self.sessions {
            text = text.replace(&format!("0x{:x}", client.connect.session), &format!("<session of {owner}>"));
        }
        for id in self.ensemble.ids() {
            text = text.replace(&self.ensemble[id].address().to_string(), &format!("<address of {id}>"));
            text = text.replace(&self.ensemble[id].dir().display().to_string(), "<dir>");
        }
        // The list of servers is data of a node, and addresses are not all of the same length.
        let list =
            ask(&self.ensemble, id, "conf").split_once("membership: \n").map_or(0, |(_, list)| list.len());
        let without_list = |line: &str| match line.strip_prefix("zk_approximate_data_size\t") {
            Some(size) => format!("{} bytes without the list", size.parse::<usize>().unwrap() - list),
            None => line.to_owned(),
        };
        let mut lines: Vec<String> =
            text.split('\n').map(without_list).filter_map(|line| mask(&line)).collect();
        // Java's order is that of a hash table.
        if ["stat", "cons", "dump"].contains(&word) {
            lines.sort();
        }
        lines.join("\n")
    }
}

fn mask(line: &str) -> Option<String> {
    // Java keeps empty buckets.
    if line.contains(" expire at ") {
        return None;
    }
    for (start, divider) in [
        ("Latency min/avg/max", ":"),
        ("zk_avg_latency", "\t"),
        ("zk_max_latency", "\t"),
        ("zk_min_latency", "\t"),
        ("zk_open_file_descriptor_count", "\t"),
        ("zk_max_file_descriptor_count", "\t"),
        ("dataDirSize", "="),
        ("dataLogSize", "="),
    ] {
        if line.starts_with(&format!("{start}{divider}")) {
            return Some(format!("{start}{divider}…"));
        }
    }
    let mut line = line.to_owned();
    for before in ["/127.0.0.1:", "est=", "lresp=", "llat=", "avglat=", "maxlat=", "Sets ("] {
        if let Some((head, tail)) = line.split_once(before) {
            line = format!("{head}{before}…{}", tail.trim_start_matches(|c: char| c.is_ascii_digit()));
        }
    }
    Some(line)
}

fn ask(ensemble: &Ensemble, id: u64, word: &str) -> String {
    ensemble[id].four_letter(word).unwrap()
}

#[test]
fn every_role_answers_as_javas() {
    let _home = need_java!("3.5.7");
    let (java, ours) = (Scene::new("JJJJ"), Scene::new("FFFF"));
    for scene in [&java, &ours] {
        let roles = [1, 2, 3, 4].map(|id| scene.ensemble[id].mode().unwrap());
        assert_eq!(roles, ["follower", "leader", "follower", "observer"]);
    }
    let words = [
        "srvr", "stat", "mntr", "conf", "cons", "dump", "wchs", "wchc", "wchp", "isro", "ruok", "gtmk",
        "srst", "srvr", "mntr", "crst", "cons",
    ];
    for id in [1, 2, 3, 4] {
        for word in words {
            let (expected, told) = (java.masked(id, word), ours.masked(id, word));
            assert_eq!(told, expected, "{word} of server {id}");
        }
    }
}

/// Of the three sessions all become global ones with their ephemerals; a fourth and a fifth stay local.
#[test]
fn local_sessions_are_listed_as_javas() {
    let _home = need_java!("3.5.7");
    let scene = |mix: &str| {
        let plan =
            Plan::new(mix).line("localSessionsEnabled=true").line("localSessionsUpgradingEnabled=true");
        let scene = Scene::of(plan.observer(4));
        let local = [2, 3].map(|id| scene.ensemble.client(id).unwrap());
        let dump = |id| {
            let text = scene.masked(id, "dump");
            local.iter().fold(text, |text, client| {
                text.replace(&format!("0x{:x}", client.connect.session), "<local>")
            })
        };
        [1, 2, 3, 4].map(dump)
    };
    let (java, ours) = (scene("JJJJ"), scene("FFFF"));
    assert!(java[1].contains("<local>") && java[1].contains("Local Session Sets ("), "{}", java[1]);
    assert_eq!(ours, java);
}

#[test]
fn a_server_that_looks_says_that_it_does_not_serve() {
    for mix in need_mixes!(["FFF", "JJJ"], []) {
        let mut ensemble = Plan::new(&mix).prepare().unwrap();
        ensemble.launch(&[1]).unwrap();
        eventually("it listens", PATIENCE, || ensemble[1].four_letter("ruok").is_ok_and(|a| a == "imok"))
            .unwrap();
        for word in
            ["srvr", "stat", "mntr", "conf", "cons", "crst", "srst", "dirs", "dump", "wchs", "wchc", "wchp"]
        {
            assert_eq!(ask(&ensemble, 1, word), NOT_SERVING, "{mix}: {word}");
        }
        assert_eq!(
            ["ruok", "isro", "gtmk"].map(|word| ask(&ensemble, 1, word)),
            ["imok", "null", "306"],
            "{mix}"
        );
        assert!(ask(&ensemble, 1, "envi").starts_with("Environment:\nzookeeper.version="), "{mix}");
    }
}

#[test]
fn a_lost_quorum_is_told_and_counters_begin_anew_with_the_next() {
    for mix in need_mixes!(["FFF"], ["JJJ"]) {
        let mut ensemble = Plan::new(&mix).start_led_by(3).unwrap();
        let mut client = ensemble.client(1).unwrap();
        (0..100).for_each(|_| drop(ask(&ensemble, 1, "isro")));
        let received = |text: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix("Received: "));
            line.map(|number| number.parse::<u32>().unwrap())
        };
        assert!(received(&ask(&ensemble, 1, "srvr")).unwrap() > 100);
        ensemble.kill9(&[2, 3]).unwrap();
        eventually("it stops serving", PATIENCE, || ask(&ensemble, 1, "srvr") == NOT_SERVING).unwrap();
        assert!(client.ping().is_err(), "{mix}: its connection is closed");
        ensemble.launch(&[2]).unwrap();
        let mut text = String::new();
        eventually("it serves again", PATIENCE, || {
            text = ask(&ensemble, 1, "srvr");
            text != NOT_SERVING
        })
        .unwrap();
        // Of Java's the question before may have been the first one counted.
        assert!(received(&text).is_some_and(|received| (1..=2).contains(&received)), "{mix}: {text}");
    }
}

#[test]
fn a_leader_that_serves_nobody_says_so() {
    for mix in need_mixes!(["FF", "JJ"], []) {
        let mut ensemble = Plan::new(&mix).flag("-Dzookeeper.leaderServes=no").prepare().unwrap();
        // In turn: two Javas that start at once may miss each other for most of a minute.
        for id in [1, 2] {
            ensemble.launch(&[id]).unwrap();
            let listens = || ensemble[id].four_letter("ruok").is_ok_and(|answer| answer == "imok");
            eventually("it listens", PATIENCE, listens).unwrap();
        }
        eventually("1 follows", PATIENCE, || ensemble[1].mode().as_deref() == Some("follower")).unwrap();
        for _ in 0..20 {
            assert_eq!(ask(&ensemble, 2, "srvr"), NOT_SERVING, "{mix}");
            assert_eq!(ask(&ensemble, 2, "isro"), "null", "{mix}");
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(ensemble.client(2).is_err(), "{mix}");
        ensemble.client(1).unwrap().create("/n", b"", 0).unwrap().unwrap();
    }
}

/// `bin/zkServer.sh status` on the configuration of a server that runs.
fn status(server: &Server) -> Output {
    Command::new("bash")
        .arg(workspace_dir().join("bin/zkServer.sh"))
        .arg("status")
        .arg(server.cfg_file())
        .env("FERROKEEPER_BIN", ferrokeeper_bin().unwrap())
        .env("ZOO_LOG_DIR", server.dir())
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[track_caller]
fn says(server: &Server, stdout: &str, code: i32) {
    let said = status(server);
    let stderr = format!("JMX enabled by default\nUsing config: {}\n", server.cfg_file().display());
    assert_eq!(
        (String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr), said.status.code()),
        (stdout.into(), stderr.into(), Some(code))
    );
}

#[test]
fn status_is_three_lines_in_every_role() {
    let mut ensemble = Plan::new("FFFF").observer(4).start_led_by(2).unwrap();
    for (id, mode) in [(1, "follower"), (2, "leader"), (3, "follower"), (4, "observer")] {
        says(&ensemble[id], &format!("Mode: {mode}\n"), 0);
    }
    ensemble.kill9(&[2, 3]).unwrap();
    eventually("it looks", PATIENCE, || ask(&ensemble, 1, "srvr") == NOT_SERVING).unwrap();
    says(&ensemble[1], "Error contacting service. It is probably not running.\n", 1);
}

/// In its own server line, in the line of a dynamic file, and with a port in zoo.cfg besides.
#[test]
fn status_finds_a_member_wherever_its_client_address_is_written() {
    let builders: Vec<Builder> =
        (0..3).map(|_| Builder::new(Kind::Ferrokeeper).without_client_port()).collect();
    let lines: Vec<String> = (1..)
        .zip(&builders)
        .map(|(id, b)| format!("server.{id}={0}:2888:3888:participant;{0}:2181", b.address()))
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let dynamic = folder.path().join("zoo.cfg.dynamic");
    std::fs::write(&dynamic, lines.join("\n")).unwrap();
    let mut servers = Vec::new();
    for (id, builder) in (1u64..).zip(builders) {
        let mut builder = builder.myid(id).line("initLimit=10").line("syncLimit=5");
        builder = match id {
            2 => builder.line(format!("dynamicConfigFile={}", dynamic.display())),
            _ => lines.iter().fold(builder, Builder::line),
        };
        if id == 3 {
            builder = builder.line("clientPort=2181");
        }
        servers.push(builder.spawn().unwrap());
    }
    for server in &servers {
        server.wait_serving(PATIENCE).unwrap();
        says(server, &format!("Mode: {}\n", server.mode().unwrap()), 0);
    }
}

fn election_log(arguments: &[&str]) -> Output {
    Command::new(ferrokeeper_bin().unwrap())
        .arg("election-log")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// The table of a server, once its last line is `end`.
fn table(server: &Server, arguments: &[&str], end: &str) -> String {
    let config = server.cfg_file().display().to_string();
    let mut told = String::new();
    let ended = eventually(end, Duration::from_secs(10), || {
        let said = election_log(&[&["-c", config.as_str()], arguments].concat());
        told = String::from_utf8_lossy(&said.stdout).into_owned();
        told.lines().last().is_some_and(|last| last.starts_with(end))
    });
    ended.unwrap_or_else(|e| panic!("{e}\n{told}"));
    told
}

#[test]
fn the_last_election_is_shown_by_who_runs_and_by_who_is_dead() {
    for mix in need_mixes!(["FFF"], ["JFF"]) {
        let mut ensemble = Plan::new(&mix).start_led_by(2).unwrap();
        let by_both = " elected by servers 1, 2";
        let told = table(&ensemble[2], &[], "Server 2 ");
        assert!(told.starts_with("Election of server 2, begun 20"), "{told}");
        assert!(told.contains("zxid  round  what server 2 made of it\n"), "{told}");
        assert!(told.contains(by_both) && told.ends_with(" ms. Server 2 is LEADING.\n"), "{told}");
        let told = table(&ensemble[3], &[], "Server 2 ");
        assert!(told.ends_with(" ms. Server 3 is FOLLOWING.\n"), "{told}");
        if *ensemble[1].kind() == Kind::Ferrokeeper {
            let told = table(
                &ensemble[1],
                &[],
                "Server 2 is elected by servers 1, 2, by the higher sid; the election took ",
            );
            assert!(told.contains("higher sid than server 1, now my vote too"), "{told}");
        }

        ensemble.kill9(&[2]).unwrap();
        assert_eq!(ensemble.settled().unwrap(), 3);
        let told = table(&ensemble[3], &["-n", "9"], "Server 3 is elected by servers 1, 3");
        assert_eq!(told.matches("Election of server 3").count(), 2, "{told}");
        assert!(table(&ensemble[2], &[], "Server 2 ").contains(by_both));

        // A server that is started once more goes on in the same file.
        ensemble.launch(&[2]).unwrap();
        ensemble.settled().unwrap();
        let told = table(&ensemble[2], &["-n", "2"], "Server 3 ");
        assert!(told.contains(by_both) && told.ends_with("Server 2 is FOLLOWING.\n"), "{told}");
    }
}

#[test]
fn java_does_not_mind_the_election_log() {
    let _home = need_java!("3.5.7");
    let mut ensemble = Plan::new("FFF").start_led_by(2).unwrap();
    table(&ensemble[1], &[], "Server 2 ");
    ensemble[1].restart_as(Kind::java("3.5.7")).unwrap();
    assert_eq!(ensemble.settled().unwrap(), 2);
    assert!(ensemble[1].data_dir().join("election-log.txt").exists());
    assert!(!ensemble[1].log().contains("election-log"));
}

#[test]
fn a_server_without_elections_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let said = election_log(&["-d", &folder.path().display().to_string()]);
    assert_eq!((said.status.code(), said.stdout.len()), (Some(1), 0));
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.contains("a standalone server elects nobody"), "{said}");
}

#[test]
fn what_is_wrong_with_a_member_is_told_with_file_and_line() {
    let of = |myid: u64, wrong: &str| {
        let builder = Builder::new(Kind::Ferrokeeper).myid(myid).line("initLimit=10").line("syncLimit=5");
        let servers = ["server.1=127.0.0.1:2888:3888", "server.2=127.0.0.1:2889:3889", wrong];
        let mut server = servers.into_iter().fold(builder, Builder::line).spawn().unwrap();
        let status = server.wait(PATIENCE).unwrap();
        let line = |file: &Path, rest: &str| format!("Error processing {}: {rest}", file.display());
        let lines = std::fs::read_to_string(server.cfg_file()).unwrap().lines().count();
        let log = server.log();
        assert!(log.ends_with("Invalid config, exiting abnormally\n"), "{log}");
        (
            status.code(),
            log,
            line(&server.cfg_file(), &format!("line {lines}: ")),
            line(&server.data_dir().join("myid"), ""),
        )
    };
    let (code, log, _, myid) = of(9, "server.3=127.0.0.1:2890:3890");
    assert_eq!(code, Some(1));
    assert!(log.contains(&format!("{myid}line 1: My id 9 not in the peer list")), "{log}");
    for (line, why) in [
        ("server.3=127.0.0.1:2890", "127.0.0.1:2890 does not have the form server_config"),
        ("server.3=127.0.0.1:2890:2890", "Client and election port must be different!"),
        ("server.x=127.0.0.1:2890:3890", "server.x: server id"),
        ("server.3=127.0.0.1:2890:99999", "port out of range:99999"),
        ("server.3=127.0.0.1:2890:3890:voter", "Unrecognised peertype: voter"),
    ] {
        let (code, log, cfg, _) = of(1, line);
        assert_eq!(code, Some(2), "{line}");
        assert!(log.contains(&format!("{cfg}{why}")), "{line}: {log}");
    }
}
