//! Medians, percentiles, ratios.

use hdrhistogram::Histogram;
use serde::Serialize;

/// Latencies in microseconds, to three digits, up to a minute.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 3).expect("1 <= low, 2 low <= high, at most 5 digits")
}

/// The middle value, or the mean of the two in the middle; None of nothing.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    if sorted.len() % 2 == 1 { Some(upper) } else { Some((sorted[sorted.len() / 2 - 1] + upper) / 2.0) }
}

/// right / left; None where left is zero.
pub fn ratio(left: f64, right: f64) -> Option<f64> {
    (left != 0.0).then(|| right / left)
}

/// Milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Latency {
    pub samples: u64,
    pub p50: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}

impl Latency {
    pub fn of(histogram: &Histogram<u64>) -> Latency {
        let ms = |quantile: f64| histogram.value_at_quantile(quantile) as f64 / 1000.0;
        Latency {
            samples: histogram.len(),
            p50: ms(0.5),
            p99: ms(0.99),
            p999: ms(0.999),
            max: histogram.max() as f64 / 1000.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_does_not_mind_the_order_or_one_outlier() {
        assert_eq!(median(&[9000.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), Some(2.5));
        assert_eq!(median(&[7.0]), Some(7.0));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn a_ratio_is_right_by_left() {
        assert_eq!(ratio(2.0, 8.0), Some(4.0));
        assert_eq!(ratio(8.0, 2.0), Some(0.25));
        assert_eq!(ratio(0.0, 2.0), None);
    }

    #[test]
    fn percentiles_of_one_to_a_thousand() {
        let mut h = histogram();
        (1..=1000).for_each(|us| h.record(us).unwrap());
        let l = Latency::of(&h);
        assert_eq!(l.samples, 1000);
        assert_eq!((l.p50, l.p99, l.p999, l.max), (0.5, 0.99, 0.999, 1.0));
    }

    #[test]
    fn one_slow_request_in_a_thousand_is_beyond_the_p999_and_two_are_not() {
        let mut h = histogram();
        (0..999).for_each(|_| h.record(100).unwrap());
        h.record(50_000).unwrap();
        assert_eq!(Latency::of(&h).p999, 0.1);
        h.record(50_000).unwrap();
        assert!(Latency::of(&h).p999 > 49.0);
    }
}
