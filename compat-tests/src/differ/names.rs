//! What cannot be equal on two servers, turned into what must be: names for session ids and ports, rules for times.
//!
//! A time belongs to the txn that set it (B§2.3): ctime to czxid, mtime to mzxid. So per side each zxid has one time, and
//! it lies within the run. That catches a server that takes the clock twice or touches ctime, without comparing clocks.

use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

#[derive(Debug)]
pub struct Names {
    sessions: HashMap<i64, String>,
    times: HashMap<i64, i64>,
    ports: HashMap<u16, usize>,
    started_ms: i64,
}

impl Names {
    pub fn new() -> Names {
        Names {
            sessions: HashMap::new(),
            times: HashMap::new(),
            ports: HashMap::new(),
            started_ms: now_ms() - 60_000,
        }
    }

    pub fn learn_session(&mut self, id: i64, name: &str) {
        self.sessions.insert(id, name.to_string());
    }

    pub fn session(&self, id: i64) -> String {
        match self.sessions.get(&id) {
            Some(name) => name.clone(),
            None if id == 0 => "0".to_string(),
            None => format!("stranger 0x{id:x}"),
        }
    }

    pub fn learn_port(&mut self, port: u16, conn: usize) {
        self.ports.insert(port, conn);
    }

    pub fn port(&self, port: u16) -> String {
        self.ports.get(&port).map_or_else(|| "other".to_string(), |conn| format!("c{conn}"))
    }

    pub fn time(&mut self, zxid: i64, ms: i64) -> String {
        if zxid == 0 && ms == 0 {
            return "0".to_string();
        }
        if ms < self.started_ms || ms > now_ms() + 1000 {
            return format!("{ms}, outside the run");
        }
        if zxid == 0 {
            return "now".to_string();
        }
        match self.times.insert(zxid, ms) {
            Some(known) if known != ms => format!("{ms}, but 0x{zxid:x} was at {known}"),
            _ => format!("t(0x{zxid:x})"),
        }
    }
}

impl Default for Names {
    fn default() -> Names {
        Names::new()
    }
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64)
}

/// The password of a session: `java.util.Random` seeded with the id and a constant (B§1.3).
pub fn password_of(session: i64) -> [u8; 16] {
    const MULTIPLIER: u64 = 0x5_DEEC_E66D;
    const MASK: u64 = (1 << 48) - 1;
    let mut state = ((session ^ 0xB341_5C00) as u64 ^ MULTIPLIER) & MASK;
    let mut password = [0; 16];
    for word in password.chunks_exact_mut(4) {
        state = state.wrapping_mul(MULTIPLIER).wrapping_add(0xB) & MASK;
        word.copy_from_slice(&((state >> 16) as u32).to_le_bytes());
    }
    password
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::differ::step::hex;

    #[test]
    fn passwords_are_those_java_derives() {
        assert_eq!(hex(&password_of(1)), "054cc74a37327db215e702e20c73f005");
        assert_eq!(hex(&password_of(-1)), "20f62cb5648dc2d771471c8a2486a9ee");
        assert_eq!(hex(&password_of(0x1000018f55e0000)), "c07b80a44d6278db9ed48fa7dec38d2c");
    }

    #[test]
    fn a_zxid_has_one_time() {
        let mut names = Names::new();
        let now = now_ms();
        assert_eq!(names.time(7, now), "t(0x7)");
        assert_eq!(names.time(7, now), "t(0x7)");
        assert!(names.time(7, now - 1).contains("but 0x7 was at"));
        assert!(names.time(8, 12345).contains("outside the run"));
        assert_eq!(names.time(0, 0), "0");
    }
}
