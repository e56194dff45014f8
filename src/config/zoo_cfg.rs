//! From the bytes of zoo.cfg to a `Config`: the keys, the rules between them, in the order Java checks them.
//!
//! Java: QuorumPeerConfig.parse, parseProperties, setupQuorumPeerConfig. An error names file and line.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::defines::Defines;
use super::ensemble::{ClientAddress, Ensemble, OtherKeys, PeerType, port_in_range};
use super::error::ConfigError;
use super::numbers::{parse_bool, parse_hex_long, parse_int, parse_long, trim};
use super::outside::Outside;
use super::properties::{Properties, Property};
use super::settings::{self, Fate, Settings, fate};
use super::{Config, myid};
use crate::ids::Sid;

/// The file at `path`, with myid and the dynamic files it leads to.
pub fn read(outside: &dyn Outside, path: &Path, defines: &Defines) -> Result<Config, ConfigError> {
    let bytes = outside.read(path).map_err(|e| match e.kind() {
        ErrorKind::NotFound => ConfigError::new(format!("{} file is missing", path.display())),
        _ => ConfigError::new(format!("cannot be read: {e}")),
    })?;
    parse(outside, Some(path), &bytes, defines)
}

pub fn parse(
    outside: &dyn Outside,
    source: Option<&Path>,
    bytes: &[u8],
    defines: &Defines,
) -> Result<Config, ConfigError> {
    let properties = load(bytes)?;
    let mut defines = defines.clone();
    let mut keys = Keys::default();
    let dynamic = properties.get("dynamicConfigFile").is_some();
    for property in properties.iter() {
        keys.take(property, dynamic, &mut defines).map_err(|e| e.at_line(property.line))?;
    }
    keys.check(&defines)?;
    let (settings, settings_warnings) = Settings::from_defines(&defines)?;

    let mut warnings = Vec::new();
    if let Some(path) = source {
        warnings.extend(relative_path_warning(&path.to_string_lossy()));
    }
    warnings.append(&mut keys.warnings(&properties));
    warnings.extend(settings_warnings);
    warnings.extend(unknown_warning(&defines));

    let mut config = keys.config(outside, source, settings, warnings)?;
    let members = match config.dynamic_config_file.clone() {
        None => config.set_up_ensemble(outside, &keys, &properties, OtherKeys::Allowed)?,
        Some(file) => read_dynamic(outside, &mut config, &keys, &file)?,
    };
    config.check(&keys, &members, &defines)?;
    config.warnings.extend(feature_warning(&keys, &config, &defines));
    config.warnings.extend(reconfig_warning(&keys, &config));
    Ok(config)
}

/// Where the `server.N` lines stand.
struct Members {
    /// None: in the configuration file itself.
    file: Option<PathBuf>,
    lines: BTreeMap<Sid, usize>,
}

impl Members {
    fn of(properties: &Properties) -> Members {
        let lines = properties.iter().filter_map(|p| {
            let sid = p.key.strip_prefix("server.")?;
            Some((Sid(parse_long(sid).ok()?), p.line))
        });
        Members { file: None, lines: lines.collect() }
    }

    /// `server.3 (line 7)`
    fn name(&self, sid: Sid) -> String {
        match self.lines.get(&sid) {
            Some(line) => format!("server.{sid} (line {line})"),
            None => format!("server.{sid}"),
        }
    }
}

fn load(bytes: &[u8]) -> Result<Properties, ConfigError> {
    Properties::from_bytes(bytes).map_err(|e| ConfigError::new(e.to_string()).at_line(e.line))
}

