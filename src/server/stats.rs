//! Counters that four-letter words report (`ServerStats`, `ServerCnxn`; B§8.2).

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

use crate::ids::Millis;

/// Request latency in whole ms, as Java keeps it.
#[derive(Debug, Default)]
pub struct Latency {
    count: AtomicU64,
    total: AtomicI64,
    min: AtomicI64,
    max: AtomicI64,
}

impl Latency {
    pub fn server() -> Latency {
        Latency { min: AtomicI64::new(i64::MAX), ..Latency::default() }
    }

    #[inline]
    pub fn record(&self, ms: Millis, count: u64) {
        self.count.fetch_add(count, Relaxed);
        if ms > 0 {
            self.total.fetch_add(ms * count as i64, Relaxed);
        }
        if ms > self.max.load(Relaxed) {
            self.max.store(ms, Relaxed);
        }
        if ms < self.min.load(Relaxed) {
            self.min.store(ms, Relaxed);
        }
    }

    pub fn average(&self) -> i64 {
        match self.count.load(Relaxed) {
            0 => 0,
            n => self.total.load(Relaxed) / n as i64,
        }
    }

    /// 0 when nothing was measured.
    pub fn min(&self) -> i64 {
        match self.min.load(Relaxed) {
            i64::MAX => 0,
            min => min,
        }
    }

    pub fn max(&self) -> i64 {
        self.max.load(Relaxed)
    }

    fn reset(&self, min: i64) {
        self.count.store(0, Relaxed);
        self.total.store(0, Relaxed);
        self.max.store(0, Relaxed);
        self.min.store(min, Relaxed);
    }

    pub fn reset_server(&self) {
        self.reset(i64::MAX);
    }

    /// A connection's minimum starts at 0 and so stays there until crst, which is what monitoring sees of Java
    /// (B§8.2).
    pub fn reset_conn(&self) {
        self.reset(i64::MAX);
    }
}

/// The server's totals.
#[derive(Debug)]
pub struct ServerStats {
    pub latency: Latency,
    pub received: AtomicU64,
    pub sent: AtomicU64,
    pub fsyncs_over_threshold: AtomicU64,
}

impl Default for ServerStats {
    fn default() -> Self {
        ServerStats {
            latency: Latency::server(),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            fsyncs_over_threshold: AtomicU64::new(0),
        }
    }
}

impl ServerStats {
    /// Everything from zero.
    pub fn begin_role(&self) {
        self.reset();
        self.fsyncs_over_threshold.store(0, Relaxed);
    }

    /// srst
    pub fn reset(&self) {
        self.latency.reset_server();
        self.received.store(0, Relaxed);
        self.sent.store(0, Relaxed);
    }
}
