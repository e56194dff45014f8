//! Two sides in lockstep: runs transcripts, stops at the first difference, shows it, and shrinks the transcript to it.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::generate::{Generator, MAX_TIMEOUT_MS, MIN_TIMEOUT_MS, Modern, Profile};
use super::render;
use super::side::{Fact, Observed, Side};
use super::step::{Step, hex};
use crate::process::{Builder, Kind, Server};
use crate::wire::{Dec, op};

/// A server to start, or one that runs already (fresh, or the zxids differ from the start).
#[derive(Clone, Debug)]
pub enum Peer {
    Start(Kind),
    At(SocketAddr),
}

#[derive(Clone, Debug)]
pub struct Setup {
    pub left: Peer,
    pub right: Peer,
    pub profile: Profile,
    /// More lines of zoo.cfg and flags for both sides.
    pub lines: Vec<String>,
    pub flags: Vec<String>,
    /// For the right side alone: how the differ is shown to see a difference.
    pub right_lines: Vec<String>,
    pub right_flags: Vec<String>,
}

pub const PLAIN: Profile = Profile {
    name: "plain",
    modern: Modern::Absent,
    narrow: false,
    words: true,
    restarts: true,
    astral: false,
};
pub const EXTENDED: Profile = Profile {
    name: "extended",
    modern: Modern::Absent,
    narrow: false,
    words: true,
    restarts: true,
    astral: false,
};
pub const REFUSED: Profile = Profile {
    name: "refused",
    modern: Modern::Refused,
    narrow: false,
    words: true,
    restarts: true,
    astral: false,
};
/// Against a Java of 3.6 or later, whose four-letter answers are others (B§12.4).
pub const MODERN: Profile = Profile {
    name: "modern",
    modern: Modern::Known,
    narrow: true,
    words: false,
    restarts: true,
    astral: false,
};

/// What `MODERN` sends, without the ops of 3.6 and later: shows that 3.5.7 and 3.9 are alike in the rest.
pub const BRIDGE: Profile = Profile {
    name: "bridge",
    modern: Modern::Absent,
    narrow: true,
    words: false,
    restarts: true,
    astral: false,
};

pub fn profile(name: &str) -> Option<Profile> {
    [PLAIN, EXTENDED, REFUSED, MODERN, BRIDGE].into_iter().find(|p| p.name == name)
}

impl Setup {
    pub fn new(left: Peer, right: Peer, profile: Profile) -> Setup {
        let text = |v: &[&str]| v.iter().map(|s| s.to_string()).collect::<Vec<_>>();
        let mut lines = vec![
            format!("minSessionTimeout={MIN_TIMEOUT_MS}"),
            format!("maxSessionTimeout={MAX_TIMEOUT_MS}"),
            // Snapshots change sizes that conf and dirs print.
            "snapCount=100000000".to_string(),
        ];
        // Reaping of containers and TTL nodes takes zxids at times of its own.
        let mut flags = text(&["-Dzookeeper.forceSync=no", "-Dznode.container.checkIntervalMs=2000000000"]);
        // The quick compiler alone: these servers live for seconds.
        flags.extend(text(&["-Dferrokeeper.java.log.level=ERROR", "-XX:TieredStopAtLevel=1"]));
        match profile.name {
            "extended" => {
                lines.extend(text(&[
                    "reconfigEnabled=true",
                    "4lw.commands.whitelist=ruok, mntr,wchs ,cons,srst,crst",
                ]));
                flags.extend(text(&[
                    "-Dzookeeper.extendedTypesEnabled=true",
                    "-Dzookeeper.DigestAuthenticationProvider.superDigest=super:lK75jTNcA+U9vtVEw5vB51mj/w4=",
                ]));
            }
            "refused" => lines.push("ferrokeeper.modernClientOps=false".to_string()),
            "modern" | "bridge" => flags.push("-Dzookeeper.extendedTypesEnabled=true".to_string()),
            _ => {}
        }
        Setup { left, right, profile, lines, flags, right_lines: Vec::new(), right_flags: Vec::new() }
    }

    fn start(&self, peer: &Peer, right: bool) -> Result<(Side, Option<Server>)> {
        let server = match peer {
            Peer::At(addr) => return Ok((Side::new(*addr, Path::new("")), None)),
            Peer::Start(kind) => self.builder(kind.clone(), right).spawn()?,
        };
        Ok((Side::new(server.client_addr(), server.dir()), Some(server)))
    }

    /// A server as this comparison wants it.
    pub fn builder(&self, kind: Kind, right: bool) -> Builder {
        let mut builder = Builder::new(kind).heap_mb(512);
        for line in self.lines.iter().chain(self.right_lines.iter().filter(|_| right)) {
            builder = builder.line(line);
        }
        for flag in self.flags.iter().chain(self.right_flags.iter().filter(|_| right)) {
            builder = builder.flag(flag);
        }
        builder
    }
}

