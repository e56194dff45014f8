//! The five servers of the installation guide, from the outside: `bin/zkServer.sh start`, `status` and `stop` and nothing
//! else. First the start in turn, then the election among zxids 8, 8, 8, 7, 7 after the leader and another have died, then
//! their return.
#![cfg(target_os = "linux")]

#[path = "ensembles/homes.rs"]
mod homes;

use std::thread::sleep;
use std::time::Duration;

use compat_tests::process::four_letter;
use compat_tests::wire::Client;
use homes::{Home, Homes};

const LEADER: &str = "Mode: leader\n";
const FOLLOWER: &str = "Mode: follower\n";
const LOOKING: &str = "Error contacting service. It is probably not running.\n";

fn start(home: &Home) {
    home.expect(&["start"], "Starting zookeeper ... STARTED\n", 0);
}

fn stop(home: &Home) {
    home.expect(&["stop"], "Stopping zookeeper ... STOPPED\n", 0);
}

fn zxid(home: &Home) -> i64 {
    let text = four_letter(home.client_addr(), b"srvr", Duration::from_secs(5)).unwrap();
    let text = String::from_utf8_lossy(&text).into_owned();
    let hex = text.lines().find_map(|l| l.strip_prefix("Zxid: 0x")).unwrap_or_else(|| panic!("{text}"));
    i64::from_str_radix(hex, 16).unwrap()
}

fn write(home: &Home, path: &str) -> i64 {
    let mut client = Client::connect(home.client_addr(), 30_000).unwrap();
    client.create(path, b"", 0).unwrap().unwrap();
    let zxid = client.last_zxid;
    // Not closed: that would be one more txn. The session outlives the story.
    zxid
}

#[test]
fn five_servers_as_the_guide_tells_it() {
    let homes = Homes::new(&[1, 2, 3, 4, 5], "");
    let home = |id| homes.get(id);

    // 1 and 2 are no majority of five and go on looking.
    start(home(1));
    home(1).expect(&["status"], LOOKING, 1);
    start(home(2));
    sleep(Duration::from_secs(1));
    home(1).expect(&["status"], LOOKING, 1);
    home(2).expect(&["status"], LOOKING, 1);
    // With 3 there are enough, and it has the largest id.
    start(home(3));
    home(3).comes_to(LEADER);
    home(1).comes_to(FOLLOWER);
    home(2).comes_to(FOLLOWER);
    // 4 and 5 find a leader and follow, although their ids are larger.
    for id in [4, 5] {
        start(home(id));
        home(id).comes_to(FOLLOWER);
    }
    home(3).expect(&["status"], LEADER, 0);

    // Everybody has 7; 4 and 5 miss 8.
    let seven = write(home(1), "/seven");
    for id in [4, 5] {
        let mut client = Client::connect(home(id).client_addr(), 30_000).unwrap();
        client.sync("/").unwrap().unwrap();
    }
    assert!(zxid(home(5)) >= seven);
    for id in [4, 5] {
        stop(home(id));
        home(id).expect(&["status"], LOOKING, 1);
    }
    let eight = write(home(2), "/eight");
    assert!(eight > seven);

    // 3 leads and dies, 5 is dead: among 1 (8), 2 (8) and 4 (7) server 2 wins, by its zxid over 4 and by its id over 1.
    stop(home(3));
    start(home(4));
    home(2).comes_to(LEADER);
    home(1).comes_to(FOLLOWER);
    home(4).comes_to(FOLLOWER);

    // Who comes back finds the leader and follows, and has what was written meanwhile.
    for id in [3, 5] {
        start(home(id));
        home(id).comes_to(FOLLOWER);
    }
    home(2).expect(&["status"], LEADER, 0);
    for home in homes.iter() {
        let mut client = Client::connect(home.client_addr(), 30_000).unwrap();
        client.sync("/").unwrap().unwrap();
        assert_eq!(client.get_children("/", false).unwrap().unwrap(), ["eight", "seven", "zookeeper"]);
        client.close().unwrap();
    }
    for home in homes.iter() {
        stop(home);
        home.expect(&["status"], LOOKING, 1);
        home.expect(
            &["stop"],
            &format!(
                "Stopping zookeeper ... no zookeeper to stop (could not find file {})\n",
                home.pid_file().display()
            ),
            0,
        );
    }
}
