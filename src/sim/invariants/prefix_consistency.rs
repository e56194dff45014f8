//! PrefixConsistency: what a server shows its clients is a beginning of what was delivered (`Witness::deliver` has made it
//! the whole of it where it was ahead).

use super::Witness;

pub fn check(w: &Witness) -> Result<(), String> {
    for ghost in w.serving() {
        let (shown, agreed) = (ghost.shown(), ghost.history.agreed());
        if shown > agreed {
            let (theirs, ours) = (ghost.history.list()[agreed], w.delivered.get(agreed));
            return Err(format!(
                "server {} serves at {} with {theirs:?} where {ours:?} was delivered (number {agreed})",
                ghost.sid, ghost.applied
            ));
        }
        let last = ghost.history.list()[..shown].last().map(|l| l.zxid);
        // The begin of an epoch is a state, though no txn.
        if ghost.applied.counter() != 0 && last != Some(ghost.applied) {
            return Err(format!("server {} is at {}, which it has not logged", ghost.sid, ghost.applied));
        }
    }
    Ok(())
}
