//! STUB
use std::path::PathBuf;
#[derive(Clone, Debug)]
pub struct ClientAddress {
    pub host: Option<String>,
    pub port: u16,
}
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionFactory {
    Nio,
    Netty,
}
#[derive(Clone, Debug)]
pub struct Whitelist(String);
impl Whitelist {
    pub fn allows(&self, _c: &str) -> bool {
        true
    }
}
#[derive(Clone, Debug)]
pub struct Settings {
    pub connection_factory: ConnectionFactory,
    pub super_digest: Option<String>,
    pub jute_max_buffer: usize,
    pub jute_extra_size: usize,
    pub global_outstanding_limit: i64,
    pub four_letter_whitelist: Whitelist,
    pub sessionless_cnxn_timeout_ms: i64,
    pub fsync_warning_ms: i64,
    pub extended_types_enabled: bool,
    pub emulate_353_ttl_nodes: bool,
    pub snapshot_trust_empty: bool,
    pub datadir_autocreate: bool,
    pub pre_alloc_kib: i64,
    pub force_sync: bool,
    pub skip_acl: bool,
    pub modern_client_ops: bool,
    pub snap_count: u32,
    pub container_check_interval_ms: i64,
    pub container_max_per_minute: u32,
}
#[derive(Clone, Debug)]
pub struct Config {
    pub data_dir: PathBuf,
    pub data_log_dir: PathBuf,
    pub client_address: Option<ClientAddress>,
    pub secure_client_address: Option<ClientAddress>,
    pub tick_time_ms: i64,
    pub max_client_cnxns: u32,
    pub min_session_timeout_ms: i64,
    pub max_session_timeout_ms: i64,
    pub autopurge_purge_interval_hours: u32,
    pub autopurge_snap_retain_count: u32,
    pub reconfig_enabled: bool,
    pub settings: Settings,
}
impl Config {
    pub fn stub(text: &str, ext: bool) -> Config {
        let get = |k: &str| {
            text.lines()
                .filter_map(|l| l.split_once('='))
                .filter(|(a, _)| a.trim() == k)
                .last()
                .map(|(_, v)| v.trim().to_owned())
        };
        let tick: i64 = get("tickTime").map_or(3000, |v| v.parse().unwrap());
        Config {
            data_dir: get("dataDir").unwrap().into(),
            data_log_dir: get("dataLogDir").or(get("dataDir")).unwrap().into(),
            client_address: Some(ClientAddress {
                host: get("clientPortAddress"),
                port: get("clientPort").unwrap().parse().unwrap(),
            }),
            secure_client_address: None,
            tick_time_ms: tick,
            max_client_cnxns: get("maxClientCnxns").map_or(60, |v| v.parse().unwrap()),
            min_session_timeout_ms: get("minSessionTimeout").map_or(2 * tick, |v| v.parse().unwrap()),
            max_session_timeout_ms: get("maxSessionTimeout").map_or(20 * tick, |v| v.parse().unwrap()),
            autopurge_purge_interval_hours: 0,
            autopurge_snap_retain_count: 3,
            reconfig_enabled: false,
            settings: Settings {
                connection_factory: ConnectionFactory::Nio,
                super_digest: get("DigestAuthenticationProvider.superDigest"),
                jute_max_buffer: 0xfffff,
                jute_extra_size: 0xfffff,
                global_outstanding_limit: 1000,
                four_letter_whitelist: Whitelist("*".into()),
                sessionless_cnxn_timeout_ms: 10000,
                fsync_warning_ms: 1000,
                extended_types_enabled: ext || get("extendedTypesEnabled").as_deref() == Some("true"),
                emulate_353_ttl_nodes: false,
                snapshot_trust_empty: false,
                datadir_autocreate: true,
                pre_alloc_kib: 65536,
                force_sync: true,
                skip_acl: false,
                modern_client_ops: get("ferrokeeper.modernClientOps").as_deref() != Some("false"),
                snap_count: get("snapCount").map_or(100000, |v| v.parse().unwrap()),
                container_check_interval_ms: 60000,
                container_max_per_minute: 10000,
            },
        }
    }
}
