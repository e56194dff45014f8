//! What clients of an ensemble were told, and whether one order of zxids explains it all.
//!
//! Every reply carries a zxid, so the order is known and only has to be checked:
//! 1. no two writes have the same zxid, and of two writes the one that was answered before the other was sent has the
//!    smaller one;
//! 2. what a session is told never goes back in zxids, over all servers it was connected to;
//! 3. a read at zxid Z returns the last write to its node at or before Z, with that write's zxid in the Stat;
//! 4. a write whose answer was lost has happened once or not at all;
//! 5. at the end every acknowledged write is there, unless a later one replaced it.
//!
//! A read that ran beside a commit may carry the zxid of the one and the data of the other in no server tested here: a
//! violation is a defect and not an artefact.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Instant;

use anyhow::{Result, bail};

use crate::tree::Tree;
use crate::wire::Stat;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// setData of one or, in a multi, several nodes.
    Set {
        paths: Vec<String>,
        value: String,
    },
    /// The path that was asked for; a sequential node gets another.
    Create {
        path: String,
        value: String,
        ephemeral: bool,
    },
    Delete {
        path: String,
    },
    Get {
        path: String,
    },
    Children {
        path: String,
    },
    Sync,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// One for each path of a `Set`.
    Stats(Vec<Stat>),
    Created(String),
    Deleted,
    Value(String, Stat),
    Names(BTreeSet<String>),
    Synced,
    Refused(i32),
}

#[derive(Clone, Debug)]
pub struct Record {
    pub session: i64,
    pub server: std::net::SocketAddr,
    pub op: Op,
    pub sent: Instant,
    /// None: the connection ended first.
    pub answer: Option<Answer>,
}

#[derive(Clone, Debug)]
pub struct Answer {
    pub at: Instant,
    pub zxid: i64,
    pub told: Told,
}

/// All records of all sessions; those of one session are in order.
#[derive(Clone, Debug, Default)]
pub struct History {
    pub records: Vec<Record>,
    /// Sessions whose clients were told that they had expired.
    pub expired: Vec<i64>,
    /// Sessions that their clients have closed.
    pub closed: Vec<i64>,
}

/// A write that is known to have happened.
#[derive(Clone, Debug)]
struct Write {
    zxid: i64,
    /// None: deleted.
    value: Option<String>,
    acked: bool,
}

impl History {
    pub fn acked_writes(&self) -> usize {
        self.records.iter().filter(|r| r.is_write() && r.is_done()).count()
    }

    /// When writes were acknowledged, in order.
    pub fn acked_at(&self) -> Vec<Instant> {
        let acked = self.records.iter().filter(|r| r.is_write() && r.is_done());
        let mut times: Vec<Instant> = acked.filter_map(|r| Some(r.answer.as_ref()?.at)).collect();
        times.sort();
        times
    }

    pub fn lost_answers(&self) -> usize {
        self.records.iter().filter(|r| r.answer.is_none()).count()
    }

    /// Rules 1 to 4, and 5 against the tree that all servers have in the end.
    pub fn check(&self, end: &Tree) -> Result<()> {
        let mut wrong = Vec::new();
        self.check_write_order(&mut wrong);
        self.check_sessions(&mut wrong);
        let writes = self.writes(end, &mut wrong);
        self.check_reads(&writes, &mut wrong);
        self.check_children(&mut wrong);
        self.check_end(&writes, end, &mut wrong);
        if wrong.is_empty() {
            return Ok(());
        }
        let shown: String = wrong.iter().take(20).map(|w| format!("{w}\n")).collect();
        bail!("{} violations in {} records:\n{shown}", wrong.len(), self.records.len())
    }

    fn check_write_order(&self, wrong: &mut Vec<String>) {
        let mut seen: HashMap<i64, &Record> = HashMap::new();
        let mut sent: Vec<(&Record, &Answer)> =
            self.records.iter().filter(|r| r.is_write()).filter_map(|r| Some((r, r.numbered()?))).collect();
        for (record, answer) in &sent {
            if let Some(other) = seen.insert(answer.zxid, record) {
                wrong.push(format!("two writes have one zxid:\n  {}\n  {}", other.text(), record.text()));
            }
        }
        let mut answered = sent.clone();
        sent.sort_by_key(|(record, _)| record.sent);
        answered.sort_by_key(|(_, answer)| answer.at);
        let mut answered = answered.into_iter().peekable();
        let mut newest: Option<(&Record, &Answer)> = None;
        for (record, answer) in sent {
            while let Some(before) = answered.next_if(|(_, a)| a.at < record.sent) {
                newest = Some(newest.filter(|n| n.1.zxid > before.1.zxid).unwrap_or(before));
            }
            if let Some((before, _)) = newest.filter(|n| n.1.zxid >= answer.zxid) {
                wrong.push(format!(
                    "a write was answered before the other was sent and has the larger zxid:\n  {}\n  {}",
                    before.text(),
                    record.text()
                ));
            }
        }
    }

