//! The four-letter words in every role, and the differ against a leader, a follower and an observer: Ferrokeeper beside a Java
//! in the same role of an ensemble of its own.

use std::collections::BTreeSet;
use std::time::Duration;

use compat_tests::differ::compare::{self, PLAIN, Peer, Setup};
use compat_tests::differ::generate::Profile;
use compat_tests::ensemble::{Ensemble, Plan};
use compat_tests::java::target_dir;
use compat_tests::need::skipped;
use compat_tests::process::{NO_NAMESPACES, namespaces};
use compat_tests::wire::Client;
use compat_tests::{need_java, test_name};

const ROLES: [(u64, &str); 3] = [(3, "leader"), (1, "follower"), (4, "observer")];

/// Servers 1 to 3 vote and 3 leads, 4 observes.
fn four(mix: &str, more: impl Fn(Plan) -> Plan) -> Ensemble {
    more(Plan::new(mix).observer(4)).start_led_by(3).unwrap()
}

/// A text with everything taken out that may differ between two runs: numbers, addresses, dates, build.
fn shape(text: &str) -> String {
    let mut shaped = String::new();
    let mut previous = ' ';
    for c in text.replace("-1", "0").chars() {
        let digit = c.is_ascii_digit();
        if !(digit && previous.is_ascii_digit()) {
            shaped.push(if digit { '0' } else { c });
        }
        previous = c;
    }
    shaped.lines().map(|line| shape_line(line) + "\n").collect()
}

fn shape_line(line: &str) -> String {
    for start in ["Zookeeper version: ", "zk_version\t", "dataDir=", "dataLogDir="] {
        if line.starts_with(start) {
            return start.to_string();
        }
    }
    let words: Vec<String> = line.split_inclusive([' ', ',', '(', '/', '=']).map(shape_word).collect();
    words.concat()
}

/// Hexadecimal numbers keep their 0x; the date in "expire at …" and the age of a connection go.
fn shape_word(word: &str) -> String {
    let Some(at) = word.find("0x") else { return word.to_string() };
    let rest = word[at + 2..].trim_start_matches(|c: char| c.is_ascii_hexdigit());
    format!("{}0x{rest}", &word[..at])
}

/// Lines that there may be any number of, sorted: connections, sessions, buckets.
fn kinds_of_lines(text: &str) -> BTreeSet<String> {
    let dates = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
    let line = |l: &str| match dates.iter().find_map(|day| l.find(&format!("at {day} "))) {
        Some(at) => format!("{}at DATE", &l[..at]),
        None => l.to_string(),
    };
    shape(text).lines().map(line).collect()
}

/// An ephemeral, a watch and a connection of the same kind on either side.
fn visit(ensemble: &Ensemble, id: u64) -> Client {
    let mut client = ensemble.client(id).unwrap();
    client.sync("/").unwrap().unwrap();
    client.create(&format!("/of-{id}"), b"x", 1).unwrap().unwrap();
    client.get_data(&format!("/of-{id}"), true).unwrap().unwrap();
    client
}

#[test]
fn every_word_in_every_role_reads_as_javas() {
    need_java!("3.5.7");
    for local in [false, true] {
        let more = |plan: Plan| {
            if local {
                plan.line("localSessionsEnabled=true").line("localSessionsUpgradingEnabled=true")
            } else {
                plan
            }
        };
        let (java, ours) = (four("JJJJ", more), four("FFFF", more));
        let clients: Vec<Client> =
            [&java, &ours].into_iter().flat_map(|e| ROLES.map(|(id, _)| visit(e, id))).collect();
        // What reaches a learner a moment later.
        std::thread::sleep(Duration::from_millis(700));
        let mut wrong = Vec::new();
        for (id, role) in ROLES {
            for word in [
                "srvr", "stat", "mntr", "conf", "cons", "dump", "wchs", "wchc", "wchp", "isro", "ruok",
                "dirs", "crst", "srst", "gtmk",
            ] {
                let ask = |e: &Ensemble| e[id].four_letter(word).unwrap();
                let (theirs, own) = (ask(&java), ask(&ours));
                // Lists are in the order of a hash table.
                let equal = match word {
                    "stat" | "cons" | "dump" | "wchc" | "wchp" => {
                        kinds_of_lines(&theirs) == kinds_of_lines(&own)
                    }
                    _ => shape(&theirs) == shape(&own),
                };
                if !equal {
                    wrong.push(format!(
                        "==== {word}, {role}, local sessions {local}\n{theirs}\n---- and ours\n{own}"
                    ));
                }
            }
            assert_eq!(java[id].mode().as_deref(), Some(role));
            assert_eq!(ours[id].mode().as_deref(), Some(role));
        }
        assert!(wrong.is_empty(), "{} answers differ:\n{}", wrong.len(), wrong.join("\n"));
        drop(clients);
    }
}

