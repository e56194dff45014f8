//! LeaderLogCompleteness: a leader that serves has everything that was delivered in its epoch and before.

use super::Witness;

pub fn check(w: &Witness) -> Result<(), String> {
    for ghost in w.serving() {
        let Some(epoch) = ghost.leads() else { continue };
        let needed = w.delivered.partition_point(|l| l.zxid.epoch() <= epoch);
        if ghost.history.agreed() < needed {
            let missing = w.delivered[ghost.history.agreed()];
            return Err(format!("server {} leads epoch {epoch} without {missing:?}", ghost.sid));
        }
    }
    Ok(())
}
