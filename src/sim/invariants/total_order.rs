//! TotalOrder: whoever delivers two txns delivers them in the same order. Zxids are that order.

use super::Witness;

pub fn check(w: &Witness) -> Result<(), String> {
    for ghost in w.servers.values() {
        // Older pairs were looked at when they were the newest.
        if let [.., a, b] = ghost.history.list()
            && a.zxid >= b.zxid
        {
            return Err(format!("server {} logs {b:?} behind {a:?}", ghost.sid));
        }
    }
    Ok(())
}
