//! Four-letter answers as comparable text (B§8.2): clock values masked, ids and ports named, hash-ordered lists sorted.

use std::path::Path;

use super::names::Names;

/// `dir` is the server's own folder, whose name differs from side to side.
pub fn normalise(word: &[u8], answer: &[u8], names: &Names, dir: &Path) -> String {
    let text = String::from_utf8_lossy(answer).into_owned();
    match word.get(..4).unwrap_or(word) {
        b"envi" => text.lines().map(|l| format!("{}\n", l.split('=').next().unwrap_or(l))).collect(),
        b"conf" => match dir.to_str() {
            Some(dir) if !dir.is_empty() => text.replace(dir, "<dir>"),
            _ => text,
        },
        b"srvr" | b"stat" | b"cons" => status(&text, names),
        b"mntr" => text.lines().map(|l| format!("{}\n", monitor_line(l))).collect(),
        b"dump" => dump(&text, names),
        b"wchc" | b"wchp" => groups(&text, names),
        _ => text,
    }
}

fn status(text: &str, names: &Names) -> String {
    let is_connection = |line: &&str| line.starts_with(" /");
    let mut connections: Vec<String> =
        text.lines().filter(is_connection).map(|l| connection(l, names)).collect();
    connections.sort();
    let mut out = String::new();
    let mut connections = connections.into_iter();
    for line in text.split_inclusive('\n') {
        let end = if line.ends_with('\n') { "\n" } else { "" };
        let line = line.trim_end_matches('\n');
        out += &match line {
            l if is_connection(&l) => connections.next().unwrap_or_default(),
            l if l.starts_with("Zookeeper version: ") => version(l),
            l if l.starts_with("Latency min/avg/max: ") => mask_digits(l),
            l => l.to_string(),
        };
        out += end;
    }
    out
}

/// ` /127.0.0.1:4711[1](queued=0,recved=3,…)`: the port by name, the session by name, clock values masked.
fn connection(line: &str, names: &Names) -> String {
    let Some((address, rest)) = line.split_once('[') else { return line.to_string() };
    let Some((host, port)) = address.rsplit_once(':') else { return line.to_string() };
    let who = port.parse().map_or_else(|_| port.to_string(), |p| names.port(p));
    let Some((ops, fields)) = rest.split_once("](") else { return line.to_string() };
    let fields: Vec<String> =
        fields.trim_end_matches(')').split(',').map(|f| connection_field(f, names)).collect();
    format!("{host}:<{who}>[{ops}]({})", fields.join(","))
}

fn connection_field(field: &str, names: &Names) -> String {
    match field.split_once('=') {
        Some(("sid", id)) => format!("sid={}", session(id, names)),
        Some((key @ ("est" | "lresp" | "llat" | "minlat" | "avglat" | "maxlat"), value)) => {
            format!("{key}={}", mask_digits(value))
        }
        _ => field.to_string(),
    }
}

fn session(hex: &str, names: &Names) -> String {
    let id = hex.strip_prefix("0x").and_then(|h| u64::from_str_radix(h, 16).ok());
    id.map_or_else(|| hex.to_string(), |id| names.session(id as i64))
}

/// Release, build and date are a release's own; that they are there, in this form, is what tools parse.
fn version(line: &str) -> String {
    let Some((head, build)) = line.split_once('-') else { return line.to_string() };
    let Some((hash, date)) = build.split_once(", built on ") else { return line.to_string() };
    let form =
        if hash.len() == 40 && hash.bytes().all(|b| b.is_ascii_hexdigit()) { "<40 hex>" } else { hash };
    format!("{head}-{form}, built on {}", mask_digits(date))
}

fn mask_digits(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '0'..='9' if out.ends_with('#') => {}
            '0'..='9' => out.push('#'),
            c => out.push(c),
        }
    }
    out
}

fn monitor_line(line: &str) -> String {
    let masked = [
        "zk_avg_latency",
        "zk_max_latency",
        "zk_min_latency",
        "zk_open_file_descriptor_count",
        "zk_max_file_descriptor_count",
    ];
    match line.split_once('\t') {
        Some((key, value)) if masked.contains(&key) => format!("{key}\t{}", mask_digits(value)),
        Some(("zk_version", value)) => format!("zk_version\t{}", version(value)),
        _ => line.to_string(),
    }
}

/// Buckets depend on the clock: the sets of sessions and connections are compared, and that every bucket line has its form.
fn dump(text: &str, names: &Names) -> String {
    let mut out = String::new();
    let mut pending: Vec<String> = Vec::new();
    let mut ephemerals = String::new();
    let mut in_ephemerals = false;
    for line in text.lines() {
        let named = dump_line(line, names);
        if in_ephemerals && (line.starts_with("0x") || line.starts_with('\t')) {
            ephemerals += line;
            ephemerals.push('\n');
        } else if line.starts_with('\t') {
            pending.push(named);
        } else if !line.contains(" expire at ") {
            out += &groups(&std::mem::take(&mut ephemerals), names);
            pending.sort();
            pending.drain(..).for_each(|l| out += &format!("{l}\n"));
            in_ephemerals = line.starts_with("Sessions with Ephemerals");
            out += &format!("{named}\n");
        }
    }
    pending.sort();
    out += &groups(&ephemerals, names);
    pending.into_iter().for_each(|l| out += &format!("{l}\n"));
    out
}

fn dump_line(line: &str, names: &Names) -> String {
    if let Some((head, total)) = line.split_once(")/(")
        && let Some((kind, _)) = head.rsplit_once('(')
    {
        return format!("{kind}(#)/({total}");
    }
    if let Some(rest) = line.strip_prefix("\tip: ")
        && let Some((address, id)) = rest.split_once(" sessionId: ")
        && let Some((host, port)) = address.rsplit_once(':')
    {
        let who = port.parse().map_or_else(|_| port.to_string(), |p| names.port(p));
        return format!("\tip: {host}:<{who}> sessionId: {}", session(id, names));
    }
    match line.strip_prefix('\t') {
        Some(id) if id.starts_with("0x") => format!("\t{}", session(id, names)),
        _ => line.to_string(),
    }
}

/// Heads and their tab-indented lines, both in hash order: sorted.
fn groups(text: &str, names: &Names) -> String {
    let mut groups: Vec<(String, Vec<String>)> = Vec::new();
    let mut blanks = 0;
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let id = |l: &str| {
            if l.starts_with("0x") { session(l.trim_end_matches(':'), names) } else { l.to_string() }
        };
        // The root may be watched under its other name: an empty line with members is a head.
        let blank = line.is_empty() && !lines.peek().is_some_and(|next| next.starts_with('\t'));
        match line.strip_prefix('\t') {
            Some(member) => match groups.last_mut() {
                Some((_, members)) => members.push(id(member)),
                None => groups.push((String::new(), vec![id(member)])),
            },
            None if blank => blanks += 1,
            None => {
                let colon = if line.ends_with(':') && line.starts_with("0x") { ":" } else { "" };
                groups.push((id(line) + colon, Vec::new()));
            }
        }
    }
    groups.iter_mut().for_each(|(_, members)| members.sort());
    groups.sort();
    let mut out = String::new();
    for (head, members) in groups {
        out += &format!("{head}\n");
        members.iter().for_each(|m| out += &format!("\t{m}\n"));
    }
    if blanks > 0 {
        out += &format!("{blanks} blank\n");
    }
    out
}
