//! Who leads: votes until a quorum agrees on one server (B§4.3; `FastLeaderElection`, `Vote`, `QuorumPeer.updateElectionVote`).
//!
//! Invariants:
//! 1. `vote.round` is Java's logicalclock: it goes back only to join a settled ensemble, and every vote counted in `votes` is
//!    of that round.
//! 2. Only voters count, and only votes for voters; the own vote is counted without a message.
//! 3. A settled ensemble is joined only when a quorum says so and the leader itself says that it leads.
//! 4. `look` is the only way into an election, `Decided` the only way out.
//!
//! Election decides who *tries* to lead; that no committed txn is lost is up to the leader's discovery (B§3.3), so an early
//! or wrong decision costs time and nothing else.

mod story;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

pub use self::story::{Did, How, Rule, StoryLine};
use super::quorum::Quorums;
use crate::{
    config::PeerType,
    ids::{Epoch, Millis, Sid, Zxid},
    proto::quorum::{Notification, ServerState, Vote},
};

/// How long a quorum must agree while somebody may still bring a better vote (`finalizeWait`).
const FINALIZE_MS: Millis = 200;
/// The own vote is sent again after this long, then after twice as long each time (`maxNotificationInterval`).
const FIRST_RESEND_MS: Millis = 200;
const LAST_RESEND_MS: Millis = 60_000;
/// Lines of the story that are kept; an election without a quorum may last for days.
const STORY_LINES: usize = 512;

#[derive(Clone, Debug)]
pub struct ElectionConfig {
    pub sid: Sid,
    pub role: PeerType,
    /// Voters of the committed configuration, and of the last seen one where that differs.
    pub quorums: Quorums,
    /// The configuration's text, sent with every notification.
    pub config: Bytes,
    pub config_version: i64,
}

#[derive(Debug)]
pub enum Output {
    Send {
        to: Sid,
        notification: Notification,
    },
    Reconnect,
    /// The election is over; `leader` is this server itself or whom it follows or observes.
    Decided {
        leader: Sid,
    },
}

/// Lives as long as the server: it looks for a leader, and answers others that look while this one does not.
#[derive(Debug)]
pub struct Election {
    config: ElectionConfig,
    state: ServerState,
    vote: Vote,
    round: Option<Round>,
    /// To voters; of those that are missing nothing is known yet.
    links: BTreeMap<Sid, Link>,
    /// Voters that have asked while this server had a leader: they may only have noticed its end a moment earlier.
    asked: BTreeMap<Sid, (Millis, Notification)>,
    outputs: VecDeque<Output>,
    story: Vec<StoryLine>,
}

/// The election connection to a voter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    Down,
    /// Up. What comes first may be old: the last message is repeated on a new connection (B§4.1).
    New,
    /// Up, and what comes is said now.
    Live,
}

/// What exists only between `look` and `Decided`.
#[derive(Debug)]
struct Round {
    began: Millis,
    /// This server's own candidacy; its round is that of the election's beginning.
    own: Vote,
    /// Votes of this round, the own one included.
    votes: BTreeMap<Sid, Vote>,
    /// Who was connected and heard before, and has been ever since: what they say is no repetition.
    live: BTreeSet<Sid>,
    /// What servers say that look for no leader (any more).
    settled: BTreeMap<Sid, Settled>,
    /// What was said last, since repetitions are not worth a line.
    heard: BTreeMap<Sid, (ServerState, Vote)>,
    /// By what the vote beat its closest rival.
    won_by: Option<Rule>,
    finalize_at: Option<Millis>,
    resend_at: Millis,
    resend_ms: Millis,
}

#[derive(Clone, Copy, Debug)]
struct Settled {
    vote: Vote,
    state: ServerState,
    version: i32,
}

impl Settled {
    /// Zxid and round may differ between servers that follow the same leader, and servers before 3.4.6 (version 0) also
    /// tell another epoch (`Vote.equals`; ZOOKEEPER-1805, 1732).
    fn agrees(&self, other: &Settled) -> bool {
        let mixed = (self.version > 0) != (other.version > 0);
        self.vote.leader == other.vote.leader && (mixed || self.vote.peer_epoch == other.vote.peer_epoch)
    }
}

impl Election {
    /// Settled in nothing; `look` must follow.
    pub fn new(config: ElectionConfig) -> Election {
        let vote = Vote { leader: config.sid, zxid: Zxid::ZERO, round: 0, peer_epoch: 0 };
        Election {
            config,
            state: ServerState::Looking,
            vote,
            round: None,
            links: BTreeMap::new(),
            asked: BTreeMap::new(),
            outputs: VecDeque::new(),
            story: Vec::new(),
        }
    }

