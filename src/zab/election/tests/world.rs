//! Servers, the links between them and one clock. A message takes a millisecond and is lost where its link is cut.

use std::fmt::Write;

use super::*;

#[derive(Default)]
pub struct Members {
    pub voters: BTreeSet<Sid>,
    pub observers: BTreeSet<Sid>,
    pub hierarchy: Option<Hierarchy>,
}

#[derive(Default)]
pub struct World {
    pub members: Members,
    pub history: BTreeMap<Sid, (Zxid, Epoch)>,
    /// Rounds that a server has been through before its next start.
    pub rounds: BTreeMap<Sid, i64>,
    now: Millis,
    running: BTreeMap<Sid, Election>,
    cut: BTreeSet<(Sid, Sid)>,
    /// Their links are up, but nothing comes from them.
    pub mute: BTreeSet<Sid>,
    on_the_way: VecDeque<Message>,
    told: BTreeMap<Sid, usize>,
    trace: Vec<String>,
}

struct Message {
    arrives: Millis,
    from: Sid,
    to: Sid,
    bytes: Bytes,
}

const LATENCY: Millis = 1;

impl World {
    pub fn machine(&mut self, sid: Sid) -> &mut Election {
        self.running.get_mut(&sid).unwrap_or_else(|| panic!("server {sid} does not run"))
    }

    pub fn take_trace(&mut self) -> Vec<String> {
        std::mem::take(&mut self.trace)
    }

    pub fn start(&mut self, sid: Sid) {
        let mut machine = Election::new(config(sid, &self.members));
        machine.vote.round = self.rounds.get(&sid).copied().unwrap_or(0);
        self.running.insert(sid, machine);
        let others: Vec<Sid> = self.members.voters.union(&self.members.observers).copied().collect();
        for other in others.into_iter().filter(|other| *other != sid) {
            let up = self.running.contains_key(&other) && !self.is_cut(sid, other);
            self.link(sid, other, up);
            if up {
                self.link(other, sid, true);
            }
        }
        self.look(sid);
    }

    pub fn kill(&mut self, sid: Sid) {
        self.running.remove(&sid);
        self.told.remove(&sid);
        let others: Vec<Sid> = self.running.keys().copied().collect();
        others.into_iter().for_each(|other| self.link(other, sid, false));
        self.on_the_way.retain(|m| m.from != sid && m.to != sid);
    }

    pub fn look(&mut self, sid: Sid) {
        let (zxid, epoch) = self.history.get(&sid).copied().unwrap_or_default();
        let now = self.now;
        self.machine(sid).look(now, zxid, epoch);
        self.told.insert(sid, 0);
        self.collect(sid);
    }

    pub fn cut(&mut self, a: Sid, b: Sid) {
        self.cut.insert((a.min(b), a.max(b)));
        self.link(a, b, false);
        self.link(b, a, false);
        self.on_the_way.retain(|m| (m.from, m.to) != (a, b) && (m.from, m.to) != (b, a));
    }

    pub fn heal(&mut self, a: Sid, b: Sid) {
        self.cut.remove(&(a.min(b), a.max(b)));
        if self.running.contains_key(&a) && self.running.contains_key(&b) {
            self.link(a, b, true);
            self.link(b, a, true);
        }
    }

    fn is_cut(&self, a: Sid, b: Sid) -> bool {
        self.cut.contains(&(a.min(b), a.max(b)))
    }

    fn link(&mut self, sid: Sid, other: Sid, up: bool) {
        let now = self.now;
        if let Some(machine) = self.running.get_mut(&sid) {
            machine.link(now, other, up);
            self.collect(sid);
        }
    }

    pub fn say(&mut self, from: Sid, to: Sid, notification: Notification) {
        let now = self.now;
        self.machine(to).handle(now, from, &notification);
        self.collect(to);
    }

    pub fn wait(&mut self, ms: Millis) {
        let until = self.now + ms;
        loop {
            let arrives = self.on_the_way.front().map(|m| m.arrives);
            let due = self.running.iter().filter_map(|(sid, m)| Some((m.poll_timeout()?, *sid))).min();
            let next = arrives.into_iter().chain(due.map(|(at, _)| at)).min();
            let Some(next) = next.filter(|next| *next <= until) else { break };
            self.now = self.now.max(next);
            match due {
                Some((at, sid)) if arrives.is_none_or(|arrives| at < arrives) => {
                    let now = self.now;
                    self.machine(sid).handle_timeout(now);
                    assert!(
                        self.machine(sid).poll_timeout().is_none_or(|at| at > now),
                        "a timer stands still"
                    );
                    self.collect(sid);
                }
                _ => self.deliver(),
            }
        }
        self.now = until;
    }

    fn deliver(&mut self) {
        let Some(Message { from, to, bytes, .. }) = self.on_the_way.pop_front() else { return };
        if !self.running.contains_key(&to) || self.is_cut(from, to) {
            return;
        }
        let now = self.now;
        self.machine(to).handle(now, from, &Notification::decode(bytes).unwrap());
        self.collect(to);
    }

    /// Takes the machine's messages and the new lines of its story.
    fn collect(&mut self, sid: Sid) {
        let arrives = self.now + LATENCY;
        while let Some(output) = self.machine(sid).poll_output() {
            if let Output::Send { to, notification } = output
                && !self.mute.contains(&sid)
            {
                self.on_the_way.push_back(Message { arrives, from: sid, to, bytes: notification.encode() });
            }
        }
        let told = self.told.get(&sid).copied().unwrap_or(0);
        let lines: Vec<String> =
            self.machine(sid).story()[told..].iter().map(|line| line.to_string()).collect();
        self.told.insert(sid, told + lines.len());
        self.trace.extend(lines.iter().map(|line| format!("{:>6} {sid}: {line}", self.now)));
    }

    pub fn trace_states(&mut self) {
        for (sid, machine) in &self.running {
            let Vote { leader, zxid, round, peer_epoch } = machine.vote();
            let mut line = format!("{:>6} {sid}: {}", self.now, machine.state());
            let _ = write!(line, ", vote for {leader} (epoch {peer_epoch}, zxid {zxid}), round {round}");
            self.trace.push(line);
        }
    }
}
