//! Soft quotas: which subtrees are charged, and the text that limits and counts are kept in (B§2.10).
//!
//! Counterpart: `PathTrie` and `StatsTrack`. Text that cannot be read charges nothing; in 3.5.7 it kills the pipeline.

use std::{collections::BTreeMap, fmt};

use super::path;

pub const LIMITS: &str = "zookeeper_limits";
pub const STATS: &str = "zookeeper_stats";

/// The subtrees that have a quota.
#[derive(Debug, Default)]
pub struct QuotaTrie {
    root: TrieNode,
    /// Nearly no ensemble uses quotas: then no path is ever taken apart.
    in_use: bool,
}

#[derive(Debug, Default)]
struct TrieNode {
    has_quota: bool,
    children: BTreeMap<String, TrieNode>,
}

/// Level by level: a client can make a subtree deeper than a stack, one short create after the other.
impl Drop for TrieNode {
    fn drop(&mut self) {
        let mut left: Vec<TrieNode> = std::mem::take(&mut self.children).into_values().collect();
        while let Some(mut node) = left.pop() {
            left.extend(std::mem::take(&mut node.children).into_values());
        }
    }
}

impl QuotaTrie {
    pub fn add(&mut self, path: &str) {
        let Some(components) = components(path) else { return };
        let mut node = &mut self.root;
        for component in components {
            node = node.children.entry(component.to_owned()).or_default();
        }
        node.has_quota = true;
        self.in_use = true;
    }

    /// A node with exactly one child goes with its subtree, any other is only unmarked (`TrieNode.deleteChild`).
    pub fn remove(&mut self, path: &str) {
        let Some(components) = components(path) else { return };
        let components: Vec<&str> = components.collect();
        let Some((last, parents)) = components.split_last() else { return };
        let mut node = &mut self.root;
        for component in parents {
            match node.children.get_mut(*component) {
                Some(child) => node = child,
                None => return,
            }
        }
        match node.children.get_mut(*last) {
            Some(child) if child.children.len() == 1 => {
                node.children.remove(*last);
            }
            Some(child) => child.has_quota = false,
            None => {}
        }
    }

    /// The longest prefix of `path` with a quota.
    pub fn longest_prefix<'p>(&self, path: &'p str) -> Option<&'p str> {
        if !self.in_use {
            return None;
        }
        let mut node = &self.root;
        let mut end = 0;
        let mut found = None;
        for component in components(path)? {
            let Some(child) = node.children.get(component) else { break };
            node = child;
            end += 1 + component.len();
            if node.has_quota {
                found = Some(&path[..end]);
            }
        }
        found
    }
}

/// Components after the leading slash; `None` for the root and for what is no path: neither has a quota.
fn components(path: &str) -> Option<impl Iterator<Item = &str>> {
    let rest = path.trim_end_matches('/').strip_prefix('/')?;
    Some(rest.split('/'))
}

/// Where the limit of a subtree stands.
pub fn limit_path(prefix: &str) -> String {
    format!("{}{prefix}/{LIMITS}", path::QUOTA)
}

/// Where the count of a subtree stands.
pub fn stat_path(prefix: &str) -> String {
    format!("{}{prefix}/{STATS}", path::QUOTA)
}

/// `count=N,bytes=M`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    pub count: i32,
    pub bytes: i64,
}

impl Usage {
    pub fn parse(text: &[u8]) -> Option<Usage> {
        let text = std::str::from_utf8(text).ok()?;
        // Java's split drops trailing empty parts.
        let mut parts = text.trim_end_matches(',').split(',');
        let (count, bytes) = (parts.next()?, parts.next()?);
        if parts.next().is_some() {
            return None;
        }
        let value = |part: &str| part.split('=').nth(1).map(str::to_owned);
        Some(Usage { count: value(count)?.parse().ok()?, bytes: value(bytes)?.parse().ok()? })
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "count={},bytes={}", self.count, self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_is_charged() {
        let mut trie = QuotaTrie::default();
        trie.add("/a");
        trie.add("/a/b/c");
        assert_eq!(trie.longest_prefix("/a/b"), Some("/a"));
        assert_eq!(trie.longest_prefix("/a/b/c/d"), Some("/a/b/c"));
        assert_eq!(trie.longest_prefix("/ab"), None);
        assert_eq!(trie.longest_prefix("/"), None);
    }

    #[test]
    fn removal_has_javas_quirk() {
        let mut trie = QuotaTrie::default();
        trie.add("/a");
        trie.add("/a/b");
        trie.remove("/a");
        assert_eq!(trie.longest_prefix("/a/b"), None, "an only child goes with its parent");
        trie.add("/a");
        trie.add("/a/b");
        trie.add("/a/c");
        trie.remove("/a");
        assert_eq!(trie.longest_prefix("/a/x"), None);
        assert_eq!(trie.longest_prefix("/a/b"), Some("/a/b"));
    }

    #[test]
    fn text_that_would_stop_java_is_no_usage() {
        assert_eq!(Usage::parse(b"count=3,bytes=-1"), Some(Usage { count: 3, bytes: -1 }));
        for bad in ["", "x", "count=1", "count=,bytes=", "count=a,bytes=1", "count=1,bytes=2,more=3"] {
            assert_eq!(Usage::parse(bad.as_bytes()), None, "{bad:?}");
        }
        assert_eq!(Usage { count: 1, bytes: 2 }.to_string(), "count=1,bytes=2");
    }

    /// The test's thread has the 2 MiB of stack that the server's have.
    #[test]
    fn a_deep_quota_can_be_dropped() {
        let mut trie = QuotaTrie::default();
        trie.add("/a");
        trie.add(&"/a".repeat(300_000));
        trie.remove("/a");
        assert_eq!(trie.longest_prefix("/a/a"), None);
    }
}