    /// Begins a new round with this server's own history as the first vote.
    pub fn look(&mut self, now: Millis, last_zxid: Zxid, current_epoch: Epoch) {
        self.state = ServerState::Looking;
        self.vote = self.candidacy(last_zxid, current_epoch, self.vote.round.wrapping_add(1));
        self.round = Some(Round {
            began: now,
            own: self.vote,
            votes: BTreeMap::new(),
            live: self.links.iter().filter(|(_, link)| **link == Link::Live).map(|(sid, _)| *sid).collect(),
            settled: BTreeMap::new(),
            heard: BTreeMap::new(),
            won_by: None,
            finalize_at: None,
            resend_at: now,
            resend_ms: FIRST_RESEND_MS,
        });
        self.story.clear();
        self.tell(now, self.config.sid, ServerState::Looking, self.vote, Did::Began);
        self.broadcast(now);
        self.judge(now);
        // Who noticed the leader's end first sent its vote while this server still followed, and sends none again for a while.
        for (from, (at, notification)) in std::mem::take(&mut self.asked) {
            let meant = notification.vote.round >= self.vote.round && now - at <= FIRST_RESEND_MS;
            if meant && self.round.is_some() {
                self.weigh(now, from, &notification);
            }
        }
    }

    pub fn state(&self) -> ServerState {
        self.state
    }

    /// The standing vote: this round's proposal, or what was decided.
    pub fn vote(&self) -> Vote {
        self.vote
    }

    /// The last election, and who has asked since.
    pub fn story(&self) -> &[StoryLine] {
        &self.story
    }

    /// The leader has been established in `epoch`: late joiners must be told so (`updateElectionVote`). Round and zxid stay.
    pub fn established(&mut self, epoch: Epoch) {
        if self.state != ServerState::Looking {
            self.vote.peer_epoch = epoch.0.into();
        }
    }

    pub fn handle(&mut self, now: Millis, from: Sid, notification: &Notification) {
        self.asked.remove(&from);
        if !self.is_voter(from) {
            self.answer_stranger(now, from, notification);
        } else if self.state != ServerState::Looking {
            self.answer_late_joiner(now, from, notification);
        } else if self.round.is_some() {
            self.weigh(now, from, notification);
        }
        if let Some(link @ Link::New) = self.links.get_mut(&from) {
            *link = Link::Live;
        }
    }

    /// An election connection came up, or it broke or could not be made.
    pub fn link(&mut self, now: Millis, sid: Sid, up: bool) {
        if sid == self.config.sid || !self.is_voter(sid) {
            return;
        }
        self.links.insert(sid, if up { Link::New } else { Link::Down });
        if let Some(round) = &mut self.round {
            round.live.remove(&sid);
            if up {
                // It may have been restarted, and know nothing of this round.
                self.send(sid);
            }
            self.judge(now);
        }
    }

    pub fn poll_timeout(&self) -> Option<Millis> {
        let round = self.round.as_ref()?;
        Some(round.finalize_at.unwrap_or(round.resend_at))
    }

    pub fn handle_timeout(&mut self, now: Millis) {
        let Some(round) = &mut self.round else { return };
        match round.finalize_at {
            // `judge` has seen to it that there is still a quorum.
            Some(at) if at <= now => self.decide(now, self.vote, How::Quorum, self.supporters()),
            None if round.resend_at <= now => self.resend(now),
            _ => {}
        }
    }

    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// An observer stands for nothing: its vote is for nobody (`getInitId`, `getInitLastLoggedZxid`, `getPeerEpoch`).
    fn candidacy(&self, last_zxid: Zxid, current_epoch: Epoch, round: i64) -> Vote {
        let voter = self.config.quorums.committed.contains(self.config.sid);
        let leader = if voter { self.config.sid } else { Sid(i64::MIN) };
        match self.config.role {
            PeerType::Participant => {
                Vote { leader, zxid: last_zxid, round, peer_epoch: current_epoch.0.into() }
            }
            PeerType::Observer => Vote { leader, zxid: Zxid(i64::MIN), round, peer_epoch: i64::MIN },
        }
    }

    fn is_voter(&self, sid: Sid) -> bool {
        self.config.quorums.contains(sid)
    }

    /// Observers and servers that belong to no configuration are told the vote and never counted: counting one would let
    /// it elect (`WorkerReceiver`). Two departures from Java: while looking it answers with the leader it had before, which
    /// sends observers to a dead one; and it answers whatever comes, so that two servers that each take the other for a
    /// stranger never stop.
    fn answer_stranger(&mut self, now: Millis, from: Sid, n: &Notification) {
        let can_tell = self.is_voter(self.config.sid) && self.vote.round > 0;
        if n.state == ServerState::Looking && can_tell {
            self.send(from);
            self.tell(now, from, n.state, n.vote, Did::ToldStranger { leader: self.vote.leader });
        } else {
            tracing::debug!("server {from}, which is no voter, says {}: ignored", n.state);
        }
    }

