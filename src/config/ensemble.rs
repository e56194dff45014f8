//! Who belongs to the ensemble: `server.N`, `group.N`, `weight.N` and `version` lines, read and written as text (B§5.1).
//!
//! The text goes over the wire (election, `/zookeeper/config`) and into files, so its form is fixed: it ends with the
//! version and without a newline. Java: QuorumMaj and QuorumHierarchical, QuorumPeer.QuorumServer, and
//! QuorumPeerConfig.parseDynamicConfig for the checks.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::error::ConfigError;
use super::numbers::{parse_hex_long, parse_int, parse_long, trim};
use super::properties::{Properties, Property};
use crate::ids::Sid;

/// Votes and may lead, or only listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum PeerType {
    #[default]
    Participant,
    Observer,
}

impl PeerType {
    pub(super) fn parse(text: &str) -> Result<PeerType, ConfigError> {
        match text.to_lowercase().as_str() {
            "participant" => Ok(PeerType::Participant),
            "observer" => Ok(PeerType::Observer),
            _ => Err(ConfigError::new(format!(
                "Unrecognised peertype: {text} (it is participant or observer)"
            ))),
        }
    }
}

impl fmt::Display for PeerType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PeerType::Participant => "participant",
            PeerType::Observer => "observer",
        })
    }
}

/// Where clients connect; without a host, on every address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClientAddress {
    pub host: Option<String>,
    pub port: u16,
}

impl fmt::Display for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", bracketed(self.host.as_deref().unwrap_or(ANY_HOST)), self.port)
    }
}

/// One `server.N` line.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServerSpec {
    /// A name, to be resolved at every dial, or an address in Java's spelling.
    pub host: String,
    /// Learners connect to the leader here.
    pub quorum_port: u16,
    pub election_port: u16,
    pub role: PeerType,
    pub client_address: Option<ClientAddress>,
}

impl ServerSpec {
    /// `host:port:port[:role][;[clientHost:]clientPort]`, the value of `server.<sid>`.
    pub fn parse(sid: Sid, text: &str) -> Result<ServerSpec, ConfigError> {
        let halves = java_split(text, ';');
        let parts = host_and_ports(halves.first().copied().unwrap_or(""))?;
        if halves.len() > 2 || !(3..=4).contains(&parts.len()) {
            return Err(wrong_form(sid, text, parts.len()));
        }
        let client_address = match halves.get(1) {
            None => None,
            Some(client) => {
                let parts = host_and_ports(client)?;
                let (host, port) = match parts.as_slice() {
                    [port] => (ANY_HOST, *port),
                    [host, port] => (*host, *port),
                    _ => return Err(wrong_form(sid, text, 3)),
                };
                Some(ClientAddress { host: Some(java_host(host)), port: port_of(host, port)? })
            }
        };
        let host = parts[0];
        let quorum_port = port_of(host, parts[1])?;
        let election_port = port_of(host, parts[2])?;
        if quorum_port == election_port {
            return Err(ConfigError::new(format!(
                "Client and election port must be different! Please update the configuration file on server.{sid}"
            )));
        }
        let role = parts.get(3).map_or(Ok(PeerType::Participant), |role| PeerType::parse(role))?;
        Ok(ServerSpec { host: java_host(host), quorum_port, election_port, role, client_address })
    }
}

impl fmt::Display for ServerSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ServerSpec { host, quorum_port, election_port, role, client_address } = self;
        write!(f, "{}:{quorum_port}:{election_port}:{role}", bracketed(host))?;
        match client_address {
            Some(client) => write!(f, ";{client}"),
            None => Ok(()),
        }
    }
}

/// Groups and weights of the hierarchical quorum system (B§5.4).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hierarchy {
    pub group_of: BTreeMap<Sid, i64>,
    /// Every participant has one, 1 where nothing was said.
    pub weights: BTreeMap<Sid, i64>,
}

/// The members with their addresses, and how they form a quorum.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ensemble {
    pub servers: BTreeMap<Sid, ServerSpec>,
    /// None: simple majority.
    pub hierarchy: Option<Hierarchy>,
    /// The zxid of the reconfig that made this configuration; 0 before the first.
    pub version: i64,
}

/// Whether keys that belong to no ensemble are an error (dynamic files, wire) or somebody else's (zoo.cfg).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OtherKeys {
    Allowed,
    Refused,
}

