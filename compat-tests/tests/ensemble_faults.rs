//! Servers that are killed, stopped or cut off while clients write and read through all of them; and the rolling replacement
//! of one kind by another. In the end everything that was acknowledged is on every server, and one order of zxids explains
//! every reply (history.rs).

#[path = "ensembles/support.rs"]
mod support;

use std::thread::sleep;
use std::time::Duration;

use compat_tests::ensemble::{Ensemble, Plan, kinds};
use compat_tests::load::Load;
use compat_tests::need_mixes;
use compat_tests::net::Way;
use support::{PATIENCE, load, verify};

/// A server that stops answering is given up after two seconds.
fn plan(mix: &str) -> Plan {
    Plan::new(mix).line("syncLimit=4")
}

/// Waits until writes go on, and for a while longer.
fn goes_on(load: &Load, ensemble: &Ensemble, what: &str) {
    let gap = load
        .progress(1, PATIENCE)
        .and_then(|gap| load.progress(60, PATIENCE).map(|_| gap))
        .unwrap_or_else(|e| panic!("{what}: {e:#}\n{}", ensemble.logs(60)));
    eprintln!("{what}: the next acknowledged write after {} ms", gap.as_millis());
}

fn followers(ensemble: &Ensemble, leader: u64) -> Vec<u64> {
    ensemble.voters().into_iter().filter(|id| *id != leader).collect()
}

#[test]
fn kill_9_of_one_after_the_other_and_of_all_at_once() {
    for mix in need_mixes!(["FFF", "FJF"], ["JJJ", "JJF", "JFJ", "FFJ", "NFN", "FFFFF", "FJFJF"]) {
        let mut ensemble = plan(&mix).start().unwrap();
        let load = load(&ensemble);
        goes_on(&load, &ensemble, &mix);
        for round in 0..3 {
            let leader = ensemble.settled().unwrap();
            let victim = if round % 2 == 0 { leader } else { followers(&ensemble, leader)[0] };
            ensemble.kill9(&[victim]).unwrap();
            goes_on(&load, &ensemble, &format!("{mix}: kill -9 of {victim}, {leader} led"));
            ensemble.launch(&[victim]).unwrap();
            ensemble.settled().unwrap();
            goes_on(&load, &ensemble, &format!("{mix}: {victim} is back"));
        }
        let all = ensemble.ids();
        ensemble.kill9(&all).unwrap();
        ensemble.launch(&all).unwrap();
        goes_on(&load, &ensemble, &format!("{mix}: kill -9 of all"));
        verify(&ensemble, load, &mix);
    }
}

#[test]
fn a_server_that_stands_still_and_wakes_up_later() {
    for mix in need_mixes!(["FFF", "JFF"], ["JJJ", "JJF", "FFJ", "FNF"]) {
        let ensemble = plan(&mix).start().unwrap();
        let load = load(&ensemble);
        goes_on(&load, &ensemble, &mix);
        let leader = ensemble.settled().unwrap();
        for (victim, role) in [(leader, "leader"), (followers(&ensemble, leader)[0], "follower")] {
            let others: Vec<u64> = ensemble.ids().into_iter().filter(|id| *id != victim).collect();
            ensemble[victim].pause().unwrap();
            sleep(Duration::from_millis(4500));
            let next = ensemble.settled_among(&others, PATIENCE).unwrap();
            assert_ne!(next, victim);
            goes_on(&load, &ensemble, &format!("{mix}: {victim}, {role}, stands still"));
            ensemble[victim].resume().unwrap();
            ensemble.settled().unwrap();
            goes_on(&load, &ensemble, &format!("{mix}: {victim} has woken up"));
        }
        verify(&ensemble, load, &mix);
    }
}

