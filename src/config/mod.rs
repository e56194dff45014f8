//! zoo.cfg, myid, the dynamic file and the `-D` properties, read once into one typed `Config` (B§7).
//!
//! Nothing else in the server reads a setting from a string. Parsing is pure, bytes in, `Config` out; what it needs of
//! the machine goes through `outside::Outside`. Java: QuorumPeerConfig, ServerConfig, and 75 calls of getProperty.

pub mod defines;
pub mod ensemble;
pub mod error;
pub mod numbers;
pub mod outside;
pub mod properties;
pub mod settings;

mod myid;
#[cfg(test)]
mod tests;
mod zoo_cfg;

use std::path::{Path, PathBuf};

pub use defines::Defines;
pub use ensemble::{ClientAddress, Ensemble, Hierarchy, PeerType, ServerSpec};
pub use error::ConfigError;
pub use settings::{ConnectionFactory, Secret, Settings, Whitelist};

use crate::ids::Sid;
use ensemble::port_in_range;
use numbers::{NotANumber, parse_int};
use outside::{Machine, Outside};

/// Everything the server was told. Field comments name the key of zoo.cfg.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The file it was read from, as given; none for arguments and built-in values.
    pub source: Option<PathBuf>,
    /// Snapshots, epoch files and myid, without `version-2`. dataDir
    pub data_dir: PathBuf,
    /// Transaction logs, without `version-2`. dataLogDir, else dataDir
    pub data_log_dir: PathBuf,
    /// clientPort and clientPortAddress, or what the own server line says; none = no plain port.
    pub client_address: Option<ClientAddress>,
    /// secureClientPort and secureClientPortAddress; not served yet.
    pub secure_client_address: Option<ClientAddress>,
    /// tickTime, ms (3000)
    pub tick_time_ms: i64,
    /// Connections per client address, 0 = unlimited. maxClientCnxns (60)
    pub max_client_cnxns: u32,
    /// minSessionTimeout, ms (2 ticks)
    pub min_session_timeout_ms: i64,
    /// maxSessionTimeout, ms (20 ticks)
    pub max_session_timeout_ms: i64,
    /// Ticks to connect to a leader and synchronise. initLimit
    pub init_limit: u32,
    /// Ticks without a sign of life. syncLimit
    pub sync_limit: u32,
    /// electionAlg; in an ensemble always 3
    pub election_alg: i32,
    /// What the server list says of this server; peerType only where the list is silent.
    pub peer_type: PeerType,
    /// Whether an observer keeps logs and snapshots. syncEnabled, zookeeper.observer.syncEnabled
    pub sync_enabled: bool,
    /// A single participant runs alone, without election. standaloneEnabled
    pub standalone_enabled: bool,
    /// reconfigEnabled; not served yet.
    pub reconfig_enabled: bool,
    /// localSessionsEnabled
    pub local_sessions_enabled: bool,
    /// localSessionsUpgradingEnabled
    pub local_sessions_upgrading_enabled: bool,
    /// Listen for other members on every address. quorumListenOnAllIPs
    pub quorum_listen_on_all_ips: bool,
    /// Snapshots that a purge keeps, at least 3. autopurge.snapRetainCount
    pub autopurge_snap_retain_count: u32,
    /// Hours between purges, 0 = never. autopurge.purgeInterval
    pub autopurge_purge_interval_hours: u32,
    /// The number in myid.
    pub server_id: Option<Sid>,
    /// server.N, group.N, weight.N, from zoo.cfg or from the dynamic file.
    pub ensemble: Ensemble,
    /// A configuration that was proposed but not known to be active, from `<source>.dynamic.next`; only read together
    /// with a dynamic file, as in Java.
    pub last_seen_ensemble: Option<Ensemble>,
    /// dynamicConfigFile
    pub dynamic_config_file: Option<PathBuf>,
    pub settings: Settings,
    /// To be logged once, when logging runs.
    pub warnings: Vec<String>,
}

impl Config {
    /// Reads the configuration file, and what it points to, from disk.
    pub fn load(path: &Path, defines: &Defines) -> Result<Config, ConfigError> {
        Config::load_from(&Machine, path, defines)
    }

    pub fn load_from(outside: &dyn Outside, path: &Path, defines: &Defines) -> Result<Config, ConfigError> {
        zoo_cfg::read(outside, path, defines).map_err(|e| e.in_file(path))
    }

    /// The command line `port dataDir [tickTime] [maxClientCnxns]` of ZooKeeperServerMain: standalone.
    pub fn from_args(
        port: &str,
        data_dir: &str,
        tick: Option<&str>,
        max_cnxns: Option<&str>,
        defines: &Defines,
    ) -> Result<Config, ConfigError> {
        let wrong = |name: &str, e: NotANumber| ConfigError::new(format!("Invalid arguments: {name}: {e}"));
        let port = parse_int(port).map_err(|e| wrong("port", e)).and_then(port_in_range)?;
        let tick_time = tick.map_or(Ok(3000), parse_int).map_err(|e| wrong("tickTime", e))?;
        let max_cnxns = max_cnxns.map_or(Ok(0), parse_int).map_err(|e| wrong("maxClientCnxns", e))?;
        if tick_time <= 0 {
            return Err(ConfigError::new(format!(
                "Invalid arguments: tickTime is not set to a positive number: {tick_time}"
            )));
        }
        let mut config = zoo_cfg::parse(&Nothing, None, STANDALONE, defines)?;
        config.client_address = Some(ClientAddress { host: None, port });
        config.data_dir = data_dir.into();
        config.data_log_dir = data_dir.into();
        config.tick_time_ms = tick_time.into();
        config.min_session_timeout_ms = tick_time.wrapping_mul(2).into();
        config.max_session_timeout_ms = tick_time.wrapping_mul(20).into();
        config.max_client_cnxns = u32::try_from(max_cnxns).unwrap_or(0);
        Ok(config)
    }

    /// The values of the shipped zoo_sample.cfg, for a server that is started where there is no zoo.cfg.
    pub fn builtin_defaults(defines: &Defines) -> Result<Config, ConfigError> {
        zoo_cfg::parse(&Nothing, None, SAMPLE, defines)
    }

    /// Whether elections are held (B§7.1), as opposed to a standalone server.
    pub fn is_distributed(&self) -> bool {
        !self.standalone_enabled || self.ensemble.voters().count() > 1
    }
}

const SAMPLE: &[u8] = b"tickTime=2000\ninitLimit=10\nsyncLimit=5\ndataDir=/tmp/zookeeper\nclientPort=2181\n";

const STANDALONE: &[u8] = b"dataDir=/\nclientPort=1\n";

/// For configurations that come from no file: there is no myid then.
struct Nothing;

impl Outside for Nothing {
    fn read(&self, _: &Path) -> std::io::Result<Vec<u8>> {
        Err(std::io::ErrorKind::NotFound.into())
    }

    fn resolve(&self, _: &str) -> std::io::Result<std::net::IpAddr> {
        Err(std::io::ErrorKind::NotFound.into())
    }
}