/// Two fresh servers and the connections to them.
pub struct Pair {
    left: Side,
    right: Side,
    servers: Vec<Server>,
}

#[derive(Clone, Debug)]
pub struct Difference {
    pub left: Vec<Observed>,
    pub right: Vec<Observed>,
    /// The first position where they differ.
    pub at: usize,
}

impl Pair {
    pub fn start(setup: &Setup) -> Result<Pair> {
        let (left, left_server) = setup.start(&setup.left, false)?;
        let (right, right_server) = setup.start(&setup.right, true)?;
        let servers: Vec<Server> = left_server.into_iter().chain(right_server).collect();
        for server in &servers {
            server.wait_serving(Duration::from_secs(60))?;
        }
        let mut pair = Pair { left, right, servers };
        pair.reset_counters();
        let event_zxids = !setup.profile.narrow;
        (pair.left.event_zxids, pair.right.event_zxids) = (event_zxids, event_zxids);
        Ok(pair)
    }

    /// Waiting takes a different number of questions on each side: the counters start after it.
    fn reset_counters(&mut self) {
        for word in [b"srst", b"crst"] {
            self.left.word(word);
            self.right.word(word);
        }
    }

    /// Both servers start again, on their own folder or on each other's. Servers started elsewhere are left alone.
    fn restart(&mut self, kill: bool, swap: bool) -> Result<()> {
        let [left, right] = self.servers.as_mut_slice() else { return Ok(()) };
        self.left.forget_connections();
        self.right.forget_connections();
        let (left_kind, right_kind) = (left.kind().clone(), right.kind().clone());
        for server in [&mut *left, &mut *right] {
            if kill {
                server.kill9()?
            } else {
                server.terminate()?
            };
        }
        left.restart_as(if swap { right_kind.clone() } else { left_kind.clone() })?;
        right.restart_as(if swap { left_kind } else { right_kind })?;
        for server in [&*left, &*right] {
            server.wait_serving(Duration::from_secs(60))?;
        }
        self.reset_counters();
        Ok(())
    }

    /// Carries out one step on both sides: what the left said, or where they differ.
    pub fn step(&mut self, step: &Step) -> Result<std::result::Result<Vec<Observed>, Difference>> {
        if let Step::Word { bytes } = step {
            return Ok(self.word(bytes));
        }
        if let Step::Restart { kill, swap } = step {
            self.restart(*kill, *swap)?;
            return Ok(Ok(Vec::new()));
        }
        let ends_session = ends_session(step);
        let (left, right) = if ends_session {
            (self.left.barrier(false)?, self.right.barrier(false)?)
        } else {
            (self.left.settle(step)?, self.right.settle(step)?)
        };
        let mut before = left.clone();
        if let Some(difference) = differ(left, right) {
            return Ok(Err(difference));
        }
        self.left.begin(step)?;
        self.right.begin(step)?;
        let (mut left, mut right) = (self.left.finish(step)?, self.right.finish(step)?);
        if ends_session {
            // Ephemerals of one session are removed in no particular order (B§1.8), so are the events of it.
            left.extend(self.left.barrier(true)?);
            right.extend(self.right.barrier(true)?);
            sort_runs_of_events(&mut left);
            sort_runs_of_events(&mut right);
        }
        before.extend(left.iter().cloned());
        Ok(match differ(left, right) {
            None => Ok(before),
            Some(difference) => Err(difference),
        })
    }

    /// Counters and lists of connections settle a moment after the last byte: both sides are asked again, equally often.
    fn word(&mut self, bytes: &[u8]) -> std::result::Result<Vec<Observed>, Difference> {
        let mut tries = 0;
        loop {
            let (left, right) = (self.left.word(bytes), self.right.word(bytes));
            if left.text == right.text {
                return Ok(vec![left]);
            }
            tries += 1;
            if tries == 40 {
                return Err(Difference { left: vec![left], right: vec![right], at: 0 });
            }
            std::thread::sleep(Duration::from_millis(5 * tries));
        }
    }

    /// What the servers logged last, for a report.
    pub fn logs(&self) -> String {
        self.servers.iter().fold(String::new(), |mut text, s| {
            let _ = writeln!(
                text,
                "log of {:?}:\n{}",
                s.kind(),
                crate::process::tail(&without_stacks(&s.log()), 12)
            );
            text
        })
    }
}

fn sort_runs_of_events(seen: &mut [Observed]) {
    let is_event = |o: &Observed| o.text.starts_with("event");
    for run in seen.chunk_by_mut(|a, b| is_event(a) && is_event(b) && a.conn == b.conn) {
        run.sort_by(|a, b| a.text.cmp(&b.text));
    }
}