    fn check_sessions(&self, wrong: &mut Vec<String>) {
        let mut last: HashMap<i64, &Record> = HashMap::new();
        for record in self.records.iter().filter(|r| r.answer.is_some()) {
            if let Some(before) = last.insert(record.session, record)
                && before.zxid() > record.zxid()
            {
                wrong.push(format!("a session went back:\n  {}\n  {}", before.text(), record.text()));
            }
        }
    }

    /// What is known to have been written to each node, in zxid order: acknowledged writes, and lost ones that somebody saw.
    fn writes(&self, end: &Tree, wrong: &mut Vec<String>) -> BTreeMap<String, Vec<Write>> {
        let mut writes: BTreeMap<String, Vec<Write>> = BTreeMap::new();
        let mut lost: BTreeSet<(String, String)> = BTreeSet::new();
        for record in &self.records {
            match &record.op {
                Op::Set { paths, value } if record.answer.is_none() => {
                    lost.extend(paths.iter().map(|p| (p.clone(), value.clone())));
                }
                Op::Create { path, value, .. } if record.answer.is_none() => {
                    lost.insert((path.clone(), value.clone()));
                }
                _ => {}
            }
            for (path, value, zxid) in record.written(wrong) {
                writes.entry(path).or_default().push(Write { zxid, value, acked: true });
            }
        }
        let mut learn = |path: &str, value: &str, zxid: i64| {
            if !lost.contains(&(path.to_string(), value.to_string())) {
                return;
            }
            let list = writes.entry(path.to_string()).or_default();
            match list.iter().find(|w| !w.acked && w.value.as_deref() == Some(value)) {
                Some(other) if other.zxid != zxid => wrong.push(format!(
                    "{path}={value} was written twice: at 0x{:x} and at 0x{zxid:x}",
                    other.zxid
                )),
                Some(_) => {}
                None => list.push(Write { zxid, value: Some(value.to_string()), acked: false }),
            }
        };
        for record in &self.records {
            if let (Op::Get { path }, Some(Answer { told: Told::Value(value, stat), .. })) =
                (&record.op, &record.answer)
            {
                learn(path, value, stat.mzxid);
            }
        }
        for (path, node) in &end.0 {
            let value = String::from_utf8_lossy(node.data.as_deref().unwrap_or_default()).into_owned();
            learn(path, &value, node.stat.mzxid);
        }
        for list in writes.values_mut() {
            list.sort_by_key(|w| w.zxid);
        }
        writes
    }

    fn check_reads(&self, writes: &BTreeMap<String, Vec<Write>>, wrong: &mut Vec<String>) {
        for record in &self.records {
            let (Op::Get { path }, Some(answer)) = (&record.op, &record.answer) else { continue };
            let list = writes.get(path).map_or(&[][..], Vec::as_slice);
            let newest = list.iter().rfind(|w| w.zxid <= answer.zxid);
            match (&answer.told, newest) {
                (Told::Value(value, stat), Some(newest))
                    if stat.mzxid != newest.zxid || newest.value.as_ref() != Some(value) =>
                {
                    wrong.push(format!("a read missed {newest:?} or made one up:\n  {}", record.text()));
                }
                (Told::Refused(NO_NODE), Some(newest)) if newest.value.is_some() => {
                    wrong.push(format!("a read missed {newest:?}:\n  {}", record.text()));
                }
                _ => {}
            }
        }
    }

    /// Names that were created and never deleted must be listed from their zxid on and not before.
    fn check_children(&self, wrong: &mut Vec<String>) {
        let mut created: BTreeMap<String, i64> = BTreeMap::new();
        let mut deleted: BTreeSet<String> = BTreeSet::new();
        for record in &self.records {
            match (&record.op, &record.answer) {
                (
                    Op::Create { ephemeral: false, .. },
                    Some(Answer { zxid, told: Told::Created(path), .. }),
                ) => {
                    created.insert(path.clone(), *zxid);
                }
                (Op::Delete { path }, _) => {
                    deleted.insert(path.clone());
                }
                _ => {}
            }
        }
        for record in &self.records {
            let (Op::Children { path }, Some(Answer { zxid, told: Told::Names(names), .. })) =
                (&record.op, &record.answer)
            else {
                continue;
            };
            let prefix = format!("{path}/");
            for (child, born) in created.range(prefix.clone()..) {
                let Some(name) = child.strip_prefix(&prefix) else { break };
                if !name.contains('/') && !deleted.contains(child) && names.contains(name) != (born <= zxid) {
                    wrong.push(format!("{child}, created at 0x{born:x}, in the list:\n  {}", record.text()));
                }
            }
        }
    }

