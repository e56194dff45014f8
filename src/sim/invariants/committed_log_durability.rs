//! CommittedLogDurability: what was delivered is on the disks of a quorum, whatever happens.

use super::Witness;

pub fn check(w: &Witness) -> Result<(), String> {
    let have = |g: &&super::Ghost| g.votes && g.durable.agreed() >= w.delivered.len();
    let holders = w.servers.values().filter(have).count();
    if holders > w.voters() / 2 {
        return Ok(());
    }
    let disks: Vec<String> = (w.servers.values().filter(|g| g.votes))
        .map(|g| {
            format!("server {} has {} of them and ends at {}", g.sid, g.durable.agreed(), g.durable.last())
        })
        .collect();
    Err(format!("{} txns were delivered, but on disk {}", w.delivered.len(), disks.join(", ")))
}
