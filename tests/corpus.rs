//! The fuzz targets of `fuzz/` without a fuzzer: every file of their corpora, then seeded mutations of them.
//!
//! Stable Rust, no libFuzzer. `FUZZ_SECONDS=60 cargo test --test corpus -- --nocapture` goes on for a minute a target.

#[path = "../fuzz/src/lib.rs"]
mod targets;

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    time::{Duration, Instant},
};

/// As long as a corpus file or two.
const MAX_LEN: usize = 4096;
/// Mutated inputs where nobody asks for more: a moment, and the same ones every time.
const MUTATIONS: u64 = 1000;

#[test]
fn client_frame() {
    check("client_frame");
}

#[test]
fn jute_records() {
    check("jute_records");
}

#[test]
fn notification() {
    check("notification");
}

#[test]
fn quorum_packet() {
    check("quorum_packet");
}

#[test]
fn snapshot() {
    check("snapshot");
}

#[test]
fn txn() {
    check("txn");
}

#[test]
fn txn_log() {
    check("txn_log");
}

#[test]
fn zoo_cfg() {
    check("zoo_cfg");
}

#[test]
fn every_target_has_a_test_and_a_fuzzer() {
    let tests = fs::read_to_string(file!()).expect("this file");
    for (name, _) in targets::TARGETS {
        assert!(tests.contains(&format!("check(\"{name}\")")), "{name} has no test");
        let fuzzer = format!("fuzz/fuzz_targets/{name}.rs");
        let text = fs::read_to_string(&fuzzer).expect(&fuzzer);
        assert!(text.contains(&format!("{name}::run(data)")), "{fuzzer} runs something else");
    }
}

fn check(name: &str) {
    let (_, run) = targets::TARGETS.iter().find(|(known, _)| *known == name).expect(name);
    let corpus = corpus(name);
    for (file, data) in &corpus {
        run_one(*run, data, file);
    }
    let seconds = std::env::var("FUZZ_SECONDS").ok().and_then(|s| s.parse().ok()).map(Duration::from_secs);
    #[allow(clippy::disallowed_methods, reason = "how long to go on is not the core's business")]
    let begin = Instant::now();
    let mut dice = Dice(0x5eed);
    let mut done = 0;
    while seconds.map_or(done < MUTATIONS, |limit| begin.elapsed() < limit) {
        let mut data = dice.pick(&corpus).1.clone();
        for _ in 0..=dice.below(4) {
            dice.mutate(&mut data, &corpus);
        }
        data.truncate(MAX_LEN);
        done += 1;
        run_one(*run, &data, &format!("{name}, mutation {done}"));
    }
    println!("{name}: {} files and {done} mutations", corpus.len());
}

fn corpus(name: &str) -> Vec<(String, Vec<u8>)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let entries = fs::read_dir(&dir).expect("the corpus").map(|entry| entry.expect("an entry").path());
    let mut files: Vec<(String, Vec<u8>)> =
        entries.map(|path| (path.display().to_string(), fs::read(&path).expect("a file"))).collect();
    files.sort();
    assert!(files.len() > 20, "{} has only {} files", dir.display(), files.len());
    files
}

fn run_one(run: targets::Target, data: &[u8], what: &str) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(data))) {
        eprintln!("{what} breaks the target: {}", data.escape_ascii());
        std::panic::resume_unwind(panic);
    }
}

/// splitmix64.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.roll() % n.max(1) as u64) as usize
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    /// One change: a bit, a byte, a number that is on the edge, a piece cut out, doubled, or taken from another file.
    fn mutate(&mut self, data: &mut Vec<u8>, corpus: &[(String, Vec<u8>)]) {
        const NUMBERS: [i32; 8] = [-1, 0, 1, i32::MIN, i32::MAX, -2, 0x10_0000, 0x2f];
        let at = self.below(data.len() + 1);
        let end = at + self.below((data.len() - at).min(64) + 1);
        match self.below(6) {
            0 if at < data.len() => data[at] ^= 1 << self.below(8),
            1 if at < data.len() => data[at] = self.roll() as u8,
            2 if at + 4 <= data.len() => {
                data[at..at + 4].copy_from_slice(&self.pick(&NUMBERS).to_be_bytes());
            }
            3 => drop(data.drain(at..end)),
            4 => {
                let piece = data[at..end].to_vec();
                data.splice(at..at, piece);
            }
            _ => {
                let other = &self.pick(corpus).1;
                let from = self.below(other.len() + 1);
                let to = from + self.below(other.len() - from + 1);
                data.splice(at..end, other[from..to].iter().copied());
            }
        }
    }
}
