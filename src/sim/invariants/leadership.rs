//! Leadership1 and Leadership2: an epoch has one leader, now and ever.

use super::Witness;

pub fn check(w: &Witness) -> Result<(), String> {
    match w.epochs.iter().find(|(_, record)| record.leaders.len() > 1) {
        Some((epoch, record)) => Err(format!("epoch {epoch} was led by {:?}", record.leaders)),
        None => Ok(()),
    }
}