impl Ensemble {
    /// A text from the wire or from `/zookeeper/config`. Does not judge the number of members: see `check_members`.
    pub fn parse(text: &str) -> Result<Ensemble, ConfigError> {
        let properties =
            Properties::from_text(text).map_err(|e| ConfigError::new(e.to_string()).at_line(e.line))?;
        Ensemble::from_properties(&properties, OtherKeys::Refused)
    }

    pub(super) fn from_properties(
        properties: &Properties,
        other_keys: OtherKeys,
    ) -> Result<Ensemble, ConfigError> {
        let mut ensemble = Ensemble::default();
        // Any such key switches to groups, whatever follows it: Java asks for the prefix only.
        let hierarchical =
            properties.iter().any(|p| ["group", "weight"].iter().any(|k| trim(&p.key).starts_with(k)));
        let mut hierarchy = hierarchical.then(Hierarchy::default);
        for property in properties.iter() {
            ensemble.take(property, hierarchy.as_mut(), other_keys).map_err(|e| e.at_line(property.line))?;
        }
        if let Some(hierarchy) = &mut hierarchy {
            hierarchy.complete(&ensemble.servers)?;
        }
        ensemble.hierarchy = hierarchy;
        Ok(ensemble)
    }

    fn take(
        &mut self,
        property: &Property,
        hierarchy: Option<&mut Hierarchy>,
        other_keys: OtherKeys,
    ) -> Result<(), ConfigError> {
        // Java trims neither key nor value here, so a blank behind a port is an error.
        let Property { key, value, .. } = property;
        if let Some(sid) = key.strip_prefix("server.") {
            let sid = Sid(parse_long(sid).map_err(|e| ConfigError::new(format!("{key}: server id {e}")))?);
            let spec = ServerSpec::parse(sid, value)?;
            self.servers.insert(sid, spec);
            return Ok(());
        }
        if let Some(hierarchy) = hierarchy.filter(|_| key.starts_with("group") || key.starts_with("weight")) {
            return hierarchy.take(key, value);
        }
        if key == "version" {
            self.version = parse_hex_long(value).map_err(|e| ConfigError::new(format!("version: {e}")))?;
            return Ok(());
        }
        match other_keys {
            OtherKeys::Allowed => Ok(()),
            OtherKeys::Refused => Err(ConfigError::new(format!(
                "Unrecognised parameter: {key} (only server.N, group.N, weight.N and version may stand here)"
            ))),
        }
    }

    /// The counts that Java refuses (`parseDynamicConfig`), and advice it only logs.
    pub fn check_members(&self, standalone_enabled: bool) -> Result<Option<&'static str>, ConfigError> {
        let (voters, observers) = (self.voters().count(), self.observers().count());
        let refuse = |message: &str| Err(ConfigError::new(message));
        match voters {
            0 if !standalone_enabled => {
                refuse("standaloneEnabled = false then number of participants should be >0")
            }
            0 if observers > 0 => refuse("Observers w/o participants is an invalid configuration"),
            0 => Ok(None),
            1 if standalone_enabled && observers > 0 => {
                refuse("Observers w/o quorum is an invalid configuration")
            }
            1 if standalone_enabled => {
                Ok(Some("Invalid configuration, only one server specified (ignoring): running standalone"))
            }
            1 | 2 => Ok(Some("No server failure will be tolerated. You need at least 3 servers.")),
            n if n % 2 == 0 => Ok(Some("Non-optimial configuration, consider an odd number of servers.")),
            _ => Ok(None),
        }
    }

    pub fn voters(&self) -> impl Iterator<Item = (Sid, &ServerSpec)> {
        self.with_role(PeerType::Participant)
    }

    pub fn observers(&self) -> impl Iterator<Item = (Sid, &ServerSpec)> {
        self.with_role(PeerType::Observer)
    }

    fn with_role(&self, role: PeerType) -> impl Iterator<Item = (Sid, &ServerSpec)> {
        self.servers.iter().filter(move |(_, s)| s.role == role).map(|(&sid, s)| (sid, s))
    }

    /// A server of weight 0 is never elected. An observer in a hierarchical ensemble has no weight: where Java raises a
    /// NullPointerException, it is 0.
    pub fn weight(&self, sid: Sid) -> i64 {
        match &self.hierarchy {
            None => 1,
            Some(hierarchy) => hierarchy.weights.get(&sid).copied().unwrap_or(0),
        }
    }

    /// The lines of a dynamic configuration file: sorted as strings, no newline at the end (B§5.2).
    pub fn file_text(&self, with_version: bool) -> String {
        let text = self.to_string();
        let mut lines: Vec<&str> =
            text.lines().filter(|l| with_version || !l.starts_with("version")).collect();
        lines.sort_unstable();
        lines.join("\n")
    }
}

