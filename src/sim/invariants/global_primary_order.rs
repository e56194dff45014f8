//! GlobalPrimaryOrder: txns of an earlier primary are delivered before those of a later one.

use super::Witness;

pub fn check(w: &Witness) -> Result<(), String> {
    match w.delivered.iter().rev().take(BATCH).collect::<Vec<_>>().windows(2).find(|p| p[0].zxid <= p[1].zxid)
    {
        Some(pair) => Err(format!("{:?} was delivered behind {:?}", pair[0], pair[1])),
        None => Ok(()),
    }
}

/// Older ones were looked at when they were the newest.
const BATCH: usize = 8;
