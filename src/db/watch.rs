//! Watches of this server's connections: who is told what, in which order (B§2.9; `WatchManager`).
//!
//! Two tables, as in Java: data watches (exists, getData, persistent ones) and child watches. A one-shot watch goes when
//! it fires, and leaves its connection listed: monitoring counts such connections (B§13, item 8). Persistent and
//! recursive watches follow 3.9's `WatchManager`.

use std::sync::Arc;

use super::{Map, Set, path};
use crate::{ids::ConnId, proto::client::EventType};

/// Where events go. The caller holds the database's write lock, so an event is in a connection's outbox before any reply
/// that shows the change.
pub trait EventSink {
    fn event(&mut self, conn: ConnId, kind: EventType, path: &str);
}

/// Replay and loading: nobody watches.
pub struct NoEvents;

impl EventSink for NoEvents {
    fn event(&mut self, _: ConnId, _: EventType, _: &str) {}
}

/// How a connection watches a path; the three may be combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode(u8);

impl Mode {
    const NONE: Mode = Mode(0);
    pub const ONE_SHOT: Mode = Mode(1);
    pub const PERSISTENT: Mode = Mode(2);
    pub const RECURSIVE: Mode = Mode(4);

    fn has(self, other: Mode) -> bool {
        self.0 & other.0 != 0
    }
    fn with(self, other: Mode) -> Mode {
        Mode(self.0 | other.0)
    }
    fn without(self, other: Mode) -> Mode {
        Mode(self.0 & !other.0)
    }
}

/// `Watcher.WatcherType`: what checkWatches and removeWatches speak of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatcherType {
    Children,
    Data,
    Any,
    Persistent,
    Recursive,
}

impl WatcherType {
    /// Types 4 and 5 came with 3.6.
    pub fn from_wire(kind: i32, modern: bool) -> Option<WatcherType> {
        Some(match kind {
            1 => WatcherType::Children,
            2 => WatcherType::Data,
            3 => WatcherType::Any,
            4 if modern => WatcherType::Persistent,
            5 if modern => WatcherType::Recursive,
            _ => return None,
        })
    }
}

#[derive(Debug, Default)]
pub struct Watches {
    data: Table,
    child: Table,
}

impl Watches {
    pub fn add_data(&mut self, path: &str, conn: ConnId) {
        self.data.add(path, conn, Mode::ONE_SHOT);
    }

    pub fn add_child(&mut self, path: &str, conn: ConnId) {
        self.child.add(path, conn, Mode::ONE_SHOT);
    }

    /// addWatch: a recursive watch lives in the data table alone, since children's events never reach it.
    pub fn add_persistent(&mut self, path: &str, conn: ConnId, mode: Mode) {
        self.data.add(path, conn, mode);
        if !mode.has(Mode::RECURSIVE) {
            self.child.add(path, conn, mode);
        }
    }

    pub fn created(&mut self, path: &str, parent: &str, sink: &mut dyn EventSink) {
        self.data.trigger(path, EventType::NodeCreated, None, sink);
        self.children_changed(parent, sink);
    }

    pub fn deleted(&mut self, path: &str, parent: &str, sink: &mut dyn EventSink) {
        let told = self.data.trigger(path, EventType::NodeDeleted, None, sink);
        self.child.trigger(path, EventType::NodeDeleted, Some(&told), sink);
        self.children_changed(parent, sink);
    }

    pub fn data_changed(&mut self, path: &str, sink: &mut dyn EventSink) {
        self.data.trigger(path, EventType::NodeDataChanged, None, sink);
    }

    fn children_changed(&mut self, parent: &str, sink: &mut dyn EventSink) {
        let parent = path::watched_parent(parent);
        self.child.trigger(parent, EventType::NodeChildrenChanged, None, sink);
    }

    pub fn contains(&self, path: &str, conn: ConnId, kind: WatcherType) -> bool {
        let (data, child) = (self.data.mode(path, conn), self.child.mode(path, conn));
        match kind {
            WatcherType::Children => child.has(Mode::ONE_SHOT),
            WatcherType::Data => data.has(Mode::ONE_SHOT),
            WatcherType::Any => child != Mode::NONE || data != Mode::NONE,
            WatcherType::Persistent => data.has(Mode::PERSISTENT),
            WatcherType::Recursive => data.has(Mode::RECURSIVE),
        }
    }

