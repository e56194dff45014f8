//! The end of the process when going on would lose or invent something.

/// Exit codes of B§7.3.
pub const UNEXPECTED: i32 = 1;
pub const INVALID_CONFIG: i32 = 2;
pub const DATA_DIR: i32 = 3;
pub const SNAPSHOT: i32 = 10;
/// A learner cannot do what its leader asks of it (B§3.10).
pub const SYNC: i32 = 13;

/// Says why and ends the process at once: nothing more is written, acknowledged or answered. What was acknowledged is on
/// disk already.
pub fn stop(code: i32, why: &str) -> ! {
    tracing::error!("{why}");
    tracing::error!("exiting with code {code}");
    super::logging::flush();
    std::process::exit(code)
}
