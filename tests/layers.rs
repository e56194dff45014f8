//! Who may know whom (ARCHITECTURE.md): the `crate::` paths that each room of src/ names, against the table.

use std::{collections::BTreeSet, fs, path::Path};

/// Room, and what it may name. `server`, `cli` and `main.rs` may name everything.
const TABLE: &[(&str, &[&str])] = &[
    ("ids", &[]),
    ("jute", &[]),
    ("version", &[]),
    ("proto", &["ids", "jute"]),
    ("config", &["ids"]),
    ("db", &["ids", "jute", "proto"]),
    ("session", &["ids", "proto", "db"]),
    ("zab", &["ids", "proto", "config"]),
    ("storage", &["ids", "jute", "proto"]),
    ("pipeline", &["ids", "jute", "proto", "db", "session"]),
    ("replica", &["ids", "jute", "proto", "db", "session", "pipeline", "zab", "config"]),
    // Drives all of them, as `server` does; only compiled for tests.
    ("sim", &["ids", "jute", "proto", "db", "session", "pipeline", "zab", "config", "storage", "replica"]),
];

#[test]
fn every_room_names_only_those_below_it() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    for (room, allowed) in TABLE {
        for (file, text) in sources(&src, room) {
            for named in named_rooms(&text) {
                if named != *room && !allowed.contains(&named.as_str()) {
                    wrong.push(format!("{file} names crate::{named}"));
                }
            }
            for forbidden in ["tokio::", "std::time::Instant", "std::time::SystemTime", "std::thread"] {
                if text.contains(forbidden) {
                    wrong.push(format!("{file} names {forbidden}"));
                }
            }
            if !matches!(*room, "storage" | "config") && text.contains("std::fs") {
                wrong.push(format!("{file} names std::fs"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_table_covers_every_room() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let rooms: BTreeSet<String> = fs::read_dir(src)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap().trim_end_matches(".rs").to_owned())
        .collect();
    let known = TABLE.iter().map(|(room, _)| *room).chain(["server", "cli", "main", "lib"]);
    assert_eq!(rooms, known.map(str::to_owned).collect());
}

fn sources(src: &Path, room: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut left = vec![src.join(room), src.join(format!("{room}.rs"))];
    while let Some(path) = left.pop() {
        // Tests read their scripts.
        if path.file_stem().is_some_and(|stem| stem == "tests") {
            continue;
        }
        if path.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.is_file() && path.extension().is_some_and(|e| e == "rs") {
            found.push((
                path.strip_prefix(src).unwrap().display().to_string(),
                fs::read_to_string(&path).unwrap(),
            ));
        }
    }
    assert!(!found.is_empty(), "there is no room {room}");
    found
}

/// The rooms behind `crate::`, also in groups: `use crate::{ids::Zxid, db::…}`.
fn named_rooms(text: &str) -> BTreeSet<String> {
    let mut rooms = BTreeSet::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut word = String::new();
            for c in group.chars() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => word.clear(),
                    ':' if depth == 0 && !word.is_empty() => {
                        rooms.insert(std::mem::take(&mut word));
                    }
                    c if depth == 0 && (c.is_alphanumeric() || c == '_') => word.push(c),
                    _ => {}
                }
            }
        } else {
            rooms.insert(rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
        }
    }
    // After the first component of a path in a group, further ones are names inside that room.
    rooms.retain(|room| room.chars().next().is_some_and(|c| c.is_lowercase()) && is_room(room));
    rooms
}

fn is_room(name: &str) -> bool {
    TABLE.iter().any(|(room, _)| *room == name) || matches!(name, "server" | "cli")
}