    /// Whether there was anything to remove (`DataTree.removeWatch`); Children and Data leave persistent watches alone.
    pub fn remove(&mut self, path: &str, conn: ConnId, kind: WatcherType) -> bool {
        const ALL: Mode = Mode(7);
        let Watches { data, child } = self;
        match kind {
            WatcherType::Children => child.remove(path, conn, Mode::ONE_SHOT),
            WatcherType::Data => data.remove(path, conn, Mode::ONE_SHOT),
            WatcherType::Any => child.remove(path, conn, ALL) | data.remove(path, conn, ALL),
            WatcherType::Persistent => {
                child.remove(path, conn, Mode::PERSISTENT) | data.remove(path, conn, Mode::PERSISTENT)
            }
            WatcherType::Recursive => data.remove(path, conn, Mode::RECURSIVE),
        }
    }

    pub fn remove_conn(&mut self, conn: ConnId) {
        self.data.remove_conn(conn);
        self.child.remove_conn(conn);
    }

    /// `zk_watch_count`: both tables.
    pub fn count(&self) -> usize {
        self.data.count + self.child.count
    }

    /// What wchs, wchc and wchp report: data watches only.
    pub fn report(&self) -> Report<'_> {
        Report { table: &self.data }
    }
}

pub struct Report<'a> {
    table: &'a Table,
}

impl<'a> Report<'a> {
    pub fn connections(&self) -> usize {
        self.table.by_conn.len()
    }
    pub fn paths(&self) -> usize {
        self.table.by_path.len()
    }
    pub fn total(&self) -> usize {
        self.table.count
    }
    pub fn by_conn(&self) -> impl Iterator<Item = (ConnId, impl Iterator<Item = &'a str>)> {
        self.table.by_conn.iter().map(|(conn, paths)| (*conn, paths.keys().map(|p| &**p)))
    }
    pub fn by_path(&self) -> impl Iterator<Item = (&'a str, impl Iterator<Item = ConnId>)> {
        self.table.by_path.iter().map(|(path, conns)| (&**path, conns.iter().copied()))
    }
}

/// Invariant: `conn ∈ by_path[p]` exactly when `by_conn[conn][p]` exists.
#[derive(Debug, Default)]
struct Table {
    by_path: Map<Arc<str>, Set<ConnId>>,
    by_conn: Map<ConnId, Map<Arc<str>, Mode>>,
    count: usize,
    /// Without recursive watches nobody looks at a path's parents.
    recursive: usize,
}

impl Table {
    fn add(&mut self, path: &str, conn: ConnId, mode: Mode) {
        let path: Arc<str> = match self.by_path.get_key_value(path) {
            Some((known, _)) => known.clone(),
            None => Arc::from(path),
        };
        self.by_path.entry(path.clone()).or_default().insert(conn);
        let known = self.by_conn.entry(conn).or_default().entry(path).or_insert(Mode::NONE);
        if *known == Mode::NONE {
            self.count += 1;
        }
        if mode.has(Mode::RECURSIVE) && !known.has(Mode::RECURSIVE) {
            self.recursive += 1;
        }
        *known = known.with(mode);
    }

    fn mode(&self, path: &str, conn: ConnId) -> Mode {
        self.by_conn.get(&conn).and_then(|paths| paths.get(path)).copied().unwrap_or(Mode::NONE)
    }

    fn remove(&mut self, path: &str, conn: ConnId, modes: Mode) -> bool {
        let Some(paths) = self.by_conn.get_mut(&conn) else { return false };
        let Some(mode) = paths.get_mut(path) else { return false };
        let left = mode.without(modes);
        if left == *mode {
            return false;
        }
        if mode.has(Mode::RECURSIVE) && !left.has(Mode::RECURSIVE) {
            self.recursive -= 1;
        }
        *mode = left;
        if left == Mode::NONE {
            paths.remove(path);
            self.count -= 1;
            self.unlist(path, conn);
        }
        true
    }

    fn remove_conn(&mut self, conn: ConnId) {
        for (path, mode) in self.by_conn.remove(&conn).unwrap_or_default() {
            self.count -= 1;
            self.recursive -= usize::from(mode.has(Mode::RECURSIVE));
            self.unlist(&path, conn);
        }
    }

    fn unlist(&mut self, path: &str, conn: ConnId) {
        if let Some(conns) = self.by_path.get_mut(path) {
            conns.remove(&conn);
            if conns.is_empty() {
                self.by_path.remove(path);
            }
        }
    }

