//! PrimaryIntegrity: before a primary broadcasts, it has what was or will be delivered of earlier primaries.

use super::Witness;

pub fn check(w: &Witness) -> Result<(), String> {
    for (epoch, record) in w.epochs.range(..).rev().take(2).filter(|(_, r)| !r.proposals.is_empty()) {
        let earlier = w.delivered.partition_point(|l| l.zxid.epoch().0 < *epoch);
        if let Some(last) = w.delivered[..earlier].last()
            && !record.initial.contains_last(last)
        {
            return Err(format!("epoch {epoch} began without {last:?}, which was delivered"));
        }
    }
    Ok(())
}

trait ContainsLast {
    fn contains_last(&self, logged: &super::Logged) -> bool;
}

impl ContainsLast for Vec<super::Logged> {
    /// What comes before it, PrefixConsistency looks at.
    fn contains_last(&self, logged: &super::Logged) -> bool {
        self.binary_search_by_key(&logged.zxid, |l| l.zxid).is_ok_and(|n| self[n] == *logged)
    }
}
