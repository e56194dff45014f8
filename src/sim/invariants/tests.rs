//! Each property finds what it is there to find.

use super::*;

fn logged(epoch: u32, counter: u32) -> Logged {
    Logged { zxid: Zxid::new(Epoch(epoch), counter), hash: 7 * u64::from(epoch) + u64::from(counter) }
}

/// Three servers; server 1 has led epoch 1 and all have its two txns, delivered and on disk.
fn healthy() -> Witness {
    let mut w = Witness::default();
    for sid in 1..=3 {
        *w.server(Sid(sid)) = Ghost { up: true, serving: true, ..Ghost::new(Sid(sid), true) };
    }
    w.leads(Sid(1), Epoch(1));
    w.server(Sid(1)).standing = Standing::Leading { epoch: Epoch(1) };
    for counter in 1..=2 {
        for sid in 1..=3 {
            w.logs(Sid(sid), logged(1, counter));
            w.server(Sid(sid)).durable.push(logged(1, counter));
            w.server(Sid(sid)).applied = logged(1, counter).zxid;
        }
    }
    w.deliver(Sid(1));
    assert_eq!(w.check(&[]), Ok(()));
    w
}

fn finds(invariant: &str, wrong: impl FnOnce(&mut Witness)) {
    finds_beside(&[], invariant, wrong);
}

/// Where another property is violated as well.
fn finds_beside(others: &[&str], invariant: &str, wrong: impl FnOnce(&mut Witness)) {
    let mut w = healthy();
    wrong(&mut w);
    w.dirty = true;
    let found = w.check(others).expect_err(invariant);
    assert_eq!(found.invariant, invariant, "{found}");
}

#[test]
fn an_epoch_with_two_leaders() {
    finds("Leadership", |w| w.leads(Sid(2), Epoch(1)));
}

#[test]
fn a_server_that_shows_something_else() {
    finds("PrefixConsistency", |w| {
        let ghost = w.server(Sid(2));
        ghost.history.cut(1);
        ghost.history.push(Logged { hash: 99, ..logged(1, 2) });
    });
}

#[test]
fn a_txn_out_of_order() {
    finds("TotalOrder", |w| {
        w.server(Sid(2)).serving = false;
        w.server(Sid(2)).history.push(logged(1, 1));
    });
}

#[test]
fn a_txn_that_nobody_broadcast() {
    finds("Integrity", |w| {
        for sid in 1..=3 {
            w.server(Sid(sid)).history.push(logged(1, 3));
            w.server(Sid(sid)).durable.push(logged(1, 3));
            w.server(Sid(sid)).applied = logged(1, 3).zxid;
        }
        w.deliver(Sid(2));
    });
}

#[test]
fn a_txn_delivered_without_the_one_before() {
    finds("LocalPrimaryOrder", |w| {
        w.logs(Sid(1), logged(1, 3));
        w.logs(Sid(1), logged(1, 4));
        for sid in 1..=3 {
            let ghost = w.server(Sid(sid));
            ghost.history.cut(2);
            ghost.history.push(logged(1, 4));
            ghost.durable.push(logged(1, 4));
            ghost.applied = logged(1, 4).zxid;
        }
        w.deliver(Sid(1));
    });
}

#[test]
fn a_leader_that_lacks_what_was_delivered() {
    finds("LeaderLogCompleteness", |w| {
        let ghost = w.server(Sid(2));
        ghost.history.cut(1);
        ghost.applied = logged(1, 1).zxid;
        ghost.applied_before = None;
        w.leads(Sid(2), Epoch(2));
        w.server(Sid(2)).standing = Standing::Leading { epoch: Epoch(2) };
    });
}

#[test]
fn a_primary_that_broadcasts_without_what_was_delivered() {
    finds_beside(&["LeaderLogCompleteness", "CommittedLogMonotonicity"], "PrimaryIntegrity", |w| {
        w.server(Sid(2)).history.cut(1);
        w.server(Sid(2)).applied = logged(1, 1).zxid;
        w.leads(Sid(2), Epoch(2));
        w.server(Sid(2)).standing = Standing::Leading { epoch: Epoch(2) };
        w.logs(Sid(2), logged(2, 1));
    });
}

#[test]
fn a_txn_on_too_few_disks() {
    finds("CommittedLogDurability", |w| {
        w.server(Sid(2)).durable.cut(1);
        w.server(Sid(3)).durable.cut(0);
    });
}

#[test]
fn a_server_that_goes_back() {
    finds("CommittedLogMonotonicity", |w| w.server(Sid(3)).applied = logged(1, 1).zxid);
}

#[test]
fn an_ack_of_what_is_not_on_disk() {
    finds("NoAckBeforeDurable", |w| {
        w.logs(Sid(2), logged(1, 3));
        w.acks(Sid(2), logged(1, 3).zxid, false, Zxid::ZERO);
    });
    finds("NoAckBeforeDurable", |w| {
        w.server(Sid(2)).current_epoch = Epoch(2);
        w.logs(Sid(2), logged(1, 3));
        w.acks(Sid(2), Zxid::new(Epoch(2), 0), true, logged(1, 3).zxid);
    });
    finds("NoAckBeforeDurable", |w| w.acks(Sid(2), Zxid::new(Epoch(2), 0), true, Zxid::ZERO));
    finds("NoAckBeforeDurable", |w| w.promises(Sid(2), Epoch(2)));
}