fn read_dynamic(
    outside: &dyn Outside,
    config: &mut Config,
    keys: &Keys,
    file: &Path,
) -> Result<Members, ConfigError> {
    let properties = outside
        .read(file)
        .map_err(|e| ConfigError::new(format!("the file named by dynamicConfigFile cannot be read: {e}")))
        .and_then(|bytes| load(&bytes))
        .map_err(|e| e.in_file(file))?;
    if let Some(version) = properties.get("version") {
        let error = ConfigError::new(
            "dynamic file shouldn't have version inside (the version is the hexadecimal end of the file's name)",
        );
        return Err(error.at_line(version.line).in_file(file));
    }
    let members = config
        .set_up_ensemble(outside, keys, &properties, OtherKeys::Refused)
        .map_err(|e| e.in_file(file))?;
    config.ensemble.version = version_of(file);
    if let Some(source) = &config.source {
        let mut next = source.clone().into_os_string();
        next.push(".dynamic.next");
        let next = PathBuf::from(next);
        // Java goes on without it when it cannot be read, but not when it is wrong.
        if let Ok(bytes) = outside.read(&next) {
            let ensemble = load(&bytes).and_then(|p| Ensemble::from_properties(&p, OtherKeys::Allowed));
            config.last_seen_ensemble = Some(ensemble.map_err(|e| e.in_file(&next))?);
        }
    }
    Ok(Members { file: Some(file.to_owned()), ..members })
}

/// `zoo.cfg.dynamic.100000000` has version 0x100000000; a name without a hexadecimal end has version 0.
fn version_of(file: &Path) -> i64 {
    let name = file.to_string_lossy();
    name.rsplit_once('.').and_then(|(_, end)| parse_hex_long(end).ok()).unwrap_or(0)
}

/// The static keys with Java's defaults, before any rule between them was checked.
struct Keys {
    data_dir: Option<String>,
    data_log_dir: Option<String>,
    client_port: i32,
    client_port_address: Option<String>,
    secure_client_port: i32,
    secure_client_port_address: Option<String>,
    tick_time: i32,
    max_client_cnxns: i32,
    min_session_timeout: i32,
    max_session_timeout: i32,
    init_limit: i32,
    sync_limit: i32,
    election_alg: i32,
    quorum_listen_on_all_ips: bool,
    peer_type: PeerType,
    sync_enabled: bool,
    dynamic_config_file: Option<String>,
    snap_retain_count: i32,
    purge_interval: i32,
    standalone_enabled: bool,
    reconfig_enabled: bool,
    local_sessions_enabled: bool,
    local_sessions_upgrading_enabled: bool,
    ssl_quorum: bool,
    port_unification: bool,
    sasl_enabled: bool,
    server_require_sasl: bool,
    learner_require_sasl: bool,
    /// Where each key was set, to blame the right line for a rule between keys.
    lines: Vec<(String, usize)>,
}

impl Default for Keys {
    fn default() -> Keys {
        Keys {
            data_dir: None,
            data_log_dir: None,
            client_port: 0,
            client_port_address: None,
            secure_client_port: 0,
            secure_client_port_address: None,
            tick_time: 3000,
            max_client_cnxns: 60,
            min_session_timeout: -1,
            max_session_timeout: -1,
            init_limit: 0,
            sync_limit: 0,
            election_alg: 3,
            quorum_listen_on_all_ips: false,
            peer_type: PeerType::Participant,
            sync_enabled: true,
            dynamic_config_file: None,
            snap_retain_count: 3,
            purge_interval: 0,
            standalone_enabled: true,
            reconfig_enabled: false,
            local_sessions_enabled: false,
            local_sessions_upgrading_enabled: false,
            ssl_quorum: false,
            port_unification: false,
            sasl_enabled: false,
            server_require_sasl: false,
            learner_require_sasl: false,
            lines: Vec::new(),
        }
    }
}

const ENABLE_SASL: &str = "quorum.auth.enableSasl";
const SERVER_REQUIRE_SASL: &str = "quorum.auth.serverRequireSasl";
const LEARNER_REQUIRE_SASL: &str = "quorum.auth.learnerRequireSasl";