/// Nothing serves: what an operator sees of a server without a majority.
#[test]
fn without_a_leader_every_word_says_so() {
    need_java!("3.5.7");
    let alone = |mix: &str| {
        let mut ensemble = Plan::new(mix).prepare().unwrap();
        ensemble.launch(&[1]).unwrap();
        ensemble
    };
    let (java, ours) = (alone("JJJ"), alone("FFF"));
    for ensemble in [&java, &ours] {
        compat_tests::ensemble::eventually("it listens", Duration::from_secs(20), || {
            ensemble[1].four_letter("ruok").is_ok_and(|answer| !answer.is_empty())
        })
        .unwrap();
    }
    let mut wrong = Vec::new();
    for word in [
        "srvr", "stat", "mntr", "conf", "cons", "dump", "wchs", "wchc", "wchp", "isro", "ruok", "dirs",
        "crst", "srst", "envi",
    ] {
        let (theirs, own) = (java[1].four_letter(word).unwrap(), ours[1].four_letter(word).unwrap());
        let same_start = word == "envi" && own.lines().next() == theirs.lines().next();
        if shape(&theirs) != shape(&own) && !same_start {
            wrong.push(format!("==== {word}\n{theirs}\n---- and ours\n{own}"));
        }
    }
    assert!(wrong.is_empty(), "{} answers differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn the_differ_finds_nothing_against_a_leader_a_follower_and_an_observer() {
    need_java!("3.5.7");
    if namespaces().is_none() {
        return skipped(test_name!(), NO_NAMESPACES);
    }
    // Words print addresses and folders; without a server of its own the differ cannot restart one. Narrow, because a multi
    // with a null path has no header when Java prepares it, is never proposed, and its session waits for ever.
    let profile = Profile { words: false, restarts: false, narrow: true, ..PLAIN };
    for ((id, role), seed) in ROLES.into_iter().zip(21..) {
        let more = |plan: Plan| {
            let setup = Setup::new(
                Peer::At(([127, 0, 0, 1], 1).into()),
                Peer::At(([127, 0, 0, 1], 1).into()),
                profile,
            );
            // With names, the text of /zookeeper/config is the same.
            let plan = plan.faulty_network();
            let plan = setup.lines.iter().fold(plan, Plan::line);
            setup.flags.iter().filter(|f| !f.starts_with("-Dferrokeeper")).fold(plan, Plan::flag)
        };
        let (java, ours) = (four("JJJJ", more), four("FFFF", more));
        let setup = Setup::new(Peer::At(java[id].client_addr()), Peer::At(ours[id].client_addr()), profile);
        let run = compare::run(&setup, seed, 2000, 6).expect("both ensembles answer");
        if let Some(found) = run.found {
            let file = target_dir().join(format!("differ-{role}-{seed}.transcript"));
            let text: String = run.steps.iter().map(|s| format!("{s}\n")).collect();
            std::fs::write(&file, text).expect("the target folder can be written");
            panic!("{role}, seed {seed}:\n{}\ntranscript in {}", found.report, file.display());
        }
        assert!(run.requests >= 2000);
    }
}
