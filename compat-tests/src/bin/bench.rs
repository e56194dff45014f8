//! `bench [--runs 3] [--seconds N] [--only NAME,…] [--left java:3.5.7] [--right ferrokeeper] [--json OUT] [--quick]
//! [--ensemble]`
//!
//! Prints the table on stdout and what it is doing on stderr; the JSON goes to `target/bench/bench.json` unless told
//! otherwise. `--ensemble`: three servers on each side, and what ensembles are measured by. Further: `--java-heap MB`, `--tree-heap MB` (1000 each, as in zkEnv.sh; the second with the large tree),
//! `--nodes N` of the large tree. Exit code 0 also when a bar is missed: this measures, it does not judge a build.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use compat_tests::bench::report::{Journal, Machine, Report, ceiling};
use compat_tests::bench::{Settings, Side, ensemble_suite, load_suite, subject::bench_dir, tree_suite};
use compat_tests::process::Kind;

struct Arguments {
    settings: Settings,
    json: PathBuf,
}

fn main() -> ExitCode {
    match arguments().and_then(|a| bench(&a)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("bench: {e:#}");
            ExitCode::from(2)
        }
    }
}

fn arguments() -> Result<Arguments> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let kinds = [Kind::java("3.5.7"), Kind::Ferrokeeper];
    let quick = words.iter().any(|w| w == "--quick");
    let mut s = if quick { Settings::quick(kinds) } else { Settings::full(kinds) };
    let mut json = bench_dir().join("bench.json");
    if words.iter().any(|w| w == "--ensemble") {
        s = s.ensemble();
        json = bench_dir().join("ensemble.json");
    }
    let mut words = words.iter().filter(|w| *w != "--quick" && *w != "--ensemble");
    while let Some(key) = words.next() {
        let value = words.next().ok_or_else(|| anyhow!("{key} needs a value"))?;
        match key.as_str() {
            "--runs" => s.runs = number(key, value)?,
            "--seconds" => s.window = Duration::from_secs(number(key, value)?),
            "--only" => s.only = measures(s.measures(), value)?,
            "--left" => s.kinds[0] = kind(value)?,
            "--right" => s.kinds[1] = kind(value)?,
            "--json" => json = PathBuf::from(value),
            "--java-heap" => s.java_heap_mb = number(key, value)?,
            "--tree-heap" => s.java_tree_heap_mb = number(key, value)?,
            "--nodes" => s.tree_nodes = number(key, value)?,
            _ => bail!("unknown argument {key}"),
        }
    }
    if s.runs == 0 || s.window.is_zero() || s.tree_nodes < 1000 || s.tree_nodes > 1_000_000 {
        bail!("at least one run, one second and 1000 nodes; at most a million of them");
    }
    Ok(Arguments { settings: s, json })
}

fn number<T: std::str::FromStr>(key: &str, value: &str) -> Result<T> {
    value.parse().map_err(|_| anyhow!("{key} needs a number, not {value}"))
}

fn measures(known: &[&str], list: &str) -> Result<Vec<String>> {
    let names: Vec<String> = list.split(',').map(str::to_string).collect();
    match names.iter().find(|n| !known.contains(&n.as_str())) {
        Some(unknown) => bail!("unknown measure {unknown}; there are {}", known.join(", ")),
        None => Ok(names),
    }
}

fn kind(text: &str) -> Result<Kind> {
    match text.strip_prefix("java:") {
        Some(version) => Ok(Kind::java(version)),
        None if text == "ferrokeeper" => Ok(Kind::Ferrokeeper),
        None => bail!("{text} is neither java:VERSION nor ferrokeeper"),
    }
}

fn bench(a: &Arguments) -> Result<()> {
    let (s, start) = (&a.settings, Instant::now());
    if cfg!(debug_assertions) {
        eprintln!("bench: a debug build measures nothing worth knowing; use cargo run --release");
    }
    let machine = Machine::look()?;
    let ceiling =
        ceiling(s, load_suite::VALUE_LEN).context("the generator against a server that does nothing")?;
    eprintln!("generator alone: {ceiling:?}");
    let mut journal = Journal::new(&s.kinds);
    if s.ensemble {
        ensembles(s, &mut journal)?
    } else {
        single_servers(s, &mut journal)?
    }
    let report = Report::new(s, machine, ceiling, journal);
    report.write_json(&a.json)?;
    println!("{}", report.markdown());
    eprintln!("bench: took {:.0?}; all runs are in {}", start.elapsed(), a.json.display());
    Ok(())
}

fn ensembles(s: &Settings, journal: &mut Journal) -> Result<()> {
    for run in 1..=s.runs {
        for side in Side::BOTH {
            ensemble_suite::run(s, run, side, journal).with_context(|| blame(s, side))?;
        }
        ensemble_suite::run_mix(s, run, journal).context("measuring an ensemble of both kinds")?;
    }
    Ok(())
}

fn single_servers(s: &Settings, journal: &mut Journal) -> Result<()> {
    for run in 1..=s.runs {
        for side in Side::BOTH {
            load_suite::run(s, run, side, journal).with_context(|| blame(s, side))?;
        }
    }
    let mut seeds = Vec::new();
    for side in Side::BOTH {
        tree_suite::flat(s, side, journal).with_context(|| blame(s, side))?;
        seeds.push(tree_suite::fill(s, side, journal).with_context(|| blame(s, side))?);
    }
    if s.wants_any(&["restart", "snapshots"]) {
        for run in 1..=s.runs {
            for (side, seed) in Side::BOTH.into_iter().zip(&seeds) {
                let Some(seed) = seed else { continue };
                tree_suite::run(s, run, side, seed, journal).with_context(|| blame(s, side))?;
            }
        }
    }
    seeds.into_iter().flatten().try_for_each(tree_suite::Seed::remove)
}

fn blame(settings: &Settings, side: Side) -> String {
    format!("measuring {:?}", settings.kinds[side as usize])
}
