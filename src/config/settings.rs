//! The system properties of the Java server (B§7.4), read once and typed.
//!
//! `PROPERTIES` is the complete list with the fate of each; a property that is not in it is named in a warning. A value
//! Java cannot read gets Java's default and a warning, except where Java refuses to start.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Deref;

use super::defines::Defines;
use super::ensemble::port_in_range;
use super::error::ConfigError;
use super::numbers::{decode_int, decode_long, parse_bool, parse_double, parse_int, parse_long, trim};

/// What the server needs of the properties. Each field names its property; those marked -D are read by Java under a
/// name without `zookeeper.`, so that zoo.cfg cannot set them.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Largest packet and record in bytes. -Djute.maxbuffer
    pub jute_max_buffer: usize,
    /// Added allowance for the fields of a record, bytes. zookeeper.jute.maxbuffer.extrasize
    pub jute_extra_size: usize,
    /// Transactions between snapshots, at least 2. zookeeper.snapCount
    pub snap_count: u32,
    /// Step by which log files grow, KiB; not positive = no padding. zookeeper.preAllocSize
    pub pre_alloc_kib: i64,
    /// Whether an acknowledged write is on the disk. zookeeper.forceSync ("no" turns it off)
    pub force_sync: bool,
    /// An fsync that takes longer is logged, ms. zookeeper.fsync.warningthresholdms, else -Dfsync.warningthresholdms
    pub fsync_warning_ms: i64,
    /// Share of the snapshot's size up to which the leader syncs from its log; negative = never.
    /// zookeeper.snapshotSizeFactor
    pub snapshot_size_factor: f64,
    /// Start from logs without any snapshot. zookeeper.snapshot.trust.empty
    pub snapshot_trust_empty: bool,
    /// Create missing data directories. zookeeper.datadir.autocreate
    pub datadir_autocreate: bool,
    /// Requests in the server beyond which connections are throttled. zookeeper.globalOutstandingLimit
    pub global_outstanding_limit: i64,
    /// Whether the leader takes clients. zookeeper.leaderServes ("no" turns it off)
    pub leader_serves: bool,
    /// No ACL is checked. zookeeper.skipACL ("yes" turns it on)
    pub skip_acl: bool,
    /// TTL nodes; must be alike on all members (B§2.4). zookeeper.extendedTypesEnabled
    pub extended_types_enabled: bool,
    /// Read TTL nodes as 3.5.3 wrote them. zookeeper.emulate353TTLNodes
    pub emulate_353_ttl_nodes: bool,
    /// Overrides the key syncEnabled. zookeeper.observer.syncEnabled
    pub observer_sync_enabled: Option<bool>,
    /// Send a snapshot to every learner, testing only. zookeeper.forceSnapshotSync
    pub force_snapshot_sync: bool,
    /// Snapshots sent to observers at the same time. zookeeper.leader.maxConcurrentSnapshots
    pub max_concurrent_snapshots: i32,
    /// How long an observer waits for its turn, ms. zookeeper.leader.maxConcurrentSnapshotTimeout
    pub max_concurrent_snapshot_timeout_ms: i64,
    /// `user:base64(sha1(user:password))` of the superuser. zookeeper.DigestAuthenticationProvider.superDigest
    pub super_digest: Option<Secret>,
    /// zookeeper.4lw.commands.whitelist
    pub four_letter_whitelist: Whitelist,
    /// Pause between searches for empty containers and expired TTL nodes, ms. -Dznode.container.checkIntervalMs
    pub container_check_interval_ms: i64,
    /// Containers deleted per minute at most. -Dznode.container.maxPerMinute
    pub container_max_per_minute: i64,
    /// zookeeper.serverCnxnFactory
    pub connection_factory: ConnectionFactory,
    /// A connection without a session is closed after this, ms. zookeeper.nio.sessionlessCnxnTimeout
    pub sessionless_cnxn_timeout_ms: i64,
    /// zookeeper.nio.numWorkerThreads; none = twice the cores
    pub nio_worker_threads: Option<u32>,
    /// Time to connect to another member's election port, ms. zookeeper.cnxTimeout
    pub cnx_timeout_ms: i64,
    /// Attempts to listen on the election port, 0 = for ever. zookeeper.electionPortBindRetry
    pub election_port_bind_retry: u32,
    /// SO_KEEPALIVE on election connections. zookeeper.tcpKeepAlive
    pub tcp_keep_alive: bool,
    /// TCP_NODELAY on the leader's side. -Dleader.nodelay
    pub leader_nodelay: bool,
    /// TCP_NODELAY on the learner's side. -Dfollower.nodelay
    pub follower_nodelay: bool,
    /// zookeeper.admin.enableServer (anything but "false")
    pub admin_enable: bool,
    /// zookeeper.admin.serverAddress
    pub admin_address: String,
    /// zookeeper.admin.serverPort
    pub admin_port: u16,
    /// zookeeper.admin.commandURL
    pub admin_command_url: String,
    /// zookeeper.admin.idleTimeout, ms
    pub admin_idle_timeout_ms: i64,
    /// Class names of zookeeper.authProvider.*, except the built-in digest and ip.
    pub auth_providers: Vec<String>,
    /// -Dreadonlymode.enabled: so far only admits isro to the whitelist.
    pub readonly_mode_enabled: bool,
    /// The counter a leader begins with, to test the rollover. zookeeper.testingonly.initialZxid
    pub initial_zxid: Option<i64>,
    /// Answer the operations that clients of 3.6 and later know: addWatch, setWatches2, multiRead, whoAmI,
    /// getEphemerals, getAllChildrenNumber. Our only key: ferrokeeper.modernClientOps
    pub modern_client_ops: bool,
}