    /// Tells whoever watches `path`, and recursive watchers of its ancestors; one-shot watches are spent. Returns whom
    /// the event was meant for, told or not (`suppress` holds those that have just got it).
    fn trigger(
        &mut self,
        path: &str,
        kind: EventType,
        suppress: Option<&[ConnId]>,
        sink: &mut dyn EventSink,
    ) -> Vec<ConnId> {
        let mut watchers = self.spend(path);
        if self.recursive > 0 {
            self.add_recursive_watchers(path, &mut watchers);
        }
        for conn in &watchers {
            if !suppress.is_some_and(|told| told.contains(conn)) {
                sink.event(*conn, kind, path);
            }
        }
        watchers
    }

    fn spend(&mut self, path: &str) -> Vec<ConnId> {
        let Some(conns) = self.by_path.get_mut(path) else { return Vec::new() };
        let watchers: Vec<ConnId> = conns.iter().copied().collect();
        for conn in &watchers {
            let Some(paths) = self.by_conn.get_mut(conn) else { continue };
            let Some(mode) = paths.get_mut(path) else { continue };
            *mode = mode.without(Mode::ONE_SHOT);
            if *mode == Mode::NONE {
                paths.remove(path);
                conns.remove(conn);
                self.count -= 1;
            }
        }
        if conns.is_empty() {
            self.by_path.remove(path);
        }
        watchers
    }

    fn add_recursive_watchers(&self, path: &str, watchers: &mut Vec<ConnId>) {
        let mut rest = path;
        while let Some((parent, _)) = path::split(rest) {
            let ancestor = path::watched_parent(parent);
            if let Some(conns) = self.by_path.get(ancestor) {
                let recursive = conns.iter().filter(|c| self.mode(ancestor, **c).has(Mode::RECURSIVE));
                for conn in recursive {
                    if !watchers.contains(conn) {
                        watchers.push(*conn);
                    }
                }
            }
            rest = parent;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use EventType::*;

    #[derive(Default)]
    struct Heard(Vec<(u64, EventType, String)>);

    impl EventSink for Heard {
        fn event(&mut self, conn: ConnId, kind: EventType, path: &str) {
            self.0.push((conn.0, kind, path.to_owned()));
        }
    }

    fn heard(act: impl FnOnce(&mut dyn EventSink)) -> Vec<(u64, EventType, String)> {
        let mut sink = Heard::default();
        act(&mut sink);
        sink.0
    }

    const A: ConnId = ConnId(1);
    const B: ConnId = ConnId(2);

    #[test]
    fn a_deleted_node_is_told_once_to_who_watches_both_ways() {
        let mut w = Watches::default();
        w.add_data("/a", A);
        w.add_child("/a", A);
        w.add_child("/a", B);
        w.add_child("/", B);
        let events = heard(|s| w.deleted("/a", "", s));
        assert_eq!(
            events,
            [
                (1, NodeDeleted, "/a".into()),
                (2, NodeDeleted, "/a".into()),
                (2, NodeChildrenChanged, "/".into())
            ]
        );
        assert!(heard(|s| w.deleted("/a", "", s)).is_empty());
        assert_eq!(w.count(), 0);
    }

    #[test]
    fn a_fired_watch_leaves_its_connection_listed() {
        let mut w = Watches::default();
        w.add_data("/a", A);
        heard(|s| w.data_changed("/a", s));
        assert_eq!((w.report().connections(), w.report().paths(), w.report().total()), (1, 0, 0));
        w.remove_conn(A);
        assert_eq!(w.report().connections(), 0);
    }

    #[test]
    fn a_recursive_watch_hears_of_descendants_but_not_of_child_lists() {
        let mut w = Watches::default();
        w.add_persistent("/a", A, Mode::RECURSIVE);
        w.add_persistent("/a", B, Mode::PERSISTENT);
        for _ in 0..2 {
            let events = heard(|s| w.created("/a/b", "/a", s));
            assert_eq!(events, [(1, NodeCreated, "/a/b".into()), (2, NodeChildrenChanged, "/a".into())]);
        }
        assert!(!w.remove("/a", A, WatcherType::Data));
        assert!(w.contains("/a", A, WatcherType::Recursive));
        assert!(w.remove("/a", A, WatcherType::Recursive));
        assert!(heard(|s| w.created("/a/b/c", "/a/b", s)).is_empty());
    }

    #[test]
    fn a_recursive_watch_on_the_root_hears_everything() {
        let mut w = Watches::default();
        w.add_persistent("/", A, Mode::RECURSIVE);
        let events = heard(|s| w.data_changed("/a/b", s));
        assert_eq!(events, [(1, NodeDataChanged, "/a/b".into())]);
    }
}
