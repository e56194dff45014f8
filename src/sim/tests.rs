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
    let prints = number("SIM_SEED").is_some();
    let options = match std::env::var("SIM_CANARY") {
        Ok(name) => {
            Options { prints, ..put_back(CANARIES.iter().copied().find(|c| format!("{c:?}") == name)) }
        }
        Err(_) => Options { prints, ..Options::default() },
    };
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

const CANARIES: &[Canary] = &[Canary::FsyncIgnored, Canary::EarlyNewLeaderAck, Canary::EpochBeforeTxns];

/// A run with a bug put back, without the invariants that look at the driver itself.
fn put_back(canary: Option<Canary>) -> Options {
    Options {
        canary,
        except: vec!["NoAckBeforeDurable", "CommittedLogDurability", "Recovery"],
        ..Options::default()
    }
}

/// Some minutes: `cargo test --lib sim::tests::canaries -- --ignored --nocapture`. What a canary's seed finds is seen with
/// `SIM_CANARY=EarlyNewLeaderAck SIM_SEED=x`, as in `seeds`.
#[test]
#[ignore = "takes long in a debug build"]
fn canaries() {
    let seeds = number("SIM_SEEDS").unwrap_or(20_000);
    for canary in CANARIES {
        let options = put_back(Some(*canary));
        let found = (1..=seeds).find_map(|seed| Some((seed, failure(&caught(seed, &options, false))?)));
        eprintln!("{canary:?}: {found:?}");
        assert!(found.is_some(), "no seed finds {canary:?}");
    }
}