/// Java's NIO factory greets every connection with an `ip` identity and counts connections per address; its Netty
/// factory does neither (B§14 no. 25).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ConnectionFactory {
    #[default]
    Nio,
    Netty,
}

/// A text that no log may show.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }
}

impl Deref for Secret {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// The four letter words that are executed (B§8.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whitelist(BTreeSet<String>);

impl Whitelist {
    /// `telnet close` is the name of the bytes ff f4 ff fd.
    pub const KNOWN: [&str; 18] = [
        "conf",
        "cons",
        "crst",
        "dirs",
        "dump",
        "envi",
        "gtmk",
        "ruok",
        "stmk",
        "srst",
        "srvr",
        "stat",
        "wchc",
        "wchp",
        "wchs",
        "mntr",
        "isro",
        "telnet close",
    ];

    fn parse(list: &str, readonly_mode: bool) -> Whitelist {
        let mut allowed = BTreeSet::new();
        for word in list.split(',').map(trim) {
            if word == "*" {
                allowed.extend(Whitelist::KNOWN.map(String::from));
                break;
            }
            allowed.insert(word.to_string());
        }
        if readonly_mode {
            allowed.insert("isro".into());
        }
        // zkServer.sh status asks for it.
        allowed.insert("srvr".into());
        Whitelist(allowed)
    }

