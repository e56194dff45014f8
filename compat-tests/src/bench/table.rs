//! The rows of the result: what was measured, against which bar, met or not. Markdown, to be pasted into the README.

use serde::Serialize;

use crate::bench::Side;
use crate::bench::report::Sample;
use crate::bench::stats::{median, ratio};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    PerSecond,
    Micros,
    Millis,
    Bytes,
    Times,
    Percent,
}

/// What the right side has to reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bar {
    /// Information only.
    None,
    /// right / left.
    RatioAtLeast(f64),
    RatioAtMost(f64),
    RatioBelow(f64),
    /// The right side's value by itself.
    AtMost(f64),
    Below(f64),
}

#[derive(Clone, Copy, Debug)]
pub struct Measure {
    pub key: &'static str,
    pub title: &'static str,
    pub unit: Unit,
    pub bar: Bar,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    pub key: &'static str,
    pub title: &'static str,
    /// Medians.
    pub left: Option<f64>,
    pub right: Option<f64>,
    pub ratio: Option<f64>,
    pub bar: String,
    /// None where there is no bar.
    pub met: Option<bool>,
    #[serde(skip)]
    unit: Option<Unit>,
}

pub fn rows(samples: &[Sample]) -> Vec<Row> {
    MEASURES.iter().filter_map(|m| row(m, samples)).collect()
}

fn row(m: &Measure, samples: &[Sample]) -> Option<Row> {
    let side = |side: Side| -> Option<f64> {
        let of_side = samples.iter().filter(|s| s.measure == m.key && s.side == side);
        median(&of_side.map(|s| s.value).collect::<Vec<_>>())
    };
    let (left, right) = (side(Side::Left), side(Side::Right));
    left.or(right)?;
    let comparable = !matches!(m.unit, Unit::Times | Unit::Percent);
    let ratio = left.zip(right).filter(|_| comparable).and_then(|(l, r)| ratio(l, r));
    let met = m.bar.met(right, ratio);
    Some(Row {
        key: m.key,
        title: m.title,
        left,
        right,
        ratio,
        bar: m.bar.text(m.unit),
        met,
        unit: Some(m.unit),
    })
}

impl Bar {
    fn met(self, right: Option<f64>, ratio: Option<f64>) -> Option<bool> {
        match self {
            Bar::None => None,
            Bar::RatioAtLeast(bar) => ratio.map(|r| r >= bar),
            Bar::RatioAtMost(bar) => ratio.map(|r| r <= bar),
            Bar::RatioBelow(bar) => ratio.map(|r| r < bar),
            Bar::AtMost(bar) => right.map(|r| r <= bar),
            Bar::Below(bar) => right.map(|r| r < bar),
        }
    }

    fn text(self, unit: Unit) -> String {
        match self {
            Bar::None => String::new(),
            Bar::RatioAtLeast(bar) => format!("≥ {}", short_ratio(bar)),
            Bar::RatioAtMost(bar) => format!("≤ {}", short_ratio(bar)),
            Bar::RatioBelow(bar) => format!("< {}", short_ratio(bar)),
            Bar::AtMost(bar) => format!("≤ {}", bound(unit, bar)),
            Bar::Below(bar) => format!("< {}", bound(unit, bar)),
        }
    }
}

pub fn markdown(left: &str, right: &str, rows: &[Row]) -> String {
    let mut out = format!("| | {left} | {right} | ratio | bar | met |\n|---|---:|---:|---:|---:|---|\n");
    for row in rows {
        let value =
            |v: Option<f64>| v.map_or("–".to_string(), |v| row.unit.map_or(v.to_string(), |u| show(u, v)));
        out += &format!(
            "| {} | {} | {} | {} | {} | {} |\n",
            row.title,
            value(row.left),
            value(row.right),
            row.ratio.map_or("–".to_string(), times),
            row.bar,
            match row.met {
                Some(true) => "yes",
                Some(false) => "**no**",
                None => "",
            }
        );
    }
    out
}

/// Three digits that count, thousands apart.
pub fn show(unit: Unit, value: f64) -> String {
    match unit {
        Unit::PerSecond => format!("{}/s", thousands(value.round() as u64)),
        Unit::Micros => format!("{} µs", three_digits(value)),
        Unit::Millis if value >= 1000.0 => format!("{} s", three_digits(value / 1000.0)),
        Unit::Millis => format!("{} ms", three_digits(value)),
        Unit::Bytes => format!("{} MB", three_digits(value / 1e6)),
        Unit::Times => times(value),
        Unit::Percent => format!("{} %", three_digits(value)),
    }
}

fn bound(unit: Unit, value: f64) -> String {
    match unit {
        Unit::Bytes => format!("{} MB", value / 1e6),
        Unit::Millis => format!("{value} ms"),
        Unit::Times => format!("{value}×"),
        _ => show(unit, value),
    }
}

