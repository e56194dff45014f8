//! How a learner catches up: DIFF, TRUNC and SNAP, with every kind as the leader that sends it and as the learner that takes
//! it. Which one it was is read from the wire (B§3.5); that it was right, from the trees and from a restart of everybody.

#[path = "ensembles/support.rs"]
mod support;

use std::fs;
use std::time::Duration;

use compat_tests::ensemble::{Ensemble, Plan, eventually};
use compat_tests::need_mixes;
use compat_tests::net::{DIFF, SNAP, TRUNC};
use compat_tests::tree::{Tree, equal_trees};
use compat_tests::wire::{Enc, op};
use support::{addrs, is_logged, write_many};

/// More than the 500 txns that a leader keeps in memory.
const FAR: usize = 700;

fn trees(ensemble: &Ensemble, what: &str) -> Tree {
    equal_trees(&addrs(ensemble), Duration::from_secs(20))
        .unwrap_or_else(|e| panic!("{what}: {e:#}\n{}", ensemble.logs(40)))
}

/// The packet with which `learner` was synced last.
fn last_sync(ensemble: &Ensemble, learner: u64) -> i32 {
    ensemble.net().syncs(learner).last().expect("a sync was seen").packet
}

/// Server 3 is away while server 2, which leads, goes on; then it comes back and must be given `packet`.
fn away(ensemble: &mut Ensemble, what: &str, meanwhile: impl FnOnce(&mut Ensemble), packet: i32) {
    ensemble[3].kill9().unwrap();
    meanwhile(ensemble);
    ensemble.launch(&[3]).unwrap();
    assert_eq!(ensemble.settled().unwrap(), 2, "{what}");
    assert_eq!(last_sync(ensemble, 3), packet, "{what}: packet type of the sync\n{}", ensemble.logs(40));
    trees(ensemble, what);
}

fn write(n: usize, value: &str) -> impl FnOnce(&mut Ensemble) {
    move |ensemble| {
        let mut client = ensemble.client(2).unwrap();
        write_many(&mut client, "/written", value, n);
        client.create(&format!("/{value}"), b"", 0).unwrap().unwrap();
        client.close().unwrap();
    }
}

fn wipe(ensemble: &mut Ensemble) {
    fs::remove_dir_all(ensemble[3].data_dir().join("version-2")).unwrap();
}

/// What was synced is on the learner's own disk: it leads the next time and everybody still has everything.
fn learner_leads(mut ensemble: Ensemble, what: &str) {
    let before = trees(&ensemble, what);
    ensemble.lead(3).unwrap_or_else(|e| panic!("{what}: {e:#}"));
    let after = trees(&ensemble, what);
    assert_eq!(before.difference(&after), "", "{what}: after the learner has become the leader");
    support::serves_everywhere(&ensemble, what);
}

#[test]
fn a_learner_that_was_away_is_given_a_diff_or_a_snapshot() {
    for mix in need_mixes!(faulty network: ["JJF", "FFJ", "FFF"], ["JJJ", "NNF", "FFN", "JFJ", "FJF"]) {
        // Below 0 the log on disk is never used (B§3.5).
        let plan = Plan::new(&mix).faulty_network().flag("-Dzookeeper.snapshotSizeFactor=-1");
        let mut ensemble = plan.start_led_by(2).unwrap();
        write(5, "together")(&mut ensemble);
        let what = |how: &str| format!("{mix}, {how}");
        away(&mut ensemble, &what("a few behind"), write(20, "few"), DIFF);
        away(&mut ensemble, &what("not behind"), |_| (), DIFF);
        away(&mut ensemble, &what("far behind"), write(FAR, "far"), SNAP);
        away(&mut ensemble, &what("empty"), wipe, SNAP);
        away(&mut ensemble, &what("a few behind again"), write(3, "again"), DIFF);
        learner_leads(ensemble, &mix);
    }
}

#[test]
fn with_no_limit_on_the_size_a_learner_far_behind_is_given_the_log() {
    for mix in need_mixes!(faulty network: ["JJF", "FFJ"], ["JJJ", "FFF", "NNF", "FFN"]) {
        // Java takes 0 for "no limit" (LearnerHandler.syncFollower).
        let plan = Plan::new(&mix).faulty_network().flag("-Dzookeeper.snapshotSizeFactor=0");
        let mut ensemble = plan.start_led_by(2).unwrap();
        // A learner at the very beginning of an epoch would find no record of its own zxid in the leader's log.
        write(5, "together")(&mut ensemble);
        away(&mut ensemble, &format!("{mix}, far behind"), write(FAR, "far"), DIFF);
        away(&mut ensemble, &format!("{mix}, empty"), wipe, SNAP);
        learner_leads(ensemble, &mix);
    }
}

/// Server 3 leads and logs what nobody else ever sees; 2 leads after it. In `new_epoch` something is written before 3 returns.
fn uncommitted_tail(mix: &str, new_epoch: bool, packet: i32) {
    let what = format!("{mix}, a tail that was never committed");
    let mut ensemble = Plan::new(mix).faulty_network().start_led_by(3).unwrap();
    let mut client = ensemble.client(3).unwrap();
    write_many(&mut client, "/written", "committed", 5);
    let last = ensemble.zxid(3).unwrap();
    for id in [1, 2] {
        let level = || ensemble.zxid(id).is_ok_and(|zxid| zxid == last);
        eventually("the followers are level", Duration::from_secs(10), level).unwrap();
        ensemble[id].pause().unwrap();
    }
    for n in 0..5 {
        let body = Enc::new().string("/written").buffer(Some(format!("tail-{n}").as_bytes())).int(-1);
        client.conn.send_request(20_000 + n, op::SET_DATA, &body.bytes()).unwrap();
    }
    eventually("the tail is logged", Duration::from_secs(10), || is_logged(&ensemble[3], b"tail-4")).unwrap();
    // What the paused servers have not read yet must die with them.
    ensemble.kill9(&[3, 1, 2]).unwrap();
    ensemble.launch(&[1, 2]).unwrap();
    assert_eq!(ensemble.settled().unwrap(), 2, "{what}");
    if new_epoch {
        let mut client = ensemble.client(1).unwrap();
        client.create("/new-epoch", b"", 0).unwrap().unwrap();
    }
    ensemble.launch(&[3]).unwrap();
    assert_eq!(ensemble.settled().unwrap(), 2, "{what}");
    assert_eq!(last_sync(&ensemble, 3), packet, "{what}: packet type of the sync\n{}", ensemble.logs(40));
    let tree = trees(&ensemble, &what);
    assert_eq!(tree.0["/written"].data.as_deref(), Some(&b"committed-4"[..]), "{what}");
    learner_leads(ensemble, &what);
}

#[test]
fn a_tail_that_was_never_committed_is_cut_off() {
    for mix in need_mixes!(faulty network: ["JJF", "FFJ", "FFF"], ["JJJ", "NNF", "FFN"]) {
        uncommitted_tail(&mix, false, TRUNC);
    }
}

#[test]
fn a_tail_of_an_older_epoch_is_replaced_by_a_snapshot() {
    for mix in need_mixes!(faulty network: ["JJF", "FFJ"], ["JJJ", "FFF"]) {
        uncommitted_tail(&mix, true, SNAP);
    }
}
