//! The last elections of this server in a file of its own, for `ferrokeeper election-log`: it answers while the server runs,
//! and when it does not.
//!
//! The file lies beside myid, where Java looks for nothing else. One thread writes it, a new one over the old, so the core
//! waits for no disk and a reader never sees half of it. It is no part of the server's state: nothing is synced, and whatever
//! is wrong with it costs a warning.

use std::{
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use parking_lot::{Condvar, Mutex};

use crate::{
    ids::{Millis, Sid},
    replica::Now,
    zab::election::{Did, StoryLine},
};

pub const FILE_NAME: &str = "election-log.txt";
/// Elections that are kept.
const KEPT: usize = 16;
/// An election brings news every few milliseconds; not every one is worth a file.
const PAUSE: Duration = Duration::from_millis(100);

/// One election as the file has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    pub began_wall: Millis,
    pub sid: Sid,
    pub lines: Vec<Line>,
}

/// A [`StoryLine`] in words; what an observer's vote lacks is `-`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Milliseconds since the election began.
    pub at: Millis,
    pub from: String,
    pub state: String,
    pub leader: String,
    pub epoch: String,
    pub zxid: String,
    pub round: String,
    /// Whether this ended the election.
    pub decided: bool,
    pub did: String,
}

impl Account {
    fn of(sid: Sid, began: Millis, story: &[StoryLine], now: Now) -> Account {
        let lines = story.iter().map(|line| Line::of(line, began)).collect();
        Account { began_wall: now.wall - (now.mono - began), sid, lines }
    }

    pub fn decided(&self) -> Option<&Line> {
        self.lines.iter().find(|line| line.decided)
    }
}

impl Line {
    fn of(line: &StoryLine, began: Millis) -> Line {
        // Nobody's vote has neither epoch nor zxid.
        let said = line.zxid();
        let or_none = |text: String| if said.is_some() { text } else { "-".to_owned() };
        Line {
            at: line.at - began,
            from: line.from.to_string(),
            state: line.state.to_string(),
            leader: or_none(line.vote.leader.to_string()),
            epoch: or_none(line.vote.peer_epoch.to_string()),
            zxid: said.map_or("-".to_owned(), |zxid| zxid.to_string()),
            round: line.vote.round.to_string(),
            decided: matches!(line.did, Did::Decided { .. }),
            did: line.did.to_string(),
        }
    }
}

/// A line `election WHEN SID` for each, then its lines; fields are divided by tabs.
pub fn write(accounts: &[Account]) -> String {
    let mut out = String::from(
        "# The last elections of this server, the newest at the end; `ferrokeeper election-log` shows them.\n",
    );
    for account in accounts {
        let written = writeln!(out, "election\t{}\t{}", account.began_wall, account.sid);
        debug_assert!(written.is_ok());
        for line in &account.lines {
            let Line { at, from, state, leader, epoch, zxid, round, decided, did } = line;
            let kind = if *decided { "decided" } else { "said" };
            let written =
                writeln!(out, "{kind}\t{at}\t{from}\t{state}\t{leader}\t{epoch}\t{zxid}\t{round}\t{did}");
            debug_assert!(written.is_ok());
        }
    }
    out
}

/// What [`write`] has written. Lines that are no such are left out: somebody has edited the file.
pub fn parse(text: &str) -> Vec<Account> {
    let mut accounts: Vec<Account> = Vec::new();
    for line in text.lines() {
        match line.split('\t').collect::<Vec<_>>()[..] {
            ["election", began, sid] => {
                if let (Ok(began_wall), Ok(sid)) = (began.parse(), sid.parse()) {
                    accounts.push(Account { began_wall, sid: Sid(sid), lines: Vec::new() });
                }
            }
            [kind @ ("said" | "decided"), at, from, state, leader, epoch, zxid, round, did] => {
                let (Some(account), Ok(at)) = (accounts.last_mut(), at.parse()) else { continue };
                let [from, state, leader, epoch, zxid, round, did] =
                    [from, state, leader, epoch, zxid, round, did].map(str::to_owned);
                let decided = kind == "decided";
                account.lines.push(Line { at, from, state, leader, epoch, zxid, round, decided, did });
            }
            _ => {}
        }
    }
    accounts
}

/// Takes the story as it grows and has it written.
#[derive(Debug)]
pub struct ElectionLog {
    sid: Sid,
    desk: Arc<Desk>,
    /// Begin, end and length of what was taken last.
    taken: Option<(Millis, Millis, usize)>,
}

#[derive(Debug, Default)]
struct Desk {
    /// With the monotonic begin, by which an election that goes on is known.
    news: Mutex<Option<(Millis, Account)>>,
    come: Condvar,
}

impl ElectionLog {
    /// `dir`: dataDir.
    pub fn start(dir: &Path, sid: Sid) -> anyhow::Result<ElectionLog> {
        let desk = Arc::new(Desk::default());
        let (file, at) = (dir.join(FILE_NAME), desk.clone());
        std::thread::Builder::new()
            .name("ElectionLog".to_owned())
            .spawn(move || Writer::new(file).run(&at))
            .context("the thread that writes down elections cannot be started")?;
        Ok(ElectionLog { sid, desk, taken: None })
    }

    /// Costs nothing when nothing was said since the last time.
    pub fn take(&mut self, story: &[StoryLine], now: Now) {
        let (Some(first), Some(last)) = (story.first(), story.last()) else { return };
        let taken = Some((first.at, last.at, story.len()));
        if self.taken == taken {
            return;
        }
        self.taken = taken;
        *self.desk.news.lock() = Some((first.at, Account::of(self.sid, first.at, story, now)));
        self.desk.come.notify_one();
    }
}

