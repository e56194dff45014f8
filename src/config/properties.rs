//! `java.util.Properties.load`, to the letter: ISO-8859-1 bytes, `=`, `:` or blank as separator, `#` and `!` comments,
//! `\` continuation and escapes. The last of two equal keys wins.
//!
//! Own lines instead of a crate: a line number for every entry and Java's answer to hostile input (a lone backslash at
//! the end of the file, a malformed `\u`) are what the crates lack. `testdata/PropertiesGolden.java` asks the JDK.

use std::collections::HashMap;
use std::fmt;

/// One `key=value`, unescaped, with the 1-based number of the line it begins on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Property {
    pub key: String,
    pub value: String,
    pub line: usize,
}

/// The properties of one file, in the order of the lines that count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties {
    entries: Vec<Property>,
    shadowed: Vec<Property>,
}

/// Java throws `IllegalArgumentException("Malformed \\uxxxx encoding.")`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MalformedEscape {
    pub line: usize,
}

impl fmt::Display for MalformedEscape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Malformed \\uxxxx encoding. (\\u must be followed by four hex digits; write \\\\ for a backslash)")
    }
}

impl Properties {
    /// A file: `load(InputStream)` reads bytes as ISO-8859-1.
    pub fn from_bytes(bytes: &[u8]) -> Result<Properties, MalformedEscape> {
        let chars: Vec<char> = bytes.iter().map(|&b| char::from(b)).collect();
        Properties::load(&chars)
    }

    /// A text that came over the wire: `load(Reader)`.
    pub fn from_text(text: &str) -> Result<Properties, MalformedEscape> {
        let chars: Vec<char> = text.chars().collect();
        Properties::load(&chars)
    }

    pub fn get(&self, key: &str) -> Option<&Property> {
        self.entries.iter().find(|p| p.key == key)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Property> {
        self.entries.iter()
    }

    /// Entries that a later one with the same key replaced.
    pub fn shadowed(&self) -> &[Property] {
        &self.shadowed
    }

    fn load(chars: &[char]) -> Result<Properties, MalformedEscape> {
        let mut all = Vec::new();
        let mut last = HashMap::new();
        let mut lines = LogicalLines { chars, at: 0, line: 1 };
        while let Some((line, text)) = lines.next_line() {
            let (key, value) = split(&text);
            let malformed = || MalformedEscape { line };
            let key = unescape(key).ok_or_else(malformed)?;
            let value = unescape(value).ok_or_else(malformed)?;
            last.insert(key.clone(), all.len());
            all.push(Property { key, value, line });
        }
        let mut properties = Properties::default();
        for (i, property) in all.into_iter().enumerate() {
            if last[&property.key] == i {
                properties.entries.push(property);
            } else {
                properties.shadowed.push(property);
            }
        }
        Ok(properties)
    }
}

/// Joins continued lines and drops blank ones and comments (`Properties.LineReader`).
struct LogicalLines<'a> {
    chars: &'a [char],
    at: usize,
    line: usize,
}

impl LogicalLines<'_> {
    fn next_line(&mut self) -> Option<(usize, Vec<char>)> {
        let mut text = Vec::new();
        let mut begin = self.line;
        let mut skip_blanks = true;
        let mut continued = false;
        let mut backslash = false;
        while let Some(c) = self.bump() {
            if skip_blanks {
                // An empty line ends a continued one, but does not count before the first character.
                if is_blank(c) || (!continued && is_line_end(c)) {
                    continue;
                }
                skip_blanks = false;
                continued = false;
            }
            // Java looks at the text so far, not at the line: after a lone `\` a comment is a comment again.
            if text.is_empty() && (c == '#' || c == '!') {
                self.skip_comment();
                skip_blanks = true;
            } else if !is_line_end(c) {
                if text.is_empty() {
                    begin = self.line;
                }
                text.push(c);
                backslash = c == '\\' && !backslash;
            } else if text.is_empty() {
                skip_blanks = true;
            } else if !backslash {
                return Some((begin, text));
            } else {
                text.pop();
                if self.at == self.chars.len() {
                    return Some((begin, text));
                }
                backslash = false;
                skip_blanks = true;
                continued = true;
                if c == '\r' && self.chars[self.at] == '\n' {
                    self.at += 1;
                }
            }
        }
        if text.is_empty() {
            return None;
        }
        if backslash {
            text.pop();
        }
        Some((begin, text))
    }

    fn bump(&mut self) -> Option<char> {
        let c = *self.chars.get(self.at)?;
        self.at += 1;
        let second_half = c == '\n' && self.at >= 2 && self.chars[self.at - 2] == '\r';
        if is_line_end(c) && !second_half {
            self.line += 1;
        }
        Some(c)
    }

    fn skip_comment(&mut self) {
        while let Some(c) = self.bump() {
            if is_line_end(c) {
                return;
            }
        }
    }
}

