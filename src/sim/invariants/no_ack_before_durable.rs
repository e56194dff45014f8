//! No ACK before what it stands for is durable: of a txn, that txn and all before it; of NEWLEADER, everything the leader
//! has sent before, and the epoch (ZOOKEEPER-3911, 4643, 4646). No promise of an epoch before it is durable, either.

use super::{Ack, Witness};

pub fn check(w: &Witness) -> Result<(), String> {
    if let Some((sid, epoch, accepted)) = w.promises.iter().find(|(_, epoch, accepted)| accepted < epoch) {
        return Err(format!("server {sid} promises epoch {epoch}, but on its disk is {accepted}"));
    }
    for ack in &w.acks {
        let Ack { sid, zxid, new_leader, durable, logged, current_epoch } = *ack;
        if !new_leader && durable < zxid {
            return Err(format!("server {sid} acknowledges {zxid}, but its disk ends at {durable}"));
        }
        if new_leader && current_epoch != zxid.epoch() {
            return Err(format!(
                "server {sid} acknowledges epoch {}, but on its disk is {current_epoch}",
                zxid.epoch()
            ));
        }
        if new_leader && durable < logged {
            return Err(format!(
                "server {sid} acknowledges the leader of epoch {}, but of its history up to {logged} only {durable} is on its disk",
                zxid.epoch()
            ));
        }
    }
    Ok(())
}