    pub fn allows(&self, command: &str) -> bool {
        self.0.contains(command)
    }
}

/// What becomes of a property that somebody sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Honoured,
    /// Has no meaning here; docs/configuration.md says why.
    Ignored,
    /// Belongs to a feature that this version lacks; running without it is safe, and said.
    Later(&'static str),
}

use Fate::{Honoured, Ignored, Later};

/// Every property that Java 3.5.7 reads. A name that ends in a dot stands for all that begin with it.
pub(super) const PROPERTIES: &[(&str, Fate)] = &[
    ("jute.maxbuffer", Honoured),
    ("zookeeper.jute.maxbuffer.extrasize", Honoured),
    ("zookeeper.snapCount", Honoured),
    ("zookeeper.preAllocSize", Honoured),
    ("zookeeper.forceSync", Honoured),
    ("zookeeper.fsync.warningthresholdms", Honoured),
    ("fsync.warningthresholdms", Honoured),
    ("zookeeper.snapshotSizeFactor", Honoured),
    ("zookeeper.snapshot.trust.empty", Honoured),
    ("zookeeper.datadir.autocreate", Honoured),
    ("zookeeper.globalOutstandingLimit", Honoured),
    ("zookeeper.leaderServes", Honoured),
    ("zookeeper.skipACL", Honoured),
    ("zookeeper.extendedTypesEnabled", Honoured),
    ("zookeeper.emulate353TTLNodes", Honoured),
    ("zookeeper.observer.syncEnabled", Honoured),
    ("zookeeper.forceSnapshotSync", Honoured),
    ("zookeeper.leader.maxConcurrentSnapshots", Honoured),
    ("zookeeper.leader.maxConcurrentSnapshotTimeout", Ignored),
    ("zookeeper.cnxTimeout", Honoured),
    ("zookeeper.electionPortBindRetry", Honoured),
    ("zookeeper.tcpKeepAlive", Honoured),
    ("leader.nodelay", Honoured),
    ("follower.nodelay", Honoured),
    ("readonlymode.enabled", Later("read-only mode")),
    ("znode.container.checkIntervalMs", Honoured),
    ("znode.container.maxPerMinute", Honoured),
    ("zookeeper.serverCnxnFactory", Honoured),
    ("zookeeper.nio.numSelectorThreads", Ignored),
    ("zookeeper.nio.numWorkerThreads", Honoured),
    ("zookeeper.nio.directBufferBytes", Ignored),
    ("zookeeper.nio.sessionlessCnxnTimeout", Honoured),
    ("zookeeper.nio.shutdownTimeout", Ignored),
    ("zookeeper.commitProcessor.numWorkerThreads", Ignored),
    ("zookeeper.commitProcessor.shutdownTimeout", Ignored),
    ("zookeeper.client.portUnification", Later("TLS")),
    ("zookeeper.4lw.commands.whitelist", Honoured),
    ("zookeeper.admin.enableServer", Honoured),
    ("zookeeper.admin.serverAddress", Honoured),
    ("zookeeper.admin.serverPort", Honoured),
    ("zookeeper.admin.idleTimeout", Honoured),
    ("zookeeper.admin.commandURL", Honoured),
    ("zookeeper.authProvider.", Honoured),
    ("zookeeper.DigestAuthenticationProvider.superDigest", Honoured),
    ("zookeeper.X509AuthenticationProvider.superUser", Later("TLS")),
    ("zookeeper.superUser", Later("SASL")),
    ("zookeeper.SASLAuthenticationProvider.superPassword", Later("SASL")),
    ("zookeeper.letAnySaslUserDoX", Later("SASL")),
    ("zookeeper.allowSaslFailedClients", Later("SASL")),
    ("zookeeper.kerberos.removeHostFromPrincipal", Later("SASL")),
    ("zookeeper.kerberos.removeRealmFromPrincipal", Later("SASL")),
    ("zookeeper.security.auth_to_local", Later("SASL")),
    ("zookeeper.requireKerberosConfig", Later("SASL")),
    ("zookeeper.server.realm", Later("SASL")),
    ("zookeeper.kinit", Later("SASL")),
    ("zookeeper.sasl.serverconfig", Later("SASL")),
    ("java.security.auth.login.config", Later("SASL")),
    ("sun.security.jgss.native", Later("SASL")),
    ("zookeeper.ssl.", Later("TLS")),
    ("zookeeper.jmx.log4j.disable", Ignored),
    ("zookeeper.jmx.log4j.mbean", Ignored),
    ("zookeeper.testingonly.initialZxid", Honoured),
    ("zookeeper.log.dir", Honoured),
    ("zookeeper.log.file", Honoured),
    ("zookeeper.log.threshold", Honoured),
    ("zookeeper.log.maxfilesize", Honoured),
    ("zookeeper.log.maxbackupindex", Honoured),
    ("zookeeper.root.logger", Honoured),
    ("zookeeper.console.threshold", Honoured),
    ("zookeeper.tracelog.", Honoured),
    ("zookeeper.ferrokeeper.modernClientOps", Honoured),
];

pub(super) fn fate(property: &str) -> Option<Fate> {
    let matches =
        |name: &str| if name.ends_with('.') { property.starts_with(name) } else { property == name };
    PROPERTIES.iter().find(|(name, _)| matches(name)).map(|&(_, fate)| fate)
}

impl Settings {
    /// The second value: what to log once.
    pub fn from_defines(defines: &Defines) -> Result<(Settings, Vec<String>), ConfigError> {
        let mut from = Reader { defines, warnings: Vec::new() };
        let settings = from.settings()?;
        Ok((settings, from.warnings))
    }
}

struct Reader<'a> {
    defines: &'a Defines,
    warnings: Vec<String>,
}

