//! Java's idea of UTF-8: encoding writes each UTF-16 unit on its own (CESU-8), decoding replaces what is malformed.

use std::{borrow::Cow, fmt, ops::Deref};

use bytes::{BufMut, BytesMut};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A jute string, borrowed from the frame unless decoding had to mend it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ustring<'a>(pub Cow<'a, str>);

impl<'a> Ustring<'a> {
    pub fn as_str(&self) -> &str {
        &self.0
    }
    pub fn into_owned(self) -> String {
        self.0.into_owned()
    }
}

impl Deref for Ustring<'_> {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'a> From<&'a str> for Ustring<'a> {
    fn from(text: &'a str) -> Self {
        Ustring(Cow::Borrowed(text))
    }
}

impl From<String> for Ustring<'_> {
    fn from(text: String) -> Self {
        Ustring(Cow::Owned(text))
    }
}

impl fmt::Debug for Ustring<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl Serialize for Ustring<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Ustring<'a> {
    #[inline]
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Ustring<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            #[inline]
            fn visit_borrowed_str<E>(self, v: &'de str) -> Result<Ustring<'de>, E> {
                Ok(Ustring(Cow::Borrowed(v)))
            }
            fn visit_str<E>(self, v: &str) -> Result<Ustring<'de>, E> {
                Ok(Ustring(Cow::Owned(v.to_owned())))
            }
            fn visit_string<E>(self, v: String) -> Result<Ustring<'de>, E> {
                Ok(Ustring(Cow::Owned(v)))
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

/// Length-prefixed CESU-8: a char from U+10000 on becomes two 3-byte groups (`BinaryOutputArchive.stringToByteBuffer`).
pub(super) fn put_cesu8(out: &mut BytesMut, text: &str) {
    // Only a 4-byte UTF-8 sequence starts with a byte ≥ 0xF0; without one the two encodings are the same.
    if !text.bytes().any(|b| b >= 0xf0) {
        out.put_i32(text.len() as i32);
        out.put_slice(text.as_bytes());
        return;
    }
    let length: usize = text.chars().map(|c| if c.len_utf8() == 4 { 6 } else { c.len_utf8() }).sum();
    out.put_i32(length as i32);
    for c in text.chars() {
        if c.len_utf8() < 4 {
            out.put_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            out.put_u8(0xe0 | (*unit >> 12) as u8);
            out.put_u8(0x80 | ((*unit >> 6) & 0x3f) as u8);
            out.put_u8(0x80 | (*unit & 0x3f) as u8);
        }
    }
}

/// `new String(bytes, UTF_8)`: U+FFFD for each malformed piece. Java differs from the usual practice in one case: a
/// surrogate's 3-byte group is one piece, not three. With `join`, a pair of such groups is the char that Java wrote so.
pub(super) fn decode_lossy(bytes: &[u8], join: bool) -> String {
    let mut text = String::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Err(e) = std::str::from_utf8(rest) {
        let (valid, bad) = rest.split_at(e.valid_up_to());
        text.push_str(&String::from_utf8_lossy(valid));
        let joined = if join { surrogate_pair(bad) } else { None };
        text.push(joined.unwrap_or(char::REPLACEMENT_CHARACTER));
        let skip = match bad {
            _ if joined.is_some() => 6,
            [0xed, 0xa0..=0xbf, 0x80..=0xbf, ..] => 3,
            [0xed, 0xa0..=0xbf, ..] => 2,
            _ => e.error_len().unwrap_or(bad.len()),
        };
        rest = &bad[skip..];
    }
    text.push_str(&String::from_utf8_lossy(rest));
    text
}

/// The char whose two UTF-16 units stand at the front as 3-byte groups.
fn surrogate_pair(bytes: &[u8]) -> Option<char> {
    let unit = |second: u8, third: u8| 0xd000 | u16::from(second & 0x3f) << 6 | u16::from(third & 0x3f);
    match *bytes {
        [0xed, high @ 0xa0..=0xaf, b @ 0x80..=0xbf, 0xed, low @ 0xb0..=0xbf, d @ 0x80..=0xbf, ..] => {
            char::decode_utf16([unit(high, b), unit(low, d)]).next()?.ok()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cesu8(text: &str) -> Vec<u8> {
        let mut out = BytesMut::new();
        put_cesu8(&mut out, text);
        out.to_vec()
    }

    #[test]
    fn an_emoji_is_written_as_two_surrogate_groups() {
        assert_eq!(cesu8("a\u{1f600}"), b"\x00\x00\x00\x07a\xed\xa0\xbd\xed\xb8\x80");
    }

    #[test]
    fn a_surrogate_group_reads_as_one_replacement_each() {
        assert_eq!(decode_lossy(b"a\xed\xa0\xbd\xed\xb8\x80b", false), "a\u{fffd}\u{fffd}b");
    }

    #[test]
    fn what_was_written_as_a_pair_can_be_read_back() {
        for text in ["a\u{1f600}b", "\u{10000}", "\u{10ffff}\u{fffd}"] {
            assert_eq!(decode_lossy(&cesu8(text)[4..], true), text);
        }
        assert_eq!(
            decode_lossy(b"\xed\xb8\x80\xed\xa0\xbd", true),
            "\u{fffd}\u{fffd}",
            "the wrong way round"
        );
    }

    #[test]
    fn malformed_bytes_are_replaced_piecewise() {
        assert_eq!(decode_lossy(b"\xc0\x80x", false), "\u{fffd}\u{fffd}x");
        assert_eq!(decode_lossy(b"\xe2\x82", false), "\u{fffd}");
        assert_eq!(decode_lossy(b"\xf0\x9f\x98", false), "\u{fffd}");
        assert_eq!(decode_lossy(b"\xed\xa0", false), "\u{fffd}");
        assert_eq!(decode_lossy(b"\xed\xa0x", false), "\u{fffd}x");
    }
}