impl Keys {
    fn take(&mut self, p: &Property, dynamic: bool, defines: &mut Defines) -> Result<(), ConfigError> {
        let (key, value) = (trim(&p.key), trim(&p.value));
        let int = || parse_int(value).map_err(|e| ConfigError::new(format!("{key}: {e}")));
        let text = || Some(value.to_string());
        match key {
            "dataDir" => self.data_dir = text(),
            "dataLogDir" => self.data_log_dir = text(),
            "clientPort" => self.client_port = int()?,
            "clientPortAddress" => self.client_port_address = text(),
            "secureClientPort" => self.secure_client_port = int()?,
            "secureClientPortAddress" => self.secure_client_port_address = text(),
            "tickTime" => self.tick_time = int()?,
            "maxClientCnxns" => self.max_client_cnxns = int()?,
            "minSessionTimeout" => self.min_session_timeout = int()?,
            "maxSessionTimeout" => self.max_session_timeout = int()?,
            "initLimit" => self.init_limit = int()?,
            "syncLimit" => self.sync_limit = int()?,
            "electionAlg" => self.election_alg = int()?,
            "quorumListenOnAllIPs" => self.quorum_listen_on_all_ips = parse_bool(value),
            "peerType" => self.peer_type = PeerType::parse(value)?,
            "syncEnabled" => self.sync_enabled = parse_bool(value),
            "dynamicConfigFile" => self.dynamic_config_file = text(),
            "autopurge.snapRetainCount" => self.snap_retain_count = int()?,
            "autopurge.purgeInterval" => self.purge_interval = int()?,
            "standaloneEnabled" => self.standalone_enabled = strict_bool(value, "for standalone mode")?,
            "reconfigEnabled" => self.reconfig_enabled = strict_bool(value, "for reconfigEnabled flag")?,
            "localSessionsEnabled" => self.local_sessions_enabled = parse_bool(value),
            "localSessionsUpgradingEnabled" => self.local_sessions_upgrading_enabled = parse_bool(value),
            "sslQuorum" => self.ssl_quorum = parse_bool(value),
            "portUnification" => self.port_unification = parse_bool(value),
            // Only says when to read the certificates again; nothing without sslQuorum.
            "sslQuorumReloadCertFiles" => {}
            ENABLE_SASL => self.sasl_enabled = parse_bool(value),
            SERVER_REQUIRE_SASL => self.server_require_sasl = parse_bool(value),
            LEARNER_REQUIRE_SASL => self.learner_require_sasl = parse_bool(value),
            // Details of quorum SASL, without meaning while it is refused.
            "quorum.auth.learner.saslLoginContext"
            | "quorum.auth.server.saslLoginContext"
            | "quorum.auth.kerberos.servicePrincipal" => {}
            // Threads that run the quorum's SASL exchanges; here they are tasks.
            "quorum.cnxn.threads.size" => drop(int()?),
            _ if belongs_to_ensemble(key) && dynamic => {
                let message = format!("parameter: {key} must be in a separate dynamic config file");
                return Err(ConfigError::new(message));
            }
            // Read by `Ensemble::from_properties`. Java makes properties of these as well, which nothing reads.
            _ if belongs_to_ensemble(key) || key == "version" => {}
            _ => defines.set_from_line(format!("zookeeper.{key}"), value, p.line),
        }
        self.lines.push((key.to_string(), p.line));
        Ok(())
    }

    fn line(&self, key: &str) -> Option<usize> {
        self.lines.iter().find(|(k, _)| k == key).map(|&(_, line)| line)
    }

    fn blame(&self, key: &str, message: impl Into<String>) -> ConfigError {
        ConfigError { line: self.line(key), ..ConfigError::new(message) }
    }

    /// The rules between keys that do not need the ensemble, in Java's order; ours at the end.
    fn check(&self, defines: &Defines) -> Result<(), ConfigError> {
        self.check_sasl()?;
        if self.data_dir.as_deref().unwrap_or("").is_empty() {
            return Err(self.blame("dataDir", "dataDir is not set"));
        }
        self.check_port("clientPort", self.client_port, self.client_port_address.as_deref())?;
        self.check_port(
            "secureClientPort",
            self.secure_client_port,
            self.secure_client_port_address.as_deref(),
        )?;
        if self.secure_client_port != 0 {
            check_ssl_provider(defines)?;
        }
        if self.tick_time == 0 {
            return Err(self.blame("tickTime", "tickTime is not set (0 is no time)"));
        }
        let (min, max) = self.session_timeouts();
        if min > max {
            let message = format!(
                "minSessionTimeout must not be larger than maxSessionTimeout (they are {min} and {max} ms)"
            );
            let key = if self.min_session_timeout == -1 { "maxSessionTimeout" } else { "minSessionTimeout" };
            return Err(self.blame(key, message));
        }
        self.check_refused_features()
    }