    fn check_end(&self, writes: &BTreeMap<String, Vec<Write>>, end: &Tree, wrong: &mut Vec<String>) {
        let gone: BTreeSet<i64> = self.expired.iter().chain(&self.closed).copied().collect();
        let ended: BTreeSet<String> = self
            .records
            .iter()
            .filter(|r| gone.contains(&r.session))
            .filter_map(|r| match (&r.op, &r.answer) {
                (Op::Create { ephemeral: true, .. }, Some(Answer { told: Told::Created(path), .. })) => {
                    Some(path.clone())
                }
                _ => None,
            })
            .collect();
        let maybe_deleted: BTreeSet<&String> = self
            .records
            .iter()
            .filter(|r| r.answer.is_none())
            .filter_map(|r| if let Op::Delete { path } = &r.op { Some(path) } else { None })
            .collect();
        for (path, list) in writes {
            let Some(last) = list.last() else { continue };
            let node = end.0.get(path);
            let there =
                node.map(|n| String::from_utf8_lossy(n.data.as_deref().unwrap_or_default()).into_owned());
            match (&last.value, &there) {
                (Some(_), None) if ended.contains(path) || maybe_deleted.contains(path) => {}
                (Some(_), Some(_)) if ended.contains(path) => {
                    wrong.push(format!("{path} outlives its session"));
                }
                (wanted, there) if wanted != there => {
                    wrong.push(format!(
                        "{path} should be {last:?} and is {there:?} ({:?})",
                        node.map(|n| n.stat)
                    ));
                }
                _ => {}
            }
        }
    }
}

impl Record {
    fn is_write(&self) -> bool {
        matches!(self.op, Op::Set { .. } | Op::Create { .. } | Op::Delete { .. })
    }

    fn is_done(&self) -> bool {
        matches!(&self.answer, Some(a) if !matches!(a.told, Told::Refused(_)))
    }

    fn zxid(&self) -> i64 {
        self.answer.as_ref().map_or(0, |a| a.zxid)
    }

    /// The answer, where it carries a zxid of its own: a write that was done, or refused by its preparation.
    fn numbered(&self) -> Option<&Answer> {
        let answer = self.answer.as_ref()?;
        match answer.told {
            Told::Refused(SESSION_EXPIRED | SESSION_MOVED | CONNECTION_LOSS) => None,
            _ => Some(answer),
        }
    }

    /// Path, new value (None: deleted) and zxid of what this record is known to have written.
    fn written(&self, wrong: &mut Vec<String>) -> Vec<(String, Option<String>, i64)> {
        let Some(answer) = &self.answer else { return Vec::new() };
        match (&self.op, &answer.told) {
            (Op::Set { paths, value }, Told::Stats(stats)) => {
                if stats.len() != paths.len() || stats.iter().any(|s| s.mzxid != answer.zxid) {
                    wrong.push(format!("the Stat of a write is not of its zxid:\n  {}", self.text()));
                }
                paths.iter().map(|p| (p.clone(), Some(value.clone()), answer.zxid)).collect()
            }
            (Op::Create { value, .. }, Told::Created(path)) => {
                vec![(path.clone(), Some(value.clone()), answer.zxid)]
            }
            (Op::Delete { path }, Told::Deleted) => vec![(path.clone(), None, answer.zxid)],
            _ => Vec::new(),
        }
    }

    fn text(&self) -> String {
        let told = match &self.answer {
            Some(Answer { zxid, told: Told::Names(names), .. }) => {
                format!("{} names at 0x{zxid:x}", names.len())
            }
            Some(Answer { zxid, told, .. }) => format!("{told:?} at 0x{zxid:x}"),
            None => "no answer".to_string(),
        };
        format!("session 0x{:x} at {}: {:?} -> {told}", self.session, self.server, self.op)
    }
}