struct Writer {
    file: PathBuf,
    accounts: Vec<Account>,
    /// Whether the last attempt failed: one warning is enough.
    failed: bool,
}

impl Writer {
    fn new(file: PathBuf) -> Writer {
        let accounts = fs::read_to_string(&file).map(|text| parse(&text)).unwrap_or_default();
        Writer { file, accounts, failed: false }
    }

    fn run(mut self, desk: &Desk) {
        // Those of former runs are over.
        let mut current = None;
        loop {
            let (began, account) = {
                let mut news = desk.news.lock();
                loop {
                    match news.take() {
                        Some(news) => break news,
                        None => desk.come.wait(&mut news),
                    }
                }
            };
            if current == Some(began) {
                self.accounts.pop();
            }
            current = Some(began);
            self.accounts.push(account);
            let surplus = self.accounts.len().saturating_sub(KEPT);
            self.accounts.drain(..surplus);
            self.save();
            std::thread::sleep(PAUSE);
        }
    }

    fn save(&mut self) {
        match self.replace_file() {
            Ok(()) => self.failed = false,
            Err(e) if !self.failed => {
                self.failed = true;
                tracing::warn!(
                    "{} cannot be written: {e}; elections are told in the log alone",
                    self.file.display()
                );
            }
            Err(_) => {}
        }
    }

    fn replace_file(&self) -> io::Result<()> {
        let new = self.file.with_extension("tmp");
        fs::write(&new, write(&self.accounts))?;
        fs::rename(&new, &self.file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ids::Zxid,
        proto::quorum::{ServerState, Vote},
        zab::election::{How, Rule},
    };

    fn story() -> Vec<StoryLine> {
        let vote = |leader| Vote { leader: Sid(leader), zxid: Zxid(0x1_0000_0008), round: 2, peer_epoch: 1 };
        let nobody = Vote { leader: Sid(i64::MIN), zxid: Zxid(i64::MIN), round: 2, peer_epoch: i64::MIN };
        let line = |at, from, state, vote, did| StoryLine { at, from: Sid(from), state, vote, did };
        vec![
            line(5000, 1, ServerState::Looking, vote(1), Did::Began),
            line(5003, 4, ServerState::Looking, nobody, Did::ToldStranger { leader: Sid(1) }),
            line(
                5012,
                2,
                ServerState::Looking,
                vote(2),
                Did::Adopted { rule: Rule::HigherSid, before: Sid(1) },
            ),
            line(
                5212,
                1,
                ServerState::Following,
                vote(2),
                Did::Decided {
                    how: How::Quorum,
                    won_by: Some(Rule::HigherSid),
                    voters: vec![Sid(1), Sid(2)],
                    after: 212,
                },
            ),
        ]
    }

    #[test]
    fn the_file_holds_what_was_told() {
        let account = Account::of(Sid(1), 5000, &story(), Now { mono: 6000, wall: 1_582_000_001_000 });
        let text = write(std::slice::from_ref(&account));
        assert_eq!(
            text.lines().skip(1).collect::<Vec<_>>(),
            [
                "election\t1582000000000\t1",
                "said\t0\t1\tLOOKING\t1\t1\t0x100000008\t2\ta new election begins",
                "said\t3\t4\tLOOKING\t-\t-\t-\t2\tno voter, told my vote for server 1",
                "said\t12\t2\tLOOKING\t2\t1\t0x100000008\t2\thigher sid than server 1, now my vote too",
                "decided\t212\t1\tFOLLOWING\t2\t1\t0x100000008\t2\tis elected by servers 1, 2, by the higher sid; \
                 the election took 212 ms",
            ]
        );
        assert_eq!(parse(&text), std::slice::from_ref(&account));
        assert_eq!(account.decided().unwrap().leader, "2");
    }

    #[test]
    fn an_edited_file_loses_what_was_edited() {
        let text = "said\t0\t1\tLOOKING\t1\t1\t0x1\t1\tbefore any election\nelection\tx\t1\nelection\t5\t3\n\
                    said\tsoon\t1\tLOOKING\t1\t1\t0x1\t1\ta\nsaid\t7\t1\tLOOKING\t1\t1\t0x1\t1\tb\nsaid\t8";
        let accounts = parse(text);
        assert_eq!(accounts.len(), 1);
        assert_eq!((accounts[0].began_wall, accounts[0].sid), (5, Sid(3)));
        assert_eq!(accounts[0].lines.iter().map(|line| line.did.as_str()).collect::<Vec<_>>(), ["b"]);
    }

    #[test]
    fn an_election_that_goes_on_stays_one_and_old_ones_go() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(FILE_NAME);
        fs::write(&file, write(&[Account { began_wall: 1, sid: Sid(1), lines: Vec::new() }])).unwrap();
        let mut log = ElectionLog::start(dir.path(), Sid(1)).unwrap();
        let wait_for = |what: &dyn Fn(&[Account]) -> bool| {
            for _ in 0..400 {
                let accounts = fs::read_to_string(&file).map(|text| parse(&text)).unwrap_or_default();
                if what(&accounts) {
                    return;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            panic!("{:?}", fs::read_to_string(&file));
        };
        let now = Now { mono: 6000, wall: 6000 };
        log.take(&story()[..1], now);
        wait_for(&|accounts| accounts.len() == 2 && accounts[1].lines.len() == 1);
        log.take(&story(), now);
        wait_for(&|accounts| accounts.len() == 2 && accounts[1].decided().is_some());
        for n in 1..=16 {
            let mut next = story();
            next.iter_mut().for_each(|line| line.at += n * 10_000);
            log.take(&next, now);
            wait_for(&|accounts| accounts.last().unwrap().began_wall == 5000 + n * 10_000);
        }
        wait_for(&|accounts| accounts.len() == KEPT && accounts[0].began_wall == 15_000);
    }
}