    fn check_sasl(&self) -> Result<(), ConfigError> {
        let rules = [
            (self.sasl_enabled, ENABLE_SASL, self.server_require_sasl, SERVER_REQUIRE_SASL),
            (self.sasl_enabled, ENABLE_SASL, self.learner_require_sasl, LEARNER_REQUIRE_SASL),
            (self.learner_require_sasl, LEARNER_REQUIRE_SASL, self.server_require_sasl, SERVER_REQUIRE_SASL),
        ];
        match rules.iter().find(|(needed, _, wanted, _)| *wanted && !needed) {
            None => Ok(()),
            Some((_, needs, _, wants)) => {
                Err(self.blame(wants, format!("{needs} is disabled, so cannot enable {wants}")))
            }
        }
    }

    fn check_port(&self, key: &str, port: i32, address: Option<&str>) -> Result<(), ConfigError> {
        if port == 0 && address.is_some() {
            let key_of_address = format!("{key}Address");
            let message = format!("{key_of_address} is set but {key} is not set");
            return Err(self.blame(&key_of_address, message));
        }
        port_in_range(port).map_err(|e| self.blame(key, format!("{key}: {}", e.message)))?;
        Ok(())
    }

    /// Settings whose meaning is "let nobody in who cannot prove who he is": to start without them is no option.
    fn check_refused_features(&self) -> Result<(), ConfigError> {
        if self.server_require_sasl {
            let message = format!(
                "{SERVER_REQUIRE_SASL}=true needs SASL between the members, which this version does not have; \
                 it will not admit members unauthenticated"
            );
            return Err(self.blame(SERVER_REQUIRE_SASL, message));
        }
        if self.ssl_quorum {
            let message = "sslQuorum=true needs TLS between the members, which this version does not have; it will \
                           not talk to them in clear text";
            return Err(self.blame("sslQuorum", message));
        }
        Ok(())
    }

    fn session_timeouts(&self) -> (i32, i32) {
        // Java's ints wrap around, and an absurd tick time is refused for it.
        let or_ticks =
            |timeout, ticks| if timeout == -1 { self.tick_time.wrapping_mul(ticks) } else { timeout };
        (or_ticks(self.min_session_timeout, 2), or_ticks(self.max_session_timeout, 20))
    }

    fn warnings(&self, properties: &Properties) -> Vec<String> {
        let mut warnings = Vec::new();
        for (key, dir) in [("dataDir", &self.data_dir), ("dataLogDir", &self.data_log_dir)] {
            let Some(dir) = dir else { continue };
            warnings.extend(relative_path_warning(dir));
            if !dir.is_ascii() {
                warnings.push(format!(
                    "{key} is {dir:?}: zoo.cfg is read as ISO-8859-1, as Java does; write characters beyond ASCII \
                     as \\uXXXX"
                ));
            }
        }
        if self.snap_retain_count < 3 {
            warnings.push(format!(
                "Invalid autopurge.snapRetainCount: {}. Defaulting to 3",
                self.snap_retain_count
            ));
        }
        for earlier in properties.shadowed() {
            let key = trim(&earlier.key);
            let last = properties.get(&earlier.key).map_or(earlier.line, |p| p.line);
            warnings.push(format!(
                "{key} is set more than once: line {last} counts, line {} does not",
                earlier.line
            ));
        }
        warnings
    }

