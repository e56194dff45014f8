//! Every mix of three servers, led by each kind: it forms, serves writes through every member, and survives its leader.

#[path = "ensembles/support.rs"]
mod support;

use std::time::Duration;

use compat_tests::ensemble::Plan;
use compat_tests::need_mixes;
use support::{load, serves_everywhere, verify};

/// With leader 2 and with leader 3 each kind of a mix leads once.
fn forms_and_survives(mix: &str, leader: u64) {
    let what = format!("{mix} led by {leader}");
    let mut ensemble = Plan::new(mix).start_led_by(leader).unwrap_or_else(|e| panic!("{what}: {e:#}"));
    serves_everywhere(&ensemble, &what);
    let load = load(&ensemble);
    load.progress(100, support::PATIENCE).unwrap();

    ensemble.kill9(&[leader]).unwrap();
    let gap = load.progress(1, support::PATIENCE).unwrap_or_else(|e| panic!("{what}: {e:#}"));
    eprintln!("{what}: {} ms without an acknowledged write after kill -9 of the leader", gap.as_millis());
    let next = ensemble.settled().unwrap();
    assert_ne!(next, leader);
    load.progress(100, support::PATIENCE).unwrap();

    ensemble.launch(&[leader]).unwrap();
    assert_eq!(ensemble.settled().unwrap(), next, "{what}: a server that comes back follows");
    load.progress(100, support::PATIENCE).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    let (history, ..) = verify(&ensemble, load, &what);
    assert!(history.expired.is_empty(), "{what}: no session is lost");
    serves_everywhere(&ensemble, &format!("{what}, later"));
}

#[test]
fn three_of_java_and_ferrokeeper_led_by_2() {
    for mix in need_mixes!(["FFJ", "FJF", "JFJ"], ["FFF", "JJJ", "JJF", "FJJ", "JFF", "NFN", "NNF", "FNF"]) {
        forms_and_survives(&mix, 2);
    }
}

#[test]
fn three_of_java_and_ferrokeeper_led_by_3() {
    for mix in
        need_mixes!(["FFF", "JJF", "FNN"], ["JJJ", "FFJ", "FJF", "JFJ", "FJJ", "JFF", "NFN", "NNF", "FFN"])
    {
        forms_and_survives(&mix, 3);
    }
}
