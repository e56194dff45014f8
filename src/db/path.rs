//! Path rules (`PathUtils.validatePath`, B§2.6) and the paths every tree has (B§2.1).

pub const ZOOKEEPER: &str = "/zookeeper";
pub const QUOTA: &str = "/zookeeper/quota";
pub const CONFIG: &str = "/zookeeper/config";

/// The parent's path and the last component. The parent of `/a` is `""`, which is how the root is keyed as a parent.
/// `None` without a slash.
#[inline]
pub fn split(path: &str) -> Option<(&str, &str)> {
    let at = memchr_last_slash(path)?;
    Some((&path[..at], &path[at + 1..]))
}

#[inline]
fn memchr_last_slash(path: &str) -> Option<usize> {
    path.as_bytes().iter().rposition(|b| *b == b'/')
}

/// How watchers know a parent: the root is `/`.
#[inline]
pub fn watched_parent(parent: &str) -> &str {
    if parent.is_empty() { "/" } else { parent }
}

/// Nodes that exist from the start and cannot be deleted.
pub fn is_special(path: &str) -> bool {
    matches!(path, "/" | ZOOKEEPER | QUOTA | CONFIG)
}

/// Whether a node may be created or written under this path.
pub fn is_valid(path: &str) -> bool {
    if path == "/" {
        return true;
    }
    let Some(rest) = path.strip_prefix('/') else { return false };
    // One pass for plain ASCII, which nearly every path is; the loop below knows the rest of the rules.
    if !path.bytes().all(|b| (0x20..0x7f).contains(&b)) && path.chars().any(is_refused) {
        return false;
    }
    rest.split('/').all(|component| !matches!(component, "" | "." | ".."))
}

/// Java looks at UTF-16 units: whatever lies outside the BMP is a pair of surrogates and refused with them.
fn is_refused(c: char) -> bool {
    matches!(c as u32, 0..=0x1f | 0x7f..=0x9f | 0xd800..=0xf8ff | 0xfff0..)
}

/// `String.length()`: UTF-16 units.
pub fn java_length(text: &str) -> usize {
    if text.is_ascii() { text.len() } else { text.encode_utf16().count() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_of_path_utils() {
        for good in ["/", "/a", "/a/b c", "/a.b/..c", "/\u{a0}", "/\u{f900}", "/\u{ffef}", "/...", "/a/.b"] {
            assert!(is_valid(good), "{good:?}");
        }
        for bad in [
            "",
            "a",
            "/a/",
            "//",
            "/a//b",
            "/.",
            "/..",
            "/a/./b",
            "/a/..",
            "/\0",
            "/\u{1f}",
            "/\u{7f}",
            "/\u{9f}",
            "/\u{e000}",
            "/\u{f8ff}",
            "/\u{fff0}",
            "/\u{fffd}",
            "/\u{1f600}",
            "a/b",
        ] {
            assert!(!is_valid(bad), "{bad:?}");
        }
    }

    #[test]
    fn the_parent_of_a_top_level_node_is_keyed_empty() {
        assert_eq!(split("/a"), Some(("", "a")));
        assert_eq!(split("/a/b"), Some(("/a", "b")));
        assert_eq!(split("a"), None);
        assert_eq!(watched_parent(""), "/");
    }
}