impl fmt::Display for Ensemble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for sid in java_hash_order(self.servers.keys().map(|sid| sid.0)) {
            writeln!(f, "server.{sid}={}", self.servers[&Sid(sid)])?;
        }
        if let Some(Hierarchy { group_of, weights }) = &self.hierarchy {
            let mut groups: BTreeMap<i64, Vec<String>> = BTreeMap::new();
            for sid in java_hash_order(group_of.keys().map(|sid| sid.0)) {
                groups.entry(group_of[&Sid(sid)]).or_default().push(sid.to_string());
            }
            for gid in java_hash_order(groups.keys().copied()) {
                writeln!(f, "group.{gid}={}", groups[&gid].join(":"))?;
            }
            for sid in java_hash_order(weights.keys().map(|sid| sid.0)) {
                writeln!(f, "weight.{sid}={}", weights[&Sid(sid)])?;
            }
        }
        write!(f, "version={:x}", self.version)
    }
}

impl Hierarchy {
    fn take(&mut self, key: &str, value: &str) -> Result<(), ConfigError> {
        let id = match key.split_once('.') {
            Some((_, id)) => id,
            // As Java: without a dot the whole key is taken for the number.
            None => key,
        };
        let id = parse_long(id).map_err(|e| {
            ConfigError::new(format!(
                "{key}: {e}; a key that begins with group or weight must be group.N or weight.N"
            ))
        })?;
        if key.starts_with("weight") {
            let weight = parse_long(value).map_err(|e| ConfigError::new(format!("{key}: {e}")))?;
            self.weights.insert(Sid(id), weight);
            return Ok(());
        }
        for member in java_split(value, ':') {
            let sid = Sid(parse_long(member).map_err(|e| ConfigError::new(format!("{key}: {e}")))?);
            if self.group_of.insert(sid, id).is_some() {
                return Err(ConfigError::new(format!("Server {sid}is in multiple groups")));
            }
        }
        Ok(())
    }

    fn complete(&mut self, servers: &BTreeMap<Sid, ServerSpec>) -> Result<(), ConfigError> {
        for (&sid, spec) in servers.iter().filter(|(_, s)| s.role == PeerType::Participant) {
            if !self.group_of.contains_key(&sid) {
                return Err(ConfigError::new(format!("Server {sid}is not in a group ({spec})")));
            }
            self.weights.entry(sid).or_insert(1);
        }
        // Java fails here with a NullPointerException.
        match self.group_of.iter().find(|(sid, _)| !self.weights.contains_key(sid)) {
            Some((sid, gid)) => Err(ConfigError::new(format!(
                "group.{gid} names server {sid}, which is no participant and has no weight.{sid}: take it out"
            ))),
            None => Ok(()),
        }
    }
}

const ANY_HOST: &str = "0.0.0.0";

fn wrong_form(sid: Sid, text: &str, parts: usize) -> ConfigError {
    let hint = match parts {
        0..=1 => "",
        2 => "; Missing election port for server: ",
        _ => "",
    };
    let sid = if hint.is_empty() { String::new() } else { sid.to_string() };
    ConfigError::new(format!(
        "{text} does not have the form server_config or server_config;client_config where server_config is \
         host:port:port or host:port:port:type and client_config is port or host:port{hint}{sid}"
    ))
}

/// ConfigUtils.getHostAndPort: `host:a:b…`, where an IPv6 host stands in brackets.
fn host_and_ports(text: &str) -> Result<Vec<&str>, ConfigError> {
    if !text.starts_with('[') {
        return Ok(java_split(text, ':'));
    }
    match text.split_once("]:") {
        Some((host, ports)) => {
            let mut parts = vec![&host[1..]];
            parts.extend(java_split(ports, ':'));
            Ok(parts)
        }
        None => Err(ConfigError::new(format!("{text} starts with '[' but has no matching ']:'"))),
    }
}

