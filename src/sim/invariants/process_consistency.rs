//! ProcessConsistency: at any one moment, of what two serving servers show, one is a beginning of the other.

use super::Witness;

pub fn check(w: &Witness) -> Result<(), String> {
    for a in w.serving() {
        for b in w.serving().filter(|b| b.sid > a.sid) {
            let both = a.shown().min(b.shown());
            if both == 0 {
                continue;
            }
            // The prefixes before were compared when they were the newest, or agree with what was delivered.
            let (x, y) = (a.history.list()[both - 1], b.history.list()[both - 1]);
            if x != y {
                return Err(format!("txn number {both} is {x:?} on server {} and {y:?} on {}", a.sid, b.sid));
            }
        }
    }
    Ok(())
}
