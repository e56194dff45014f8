//! Who is enough (`QuorumMaj`, `QuorumHierarchical`; B§5.4).

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    config::{Ensemble, Hierarchy},
    ids::Sid,
};

/// The voters of one configuration, and which of them decide together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Voters {
    members: BTreeSet<Sid>,
    /// None: more than half.
    hierarchy: Option<Hierarchy>,
    version: i64,
}

impl Voters {
    pub fn new(members: impl IntoIterator<Item = Sid>) -> Voters {
        Voters { members: members.into_iter().collect(), hierarchy: None, version: 0 }
    }

    pub fn of(ensemble: &Ensemble) -> Voters {
        Voters {
            members: ensemble.voters().map(|(sid, _)| sid).collect(),
            hierarchy: ensemble.hierarchy.clone(),
            version: ensemble.version,
        }
    }

    pub fn contains(&self, sid: Sid) -> bool {
        self.members.contains(&sid)
    }

    pub fn members(&self) -> impl Iterator<Item = Sid> + '_ {
        self.members.iter().copied()
    }

    pub fn version(&self) -> i64 {
        self.version
    }

    /// 0: may vote, but never lead.
    pub fn weight(&self, sid: Sid) -> i64 {
        match &self.hierarchy {
            None => 1,
            // Java fails with a NullPointerException for an observer (B§5.4).
            Some(hierarchy) => hierarchy.weights.get(&sid).copied().unwrap_or(0),
        }
    }

    pub fn is_quorum(&self, acks: &BTreeSet<Sid>) -> bool {
        self.is_quorum_of(|sid| acks.contains(&sid))
    }

    /// Whether those of the voters that are `with` it are enough.
    pub fn is_quorum_of(&self, with: impl Fn(Sid) -> bool) -> bool {
        match &self.hierarchy {
            None => self.members().filter(|sid| with(*sid)).count() > self.members.len() / 2,
            Some(hierarchy) => self.wins_groups(hierarchy, with),
        }
    }

    /// A group is won with more than half of its weight; more than half of the groups that have any weight decide.
    fn wins_groups(&self, hierarchy: &Hierarchy, with: impl Fn(Sid) -> bool) -> bool {
        let mut groups: BTreeMap<i64, (i64, i64)> = BTreeMap::new();
        for (sid, group) in hierarchy.group_of.iter().filter(|(sid, _)| self.members.contains(sid)) {
            let (total, acked) = groups.entry(*group).or_default();
            let weight = self.weight(*sid);
            *total += weight;
            if with(*sid) {
                *acked += weight;
            }
        }
        groups.retain(|_, (total, _)| *total > 0);
        let won = groups.values().filter(|(total, acked)| *acked > total / 2).count();
        won > groups.len() / 2
    }
}

/// The committed configuration, and the last seen one while a reconfiguration is under way: both must agree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quorums {
    pub committed: Voters,
    pub last_seen: Option<Voters>,
}

impl Quorums {
    pub fn new(committed: Voters) -> Quorums {
        Quorums { committed, last_seen: None }
    }

    pub fn contains(&self, sid: Sid) -> bool {
        self.each().any(|voters| voters.contains(sid))
    }

    /// Voters of either configuration.
    pub fn members(&self) -> BTreeSet<Sid> {
        self.each().flat_map(Voters::members).collect()
    }

    pub fn is_quorum(&self, acks: &BTreeSet<Sid>) -> bool {
        self.each().all(|voters| voters.is_quorum(acks))
    }

    pub fn is_quorum_of(&self, with: impl Fn(Sid) -> bool) -> bool {
        self.each().all(|voters| voters.is_quorum_of(&with))
    }

    fn each(&self) -> impl Iterator<Item = &Voters> {
        std::iter::once(&self.committed).chain(&self.last_seen)
    }
}

/// Acks of one proposal. Only voters count, and each once.
#[derive(Clone, Debug, Default)]
pub struct AckSet {
    acks: BTreeSet<Sid>,
}

impl AckSet {
    pub fn add(&mut self, sid: Sid, quorums: &Quorums) {
        if quorums.contains(sid) {
            self.acks.insert(sid);
        }
    }

    pub fn has_quorum(&self, quorums: &Quorums) -> bool {
        quorums.is_quorum(&self.acks)
    }

    pub fn members(&self) -> &BTreeSet<Sid> {
        &self.acks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(sids: &[i64]) -> BTreeSet<Sid> {
        sids.iter().copied().map(Sid).collect()
    }

    #[test]
    fn more_than_half_of_the_voters_decide() {
        let voters = Quorums::new(Voters::new((1..=4).map(Sid)));
        let mut acks = AckSet::default();
        for (sid, enough) in [(1, false), (1, false), (9, false), (2, false), (3, true)] {
            acks.add(Sid(sid), &voters);
            assert_eq!(acks.has_quorum(&voters), enough, "after {sid}");
        }
    }

    #[test]
    fn one_voter_is_its_own_quorum() {
        let voters = Quorums::new(Voters::new([Sid(0)]));
        let mut acks = AckSet::default();
        assert!(!acks.has_quorum(&voters));
        acks.add(Sid(0), &voters);
        assert!(acks.has_quorum(&voters));
    }

    #[test]
    fn groups_decide_by_weight() {
        // Groups 1 and 2 of three each, group 3 without weight: two of two groups are needed.
        let hierarchy = Hierarchy {
            group_of: (1..=7).map(|n| (Sid(n), (n - 1) / 3 + 1)).collect(),
            weights: (1..=7).map(|n| (Sid(n), i64::from(n < 7))).collect(),
        };
        let voters = Voters { members: (1..=7).map(Sid).collect(), hierarchy: Some(hierarchy), version: 0 };
        for (acks, enough) in [
            (&[1, 2, 3][..], false),
            (&[1, 2, 3, 4], false),
            (&[1, 2, 4, 5], true),
            (&[1, 2, 7], false),
            (&[2, 3, 5, 6, 7], true),
        ] {
            assert_eq!(voters.is_quorum(&set(acks)), enough, "{acks:?}");
        }
        assert_eq!((voters.weight(Sid(7)), voters.weight(Sid(1)), voters.weight(Sid(99))), (0, 1, 0));
    }

    #[test]
    fn two_configurations_must_both_agree() {
        let quorums = Quorums {
            committed: Voters::new((1..=3).map(Sid)),
            last_seen: Some(Voters::new([3, 4, 5].map(Sid))),
        };
        assert!(!quorums.is_quorum(&set(&[1, 2])));
        assert!(quorums.is_quorum(&set(&[1, 3, 4])));
        assert!(!quorums.is_quorum(&set(&[3, 4])));
    }
}