const NO_NODE: i32 = -101;
const CONNECTION_LOSS: i32 = -4;
const SESSION_EXPIRED: i32 = -112;
const SESSION_MOVED: i32 = -118;

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use super::*;
    use crate::tree::Node;

    /// A history in the making: each step is sent and answered a millisecond after the one before.
    struct Story {
        began: Instant,
        history: History,
        end: Tree,
    }

    impl Story {
        fn new() -> Story {
            Story { began: Instant::now(), history: History::default(), end: Tree::default() }
        }

        fn at(&mut self, session: i64, op: Op, answer: Option<(i64, Told)>) -> &mut Story {
            let n = 2 * self.history.records.len() as u64;
            let sent = self.began + Duration::from_millis(n);
            let at = self.began + Duration::from_millis(n + 1);
            let answer = answer.map(|(zxid, told)| Answer { at, zxid, told });
            let server = SocketAddr::from(([127, 0, 0, 1], 2181));
            self.history.records.push(Record { session, server, op, sent, answer });
            self
        }

        fn set(&mut self, session: i64, value: &str, zxid: Option<i64>) -> &mut Story {
            let op = Op::Set { paths: vec!["/a".into()], value: value.into() };
            let stat = |zxid| Stat { mzxid: zxid, ..Stat::default() };
            self.at(session, op, zxid.map(|z| (z, Told::Stats(vec![stat(z)]))))
        }

        fn get(&mut self, session: i64, value: &str, mzxid: i64, zxid: i64) -> &mut Story {
            let told = Told::Value(value.into(), Stat { mzxid, ..Stat::default() });
            self.at(session, Op::Get { path: "/a".into() }, Some((zxid, told)))
        }

        fn ends_as(&mut self, value: &str, mzxid: i64) -> &mut Story {
            let stat = Stat { mzxid, ..Stat::default() };
            let node = Node { data: Some(value.into()), stat, acl: Vec::new() };
            self.end.0.insert("/a".into(), node);
            self
        }

        fn verdict(&self) -> String {
            self.history.check(&self.end).err().map_or(String::new(), |e| format!("{e:#}"))
        }
    }

    type Tell = fn(&mut Story) -> &mut Story;

    #[test]
    fn what_one_order_explains_is_fine() {
        let mut story = Story::new();
        story.set(1, "x", Some(5)).get(1, "x", 5, 5).set(2, "y", None).get(1, "y", 7, 9).set(
            1,
            "z",
            Some(10),
        );
        story.ends_as("z", 10);
        assert_eq!(story.verdict(), "");
    }

    #[test]
    fn what_no_order_explains_is_not() {
        let wrong: [(&str, Tell); 9] = [
            ("two writes have one zxid", |s| s.set(1, "x", Some(5)).set(2, "y", Some(5)).ends_as("y", 5)),
            ("larger zxid", |s| s.set(1, "x", Some(6)).set(2, "y", Some(5)).ends_as("x", 6)),
            ("a session went back", |s| {
                s.set(1, "x", Some(6)).get(1, "x", 6, 8).get(1, "x", 6, 7).ends_as("x", 6)
            }),
            ("a read missed", |s| {
                s.set(1, "x", Some(5)).set(1, "y", Some(6)).get(2, "x", 5, 6).ends_as("y", 6)
            }),
            ("made one up", |s| s.set(1, "x", Some(5)).get(2, "q", 5, 6).ends_as("x", 5)),
            ("a read missed", |s| {
                s.set(1, "x", Some(5)).at(
                    2,
                    Op::Get { path: "/a".into() },
                    Some((6, Told::Refused(NO_NODE))),
                );
                s.ends_as("x", 5)
            }),
            ("written twice", |s| s.set(1, "x", None).get(2, "x", 5, 5).get(2, "x", 7, 7).ends_as("x", 7)),
            ("should be", |s| s.set(1, "x", Some(5)).set(1, "y", Some(6)).ends_as("x", 5)),
            ("should be", |s| s.set(1, "x", Some(5))),
        ];
        for (what, tell) in wrong {
            let mut story = Story::new();
            tell(&mut story);
            assert!(story.verdict().contains(what), "{what}: {:?}", story.verdict());
        }
    }

    #[test]
    fn lists_and_ephemerals_are_held_to_it() {
        let list = |names: &[&str]| Told::Names(names.iter().map(|n| n.to_string()).collect());
        let create = |ephemeral| Op::Create { path: "/d/n".into(), value: "v".into(), ephemeral };
        let mut story = Story::new();
        story.at(1, create(false), Some((5, Told::Created("/d/n0".into()))));
        story.at(2, Op::Children { path: "/d".into() }, Some((6, list(&[]))));
        assert!(story.verdict().contains("in the list"), "{}", story.verdict());

        let mut story = Story::new();
        story.at(1, create(true), Some((5, Told::Created("/a".into()))));
        story.history.expired.push(1);
        assert_eq!(story.verdict(), "");
        story.ends_as("v", 5);
        assert!(story.verdict().contains("outlives"), "{}", story.verdict());
    }
}