fn times(value: f64) -> String {
    if value >= 0.1 { format!("{}×", three_digits(value)) } else { format!("{value:.3}×") }
}

/// Bars are whole numbers or one part of a whole number.
fn short_ratio(bar: f64) -> String {
    if bar >= 1.0 { format!("{bar}×") } else { format!("1/{:.0}", 1.0 / bar) }
}

fn three_digits(value: f64) -> String {
    let decimals = match value.abs() {
        v if v >= 100.0 => 0,
        v if v >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.decimals$}")
}

fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

const fn measure(key: &'static str, title: &'static str, unit: Unit, bar: Bar) -> Measure {
    Measure { key, title, unit, bar }
}

/// In the order of the table. Samples of other keys are in the JSON only.
pub const MEASURES: &[Measure] = &[
    measure("reads.ops", "reads: getData 1 KiB, 32 × 8 in flight", Unit::PerSecond, Bar::RatioAtLeast(4.0)),
    measure("reads.cpu", "… server CPU per read", Unit::Micros, Bar::RatioAtMost(0.25)),
    measure("writes.ops", "writes: setData 1 KiB, 32 × 8 in flight", Unit::PerSecond, Bar::RatioAtLeast(3.0)),
    measure("writes.cpu", "… server CPU per write", Unit::Micros, Bar::RatioAtMost(1.0 / 3.0)),
    measure("mixed.ops", "70 % reads, 30 % writes", Unit::PerSecond, Bar::None),
    measure("mixed.cpu", "… server CPU per request", Unit::Micros, Bar::None),
    measure("creates.ops", "creates 1 KiB, 32 × 8 in flight", Unit::PerSecond, Bar::None),
    measure("creates.cpu", "… server CPU per create", Unit::Micros, Bar::None),
    measure("sync.p50", "one client, one write at a time: p50", Unit::Millis, Bar::RatioAtMost(1.0)),
    measure("sync.p99", "… p99", Unit::Millis, Bar::RatioAtMost(1.0)),
    measure("rss.end", "RSS after reads, writes, mixed", Unit::Bytes, Bar::RatioAtMost(0.2)),
    measure("rss.peak", "… its peak", Unit::Bytes, Bar::RatioAtMost(0.2)),
    measure("idle.rss", "RSS idle, after start", Unit::Bytes, Bar::AtMost(15e6)),
    measure("cold.session", "cold start to the first session", Unit::Millis, Bar::Below(100.0)),
    measure("cold.ruok", "cold start to the first `imok`", Unit::Millis, Bar::Below(100.0)),
    measure("tree.rss", "RSS with the large tree", Unit::Bytes, Bar::RatioAtMost(0.5)),
    measure("tree.peak", "… its peak", Unit::Bytes, Bar::None),
    measure("tree.rss_gc", "… after a full GC (Java) or as it stands", Unit::Bytes, Bar::None),
    measure("tree.rss_worked", "… after restart, writes and snapshots", Unit::Bytes, Bar::None),
    measure("tree.fill", "filling it, 32 × 32 creates in flight", Unit::PerSecond, Bar::None),
    measure("restart.ms", "restart with it to the first read answered", Unit::Millis, Bar::RatioAtMost(0.25)),
    measure("snapshots.p999_without", "write p99.9, no snapshot running", Unit::Millis, Bar::None),
    measure("snapshots.p999_with", "write p99.9, snapshots back to back", Unit::Millis, Bar::None),
    measure("snapshots.growth", "… growth of the p99.9", Unit::Times, Bar::AtMost(2.0)),
    measure("snapshots.share", "… time with a snapshot being written", Unit::Percent, Bar::None),
    measure("flat.rss", "RSS with as many znodes under one parent", Unit::Bytes, Bar::RatioAtMost(0.5)),
    measure("flat.restart", "restart with them", Unit::Millis, Bar::RatioAtMost(0.25)),
    measure(
        "3.reads.ops",
        "reads: getData 1 KiB, 33 × 8 in flight over all three",
        Unit::PerSecond,
        Bar::RatioAtLeast(4.0),
    ),
    measure("3.reads.cpu", "… CPU per read, three servers", Unit::Micros, Bar::None),
    measure(
        "3.writes.ops",
        "writes: setData 1 KiB, 33 × 8 in flight over all three",
        Unit::PerSecond,
        Bar::RatioAtLeast(4.0),
    ),
    measure("3.writes.cpu", "… CPU per write, three servers", Unit::Micros, Bar::RatioAtMost(0.25)),
    measure("3.writes.p99", "… p99 of it", Unit::Millis, Bar::RatioAtMost(1.0 / 3.0)),
    measure("3.mixed.ops", "70 % reads, 30 % writes", Unit::PerSecond, Bar::RatioAtLeast(4.0)),
    measure("3.mixed.cpu", "… CPU per request, three servers", Unit::Micros, Bar::None),
    measure(
        "3.sync.follower.p50",
        "one client of a follower, one write at a time: p50",
        Unit::Millis,
        Bar::RatioAtMost(0.5),
    ),
    measure("3.sync.follower.p99", "… p99", Unit::Millis, Bar::None),
    measure(
        "3.sync.leader.p50",
        "one client of the leader, one write at a time: p50",
        Unit::Millis,
        Bar::RatioAtMost(0.5),
    ),
    measure("3.sync.leader.p99", "… p99", Unit::Millis, Bar::None),
    measure(
        "3.rss.leader",
        "RSS of the leader after reads, writes, mixed",
        Unit::Bytes,
        Bar::RatioAtMost(0.2),
    ),
    measure("3.rss.follower", "… of a follower", Unit::Bytes, Bar::RatioAtMost(0.2)),
    measure(
        "3.failover",
        "kill -9 of the leader under load to the next write acknowledged",
        Unit::Millis,
        Bar::Below(150.0),
    ),
    measure("3.failover_worst", "… the slowest of a run", Unit::Millis, Bar::None),
    measure(
        "3.failover_mix",
        "… in ensembles of both kinds (left: all Java, as above)",
        Unit::Millis,
        Bar::RatioBelow(1.0),
    ),
    measure(
        "3.behind",
        "a follower that restarts behind, to its first read of the last txn",
        Unit::Millis,
        Bar::RatioAtMost(0.25),
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(side: Side, run: usize, measure: &'static str, value: f64) -> Sample {
        Sample { run, side, measure, value, window: None }
    }

    #[test]
    fn a_row_has_medians_and_judges_the_right_side() {
        let samples = [
            sample(Side::Left, 1, "reads.ops", 10_000.0),
            sample(Side::Right, 1, "reads.ops", 52_000.0),
            sample(Side::Left, 2, "reads.ops", 12_000.0),
            sample(Side::Right, 2, "reads.ops", 48_000.0),
            sample(Side::Left, 3, "reads.ops", 90_000.0),
            sample(Side::Right, 3, "reads.ops", 50_000.0),
            sample(Side::Left, 1, "reads.cpu", 16.0),
            sample(Side::Right, 1, "reads.cpu", 4.1),
            sample(Side::Right, 1, "idle.rss", 15e6),
        ];
        let rows = rows(&samples);
        assert_eq!(
            markdown("Java 3.5.7", "Ferrokeeper", &rows),
            "| | Java 3.5.7 | Ferrokeeper | ratio | bar | met |\n\
             |---|---:|---:|---:|---:|---|\n\
             | reads: getData 1 KiB, 32 × 8 in flight | 12,000/s | 50,000/s | 4.17× | ≥ 4× | yes |\n\
             | … server CPU per read | 16.0 µs | 4.10 µs | 0.26× | ≤ 1/4 | **no** |\n\
             | RSS idle, after start | – | 15.0 MB | – | ≤ 15 MB | yes |\n"
        );
    }

    #[test]
    fn bars_are_inclusive_except_below() {
        assert_eq!(Bar::RatioAtLeast(4.0).met(None, Some(4.0)), Some(true));
        assert_eq!(Bar::RatioAtLeast(4.0).met(None, Some(3.99)), Some(false));
        assert_eq!(Bar::RatioAtMost(1.0).met(None, Some(1.0)), Some(true));
        assert_eq!(Bar::RatioBelow(1.0).met(None, Some(1.0)), Some(false));
        assert_eq!(Bar::AtMost(2.0).met(Some(2.0), None), Some(true));
        assert_eq!(Bar::Below(100.0).met(Some(100.0), None), Some(false));
        assert_eq!(Bar::RatioAtMost(1.0).met(Some(5.0), None), None);
        assert_eq!(Bar::None.met(Some(1.0), Some(1.0)), None);
    }

    #[test]
    fn numbers_show_the_digits_that_count() {
        assert_eq!(show(Unit::PerSecond, 1_234_567.4), "1,234,567/s");
        assert_eq!(show(Unit::PerSecond, 999.0), "999/s");
        assert_eq!(show(Unit::Millis, 7040.0), "7.04 s");
        assert_eq!(show(Unit::Millis, 12.345), "12.3 ms");
        assert_eq!(show(Unit::Bytes, 812_345_678.0), "812 MB");
        assert_eq!(show(Unit::Times, 0.0421), "0.042×");
        assert_eq!(Bar::RatioAtMost(1.0 / 3.0).text(Unit::Micros), "≤ 1/3");
        assert_eq!(Bar::Below(100.0).text(Unit::Millis), "< 100 ms");
    }
}
