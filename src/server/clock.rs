//! The one place that reads clocks.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::{ids::Millis, replica::Now};

#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
    /// What `mono` counts from, so that its values look like Java's `Time.currentElapsedTime`: positive and not tiny.
    offset: Millis,
}

impl Clock {
    #[allow(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn start() -> Clock {
        Clock { start: Instant::now(), offset: 1_000_000 }
    }

    #[inline]
    #[allow(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn mono(&self) -> Millis {
        self.offset + Instant::now().duration_since(self.start).as_millis() as Millis
    }

    #[allow(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn wall(&self) -> Millis {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => since.as_millis() as Millis,
            Err(before) => -(before.duration().as_millis() as Millis),
        }
    }

    pub fn now(&self) -> Now {
        Now { mono: self.mono(), wall: self.wall() }
    }

    /// How long until `mono`, for a timer.
    pub fn until(&self, mono: Millis) -> std::time::Duration {
        std::time::Duration::from_millis(u64::try_from(mono - self.mono()).unwrap_or(0))
    }
}