fn port_of(host: &str, text: &str) -> Result<u16, ConfigError> {
    let port = parse_int(text)
        .map_err(|e| ConfigError::new(format!("Address unresolved: {host}:{text} (port {e})")))?;
    port_in_range(port)
}

/// The range of `InetSocketAddress`.
pub(super) fn port_in_range(port: i32) -> Result<u16, ConfigError> {
    u16::try_from(port).map_err(|_| ConfigError::new(format!("port out of range:{port} (0 to 65535)")))
}

/// `String.split`: empty strings at the end are dropped, but a text without the separator stays, even when empty.
fn java_split(text: &str, separator: char) -> Vec<&str> {
    let mut parts: Vec<&str> = text.split(separator).collect();
    while parts.len() > 1 && parts.last().is_some_and(|p| p.is_empty()) {
        parts.pop();
    }
    if parts == [""] && !text.is_empty() { Vec::new() } else { parts }
}

/// Java keeps a name as written but spells a literal address its own way: IPv6 without `::`, mapped IPv4 as IPv4.
fn java_host(host: &str) -> String {
    if host.is_empty() {
        return "localhost".into();
    }
    if let Some(v4) = java_v4(host) {
        return v4.to_string();
    }
    match host.parse::<Ipv6Addr>() {
        Ok(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => v4.to_string(),
            None => v6.segments().map(|s| format!("{s:x}")).join(":"),
        },
        Err(_) => host.into(),
    }
}

/// `IPAddressUtil.textToNumericFormatV4`: decimal whatever the leading zeros, and the last of fewer than four parts
/// fills the remaining bytes, as in 127.1.
fn java_v4(host: &str) -> Option<Ipv4Addr> {
    let parts: Vec<&str> = host.split('.').collect();
    let (last, leading) = parts.split_last()?;
    if leading.len() > 3 || parts.iter().any(|p| !p.bytes().all(|b| b.is_ascii_digit())) {
        return None;
    }
    let mut address: u64 = 0;
    for part in leading {
        address = address << 8 | u64::from(part.parse::<u8>().ok()?);
    }
    let bits = 8 * (4 - leading.len() as u32);
    let last: u64 = last.parse().ok().filter(|&n| n < 1 << bits)?;
    u32::try_from(address << bits | last).ok().map(Ipv4Addr::from)
}

fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.into() }
}