    fn config(
        &self,
        outside: &dyn Outside,
        source: Option<&Path>,
        settings: Settings,
        warnings: Vec<String>,
    ) -> Result<Config, ConfigError> {
        let (min, max) = self.session_timeouts();
        let data_dir = PathBuf::from(self.data_dir.as_deref().unwrap_or(""));
        let data_log_dir = self.data_log_dir.as_ref().map_or_else(|| data_dir.clone(), PathBuf::from);
        let client_address =
            self.address(outside, "clientPort", self.client_port, &self.client_port_address)?;
        let secure_client_address = self.address(
            outside,
            "secureClientPort",
            self.secure_client_port,
            &self.secure_client_port_address,
        )?;
        // A negative limit is as good as none.
        let unsigned = |n: i32| u32::try_from(n).unwrap_or(0);
        Ok(Config {
            source: source.map(Path::to_path_buf),
            data_dir,
            data_log_dir,
            client_address,
            secure_client_address,
            tick_time_ms: self.tick_time.into(),
            max_client_cnxns: unsigned(self.max_client_cnxns),
            min_session_timeout_ms: min.into(),
            max_session_timeout_ms: max.into(),
            init_limit: unsigned(self.init_limit),
            sync_limit: unsigned(self.sync_limit),
            election_alg: self.election_alg,
            peer_type: self.peer_type,
            sync_enabled: settings.observer_sync_enabled.unwrap_or(self.sync_enabled),
            standalone_enabled: self.standalone_enabled,
            reconfig_enabled: self.reconfig_enabled,
            local_sessions_enabled: self.local_sessions_enabled,
            local_sessions_upgrading_enabled: self.local_sessions_upgrading_enabled,
            quorum_listen_on_all_ips: self.quorum_listen_on_all_ips,
            autopurge_snap_retain_count: unsigned(self.snap_retain_count).max(3),
            autopurge_purge_interval_hours: unsigned(self.purge_interval),
            server_id: None,
            ensemble: Ensemble::default(),
            last_seen_ensemble: None,
            dynamic_config_file: self.dynamic_config_file.as_ref().map(PathBuf::from),
            settings,
            warnings,
        })
    }

    fn address(
        &self,
        outside: &dyn Outside,
        key: &str,
        port: i32,
        host: &Option<String>,
    ) -> Result<Option<ClientAddress>, ConfigError> {
        if port == 0 {
            return Ok(None);
        }
        let key_of_address = format!("{key}Address");
        if let Some(host) = host {
            outside.resolve(host).map_err(|e| {
                let message = format!("{key_of_address}: {host}: cannot be resolved ({e})");
                self.blame(&key_of_address, message)
            })?;
        }
        let port = port_in_range(port).map_err(|e| self.blame(key, e.message))?;
        Ok(Some(ClientAddress { host: host.clone(), port }))
    }
}

impl Config {
    fn set_up_ensemble(
        &mut self,
        outside: &dyn Outside,
        keys: &Keys,
        properties: &Properties,
        other_keys: OtherKeys,
    ) -> Result<Members, ConfigError> {
        self.ensemble = Ensemble::from_properties(properties, other_keys)?;
        let advice = self.ensemble.check_members(self.standalone_enabled)?;
        self.warnings.extend(advice.map(String::from));
        let members = Members::of(properties);
        self.warnings.extend(same_ports_warnings(&self.ensemble, &members));
        self.read_myid(outside)?;
        self.set_up_client_address(outside)?;
        self.set_up_peer_type(keys, &members);
        Ok(members)
    }

    fn read_myid(&mut self, outside: &dyn Outside) -> Result<(), ConfigError> {
        let file = self.data_dir.join("myid");
        match outside.read(&file) {
            Ok(bytes) => {
                self.server_id = myid::parse(&bytes).map_err(|e| e.in_file(&file))?;
                Ok(())
            }
            // Java asks isFile: a directory of that name counts as no file.
            Err(e)
                if matches!(
                    e.kind(),
                    ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::IsADirectory
                ) =>
            {
                Ok(())
            }
            Err(e) => Err(ConfigError::new(format!("the server id cannot be read: {e}")).in_file(&file)),
        }
    }

    /// The client address of the own server line replaces clientPort, and must not contradict it.
    fn set_up_client_address(&mut self, outside: &dyn Outside) -> Result<(), ConfigError> {
        let Some(sid) = self.server_id else { return Ok(()) };
        let listed = self.ensemble.servers.get(&sid).and_then(|s| s.client_address.clone());
        let Some(listed) = listed else { return Ok(()) };
        if let Some(own) = &self.client_address {
            let same_port = own.port == listed.port;
            let any = |address: &ClientAddress| match address.host.as_deref() {
                None => true,
                Some(host) => outside.resolve(host).is_ok_and(|ip| ip.is_unspecified()),
            };
            if !same_port || !(any(own) || same_host(outside, own, &listed)) {
                return Err(ConfigError::new(format!(
                    "client address for this server (id = {sid}) in static config file is {own} is different from \
                     client address found in dynamic file: {listed}"
                )));
            }
        }
        self.client_address = Some(listed);
        Ok(())
    }

