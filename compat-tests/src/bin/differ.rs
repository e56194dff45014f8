//! `differ --seed S --requests N --sessions K [--left PEER] [--right PEER] [--profile P] [--words false] [--restarts false] [--astral true] [--shrink SECONDS] [--replay FILE]`
//!
//! A PEER is `java:3.5.7`, `java:3.9.3`, `ferrokeeper` or the address of a fresh server. Several seeds: `--seeds FROM..TO`.
//! A difference is printed, the transcript saved, and the exit code is 1.

use std::ops::Range;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use compat_tests::differ::compare::{self, PLAIN, Peer, Run, Setup, profile};
use compat_tests::differ::step::{Step, parse};
use compat_tests::differ::{deliberate, generate::Profile};
use compat_tests::process::Kind;

struct Arguments {
    seeds: Range<u64>,
    requests: usize,
    sessions: usize,
    left: Peer,
    right: Peer,
    profile: Profile,
    shrink: Option<Duration>,
    replay: Option<String>,
    right_flags: Vec<String>,
    right_lines: Vec<String>,
}

fn main() -> ExitCode {
    match arguments().and_then(|a| differ(&a)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(e) => {
            eprintln!("differ: {e:#}");
            ExitCode::from(2)
        }
    }
}

fn arguments() -> Result<Arguments> {
    let mut a = Arguments {
        seeds: 1..2,
        requests: 20_000,
        sessions: 6,
        left: Peer::Start(Kind::java("3.5.7")),
        right: Peer::Start(Kind::Ferrokeeper),
        profile: PLAIN,
        shrink: None,
        replay: None,
        right_flags: Vec::new(),
        right_lines: Vec::new(),
    };
    let mut words = std::env::args().skip(1);
    while let Some(key) = words.next() {
        let value = words.next().ok_or_else(|| anyhow!("{key} needs a value"))?;
        match key.as_str() {
            "--seed" => {
                let seed = value.parse()?;
                a.seeds = seed..seed + 1;
            }
            "--seeds" => {
                let (from, to) = value.split_once("..").ok_or_else(|| anyhow!("--seeds FROM..TO"))?;
                a.seeds = from.parse()?..to.parse()?;
            }
            "--requests" => a.requests = value.parse()?,
            "--sessions" => a.sessions = value.parse()?,
            "--left" => a.left = peer(&value)?,
            "--right" => a.right = peer(&value)?,
            "--profile" => a.profile = profile(&value).ok_or_else(|| anyhow!("unknown profile {value}"))?,
            "--shrink" => a.shrink = Some(Duration::from_secs(value.parse()?)),
            "--restarts" => a.profile.restarts = value.parse()?,
            "--astral" => a.profile.astral = value.parse()?,
            "--words" => a.profile.words = value.parse()?,
            "--replay" => a.replay = Some(value),
            "--right-flag" => a.right_flags.push(value),
            "--right-line" => a.right_lines.push(value),
            _ => bail!("unknown argument {key}"),
        }
    }
    Ok(a)
}

fn peer(text: &str) -> Result<Peer> {
    Ok(match text {
        "ferrokeeper" => Peer::Start(Kind::Ferrokeeper),
        _ => match text.strip_prefix("java:") {
            Some(version) => Peer::Start(Kind::java(version)),
            None => Peer::At(text.parse().with_context(|| format!("{text} is no peer"))?),
        },
    })
}

/// True when nothing differs.
fn differ(a: &Arguments) -> Result<bool> {
    let mut setup = Setup::new(a.left.clone(), a.right.clone(), a.profile);
    setup.right_flags = a.right_flags.clone();
    setup.right_lines = a.right_lines.clone();
    println!("{:?} against {:?}, profile {}; not sent:", a.left, a.right, a.profile.name);
    for d in deliberate::holding(a.profile.modern) {
        println!("  {}: {}", d.what, d.why);
    }
    if let Some(file) = &a.replay {
        let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {file}"))?;
        let steps = parse(&text).with_context(|| format!("cannot read {file}"))?;
        let run = compare::replay(&setup, &steps)?;
        return conclude(a, &setup, file, run);
    }
    let mut same = true;
    for seed in a.seeds.clone() {
        let run = compare::run(&setup, seed, a.requests, a.sessions)?;
        same &= conclude(a, &setup, &format!("seed {seed}"), run)?;
    }
    Ok(same)
}

fn conclude(a: &Arguments, setup: &Setup, what: &str, run: Run) -> Result<bool> {
    println!("{what}: {} requests in {} steps, {:.1?}", run.requests, run.steps.len(), run.took);
    let Some(found) = run.found else {
        for (op, codes) in &run.codes {
            let codes: Vec<String> = codes.iter().rev().map(|(code, n)| format!("{code}×{n}")).collect();
            println!("  {op}: {}", codes.join(" "));
        }
        return Ok(true);
    };
    println!("{}", found.report);
    save(what, "transcript", &run.steps)?;
    if let Some(budget) = a.shrink {
        let (steps, report) = compare::shrink(setup, &run.steps, budget)?;
        println!("=== shrunk to {} steps ===\n{report}", steps.len());
        save(what, "shrunk", &steps)?;
    }
    Ok(false)
}

fn save(what: &str, kind: &str, steps: &[Step]) -> Result<()> {
    let folder = compat_tests::java::target_dir().join("differ");
    std::fs::create_dir_all(&folder)?;
    let name = what.rsplit('/').next().unwrap_or(what).replace(' ', "-");
    let file = folder.join(format!("{name}.{kind}"));
    std::fs::write(&file, steps.iter().map(|s| format!("{s}\n")).collect::<String>())?;
    println!("saved {}", file.display());
    Ok(())
}
