//! Who is enough (`QuorumVerifier`; B§5.4).

use std::collections::BTreeSet;

use crate::ids::Sid;

/// The voters of one configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Voters {
    members: BTreeSet<Sid>,
}

impl Voters {
    pub fn new(members: impl IntoIterator<Item = Sid>) -> Voters {
        Voters { members: members.into_iter().collect() }
    }

    pub fn contains(&self, sid: Sid) -> bool {
        self.members.contains(&sid)
    }

    /// More than half.
    fn is_quorum(&self, acks: &BTreeSet<Sid>) -> bool {
        acks.intersection(&self.members).count() > self.members.len() / 2
    }
}

/// Acks of one proposal. Only voters count, and each once.
#[derive(Clone, Debug, Default)]
pub struct AckSet {
    acks: BTreeSet<Sid>,
}

impl AckSet {
    pub fn add(&mut self, sid: Sid, voters: &Voters) {
        if voters.contains(sid) {
            self.acks.insert(sid);
        }
    }

    pub fn has_quorum(&self, voters: &Voters) -> bool {
        voters.is_quorum(&self.acks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_half_of_the_voters_decide() {
        let voters = Voters::new((1..=4).map(Sid));
        let mut acks = AckSet::default();
        for (sid, enough) in [(1, false), (1, false), (9, false), (2, false), (3, true)] {
            acks.add(Sid(sid), &voters);
            assert_eq!(acks.has_quorum(&voters), enough, "after {sid}");
        }
    }

    #[test]
    fn one_voter_is_its_own_quorum() {
        let voters = Voters::new([Sid(0)]);
        let mut acks = AckSet::default();
        assert!(!acks.has_quorum(&voters));
        acks.add(Sid(0), &voters);
        assert!(acks.has_quorum(&voters));
    }
}