    fn set_up_peer_type(&mut self, keys: &Keys, members: &Members) {
        let own = self.server_id.and_then(|sid| self.ensemble.servers.get(&sid));
        let listed = own.map_or(PeerType::Participant, |s| s.role);
        if listed != self.peer_type {
            let list = self.server_id.map_or("the servers list".to_owned(), |sid| members.name(sid));
            let set = match keys.line("peerType") {
                Some(line) => format!("peerType is in line {line}"),
                None => "peerType is not set".to_owned(),
            };
            self.warnings.push(format!(
                "Peer type from servers list ({listed}) doesn't match peerType ({}). Defaulting to servers list. \
                 ({set}, the list says so in {list})",
                self.peer_type
            ));
            self.peer_type = listed;
        }
    }

    /// `checkValidity`, and what Java finds only while it starts.
    fn check(&self, keys: &Keys, members: &Members, defines: &Defines) -> Result<(), ConfigError> {
        if self.is_distributed() {
            self.check_distributed(keys, members)?;
            // A standalone server never looks at it.
            settings::check_cnx_timeout(defines)?;
        }
        if self.client_address.is_none() && self.secure_client_address.is_some() {
            return Err(ConfigError::unexpected(
                "secureClientPort is the only client port, and TLS for clients is not in this version: nothing \
                 would be served. Set clientPort as well",
            ));
        }
        if self.client_address.is_some() {
            settings::check_selector_threads(defines)?;
        }
        Ok(())
    }

    fn check_distributed(&self, keys: &Keys, members: &Members) -> Result<(), ConfigError> {
        for (key, limit) in [("initLimit", self.init_limit), ("syncLimit", self.sync_limit)] {
            if limit == 0 {
                let message =
                    format!("{key} is not set (a positive number of ticks is needed in an ensemble)");
                return Err(keys.blame(key, message));
            }
        }
        let Some(sid) = self.server_id else {
            let file = self.data_dir.join("myid");
            return Err(ConfigError::new(format!(
                "myid file is missing: {} must hold the number N of this server's own line server.N; write it \
                 with: echo N > {}",
                file.display(),
                file.display()
            )));
        };
        if !self.ensemble.servers.contains_key(&sid) {
            let known: Vec<String> = self.ensemble.servers.keys().map(|sid| members.name(*sid)).collect();
            let file = members.file.as_deref().or(self.source.as_deref());
            let error = ConfigError::unexpected(format!(
                "My id {sid} not in the peer list (the servers of {} are {}); correct myid, or add server.{sid} to the \
                 list of every member",
                file.map_or("the list".to_owned(), |file| file.display().to_string()),
                known.join(", ")
            ));
            return Err(error.at_line(1).in_file(&self.data_dir.join("myid")));
        }
        if self.settings.extended_types_enabled && sid.0 > 254 {
            return Err(ConfigError::unexpected(format!(
                "extendedTypesEnabled=true allows server ids up to 254 only, myid says {sid}"
            )));
        }
        if self.election_alg != 3 {
            return Err(keys.blame(
                "electionAlg",
                format!(
                    "electionAlg={} is one of the retired UDP elections; only 3 is known here",
                    self.election_alg
                ),
            ));
        }
        if keys.learner_require_sasl {
            let message = format!(
                "{LEARNER_REQUIRE_SASL}=true needs SASL between the members, which this version does not have; it \
                 will not follow a leader that has not proved who it is"
            );
            return Err(keys.blame(LEARNER_REQUIRE_SASL, message));
        }
        Ok(())
    }
}

/// `configureSSLAuth`.
fn check_ssl_provider(defines: &Defines) -> Result<(), ConfigError> {
    let property = "zookeeper.ssl.authProvider";
    let scheme = defines.get(property).unwrap_or("x509");
    if scheme == "x509" || defines.get(&format!("zookeeper.authProvider.{scheme}")).is_some() {
        return Ok(());
    }
    let message = format!("No auth provider configured for the SSL authentication scheme '{scheme}'.");
    Err(ConfigError { line: defines.line(property), ..ConfigError::new(message) })
}