/// The order in which a `HashMap<Long, _>` hands out its keys, as far as it depends on the keys alone: the bucket.
/// Keys in one bucket (rare: sids that differ by a multiple of 16) are put in ascending order.
fn java_hash_order(keys: impl Iterator<Item = i64>) -> Vec<i64> {
    let mut keys: Vec<i64> = keys.collect();
    let mut capacity: usize = 16;
    while keys.len() > capacity / 4 * 3 {
        capacity *= 2;
    }
    keys.sort_by_key(|&key| {
        let hash = (key ^ ((key as u64) >> 32) as i64) as u32;
        ((hash ^ (hash >> 16)) as usize & (capacity - 1), key)
    });
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(sids: &[i64]) -> String {
        sids.iter().map(|sid| format!("server.{sid}=h:1:2\n")).collect()
    }

    /// Expected: `QuorumPeerConfig.parseDynamicConfig(…).toString()` of 3.5.7.
    #[test]
    fn the_text_form_is_javas() {
        for (text, expected) in [
            (
                "server.1=a:1:2\nserver.2=b:3:4:observer;5\nserver.3=c:6:7:PARTICIPANT;d:8\nversion=1a",
                "server.1=a:1:2:participant\nserver.2=b:3:4:observer;0.0.0.0:5\n\
                 server.3=c:6:7:participant;d:8\nversion=1a",
            ),
            (
                "server.1=[::1]:1:2;[fe80::2]:3\nserver.2=127.0.0.01:1:2;4\n\
                 server.3=[::ffff:10.0.0.1]:5:6\nserver.4=[2001:DB8:0:0:1::]:1:2\nversion=ffffffff",
                "server.1=[0:0:0:0:0:0:0:1]:1:2:participant;[fe80:0:0:0:0:0:0:2]:3\n\
                 server.2=127.0.0.1:1:2:participant;0.0.0.0:4\nserver.3=10.0.0.1:5:6:participant\n\
                 server.4=[2001:db8:0:0:1:0:0:0]:1:2:participant\nversion=ffffffff",
            ),
            (
                "server.1=h:1:2\nserver.2=h:1:2\nserver.3=h:1:2\nserver.5=h:1:2:observer\nserver.20=h:1:2\n\
                 group.2=3:20\ngroup.1=1:2\nweight.3=5\nweight.9=0\nversion=+7fffffffffffffff",
                "server.1=h:1:2:participant\nserver.2=h:1:2:participant\nserver.3=h:1:2:participant\n\
                 server.20=h:1:2:participant\nserver.5=h:1:2:observer\ngroup.1=1:2\ngroup.2=3:20\nweight.1=1\n\
                 weight.2=1\nweight.3=5\nweight.20=1\nweight.9=0\nversion=7fffffffffffffff",
            ),
            (
                "server.1=:1:2\nserver.2=127.1:3:4\nserver.3=LocalHost:1:2;:9\nserver.5=1:1:2\n\
                 server.6=010.0.0.1:1:2\nserver.7=256.1.1.1:1:2\nserver.8=1.2.3.4.5:1:2",
                "server.1=localhost:1:2:participant\nserver.2=127.0.0.1:3:4:participant\n\
                 server.3=LocalHost:1:2:participant;localhost:9\nserver.5=0.0.0.1:1:2:participant\n\
                 server.6=10.0.0.1:1:2:participant\nserver.7=256.1.1.1:1:2:participant\n\
                 server.8=1.2.3.4.5:1:2:participant\nversion=0",
            ),
            (
                "server.1=h:1:2;;\nserver.2=h:1:2::\nserver.3=h:1:2:",
                "server.1=h:1:2:participant\nserver.2=h:1:2:participant\nserver.3=h:1:2:participant\nversion=0",
            ),
        ] {
            let ensemble = Ensemble::parse(text).unwrap();
            assert_eq!(ensemble.to_string(), expected);
            assert_eq!(Ensemble::parse(expected).unwrap(), ensemble, "its own text says the same");
        }
    }

    #[test]
    fn server_lines_come_in_the_order_of_javas_hash_map() {
        let many: Vec<i64> = (1..=13).map(|n| n * 10).collect();
        for (sids, expected) in [
            (&[10, 20, 30][..], &[20, 10, 30][..]),
            (&many, &[130, 100, 70, 40, 10, 110, 80, 50, 20, 120, 90, 60, 30]),
            (&[-5, 6_000_000_000, 7, i64::MIN, 65536], &[i64::MIN, 65536, 6_000_000_000, -5, 7]),
        ] {
            let text = Ensemble::parse(&servers(sids)).unwrap().to_string();
            let order: Vec<i64> = text
                .lines()
                .filter_map(|line| line.strip_prefix("server.")?.split_once('=')?.0.parse().ok())
                .collect();
            assert_eq!(order, expected);
        }
    }

    #[test]
    fn a_dynamic_file_is_sorted_and_has_no_version() {
        let ensemble = Ensemble::parse(&format!("{}version=5", servers(&[10, 9, 2]))).unwrap();
        let lines = "server.10=h:1:2:participant\nserver.2=h:1:2:participant\nserver.9=h:1:2:participant";
        assert_eq!(ensemble.file_text(false), lines);
        assert_eq!(ensemble.file_text(true), format!("{lines}\nversion=5"));
    }

    #[test]
    fn weights_default_to_one_and_observers_have_none() {
        let majority = Ensemble::parse(&servers(&[1, 2])).unwrap();
        assert_eq!(majority.weight(Sid(1)), 1);
        let text = "server.1=h:1:2\nserver.2=h:1:2\nserver.3=h:1:2:observer\ngroup.1=1:2\nweight.2=0";
        let groups = Ensemble::parse(text).unwrap();
        assert_eq!([1, 2, 3].map(|sid| groups.weight(Sid(sid))), [1, 0, 0]);
        let voters: Vec<Sid> = groups.voters().map(|(sid, _)| sid).collect();
        assert_eq!(voters, [Sid(1), Sid(2)]);
        let observers: Vec<Sid> = groups.observers().map(|(sid, _)| sid).collect();
        assert_eq!(observers, [Sid(3)]);
    }

    #[test]
    fn a_text_from_the_wire_may_hold_nothing_else() {
        let error = Ensemble::parse("server.1=h:1:2\n\ntickTime=5").unwrap_err();
        assert_eq!(error.line, Some(3));
        assert!(error.message.starts_with("Unrecognised parameter: tickTime"), "{error}");
    }
}
