//! Integrity: what is delivered was broadcast by the primary of its epoch.

use super::Witness;

pub fn check(w: &Witness) -> Result<(), String> {
    // Earlier ones were looked at when they were the last; a batch is rarely longer.
    for logged in w.delivered.iter().rev().take(BATCH) {
        let record = w.epochs.get(&logged.zxid.epoch().0);
        let broadcast = record.is_some_and(|record| {
            let found = record.proposals.binary_search_by_key(&logged.zxid, |p| p.zxid);
            found.is_ok_and(|n| record.proposals[n] == *logged)
        });
        if !broadcast {
            return Err(format!("{logged:?} was delivered and not broadcast by the leader of its epoch"));
        }
    }
    Ok(())
}

const BATCH: usize = 8;