fn same_host(outside: &dyn Outside, a: &ClientAddress, b: &ClientAddress) -> bool {
    if a.host == b.host {
        return true;
    }
    let ip = |address: &ClientAddress| outside.resolve(address.host.as_deref()?).ok();
    ip(a).is_some_and(|ip_of_a| ip(b) == Some(ip_of_a))
}

fn belongs_to_ensemble(key: &str) -> bool {
    ["server.", "group", "weight"].iter().any(|prefix| key.starts_with(prefix))
}

fn strict_bool(value: &str, of_what: &str) -> Result<bool, ConfigError> {
    match value.to_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(ConfigError::new(format!("Invalid option {value} {of_what}. Choose 'true' or 'false.'"))),
    }
}

fn relative_path_warning(path: &str) -> Option<String> {
    let sure = path.starts_with('/') || path.starts_with("./");
    (!sure && !path.is_empty())
        .then(|| format!("{path} is relative. Prepend ./ to indicate that you're sure!"))
}

/// Java starts with such a list, and then one of the two never gets its port.
fn same_ports_warnings(ensemble: &Ensemble, members: &Members) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut owners: BTreeMap<(String, u16), Sid> = BTreeMap::new();
    for (&sid, server) in &ensemble.servers {
        for port in [server.quorum_port, server.election_port] {
            let owner = *owners.entry((server.host.to_ascii_lowercase(), port)).or_insert(sid);
            if owner != sid {
                let (one, other) = (members.name(owner), members.name(sid));
                warnings.push(format!(
                    "{one} and {other} have the same address {}:{port}: only one of them can listen there",
                    server.host
                ));
            }
        }
    }
    warnings
}

/// In an ensemble reconfig is more than a missing extra: other members may do it.
fn reconfig_warning(keys: &Keys, config: &Config) -> Option<String> {
    let line = keys.line("reconfigEnabled").filter(|_| keys.reconfig_enabled && config.is_distributed())?;
    Some(format!(
        "line {line}: reconfigEnabled=true: reconfig is not served yet. While this server leads, clients are told that it \
         is unimplemented; when it follows a leader that changes the ensemble, it leaves that leader. Change the server \
         lines of all members and restart them one at a time instead"
    ))
}

/// One sentence for all settings of features that this version lacks.
fn feature_warning(keys: &Keys, config: &Config, defines: &Defines) -> Option<String> {
    let mut asked: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (feature, key, on) in [
        ("reconfig", "reconfigEnabled", keys.reconfig_enabled && !config.is_distributed()),
        ("SASL", ENABLE_SASL, keys.sasl_enabled),
        ("TLS", "portUnification", keys.port_unification),
        ("TLS", "secureClientPort", keys.secure_client_port != 0),
    ] {
        if on {
            asked.entry(feature).or_default().push(key);
        }
    }
    for (property, define) in defines.iter() {
        let off = define.value.eq_ignore_ascii_case("false");
        if let (Some(Fate::Later(feature)), false) = (fate(property), off) {
            asked.entry(feature).or_default().push(property);
        }
    }
    for class in &config.settings.auth_providers {
        asked.entry("authentication providers").or_default().push(class);
    }
    if asked.is_empty() {
        return None;
    }
    let list: Vec<String> =
        asked.into_iter().map(|(feature, names)| format!("{feature} ({})", names.join(", "))).collect();
    Some(format!("not in this version, the server runs without: {}", list.join("; ")))
}

/// Java takes any key for a property without a word; mostly it is a misspelt one.
fn unknown_warning(defines: &Defines) -> Option<String> {
    let unknown: Vec<String> = defines
        .iter()
        .filter(|(property, _)| fate(property).is_none())
        .filter_map(|(property, define)| {
            let key = property.strip_prefix("zookeeper.")?;
            let remedy = match fate(key) {
                Some(_) => format!(", give it as -D{key} in SERVER_JVMFLAGS"),
                None => String::new(),
            };
            Some(match define.line {
                Some(line) => format!("{key} (line {line}{remedy})"),
                None => format!("-D{property}"),
            })
        })
        .collect();
    (!unknown.is_empty()).then(|| format!("settings without effect: {}", unknown.join(", ")))
}
