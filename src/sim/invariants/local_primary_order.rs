//! LocalPrimaryOrder: of one primary's txns, none is delivered without those it has broadcast before.

use super::Witness;

pub fn check(w: &Witness) -> Result<(), String> {
    let Some(epoch) = w.delivered.last().map(|l| l.zxid.epoch()) else { return Ok(()) };
    let start = w.delivered.partition_point(|l| l.zxid.epoch() < epoch);
    let of_epoch = &w.delivered[start..];
    let proposals = w.epochs.get(&epoch.0).map_or(&[][..], |record| &record.proposals);
    match proposals.starts_with(of_epoch) {
        true => Ok(()),
        false => {
            let at = of_epoch.iter().zip(proposals).take_while(|(a, b)| a == b).count();
            Err(format!(
                "epoch {epoch}: {:?} was delivered where {:?} comes",
                of_epoch.get(at),
                proposals.get(at)
            ))
        }
    }
}
