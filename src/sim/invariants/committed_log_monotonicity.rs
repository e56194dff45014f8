//! CommittedLogMonotonicity: as long as a server serves, it does not go back.

use super::Witness;

pub fn check(w: &Witness) -> Result<(), String> {
    for ghost in w.serving() {
        if let Some(before) = ghost.applied_before
            && ghost.applied < before
        {
            return Err(format!("server {} goes from {before} back to {}", ghost.sid, ghost.applied));
        }
    }
    Ok(())
}
