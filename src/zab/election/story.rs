//! An election told line by line: who said what, and what this server made of it. The log prints these lines as they come,
//! and they are kept as data so that the last election can be shown as a table.

use std::fmt;

use crate::{
    ids::{Millis, Sid, Zxid},
    proto::quorum::{ServerState, Vote},
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoryLine {
    /// Monotonic.
    pub at: Millis,
    /// Who said it: this server itself where it acted without being told anything.
    pub from: Sid,
    pub state: ServerState,
    pub vote: Vote,
    pub did: Did,
}

/// Whom an observer votes for.
const NOBODY: Sid = Sid(i64::MIN);

/// What a server made of what it heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Did {
    Began,
    /// The other vote is better.
    Adopted {
        rule: Rule,
        before: Sid,
    },
    Agreed,
    /// The own vote is better by this rule; none: the other candidate's weight is 0, so it cannot be elected.
    Kept {
        rule: Option<Rule>,
        mine: Sid,
    },
    /// The other is in a later round: this one begins anew in that.
    JoinedRound {
        leader: Sid,
    },
    /// The other is in an earlier round: it does not count, and was told this one.
    ToldRound {
        round: i64,
    },
    /// Of a server that has a leader.
    Noted,
    NotedNoQuorum,
    /// A quorum follows, but the leader itself has not said that it leads.
    NotedUnconfirmed,
    IgnoredObserver,
    IgnoredCandidate,
    ToldStranger {
        leader: Sid,
    },
    ToldLateJoiner {
        leader: Sid,
    },
    SentAgain {
        next: Millis,
    },
    Decided {
        how: How,
        won_by: Option<Rule>,
        voters: Vec<Sid>,
        after: Millis,
    },
}

/// By what one vote is better than another; the later ones are for when all before are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    HigherEpoch,
    HigherZxid,
    HigherSid,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// A quorum agreed, and nobody brought a better vote in time.
    Quorum,
    /// Everybody who could be heard agreed.
    Unanimous,
    /// Others had come to this result in the same round.
    SameRound,
    /// There was a leader already.
    Established,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Rule::HigherEpoch => "higher epoch",
            Rule::HigherZxid => "higher zxid",
            Rule::HigherSid => "higher sid",
        })
    }
}

/// `server 3 (epoch 1, zxid 0x100000008), round 2`
struct Candidate<'a>(&'a Vote);

impl fmt::Display for Candidate<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Vote { leader, zxid, round, peer_epoch } = *self.0;
        match leader {
            NOBODY => write!(f, "nobody, round {round}"),
            _ => write!(f, "server {leader} (epoch {peer_epoch}, zxid {zxid}), round {round}"),
        }
    }
}

/// `server 3`
struct Server(Sid);

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            NOBODY => f.write_str("nobody"),
            sid => write!(f, "server {sid}"),
        }
    }
}

impl fmt::Display for StoryLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let StoryLine { from, state, vote, did, .. } = self;
        let Vote { leader, zxid, round, peer_epoch } = *vote;
        match (did, state) {
            (Did::Began, _) if leader == NOBODY => {
                write!(f, "New election. My id = {from}, looking for a leader without a vote, round {round}")
            }
            (Did::Began, _) => {
                write!(
                    f,
                    "New election. My id = {from}, proposed zxid={zxid}, epoch {peer_epoch}, round {round}"
                )
            }
            (Did::SentAgain { next }, _) => {
                write!(f, "Notification time out: {next} ms; sent again: my vote for {}", Candidate(vote))
            }
            (Did::Decided { .. }, _) => write!(f, "{state}: {} {did}", Server(leader)),
            (_, ServerState::Looking) => write!(f, "server {from} votes for {}: {did}", Candidate(vote)),
            (_, ServerState::Leading) if leader == *from => {
                write!(f, "server {from} is LEADING (epoch {peer_epoch}, zxid {zxid}), round {round}: {did}")
            }
            _ => write!(f, "server {from} is {state} {}: {did}", Candidate(vote)),
        }
    }
}

/// What was done, alone: the last column of the table.
impl fmt::Display for Did {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Did::Began => f.write_str("a new election begins"),
            Did::Adopted { rule, before } => write!(f, "{rule} than {}, now my vote too", Server(*before)),
            Did::Agreed => f.write_str("as I do"),
            Did::Kept { rule: Some(rule), mine } => write!(f, "my vote stays with {}, {rule}", Server(*mine)),
            Did::Kept { rule: None, mine } => {
                write!(f, "it has weight 0, my vote stays with {}", Server(*mine))
            }
            Did::JoinedRound { leader } => {
                write!(f, "a later round, which I join; my vote is for {}", Server(*leader))
            }
            Did::ToldRound { round } => write!(f, "an earlier round than {round}: told my vote"),
            Did::Noted => f.write_str("noted"),
            Did::NotedNoQuorum => f.write_str("noted, no quorum says so yet"),
            Did::NotedUnconfirmed => f.write_str("noted, a quorum says so but not yet that leader itself"),
            Did::IgnoredObserver => f.write_str("ignored, observers have no vote"),
            Did::IgnoredCandidate => f.write_str("ignored, that is no voter"),
            Did::ToldStranger { leader } => write!(f, "no voter, told my vote for server {leader}"),
            Did::ToldLateJoiner { leader } => write!(f, "told that server {leader} leads"),
            Did::SentAgain { next } => write!(f, "sent again, next in {next} ms"),
            Did::Decided { how, won_by, voters, after } => {
                let sids: Vec<String> = voters.iter().map(|sid| sid.to_string()).collect();
                let sids = sids.join(", ");
                match how {
                    How::Quorum | How::Unanimous => write!(f, "is elected by servers {sids}")?,
                    How::SameRound => write!(f, "was elected by servers {sids}")?,
                    How::Established => write!(f, "leads already, say servers {sids}")?,
                }
                if let Some(rule) = won_by {
                    write!(f, ", by the {rule}")?;
                }
                write!(f, "; the election took {after} ms")
            }
        }
    }
}

/// `0x0` for the zxid of nobody's vote would be a lie; the table leaves it out.
impl StoryLine {
    pub fn zxid(&self) -> Option<Zxid> {
        (self.vote.leader != NOBODY).then_some(self.vote.zxid)
    }
}
