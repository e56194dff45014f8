//! Jute, ZooKeeper's record encoding, as a serde format (B§1.2).
//!
//! Invariants:
//! 1. A length that comes from a peer is checked against [`Limits`] *and* against what is left before anything is allocated.
//! 2. `Option` is jute's null (length −1); null and empty stay apart in both directions.
//! 3. Records decode borrowed from the frame; only a string that is not plain UTF-8 is copied.
//! 4. Bytes after a record are not an error: newer peers append fields, and the caller decides what they mean.
//!
//! Counterpart: `BinaryInputArchive` / `BinaryOutputArchive`.

mod de;
mod ser;
mod text;

pub use de::{Deserializer, from_bytes, take_from_bytes};
pub use ser::{Serializer, put, put_bytes, put_string};
pub use text::Ustring;

/// How far a peer is believed, and how its text is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest string or buffer that may be announced: `jute.maxbuffer` + `zookeeper.jute.maxbuffer.extrasize`
    /// (`BinaryInputArchive.checkLength`).
    pub max_field: usize,
    /// Whether two surrogate groups are read as the char they were made from. Java writes such pairs and cannot read them:
    /// what a client sends is read as Java reads it, what a server wrote is read as it was meant.
    pub joins_surrogates: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { max_field: 2 * 0xf_ffff, joins_surrogates: false }
    }
}

impl Limits {
    /// For logs, snapshots and txns.
    pub fn for_files(self) -> Limits {
        Limits { joins_surrogates: true, ..self }
    }
}

/// `new String(bytes)` as Java decodes UTF-8, for text that is no jute string.
pub fn java_string(bytes: &[u8]) -> String {
    text::decode_lossy(bytes, false)
}

/// Why bytes are not the record that was expected. Offsets count from the start of the decoded slice.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("record ends at byte {at} in the middle of a field")]
    Truncated { at: usize },
    #[error("unreasonable length {length} at byte {at}")]
    Length { length: i64, at: usize },
    #[error("null where a value is required at byte {at}")]
    Null { at: usize },
    #[error("{0}")]
    Record(String),
}

impl serde::ser::Error for Error {
    fn custom<T: std::fmt::Display>(msg: T) -> Self {
        Error::Record(msg.to_string())
    }
}

impl serde::de::Error for Error {
    fn custom<T: std::fmt::Display>(msg: T) -> Self {
        Error::Record(msg.to_string())
    }
}
