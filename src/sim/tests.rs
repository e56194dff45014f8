//! Seeds, their replay, and the canaries.

use super::{Canary, Options, Report, world::run_with};

/// How many seeds an ordinary `cargo test` tries.
const SEEDS: u64 = 300;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// The run, also where the code under test panics.
fn caught(seed: u64, options: &Options, keeps: bool) -> Result<Report, String> {
    let options = options.clone();
    let run = std::panic::AssertUnwindSafe(|| run_with(seed, &options, keeps));
    std::panic::catch_unwind(run).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_owned()
    })
}

fn failure(report: &Result<Report, String>) -> Option<String> {
    match report {
        Err(panic) => Some(format!("Panic: {panic}")),
        Ok(report) => report.failure.as_ref().map(ToString::to_string),
    }
}

/// What is wrong, and how it came to that.
fn describe(seed: u64, options: &Options) -> String {
    let report = caught(seed, options, true);
    let tail = report.as_ref().map_or_else(|_| Vec::new(), |r| r.tail.clone());
    let tail = tail[tail.len().saturating_sub(80)..].join("\n");
    format!(
        "seed {seed}: {}\n{tail}\nreplay with: SIM_SEED={seed} cargo test --lib sim::tests::seeds -- --nocapture",
        failure(&report).unwrap_or_default()
    )
}

#[test]
fn seeds() {
    let options = Options { prints: number("SIM_SEED").is_some(), ..Options::default() };
    if let Some(seed) = number("SIM_SEED") {
        let report = caught(seed, &options, false);
        println!("{:?}", report.as_ref().map(|r| (r.hash, r.events, r.delivered, r.counts)));
        assert_eq!(failure(&report), None, "seed {seed}");
        return;
    }
    let first = number("SIM_FIRST").unwrap_or(1);
    let seeds = number("SIM_SEEDS").unwrap_or(SEEDS);
    let mut failed = Vec::new();
    let (mut events, mut delivered, mut epochs, mut snaps, mut truncs, mut logs) = (0, 0, 0, 0, 0, 0);
    for seed in first..first + seeds {
        let report = caught(seed, &options, false);
        if let Some(what) = failure(&report) {
            eprintln!("seed {seed}: {}", what.lines().next().unwrap_or_default());
            failed.push(seed);
        }
        if let Ok(report) = report {
            events += report.events;
            delivered += report.delivered;
            epochs += report.counts.epochs;
            snaps += report.counts.snaps;
            truncs += report.counts.truncs;
            logs += report.counts.log_streams;
        }
    }
    eprintln!(
        "{seeds} seeds: {events} events, {delivered} txns delivered, {epochs} epochs, {snaps} SNAP, {truncs} TRUNC, {logs} from the log"
    );
    if let Some(seed) = failed.first() {
        panic!("{} of {seeds} seeds fail: {failed:?}\n{}", failed.len(), describe(*seed, &options));
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in [1, 2, 3, 4, 5] {
        let run = || {
            let report = run_with(seed, &Options::default(), false);
            (report.hash, report.events, report.delivered)
        };
        assert_eq!(run(), run(), "seed {seed}");
    }
}

/// The first seed that finds a bug put back, without the invariants that look at the driver itself.
fn finds(canary: Canary, seeds: u64) -> Option<(u64, String)> {
    let except = vec!["NoAckBeforeDurable", "CommittedLogDurability"];
    let options = Options { canary: Some(canary), except, ..Options::default() };
    (1..=seeds).find_map(|seed| Some((seed, failure(&caught(seed, &options, false))?)))
}

/// Several minutes: `cargo test --lib sim::tests::canar -- --ignored --nocapture`.
#[test]
#[ignore = "takes long in a debug build"]
fn canaries() {
    for canary in [Canary::FsyncIgnored, Canary::EarlyNewLeaderAck, Canary::EpochBeforeTxns] {
        let found = finds(canary, 20_000);
        eprintln!("{canary:?}: {found:?}");
        assert!(found.is_some(), "no seed finds {canary:?}");
    }
}