impl Reader<'_> {
    fn settings(&mut self) -> Result<Settings, ConfigError> {
        let jute_max_buffer = self.decoded_int("jute.maxbuffer", 0xf_ffff);
        let extra = self.decoded_int("zookeeper.jute.maxbuffer.extrasize", jute_max_buffer).max(1024);
        let fsync_warning = self.decoded_long("fsync.warningthresholdms", 1000);
        let readonly_mode = self.text("readonlymode.enabled") == Some("true");
        Ok(Settings {
            jute_max_buffer: usize::try_from(jute_max_buffer).unwrap_or(0),
            jute_extra_size: usize::try_from(extra).unwrap_or(1024),
            snap_count: self.snap_count(),
            pre_alloc_kib: self.parsed("zookeeper.preAllocSize", 65536, |v| parse_long(v).ok()),
            force_sync: self.text("zookeeper.forceSync") != Some("no"),
            fsync_warning_ms: self.decoded_long("zookeeper.fsync.warningthresholdms", fsync_warning),
            snapshot_size_factor: self.parsed("zookeeper.snapshotSizeFactor", 0.33, |v| {
                parse_double(v).filter(|factor| *factor <= 1.0)
            }),
            snapshot_trust_empty: self.bool("zookeeper.snapshot.trust.empty"),
            datadir_autocreate: self.text("zookeeper.datadir.autocreate").is_none_or(parse_bool),
            global_outstanding_limit: self
                .parsed("zookeeper.globalOutstandingLimit", 1000, |v| parse_int(v).ok())
                .into(),
            leader_serves: self.text("zookeeper.leaderServes") != Some("no"),
            skip_acl: self.text("zookeeper.skipACL") == Some("yes"),
            extended_types_enabled: self.bool("zookeeper.extendedTypesEnabled"),
            emulate_353_ttl_nodes: self.bool("zookeeper.emulate353TTLNodes"),
            observer_sync_enabled: self.text("zookeeper.observer.syncEnabled").map(parse_bool),
            force_snapshot_sync: self.bool("zookeeper.forceSnapshotSync"),
            max_concurrent_snapshots: self.decoded_int("zookeeper.leader.maxConcurrentSnapshots", 10),
            max_concurrent_snapshot_timeout_ms: self
                .decoded_long("zookeeper.leader.maxConcurrentSnapshotTimeout", 5),
            super_digest: self.text("zookeeper.DigestAuthenticationProvider.superDigest").map(Secret::new),
            four_letter_whitelist: Whitelist::parse(
                self.text("zookeeper.4lw.commands.whitelist").unwrap_or(""),
                readonly_mode,
            ),
            container_check_interval_ms: self.decoded_int("znode.container.checkIntervalMs", 60_000).into(),
            container_max_per_minute: self.decoded_int("znode.container.maxPerMinute", 10_000).into(),
            connection_factory: self.connection_factory()?,
            sessionless_cnxn_timeout_ms: self
                .decoded_int("zookeeper.nio.sessionlessCnxnTimeout", 10_000)
                .into(),
            nio_worker_threads: self.nio_worker_threads(),
            cnx_timeout_ms: self.parsed("zookeeper.cnxTimeout", 5000, |v| parse_int(v).ok()).into(),
            election_port_bind_retry: self.election_port_bind_retry(),
            tcp_keep_alive: self.bool("zookeeper.tcpKeepAlive"),
            leader_nodelay: self.text("leader.nodelay").is_none_or(|v| v == "true"),
            follower_nodelay: self.text("follower.nodelay").is_none_or(|v| v == "true"),
            admin_enable: self.text("zookeeper.admin.enableServer") != Some("false"),
            admin_address: self.text("zookeeper.admin.serverAddress").unwrap_or("0.0.0.0").into(),
            admin_port: self.admin_port()?,
            admin_command_url: self.text("zookeeper.admin.commandURL").unwrap_or("/commands").into(),
            admin_idle_timeout_ms: self.decoded_int("zookeeper.admin.idleTimeout", 30_000).into(),
            auth_providers: self.auth_providers(),
            readonly_mode_enabled: readonly_mode,
            initial_zxid: self.initial_zxid()?,
            modern_client_ops: self.modern_client_ops(),
        })
    }

    fn text(&self, property: &str) -> Option<&str> {
        self.defines.get(property)
    }

    /// `Boolean.getBoolean`: only "true", in any case.
    fn bool(&self, property: &str) -> bool {
        self.text(property).is_some_and(parse_bool)
    }

    /// A value that `read` does not take is replaced by the default, and said.
    fn parsed<T: Copy + fmt::Display>(
        &mut self,
        property: &str,
        default: T,
        read: impl Fn(&str) -> Option<T>,
    ) -> T {
        let Some(text) = self.text(property) else { return default };
        if let Some(value) = read(text) {
            return value;
        }
        let warning = format!("{}: {text:?} is not a valid value, using {default}", self.origin(property));
        self.warnings.push(warning);
        default
    }

    fn decoded_int(&mut self, property: &str, default: i32) -> i32 {
        self.parsed(property, default, decode_int)
    }

    fn decoded_long(&mut self, property: &str, default: i64) -> i64 {
        self.parsed(property, default, decode_long)
    }

    fn origin(&self, property: &str) -> String {
        match self.defines.line(property) {
            Some(line) => format!("line {line}: {}", property.strip_prefix("zookeeper.").unwrap_or(property)),
            None => format!("-D{property}"),
        }
    }

    fn snap_count(&mut self) -> u32 {
        let count = self.parsed("zookeeper.snapCount", 100_000, |v| parse_int(v).ok());
        if count < 2 {
            self.warnings.push("SnapCount should be 2 or more. Now, snapCount is reset to 2".into());
        }
        u32::try_from(count).unwrap_or(0).max(2)
    }

    fn nio_worker_threads(&mut self) -> Option<u32> {
        let property = "zookeeper.nio.numWorkerThreads";
        self.text(property)?;
        u32::try_from(self.decoded_int(property, 0)).ok().filter(|&n| n > 0)
    }

    fn election_port_bind_retry(&mut self) -> u32 {
        u32::try_from(self.decoded_int("zookeeper.electionPortBindRetry", 3)).unwrap_or(3)
    }

    fn admin_port(&mut self) -> Result<u16, ConfigError> {
        let property = "zookeeper.admin.serverPort";
        port_in_range(self.decoded_int(property, 8080)).map_err(|e| {
            // Java: "Unable to start AdminServer".
            refuse(self.defines, property, ConfigError { exit_code: 4, ..e })
        })
    }

    fn initial_zxid(&self) -> Result<Option<i64>, ConfigError> {
        let property = "zookeeper.testingonly.initialZxid";
        let value = self.text(property).map(parse_long).transpose();
        value.map_err(|e| refuse(self.defines, property, ConfigError::new(e.to_string())))
    }

    fn connection_factory(&self) -> Result<ConnectionFactory, ConfigError> {
        let property = "zookeeper.serverCnxnFactory";
        match self.text(property) {
            None | Some("org.apache.zookeeper.server.NIOServerCnxnFactory") => Ok(ConnectionFactory::Nio),
            Some("org.apache.zookeeper.server.NettyServerCnxnFactory") => Ok(ConnectionFactory::Netty),
            Some(class) => {
                let message = format!(
                    "Couldn't instantiate {class} (known are NIOServerCnxnFactory and NettyServerCnxnFactory of \
                     org.apache.zookeeper.server)"
                );
                Err(refuse(self.defines, property, ConfigError::unexpected(message)))
            }
        }
    }

    fn auth_providers(&mut self) -> Vec<String> {
        let built_in = |class: &str| {
            let name = class.strip_prefix("org.apache.zookeeper.server.auth.");
            matches!(name, Some("DigestAuthenticationProvider" | "IPAuthenticationProvider"))
        };
        let configured = self.defines.iter().filter(|(key, _)| key.starts_with("zookeeper.authProvider."));
        configured.map(|(_, define)| define.value.clone()).filter(|class| !built_in(class)).collect()
    }

    fn modern_client_ops(&mut self) -> bool {
        let property = "zookeeper.ferrokeeper.modernClientOps";
        self.parsed(property, true, |v| match v.to_ascii_lowercase().as_str() {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        })
    }
}

