//! What a leader counts for operators.

/// Bytes of a txn, header included; none before the first (`BufferStats`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProposalSizes(Option<Sizes>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    pub last: usize,
    pub min: usize,
    pub max: usize,
}

impl ProposalSizes {
    pub fn get(&self) -> Option<Sizes> {
        self.0
    }

    pub fn note(&mut self, size: usize) {
        let (min, max) = self.0.map_or((size, size), |sizes| (sizes.min.min(size), sizes.max.max(size)));
        self.0 = Some(Sizes { last: size, min, max });
    }
}

/// What monitoring wants to know of a leader (`MonitorCommand`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Learners of either kind that are connected, whether they have synchronised or not.
    pub learners: usize,
    /// Followers that get what is proposed.
    pub forwarding_followers: usize,
    /// Zxids that learners' syncs wait for.
    pub pending_syncs: usize,
    pub proposals: ProposalSizes,
}
