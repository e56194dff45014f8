//! A configuration the server must not start with: where it is wrong, and what Java would have said.

use std::fmt;
use std::path::{Path, PathBuf};

/// Displayed in one line. The fragments of B§7.2 stay verbatim in `message`, because runbooks search for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    pub file: Option<PathBuf>,
    pub line: Option<usize>,
    pub message: String,
    /// 2 (bad configuration) except where Java trips over the setting only later, with 1 (B§7.3).
    pub exit_code: i32,
}

impl ConfigError {
    pub fn new(message: impl Into<String>) -> ConfigError {
        ConfigError { file: None, line: None, message: message.into(), exit_code: 2 }
    }

    /// An error that ends the Java server with exit code 1.
    pub(super) fn unexpected(message: impl Into<String>) -> ConfigError {
        ConfigError { exit_code: 1, ..ConfigError::new(message) }
    }

    pub(super) fn at_line(self, line: usize) -> ConfigError {
        ConfigError { line: self.line.or(Some(line)), ..self }
    }

    /// Names the file unless an inner step already named a closer one (myid, the dynamic file).
    pub(super) fn in_file(self, file: &Path) -> ConfigError {
        ConfigError { file: self.file.or_else(|| Some(file.to_path_buf())), ..self }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            f.write_str("Error processing ")?;
            write_escaped(f, &file.to_string_lossy())?;
            f.write_str(": ")?;
        }
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        write_escaped(f, &self.message)
    }
}

/// A value, and the name of a file that a value leads to, may hold any character through an escape; the log line must stay
/// one line.
fn write_escaped(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    for c in text.chars() {
        if c.is_control() { write!(f, "{}", c.escape_default())? } else { write!(f, "{c}")? }
    }
    Ok(())
}

impl std::error::Error for ConfigError {}