/// Java trips over a connect timeout that is no number when the election starts, and ends with 2.
pub(super) fn check_cnx_timeout(defines: &Defines) -> Result<(), ConfigError> {
    let property = "zookeeper.cnxTimeout";
    match defines.get(property).map(parse_int) {
        Some(Err(e)) => Err(refuse(defines, property, ConfigError::new(e.to_string()))),
        _ => Ok(()),
    }
}

/// There are no selector threads here; still, what Java's NIO factory refuses is a mistake.
pub(super) fn check_selector_threads(defines: &Defines) -> Result<(), ConfigError> {
    let property = "zookeeper.nio.numSelectorThreads";
    match defines.get(property).and_then(decode_int) {
        Some(n) if n < 1 => {
            let error = ConfigError::unexpected("numSelectorThreads must be at least 1");
            Err(refuse(defines, property, error))
        }
        _ => Ok(()),
    }
}

fn refuse(defines: &Defines, property: &str, error: ConfigError) -> ConfigError {
    let message = &error.message;
    match defines.line(property) {
        Some(line) => {
            let key = property.strip_prefix("zookeeper.").unwrap_or(property);
            ConfigError { message: format!("{key}: {message}"), ..error }.at_line(line)
        }
        None => ConfigError { message: format!("-D{property}: {message}"), ..error },
    }
}
