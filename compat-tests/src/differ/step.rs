//! A transcript: steps that mean the same on both sides, and their text form, one step a line.
//!
//! Sessions are named, not numbered: their ids differ between servers. Everything else is bytes as they are sent.

use std::fmt::{self, Write as _};

use anyhow::{Context, Result, anyhow, bail};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Opens connection `conn` and sends a connect request, with `frames` in the same write.
    Connect { conn: usize, hello: Hello, frames: Vec<Vec<u8>> },
    /// Sends requests (bodies, without the length) in one write. With `closes` the server is expected to close after
    /// answering; otherwise a known last request marks the end of the answers.
    Send { conn: usize, frames: Vec<Vec<u8>>, closes: bool },
    /// Raw bytes after which the server must close the session's connection: an impossible length.
    Break { conn: usize, bytes: Vec<u8> },
    /// Raw bytes on a connection of their own, read to its end.
    Stranger { bytes: Vec<u8> },
    /// The client closes its end; the session lives on.
    Drop { conn: usize },
    /// Both servers are killed and start again on what they wrote; with `swap` each on what the other one wrote.
    Restart { kill: bool, swap: bool },
    /// A four-letter word (stmk with its argument), answers compared by `words`.
    Word { bytes: Vec<u8> },
}

/// A connect request, with the session by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    pub session: String,
    pub new: bool,
    pub password: Password,
    pub protocol: i32,
    pub last_zxid: i64,
    pub timeout_ms: i32,
    pub read_only: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Password {
    Right,
    Wrong,
    Null,
    Empty,
    Short,
}

impl Step {
    pub fn conn(&self) -> Option<usize> {
        match self {
            Step::Connect { conn, .. }
            | Step::Send { conn, .. }
            | Step::Break { conn, .. }
            | Step::Drop { conn } => Some(*conn),
            Step::Stranger { .. } | Step::Word { .. } | Step::Restart { .. } => None,
        }
    }

    pub fn requests(&self) -> usize {
        match self {
            Step::Connect { frames, .. } => 1 + frames.len(),
            Step::Send { frames, .. } => frames.len(),
            _ => 1,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Connect { conn, hello, frames } => {
                let Hello { session, new, password, protocol, last_zxid, timeout_ms, read_only } = hello;
                let flag = read_only.map_or("absent".to_string(), |v| v.to_string());
                write!(
                    f,
                    "connect {conn} {session} {} {password:?} {protocol} {last_zxid} {timeout_ms} {flag} {}",
                    if *new { "new" } else { "again" },
                    hex_list(frames)
                )
            }
            Step::Send { conn, frames, closes } => {
                write!(f, "{} {conn} {}", if *closes { "send-closes" } else { "send" }, hex_list(frames))
            }
            Step::Break { conn, bytes } => write!(f, "break {conn} {}", hex(bytes)),
            Step::Stranger { bytes } => write!(f, "stranger {}", hex(bytes)),
            Step::Drop { conn } => write!(f, "drop {conn}"),
            Step::Restart { kill, swap } => write!(f, "restart {kill} {swap}"),
            Step::Word { bytes } => write!(f, "word {}", hex(bytes)),
        }
    }
}

/// One step a line; empty lines and `#` comments are skipped.
pub fn parse(text: &str) -> Result<Vec<Step>> {
    let meaningful = |(_, line): &(usize, &str)| !line.trim().is_empty() && !line.starts_with('#');
    text.lines()
        .enumerate()
        .filter(meaningful)
        .map(|(n, line)| parse_step(line).with_context(|| format!("line {}", n + 1)))
        .collect()
}

fn parse_step(line: &str) -> Result<Step> {
    let words: Vec<&str> = line.split(' ').collect();
    let word = |i: usize| words.get(i).copied().ok_or_else(|| anyhow!("word {i} is missing"));
    let conn = || -> Result<usize> { Ok(word(1)?.parse()?) };
    Ok(match word(0)? {
        "connect" => Step::Connect {
            conn: conn()?,
            hello: Hello {
                session: word(2)?.to_string(),
                new: word(3)? == "new",
                password: parse_password(word(4)?)?,
                protocol: word(5)?.parse()?,
                last_zxid: word(6)?.parse()?,
                timeout_ms: word(7)?.parse()?,
                read_only: word(8)?.parse().ok(),
            },
            frames: unhex_list(word(9)?)?,
        },
        "send" => Step::Send { conn: conn()?, frames: unhex_list(word(2)?)?, closes: false },
        "send-closes" => Step::Send { conn: conn()?, frames: unhex_list(word(2)?)?, closes: true },
        "break" => Step::Break { conn: conn()?, bytes: unhex(word(2)?)? },
        "stranger" => Step::Stranger { bytes: unhex(word(1)?)? },
        "drop" => Step::Drop { conn: conn()? },
        "restart" => Step::Restart { kill: word(1)?.parse()?, swap: word(2)?.parse()? },
        "word" => Step::Word { bytes: unhex(word(1)?)? },
        other => bail!("unknown step {other}"),
    })
}

fn parse_password(word: &str) -> Result<Password> {
    let all = [Password::Right, Password::Wrong, Password::Null, Password::Empty, Password::Short];
    all.into_iter().find(|p| format!("{p:?}") == word).ok_or_else(|| anyhow!("unknown password kind {word}"))
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, b| {
        let _ = write!(text, "{b:02x}");
        text
    })
}

fn hex_list(frames: &[Vec<u8>]) -> String {
    if frames.is_empty() {
        return "-".to_string();
    }
    frames
        .iter()
        .map(|f| if f.is_empty() { "empty".to_string() } else { hex(f) })
        .collect::<Vec<_>>()
        .join(",")
}

fn unhex(text: &str) -> Result<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        bail!("not hex");
    }
    (0..text.len()).step_by(2).map(|i| Ok(u8::from_str_radix(&text[i..i + 2], 16)?)).collect()
}

fn unhex_list(text: &str) -> Result<Vec<Vec<u8>>> {
    if text == "-" {
        return Ok(Vec::new());
    }
    text.split(',').map(|t| if t == "empty" { Ok(Vec::new()) } else { unhex(t) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transcript_survives_its_text_form() {
        let hello = Hello {
            session: "S3".into(),
            new: false,
            password: Password::Wrong,
            protocol: -1,
            last_zxid: 1 << 40,
            timeout_ms: -5,
            read_only: None,
        };
        let steps = vec![
            Step::Connect { conn: 2, hello, frames: vec![] },
            Step::Send { conn: 2, frames: vec![vec![1, 255], vec![], vec![0]], closes: false },
            Step::Send { conn: 0, frames: vec![vec![]], closes: true },
            Step::Break { conn: 1, bytes: vec![0xff; 4] },
            Step::Stranger { bytes: b"ruok\n".to_vec() },
            Step::Drop { conn: 7 },
            Step::Restart { kill: true, swap: false },
            Step::Word { bytes: b"stmk\0\0\0\0\0\0\x012".to_vec() },
        ];
        let text: String = steps.iter().map(|s| format!("{s}\n")).collect();
        assert_eq!(parse(&format!("# a comment\n\n{text}")).unwrap(), steps);
    }
}