    /// A server that votes in nobody's eyes but its own answers nobody: Java would answer it back, without end.
    fn answer_late_joiner(&mut self, now: Millis, from: Sid, n: &Notification) {
        if n.state == ServerState::Looking && self.is_voter(self.config.sid) {
            self.asked.insert(from, (now, n.clone()));
            self.send(from);
            self.tell(now, from, n.state, n.vote, Did::ToldLateJoiner { leader: self.vote.leader });
        }
    }

    fn weigh(&mut self, now: Millis, from: Sid, n: &Notification) {
        let behind = n.state == ServerState::Looking && n.vote.round < self.vote.round;
        let did = if !behind && !self.is_voter(n.vote.leader) {
            Did::IgnoredCandidate
        } else {
            match n.state {
                ServerState::Looking => self.weigh_vote(now, from, n.vote),
                ServerState::Following | ServerState::Leading => return self.weigh_settled(now, from, n),
                ServerState::Observing => Did::IgnoredObserver,
            }
        };
        self.tell(now, from, n.state, n.vote, did);
        self.judge(now);
    }

    fn weigh_vote(&mut self, now: Millis, from: Sid, theirs: Vote) -> Did {
        let Some(round) = &mut self.round else { return Did::Noted };
        let did = if theirs.round < self.vote.round {
            self.send(from);
            return Did::ToldRound { round: self.vote.round };
        } else if theirs.round > self.vote.round {
            round.votes.clear();
            let own = Vote { round: theirs.round, ..round.own };
            let rule = beats(&self.config.quorums, &theirs, &own);
            self.vote = if rule.is_some() { theirs } else { own };
            round.won_by = rule.or_else(|| better(&own, &theirs));
            round.finalize_at = None;
            self.broadcast(now);
            Did::JoinedRound { leader: self.vote.leader }
        } else if let Some(rule) = beats(&self.config.quorums, &theirs, &self.vote) {
            let before = std::mem::replace(&mut self.vote, theirs).leader;
            round.won_by = Some(rule);
            round.finalize_at = None;
            self.broadcast(now);
            Did::Adopted { rule, before }
        } else if theirs == self.vote {
            Did::Agreed
        } else {
            // None where theirs is better but cannot be elected.
            let rule = better(&self.vote, &theirs);
            round.won_by = round.won_by.max(rule);
            Did::Kept { rule, mine: self.vote.leader }
        };
        if let Some(round) = &mut self.round {
            round.votes.insert(from, theirs);
        }
        did
    }

    /// From a server that has a leader already.
    fn weigh_settled(&mut self, now: Millis, from: Sid, n: &Notification) {
        let Some(round) = &mut self.round else { return };
        let said = Settled { vote: n.vote, state: n.state, version: n.version };
        if n.vote.round == self.vote.round {
            round.votes.insert(from, n.vote);
            let voters = supporters_of(&round.votes, &n.vote);
            if self.config.quorums.is_quorum(&voters) && self.leader_confirms(n.vote) {
                self.tell(now, from, n.state, n.vote, Did::Noted);
                return self.decide(now, n.vote, How::SameRound, voters);
            }
        }
        let Some(round) = &mut self.round else { return };
        round.settled.insert(from, said);
        let voters =
            round.settled.iter().filter(|(_, other)| said.agrees(other)).map(|(sid, _)| *sid).collect();
        let quorum = self.config.quorums.is_quorum(&voters);
        let confirmed = self.leader_confirms(n.vote);
        let did = match (quorum, confirmed) {
            (true, true) => Did::Noted,
            (true, false) => Did::NotedUnconfirmed,
            (false, _) => Did::NotedNoQuorum,
        };
        self.tell(now, from, n.state, n.vote, did);
        if quorum && confirmed {
            self.decide(now, n.vote, How::Established, voters);
        }
    }

    /// A quorum may follow a server that has died since: what counts is that it says itself that it leads. If it is this
    /// one, the others must mean this round (`checkLeader`).
    fn leader_confirms(&self, vote: Vote) -> bool {
        if vote.leader == self.config.sid {
            return vote.round == self.vote.round;
        }
        let settled = self.round.as_ref().and_then(|round| round.settled.get(&vote.leader));
        settled.is_some_and(|said| said.state == ServerState::Leading)
    }

    fn supporters(&self) -> BTreeSet<Sid> {
        self.round.as_ref().map(|round| supporters_of(&round.votes, &self.vote)).unwrap_or_default()
    }