fn without_stacks(log: &str) -> String {
    log.lines().filter(|l| !l.starts_with("\tat ")).fold(String::new(), |text, l| text + l + "\n")
}

fn ends_session(step: &Step) -> bool {
    let closes =
        |frame: &Vec<u8>| Dec(frame.get(4..).unwrap_or_default()).int().is_ok_and(|o| o == op::CLOSE_SESSION);
    matches!(step, Step::Send { frames, closes: true, .. } if frames.last().is_some_and(closes))
}

fn differ(left: Vec<Observed>, right: Vec<Observed>) -> Option<Difference> {
    let same = |a: &Observed, b: &Observed| a.conn == b.conn && a.text == b.text;
    let equal = left.iter().zip(&right).take_while(|(a, b)| same(a, b)).count();
    (equal < left.len() || equal < right.len()).then_some(Difference { left, right, at: equal })
}

/// Op name → error code → how often.
pub type Codes = BTreeMap<String, BTreeMap<i32, usize>>;

/// A finished run: all its steps, and the difference that ended it, if one did.
pub struct Run {
    pub steps: Vec<Step>,
    pub requests: usize,
    pub took: Duration,
    pub codes: Codes,
    pub found: Option<Found>,
}

pub struct Found {
    pub difference: Difference,
    pub report: String,
}

/// Generates from a seed until `requests` were sent or something differs.
pub fn run(setup: &Setup, seed: u64, requests: usize, sessions: usize) -> Result<Run> {
    let mut generator = Generator::new(seed, sessions, setup.profile);
    let mut sent = 0;
    drive(setup, |last| {
        if let Some((step, seen)) = last {
            generator.observe(step, seen);
            sent += step.requests();
        }
        (sent < requests).then(|| generator.next_step())
    })
}

/// Runs a given transcript.
pub fn replay(setup: &Setup, steps: &[Step]) -> Result<Run> {
    let mut steps = steps.iter();
    drive(setup, |_| steps.next().cloned())
}

fn drive(setup: &Setup, mut next: impl FnMut(Option<(&Step, &[Observed])>) -> Option<Step>) -> Result<Run> {
    let mut pair = Pair::start(setup)?;
    let started = Instant::now();
    let mut run =
        Run { steps: Vec::new(), requests: 0, took: Duration::ZERO, codes: Codes::new(), found: None };
    let mut tail: VecDeque<(usize, Step, Vec<Observed>)> = VecDeque::new();
    let mut step = next(None);
    while let Some(current) = step {
        run.requests += current.requests();
        run.steps.push(current.clone());
        match pair.step(&current)? {
            Ok(seen) => {
                count(&current, &seen, &mut run.codes);
                step = next(Some((&current, &seen)));
                tail.push_back((run.steps.len(), current, seen));
                if tail.len() > 12 {
                    tail.pop_front();
                }
            }
            Err(difference) => {
                let mut report = report(run.steps.len(), &current, &difference, &tail);
                report += &pair.logs();
                run.found = Some(Found { difference, report });
                break;
            }
        }
    }
    run.took = started.elapsed();
    Ok(run)
}

/// Per op how often which code came: a differ whose requests all fail proves little.
fn count(step: &Step, seen: &[Observed], codes: &mut Codes) {
    let (Step::Send { frames, .. } | Step::Connect { frames, .. }) = step else { return };
    for observed in seen {
        let Some(frame) = observed.frame.and_then(|i| frames.get(i)) else { continue };
        let Fact::Reply { err, .. } = observed.fact else { continue };
        let op = Dec(frame.get(4..).unwrap_or_default()).int().unwrap_or_default();
        // A failed multi says so in its results.
        let inner =
            observed.text.split("code=-").nth(1).and_then(|t| t.split_whitespace().next()?.parse().ok());
        let err = inner.map_or(err, |code: i32| -code);
        *codes.entry(render::op_name(op)).or_default().entry(err).or_default() += 1;
    }
}

fn report(
    number: usize,
    step: &Step,
    difference: &Difference,
    tail: &VecDeque<(usize, Step, Vec<Observed>)>,
) -> String {
    let mut text = String::new();
    for (n, step, seen) in tail {
        describe(*n, step, seen, &mut text);
    }
    let _ = writeln!(text, "--- step {number} differs ---");
    describe(number, step, &difference.left[..difference.at], &mut text);
    let asked = [&difference.left, &difference.right].iter().find_map(|side| side.get(difference.at)?.frame);
    if let (Some(i), Step::Send { frames, .. } | Step::Connect { frames, .. }) = (asked, step)
        && let Some(frame) = frames.get(i)
    {
        let _ = writeln!(text, "request: {}", render::request(frame));
    }
    let of = |side: &[Observed]| side.get(difference.at).map_or(String::new(), |o| o.text.clone());
    let (left, right) = (of(&difference.left), of(&difference.right));
    for (name, side, text_here, text_there) in
        [("left ", &difference.left, &left, &right), ("right", &difference.right, &right, &left)]
    {
        let Some(o) = side.get(difference.at) else {
            text += &format!("{name}: (nothing more)\n");
            continue;
        };
        let shown = if matches!(step, Step::Word { .. }) {
            lines_missing(text_here, text_there)
        } else {
            o.text.clone()
        };
        let _ = writeln!(text, "{name}: c{} {shown}", o.conn.map_or("-".into(), |c| c.to_string()));
        let _ = writeln!(text, "   hex: {}", cut(&hex(&o.raw), 600));
    }
    text
}

