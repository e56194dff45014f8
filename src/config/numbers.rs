//! Java's number syntax, because a zoo.cfg that Java takes must be taken here, and one that Java refuses refused.
//!
//! `parse_*` are `Integer.parseInt` and `Long.parseLong`; `decode_*` are what `Integer.getInteger` and `Long.getLong`
//! apply to a system property (decimal, `0x`, `#` and octal).

use std::fmt;

/// A text that is no number. Keeps Java's own wording, which operators search for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotANumber {
    text: String,
    reason: &'static str,
}

impl fmt::Display for NotANumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let NotANumber { text, reason } = self;
        write!(f, "{text:?} {reason} (NumberFormatException: For input string: {text:?})")
    }
}

/// `Integer.parseInt(text)`: an optional sign and decimal digits, no blanks.
pub fn parse_int(text: &str) -> Result<i32, NotANumber> {
    text.parse().map_err(|e| not_a_number(text, e, "does not fit in 32 bits"))
}

/// `Long.parseLong(text)`.
pub fn parse_long(text: &str) -> Result<i64, NotANumber> {
    text.parse().map_err(|e| not_a_number(text, e, "does not fit in 64 bits"))
}

/// `Long.parseLong(text, 16)`: signed, without a prefix.
pub fn parse_hex_long(text: &str) -> Result<i64, NotANumber> {
    i64::from_str_radix(text, 16).map_err(|e| match e.kind() {
        std::num::IntErrorKind::PosOverflow | std::num::IntErrorKind::NegOverflow => {
            not_a_number(text, e, "does not fit in 64 bits")
        }
        _ => NotANumber { text: text.into(), reason: "is not a hexadecimal number" },
    })
}

/// `Integer.decode(text)`, `None` where Java would fall back to the default.
pub fn decode_int(text: &str) -> Option<i32> {
    decode_long(text).and_then(|n| i32::try_from(n).ok())
}

/// `Long.decode(text)`.
pub fn decode_long(text: &str) -> Option<i64> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (radix, digits) = if let Some(hex) = digits.strip_prefix("0x").or(digits.strip_prefix("0X")) {
        (16, hex)
    } else if let Some(hex) = digits.strip_prefix('#') {
        (16, hex)
    } else if digits.len() > 1 && digits.starts_with('0') {
        (8, &digits[1..])
    } else {
        (10, digits)
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let magnitude = i128::from_str_radix(digits, radix).ok()?;
    i64::try_from(if negative { -magnitude } else { magnitude }).ok()
}

/// `Double.parseDouble(text)` without its hexadecimal form, which nobody writes.
pub fn parse_double(text: &str) -> Option<f64> {
    let text = trim(text);
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if matches!(unsigned, "NaN" | "Infinity") {
        return text.parse().ok();
    }
    let digits = text.strip_suffix(['d', 'D', 'f', 'F']).unwrap_or(text);
    // Rust also reads "inf" and "nan" in any case; Java does not.
    let plain = digits.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'+' | b'-' | b'e' | b'E'));
    if plain { digits.parse().ok() } else { None }
}

/// `String.trim()`: everything up to and including the blank, so NUL and newlines as well, but no Unicode blanks.
pub fn trim(text: &str) -> &str {
    text.trim_matches(|c| c <= ' ')
}

/// `Boolean.parseBoolean(text)`.
pub fn parse_bool(text: &str) -> bool {
    text.eq_ignore_ascii_case("true")
}

fn not_a_number(text: &str, e: std::num::ParseIntError, too_big: &'static str) -> NotANumber {
    use std::num::IntErrorKind::{NegOverflow, PosOverflow};
    let overflow = matches!(e.kind(), PosOverflow | NegOverflow);
    NotANumber { text: text.into(), reason: if overflow { too_big } else { "is not a whole number" } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ints_are_read_as_parse_int_does() {
        for (text, expected) in [
            ("2000", Some(2000)),
            ("+5", Some(5)),
            ("-5", Some(-5)),
            ("007", Some(7)),
            ("2147483647", Some(i32::MAX)),
            ("-2147483648", Some(i32::MIN)),
            ("2147483648", None),
            ("", None),
            ("+", None),
            ("-", None),
            ("+-5", None),
            (" 5", None),
            ("5 ", None),
            ("0x10", None),
            ("2s", None),
            ("1_000", None),
        ] {
            assert_eq!(parse_int(text).ok(), expected, "{text:?}");
        }
    }

    #[test]
    fn properties_are_decoded_as_get_integer_does() {
        for (text, expected) in [
            ("1048575", Some(1048575)),
            ("0xfffff", Some(0xfffff)),
            ("0XFF", Some(255)),
            ("#10", Some(16)),
            ("010", Some(8)),
            ("0", Some(0)),
            ("-0x10", Some(-16)),
            ("+7", Some(7)),
            ("0x80000000", None),
            ("-0x80000000", Some(i32::MIN)),
            ("09", None),
            ("0x", None),
            ("#", None),
            ("0x-1", None),
            ("--1", None),
            ("", None),
            ("-", None),
            (" 7", None),
            ("4M", None),
        ] {
            assert_eq!(decode_int(text), expected, "{text:?}");
        }
        assert_eq!(decode_long("-0x8000000000000000"), Some(i64::MIN));
        assert_eq!(decode_long("0x8000000000000000"), None);
    }

    #[test]
    fn doubles_are_read_as_parse_double_does() {
        for (text, expected) in [
            ("0.33", Some(0.33)),
            (" .5 ", Some(0.5)),
            ("1e-1", Some(0.1)),
            ("0.5f", Some(0.5)),
            ("-1", Some(-1.0)),
            ("Infinity", Some(f64::INFINITY)),
            ("inf", None),
            ("nan", None),
            ("", None),
            ("d", None),
            ("1,5", None),
        ] {
            assert_eq!(parse_double(text), expected, "{text:?}");
        }
    }

    #[test]
    fn an_error_quotes_the_text_on_one_line() {
        let message = parse_int("2\ns").unwrap_err().to_string();
        let expected = r#""2\ns" is not a whole number (NumberFormatException: For input string: "2\ns")"#;
        assert_eq!(message, expected);
    }
}
