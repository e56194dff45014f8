//! The file `<dataDir>/myid`: its first line, untrimmed, is a decimal number (`QuorumPeerConfig.setupMyId`).
//!
//! Java says no more than "serverid … is not a number"; half of the wrong files look right in an editor, so say what
//! is in them.

use super::error::ConfigError;
use crate::ids::Sid;

/// `None` for -1, which Java takes for "not set".
pub fn parse(bytes: &[u8]) -> Result<Option<Sid>, ConfigError> {
    let text = String::from_utf8_lossy(bytes);
    let line = text.split(['\n', '\r']).next().unwrap_or("");
    match line.parse() {
        Ok(-1) => Ok(None),
        Ok(sid) => Ok(Some(Sid(sid))),
        Err(_) => {
            // Java reads the line of an empty file as null.
            let shown = if bytes.is_empty() { "null".into() } else { format!("{line:?}") };
            Err(ConfigError::new(format!(
                "serverid {shown} is not a number: {}; write nothing but the id into the file, e.g. with: echo 1 > myid",
                what_is_wrong(bytes, line)
            )))
        }
    }
}

fn what_is_wrong(bytes: &[u8], line: &str) -> &'static str {
    if bytes.is_empty() {
        return "the file is empty";
    }
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return "the file is UTF-16 (Windows Notepad calls it Unicode), save it as ANSI";
    }
    if bytes.starts_with(b"\xef\xbb\xbf") {
        return "the file begins with a byte order mark (Windows Notepad: UTF-8 with BOM), save it as ANSI";
    }
    if bytes.contains(&0) {
        return "the file holds NUL bytes, perhaps it is UTF-16 or was damaged in a crash";
    }
    if line.is_empty() {
        return "its first line is empty, the id belongs on the first line";
    }
    let trimmed = line.trim();
    if trimmed.is_empty() {
        return "its first line holds only blanks, the id belongs there";
    }
    if trimmed.parse::<i64>().is_ok() {
        return match (line.starts_with(char::is_whitespace), line.ends_with(char::is_whitespace)) {
            (true, true) => "there are blanks before and after the id",
            (true, false) => "there is a blank before the id",
            _ => "there is a blank after the id",
        };
    }
    if trimmed.strip_prefix('-').unwrap_or(trimmed).bytes().all(|b| b.is_ascii_digit()) {
        return "it does not fit in 64 bits";
    }
    "the first line must hold decimal digits only"
}