#[test]
fn links_that_are_cut_stalled_slow_or_reset() {
    for mix in need_mixes!(faulty network: ["FFF", "JFF"], ["JJJ", "JJF", "FFJ", "NFF"]) {
        let ensemble = plan(&mix).faulty_network().start().unwrap();
        let load = load(&ensemble);
        let net = ensemble.net();
        let heal = |what: &str| {
            net.heal();
            ensemble.settled().unwrap_or_else(|e| panic!("{what}: {e:#}"));
            goes_on(&load, &ensemble, what);
        };
        goes_on(&load, &ensemble, &mix);

        let leader = ensemble.settled().unwrap();
        net.isolate(leader, Way::Cut);
        sleep(Duration::from_secs(1));
        let others = followers(&ensemble, leader);
        let next = ensemble.settled_among(&others, PATIENCE).unwrap();
        goes_on(&load, &ensemble, &format!("{mix}: the leader is cut off"));
        heal(&format!("{mix}: a leader that was cut off is back"));

        net.isolate(next, Way::Stall);
        sleep(Duration::from_millis(3500));
        ensemble.settled_among(&followers(&ensemble, next), PATIENCE).unwrap();
        goes_on(&load, &ensemble, &format!("{mix}: the leader hears and reaches nobody"));
        heal(&format!("{mix}: a leader that was unreachable is back"));

        let leader = ensemble.settled().unwrap();
        let follower = followers(&ensemble, leader)[0];
        net.one_way(leader, follower, Way::Stall);
        sleep(Duration::from_millis(3500));
        goes_on(&load, &ensemble, &format!("{mix}: {follower} hears nothing of its leader"));
        heal(&format!("{mix}: {follower} hears its leader again"));

        let leader = ensemble.settled().unwrap();
        let follower = followers(&ensemble, leader)[1];
        net.one_way(follower, leader, Way::Stall);
        sleep(Duration::from_millis(3500));
        goes_on(&load, &ensemble, &format!("{mix}: the leader hears nothing of {follower}"));
        heal(&format!("{mix}: the leader hears {follower} again"));

        let leader = ensemble.settled().unwrap();
        for follower in followers(&ensemble, leader) {
            net.both_ways(leader, follower, Way::Delay(Duration::from_millis(30)));
        }
        goes_on(&load, &ensemble, &format!("{mix}: 60 ms there and back"));
        net.heal();
        for follower in followers(&ensemble, leader) {
            net.reset(leader, follower);
        }
        heal(&format!("{mix}: every link of the leader was reset"));
        verify(&ensemble, load, &mix);
    }
}

/// One server after the other changes hands on its own data folder: first the followers, the leader last, as an operator
/// does it.
fn roll(ensemble: &mut Ensemble, load: &Load, to: &str) {
    let leader = ensemble.settled().unwrap();
    let mut order = followers(ensemble, leader);
    order.push(leader);
    for id in order {
        let kind = kinds(to).unwrap()[id as usize - 1].clone();
        let what = format!("server {id} becomes {kind:?}");
        ensemble[id].terminate().unwrap();
        ensemble[id].restart_as(kind).unwrap();
        ensemble.settled().unwrap_or_else(|e| panic!("{what}: {e:#}"));
        goes_on(load, ensemble, &what);
    }
}

#[test]
fn java_is_replaced_one_server_at_a_time_and_put_back() {
    for mix in need_mixes!(["FFF"], ["JJJ"]) {
        let mut ensemble = Plan::new("JJJ").start().unwrap();
        let load = load(&ensemble);
        goes_on(&load, &ensemble, "Java");
        roll(&mut ensemble, &load, &mix);
        support::serves_everywhere(&ensemble, &mix);
        roll(&mut ensemble, &load, "JJJ");
        let (history, mut sessions, tree) = verify(&ensemble, load, &mix);
        assert!(history.expired.is_empty(), "{mix}: sessions 0x{:x?} expired", history.expired);
        // Every session is alive and has its ephemerals.
        for session in &mut sessions {
            let answer = session.client().unwrap().exists("/load", false).unwrap();
            assert!(answer.is_ok(), "{mix}: session 0x{:x}: {answer:?}", session.id);
        }
        assert!(sessions.iter().any(|s| compat_tests::tree::has_ephemerals_of(&tree, s.id)));
    }
}