/// Key and value of a logical line, both still escaped.
fn split(text: &[char]) -> (&[char], &[char]) {
    let is_separator = |c: char| c == '=' || c == ':';
    let mut backslash = false;
    let mut key_len = text.len();
    for (i, &c) in text.iter().enumerate() {
        if !backslash && (is_separator(c) || is_blank(c)) {
            key_len = i;
            break;
        }
        backslash = c == '\\' && !backslash;
    }
    let mut at = key_len;
    let mut separated = false;
    while let Some(&c) = text.get(at) {
        if is_separator(c) && !separated {
            separated = true;
        } else if !is_blank(c) {
            break;
        }
        at += 1;
    }
    (&text[..key_len], &text[at..])
}

fn unescape(text: &[char]) -> Option<String> {
    // Java's chars are UTF-16 units, and a pair of \u escapes may make one character.
    let mut units: Vec<u16> = Vec::with_capacity(text.len());
    let mut rest = text.iter().copied();
    while let Some(c) = rest.next() {
        let c = if c == '\\' {
            rest.next()?
        } else {
            push(&mut units, c);
            continue;
        };
        match c {
            'u' => {
                let mut unit = 0;
                for _ in 0..4 {
                    unit = unit << 4 | rest.next()?.to_digit(16)?;
                }
                units.push(unit as u16);
            }
            't' => units.push(0x09),
            'n' => units.push(0x0a),
            'f' => units.push(0x0c),
            'r' => units.push(0x0d),
            other => push(&mut units, other),
        }
    }
    Some(String::from_utf16_lossy(&units))
}

fn push(units: &mut Vec<u16>, c: char) {
    units.extend_from_slice(c.encode_utf16(&mut [0; 2]));
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\x0c')
}

fn is_line_end(c: char) -> bool {
    matches!(c, '\n' | '\r')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unhex<T>(text: &str, digits: usize, from: impl Fn(u32) -> T) -> Vec<T> {
        let digit = |c: u8| char::from(c).to_digit(16).unwrap();
        let number = |c: &[u8]| c.iter().fold(0, |n, &c| n << 4 | digit(c));
        text.as_bytes().chunks(digits).map(|c| from(number(c))).collect()
    }

    fn java_string(hex: &str) -> String {
        String::from_utf16_lossy(&unhex(hex, 4, |n| n as u16))
    }

    fn check_golden(golden: &str) {
        for case in golden.lines() {
            let mut columns = case.split(' ');
            let file = unhex(columns.next().unwrap(), 2, |n| n as u8);
            let answer: Vec<&str> = columns.collect();
            let mut expected: Vec<(String, String)> = answer
                .iter()
                .filter_map(|entry| entry.split_once('='))
                .map(|(k, v)| (java_string(k), java_string(v)))
                .collect();
            expected.sort();
            let actual = Properties::from_bytes(&file).map(|properties| {
                let mut entries: Vec<(String, String)> =
                    properties.iter().map(|p| (p.key.clone(), p.value.clone())).collect();
                entries.sort();
                entries
            });
            let shown = file.escape_ascii();
            match actual {
                Ok(actual) if answer != ["error"] => assert_eq!(actual, expected, "{shown}"),
                Err(_) if answer == ["error"] => {}
                other => panic!("{shown}: {other:?}, Java: {answer:?}"),
            }
        }
    }

    #[test]
    fn hostile_files_are_read_as_the_jdk_reads_them() {
        check_golden(include_str!("testdata/properties.golden"));
    }

    /// Not part of the golden data: point it at a larger run of PropertiesGolden.
    #[test]
    #[ignore = "needs a file made with testdata/PropertiesGolden.java, named by PROPERTIES_GOLDEN"]
    fn more_hostile_files() {
        check_golden(&std::fs::read_to_string(std::env::var("PROPERTIES_GOLDEN").unwrap()).unwrap());
    }

    #[test]
    fn entries_know_the_line_they_begin_on() {
        let text = "# comment\r\n\r\na=1\r\nb=2\\\r\n  3\rc=4\n\n\n  d=5\\\n\n#x\na=6";
        let properties = Properties::from_text(text).unwrap();
        let lines: Vec<(&str, usize)> = properties.iter().map(|p| (p.key.as_str(), p.line)).collect();
        assert_eq!(lines, [("b", 4), ("c", 6), ("d", 9), ("a", 12)]);
        assert_eq!(properties.get("a").unwrap().value, "6");
        let shadowed: Vec<(&str, usize)> =
            properties.shadowed().iter().map(|p| (p.key.as_str(), p.line)).collect();
        assert_eq!(shadowed, [("a", 3)]);
    }

    #[test]
    fn a_malformed_escape_is_blamed_on_its_line() {
        assert_eq!(Properties::from_text("a=1\n\nb=2\\\n \\u12"), Err(MalformedEscape { line: 3 }));
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = Properties::from_bytes(&bytes);
        }
    }
}
