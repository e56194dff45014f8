//! What happened, one line an event, and a hash by which two runs are told apart.

use std::collections::VecDeque;

use super::world::Micros;

/// Lines kept for a failure's report.
const TAIL: usize = 400;

#[derive(Debug, Default)]
pub struct Trace {
    hash: u64,
    events: u64,
    lines: Option<VecDeque<String>>,
    prints: bool,
}

impl Trace {
    /// `keeps`: the last lines, for a report; `prints`: every line, as it comes.
    pub fn new(keeps: bool, prints: bool) -> Trace {
        Trace { hash: 0, events: 0, lines: (keeps || prints).then(VecDeque::new), prints }
    }

    /// Takes an event into the hash: when it was, what kind it was, and where the draws have got to.
    pub fn event(&mut self, at: Micros, kind: u64, draws: u64) {
        self.events += 1;
        for word in [at, kind, draws] {
            self.hash = (self.hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        }
    }

    /// The line is only made where somebody wants it.
    #[inline]
    pub fn line(&mut self, at: Micros, line: impl FnOnce() -> String) {
        let Some(lines) = &mut self.lines else { return };
        let line = format!("{:>10.3} {}", at as f64 / 1000.0, line());
        if self.prints {
            println!("{line}");
        }
        if lines.len() == TAIL {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    pub fn hash(&self) -> u64 {
        self.hash
    }

    pub fn events(&self) -> u64 {
        self.events
    }

    pub fn tail(&self) -> Vec<String> {
        self.lines.iter().flatten().cloned().collect()
    }
}