    /// Begins or ends the wait for better votes. Java always waits; here nobody is waited for when the leader of an ensemble
    /// has failed and all others agree already. All of them: one of which nothing is known, or which has just come, may have a
    /// better vote, draw others to it that still wait, and leave a hasty leader alone. And who has just come may only have
    /// repeated an old vote, while it follows somebody by now and is about to say so.
    fn judge(&mut self, now: Millis) {
        let voters = self.supporters();
        let quorum = self.config.quorums.is_quorum(&voters);
        let unanimous =
            quorum && self.config.quorums.members().iter().all(|sid| self.needs_no_wait(*sid, &voters));
        let Some(round) = &mut self.round else { return };
        if unanimous {
            self.decide(now, self.vote, How::Unanimous, voters);
        } else if quorum {
            round.finalize_at.get_or_insert(now + FINALIZE_MS);
        } else {
            round.finalize_at = None;
        }
    }

    fn needs_no_wait(&self, sid: Sid, supporters: &BTreeSet<Sid>) -> bool {
        let live = self.round.as_ref().is_some_and(|round| round.live.contains(&sid));
        let agrees = supporters.contains(&sid) && (live || sid == self.config.sid);
        agrees || self.links.get(&sid) == Some(&Link::Down)
    }

    fn decide(&mut self, now: Millis, vote: Vote, how: How, voters: BTreeSet<Sid>) {
        let Some(round) = self.round.take() else { return };
        let won_by = round.won_by.filter(|_| how != How::Established && vote == self.vote);
        self.vote = vote;
        self.state = match self.config.role {
            _ if vote.leader == self.config.sid => ServerState::Leading,
            PeerType::Participant => ServerState::Following,
            PeerType::Observer => ServerState::Observing,
        };
        let did =
            Did::Decided { how, won_by, voters: voters.into_iter().collect(), after: now - round.began };
        self.tell(now, self.config.sid, self.state, vote, did);
        self.outputs.push_back(Output::Decided { leader: vote.leader });
    }

    fn resend(&mut self, now: Millis) {
        let Some(round) = &mut self.round else { return };
        round.resend_ms = (round.resend_ms * 2).min(LAST_RESEND_MS);
        let next = round.resend_ms;
        self.tell(now, self.config.sid, self.state, self.vote, Did::SentAgain { next });
        self.broadcast(now);
        let linked =
            |sid| sid == self.config.sid || matches!(self.links.get(&sid), Some(Link::New | Link::Live));
        if !self.config.quorums.members().into_iter().all(linked) {
            self.outputs.push_back(Output::Reconnect);
        }
    }

    /// The own vote to every voter, this server included.
    fn broadcast(&mut self, now: Millis) {
        for sid in self.config.quorums.members() {
            if sid != self.config.sid {
                self.send(sid);
            } else if let Some(round) = &mut self.round {
                round.votes.insert(sid, self.vote);
            }
        }
        if let Some(round) = &mut self.round {
            round.resend_at = now + round.resend_ms;
        }
    }

    fn send(&mut self, to: Sid) {
        let notification = Notification {
            state: self.state,
            vote: self.vote,
            version: Notification::VERSION,
            config: self.config.config.clone(),
        };
        self.outputs.push_back(Output::Send { to, notification });
    }

    fn tell(&mut self, at: Millis, from: Sid, state: ServerState, vote: Vote, did: Did) {
        let line = StoryLine { at, from, state, vote, did };
        let heard = self.round.as_mut().filter(|_| from != self.config.sid);
        if heard.and_then(|round| round.heard.insert(from, (state, vote))) == Some((state, vote)) {
            return tracing::debug!("again: {line}");
        }
        tracing::info!("{line}");
        if self.story.len() >= STORY_LINES {
            // The beginning and what is recent tell more than the middle.
            self.story.drain(STORY_LINES / 4..STORY_LINES / 2);
        }
        self.story.push(line);
    }
}

fn supporters_of(votes: &BTreeMap<Sid, Vote>, vote: &Vote) -> BTreeSet<Sid> {
    votes.iter().filter(|(_, other)| *other == vote).map(|(sid, _)| *sid).collect()
}

/// By which rule `new` replaces `old` (`totalOrderPredicate`). A candidate of weight 0 never does.
fn beats(quorums: &Quorums, new: &Vote, old: &Vote) -> Option<Rule> {
    better(new, old).filter(|_| quorums.committed.weight(new.leader) != 0)
}

fn better(new: &Vote, old: &Vote) -> Option<Rule> {
    use std::cmp::Ordering::*;
    let rules = [
        (new.peer_epoch.cmp(&old.peer_epoch), Rule::HigherEpoch),
        (new.zxid.cmp(&old.zxid), Rule::HigherZxid),
        (new.leader.cmp(&old.leader), Rule::HigherSid),
    ];
    let (order, rule) = rules.into_iter().find(|(order, _)| *order != Equal)?;
    (order == Greater).then_some(rule)
}