/// The lines of one text that the other has not: a four-letter answer is long, its difference is one line.
fn lines_missing(here: &str, there: &str) -> String {
    let mut rest: Vec<&str> = there.lines().collect();
    let mut missing = String::new();
    for line in here.lines() {
        match rest.iter().position(|other| *other == line) {
            Some(i) => {
                rest.remove(i);
            }
            None => missing += &format!("\n   {line}"),
        }
    }
    if missing.is_empty() { "(every line is there, in some order)".to_string() } else { missing }
}

fn describe(number: usize, step: &Step, seen: &[Observed], text: &mut String) {
    let head = match step {
        Step::Connect { conn, hello, .. } => format!("c{conn} connect {hello:?}"),
        Step::Send { conn, frames, closes } => {
            format!("c{conn} send {} {}", frames.len(), if *closes { "(closes)" } else { "" })
        }
        Step::Word { bytes } => format!("word {}", String::from_utf8_lossy(bytes)),
        other => cut(&other.to_string(), 200),
    };
    let _ = writeln!(text, "#{number} {head}");
    if let Step::Send { frames, .. } | Step::Connect { frames, .. } = step {
        for (i, frame) in frames.iter().enumerate() {
            let _ = writeln!(text, "   > [{i}] {}", cut(&render::request(frame), 600));
        }
    }
    for o in seen {
        let which = o.frame.map_or(String::new(), |i| format!("[{i}] "));
        let _ = writeln!(
            text,
            "   < c{} {which}{}",
            o.conn.map_or("-".into(), |c| c.to_string()),
            cut(&o.text, 600)
        );
    }
}

fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((i, _)) => format!("{}…", &text[..i]),
        None => text.to_string(),
    }
}

/// Removes what the difference does not need, each time on fresh servers, until `budget` is spent.
pub fn shrink(setup: &Setup, steps: &[Step], budget: Duration) -> Result<(Vec<Step>, String)> {
    let deadline = Instant::now() + budget;
    let mut best = steps.to_vec();
    let mut report = String::new();
    let mut still = |steps: &[Step], report: &mut String| -> Result<Option<Vec<Step>>> {
        let run = replay(setup, steps)?;
        // A difference that comes earlier is another one.
        let found = run.found.filter(|_| run.steps.len() == steps.len());
        Ok(found.map(|found| {
            *report = found.report;
            run.steps
        }))
    };
    match still(&best, &mut report)? {
        Some(shorter) => best = shorter,
        None => return Ok((best, "the difference does not come again on fresh servers\n".to_string())),
    }
    let mut chunk = best.len() / 2;
    while chunk > 0 && Instant::now() < deadline {
        let mut start = 0;
        // The last step is where it shows: it stays.
        while start + 1 < best.len() && Instant::now() < deadline {
            let end = (start + chunk).min(best.len() - 1);
            let candidate: Vec<Step> = best[..start].iter().chain(&best[end..]).cloned().collect();
            match still(&candidate, &mut report)? {
                Some(shorter) => best = shorter,
                None => start = end,
            }
        }
        chunk /= 2;
    }
    split_batches(&mut best, &mut report, deadline, &mut still)?;
    Ok((best, report))
}

/// Takes single requests out of the batches that are left.
fn split_batches(
    best: &mut Vec<Step>,
    report: &mut String,
    deadline: Instant,
    still: &mut impl FnMut(&[Step], &mut String) -> Result<Option<Vec<Step>>>,
) -> Result<()> {
    let mut at = 0;
    while at < best.len() {
        let mut frame = 0;
        while Instant::now() < deadline {
            let mut candidate = best.clone();
            let Some(Step::Send { frames, .. } | Step::Connect { frames, .. }) = candidate.get_mut(at) else {
                break;
            };
            if frame >= frames.len() || frames.len() == 1 {
                break;
            }
            frames.remove(frame);
            match still(&candidate, report)? {
                Some(shorter) => *best = shorter,
                None => frame += 1,
            }
        }
        at += 1;
    }
    Ok(())
}
