//! What starts, what is refused and with which words. The table was made by starting Java 3.5.7 with each of these files.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;

use super::*;

/// A disk in memory, and a resolver that knows only addresses and localhost.
#[derive(Default)]
struct Memory(HashMap<PathBuf, Vec<u8>>);

impl Memory {
    fn with(mut self, path: &str, bytes: impl AsRef<[u8]>) -> Memory {
        self.0.insert(path.into(), bytes.as_ref().to_vec());
        self
    }

    fn load(&self, flags: &str) -> Result<Config, ConfigError> {
        let (defines, _) = Defines::from_jvm_flags(flags.split_whitespace());
        Config::load_from(self, Path::new("/c/zoo.cfg"), &defines)
    }
}

impl Outside for Memory {
    fn read(&self, file: &Path) -> io::Result<Vec<u8>> {
        self.0.get(file).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn resolve(&self, host: &str) -> io::Result<IpAddr> {
        let host = if host == "localhost" { "127.0.0.1" } else { host };
        host.parse().map_err(|_| io::Error::other("unknown host"))
    }
}

const BASE: &str = "tickTime=2000\ndataDir=/d\nclientPort=2181\nclientPortAddress=127.0.0.1\n";
const QUORUM: &str =
    "tickTime=2000\ndataDir=/d\nclientPort=2181\nclientPortAddress=127.0.0.1\ninitLimit=5\nsyncLimit=2\n";
const SERVER_1: &str = "server.1=127.0.1.1:2888:3888\n";
const SERVERS_2_3: &str = "server.2=127.0.1.2:2888:3888\nserver.3=127.0.1.3:2888:3888\n";

fn quorum(more: &str) -> String {
    format!("{QUORUM}{SERVER_1}{SERVERS_2_3}{more}")
}

fn load(cfg: &str) -> Result<Config, ConfigError> {
    Memory::default().with("/c/zoo.cfg", cfg).load("")
}

fn load_with_myid(cfg: &str, myid: impl AsRef<[u8]>) -> Result<Config, ConfigError> {
    Memory::default().with("/c/zoo.cfg", cfg).with("/d/myid", myid).load("")
}

#[track_caller]
fn refused(result: Result<Config, ConfigError>, exit_code: i32, fragment: &str) {
    let error = result.expect_err(fragment);
    let text = error.to_string();
    assert!(text.contains(fragment), "{text:?} lacks {fragment:?}");
    assert!(!text.contains('\n'), "{text:?}");
    assert!(text.starts_with("Error processing /"), "{text:?}");
    assert_eq!(error.exit_code, exit_code, "{text}");
}

#[test]
fn what_java_refuses_is_refused_with_its_words() {
    let form = "does not have the form server_config or server_config;client_config where server_config is \
                host:port:port or host:port:port:type and client_config is port or host:port";
    let clash = "client address for this server (id = 1) in static config file is 127.0.0.1:2181 is different from \
                 client address found in dynamic file: ";
    let own_line = |line: &str| format!("{QUORUM}server.1={line}\n{SERVERS_2_3}");
    for (cfg, exit_code, fragment) in [
        (
            format!("{BASE}tickTime=2s\n"),
            2,
            r#"line 5: tickTime: "2s" is not a whole number (NumberFormatException: For input string: "2s")"#,
        ),
        (
            format!("{BASE}tickTime=99999999999\n"),
            2,
            r#"NumberFormatException: For input string: "99999999999""#,
        ),
        ("clientPort=2181\n".into(), 2, "dataDir is not set"),
        (
            "dataDir=/d\nclientPortAddress=127.0.0.1\n".into(),
            2,
            "line 2: clientPortAddress is set but clientPort is not set",
        ),
        (
            format!("{BASE}secureClientPortAddress=127.0.0.1\n"),
            2,
            "secureClientPortAddress is set but secureClientPort is not set",
        ),
        (
            "dataDir=/d\nclientPort=2181\nclientPortAddress=no.such.host\n".into(),
            2,
            "line 3: clientPortAddress: no.such.host",
        ),
        ("dataDir=/d\nclientPort=70000\n".into(), 2, "port out of range:70000"),
        ("dataDir=/d\nclientPort=-1\n".into(), 2, "port out of range:-1"),
        (format!("{BASE}tickTime=0\n"), 2, "tickTime is not set"),
        (format!("{BASE}tickTime=-2000\n"), 2, "minSessionTimeout must not be larger than maxSessionTimeout"),
        (
            format!("{BASE}tickTime=110000000\n"),
            2,
            "minSessionTimeout must not be larger than maxSessionTimeout",
        ),
        (
            format!("{BASE}minSessionTimeout=9000\nmaxSessionTimeout=8000\n"),
            2,
            "line 5: minSessionTimeout must not be larger than maxSessionTimeout",
        ),
        (format!("{BASE}peerType=leader\n"), 2, "Unrecognised peertype: leader"),
        (
            format!("{BASE}standaloneEnabled=yes\n"),
            2,
            "Invalid option yes for standalone mode. Choose 'true' or 'false.'",
        ),
        (
            format!("{BASE}reconfigEnabled=1\n"),
            2,
            "Invalid option 1 for reconfigEnabled flag. Choose 'true' or 'false.'",
        ),
        (
            quorum("dynamicConfigFile=/d/dyn\n"),
            2,
            "parameter: server.1 must be in a separate dynamic config file",
        ),
        (
            format!("{BASE}quorum.auth.serverRequireSasl=true\n"),
            2,
            "quorum.auth.enableSasl is disabled, so cannot enable quorum.auth.serverRequireSasl",
        ),
        (
            format!("{BASE}quorum.auth.learnerRequireSasl=true\n"),
            2,
            "quorum.auth.enableSasl is disabled, so cannot enable quorum.auth.learnerRequireSasl",
        ),
        (
            format!("{BASE}quorum.auth.enableSasl=true\nquorum.auth.serverRequireSasl=true\n"),
            2,
            "quorum.auth.learnerRequireSasl is disabled, so cannot enable quorum.auth.serverRequireSasl",
        ),
        (
            format!("{BASE}standaloneEnabled=false\n"),
            2,
            "standaloneEnabled = false then number of participants should be >0",
        ),
        (
            format!("{QUORUM}server.1=127.0.1.1:2888:3888:observer\n"),
            2,
            "Observers w/o participants is an invalid configuration",
        ),
        (
            format!("{QUORUM}{SERVER_1}server.2=127.0.1.2:2888:3888:observer\n"),
            2,
            "Observers w/o quorum is an invalid configuration",
        ),
        (format!("{QUORUM}server.1=127.0.1.1:2888\n"), 2, form),
        (format!("{QUORUM}server.1=127.0.1.1:2888\n"), 2, "Missing election port for server: 1"),
        (quorum("server.4=\n"), 2, form),
        (quorum("server.4=a:1:2:participant:x\n"), 2, form),
        (quorum("server.4=a:1:2;3;4\n"), 2, form),
        (quorum("server.4=a:1:2;a:b:3\n"), 2, form),
        (quorum("server.4=;\n"), 2, form),
        (quorum("server.4=[::1:2888:3888\n"), 2, "[::1:2888:3888 starts with '[' but has no matching ']:'"),
        (quorum("server.4=a:b:3888\n"), 2, "line 10: Address unresolved: a:b"),
        (own_line("127.0.1.1:2888:3888 "), 2, "Address unresolved: 127.0.1.1:3888 "),
        (quorum("server.4=a:70000:3888\n"), 2, "port out of range:70000"),
        (quorum("server.4=a:2888:3888;x\n"), 2, "Address unresolved: 0.0.0.0:x"),
        (
            quorum("server.4=a:2888:2888\n"),
            2,
            "Client and election port must be different! Please update the configuration file on server.4",
        ),
        (quorum("server.4=a:2888:3888:leader\n"), 2, "Unrecognised peertype: leader"),
        (quorum("server.4=a:2888:3888:observer \n"), 2, "Unrecognised peertype: observer "),
        (quorum("server.x=a:2888:3888\n"), 2, r#"For input string: "x""#),
        (quorum("server.1.2=a:1:2\n"), 2, r#"For input string: "1.2""#),
        (own_line("127.0.1.1:2888:3888;2182"), 2, &format!("{clash}0.0.0.0:2182")),
        (own_line("127.0.1.1:2888:3888;127.0.0.9:2181"), 2, &format!("{clash}127.0.0.9:2181")),
        (own_line("127.0.1.1:2888:3888;2181"), 2, &format!("{clash}0.0.0.0:2181")),
        (quorum("group.1=1:2\ngroup.2=2:3\n"), 2, "Server 2is in multiple groups"),
        (quorum("group.1=1:2\n"), 2, "Server 3is not in a group"),
        (quorum("weight.1=1\n"), 2, "Server 1is not in a group"),
        (quorum("groupies=1\n"), 2, r#"For input string: "groupies""#),
        (quorum("group.1=\n"), 2, r#"For input string: """#),
        (quorum("group.1=1:2:3\nweight.1=x\n"), 2, r#"For input string: "x""#),
        (quorum("group.1=1:2:3\nweight.1=1 \n"), 2, r#"For input string: "1 ""#),
        (quorum("version=xyz\n"), 2, r#"For input string: "xyz""#),
        (quorum("").replace("initLimit=5\n", ""), 2, "initLimit is not set"),
        (quorum("").replace("syncLimit=2\n", ""), 2, "syncLimit is not set"),
        (quorum("cnxTimeout=5s\n"), 2, r#"cnxTimeout: "5s" is not a whole number"#),
        (
            format!("{BASE}secureClientPort=2281\nssl.authProvider=foo\n"),
            2,
            "No auth provider configured for the SSL authentication scheme 'foo'.",
        ),
        ("dataDir=/d\nsecureClientPort=2281\n".into(), 1, "secureClientPort is the only client port"),
        (
            format!("{BASE}serverCnxnFactory=com.example.Foo\n"),
            1,
            "line 5: serverCnxnFactory: Couldn't instantiate com.example.Foo",
        ),
        (format!("{BASE}nio.numSelectorThreads=0\n"), 1, "numSelectorThreads must be at least 1"),
        (format!("{BASE}admin.serverPort=70000\n"), 4, "port out of range:70000"),
        (format!("{BASE}x=\\u12\n"), 2, "line 5: Malformed \\uxxxx encoding."),
    ] {
        refused(load_with_myid(&cfg, "1\n"), exit_code, fragment);
    }
}

#[test]
fn what_java_starts_with_starts() {
    for cfg in [
        BASE.to_string(),
        "dataDir=/d\n".into(),
        "tickTime:2000\ndataDir /d\nclientPort = 2181 \nclientPortAddress = localhost \n".into(),
        format!("{QUORUM}{SERVER_1}"),
        format!("{QUORUM}standaloneEnabled=FALSE\n{SERVER_1}"),
        quorum("server.4=a:1:2;\n"),
        quorum("server.4=[::1]:2888:3888\n"),
        quorum("server.4=a:2888:3888:Observer\n"),
        quorum("server.4=a:2888:3888:oBSERVER;2181\n"),
        quorum("group.1=1:2:3\nweight.1=2\n"),
        quorum("peerType=observer\n"),
        format!("{BASE}serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory\n"),
        format!("{BASE}cnxTimeout=5s\n"),
        format!("{BASE}maxClientCnxns=-1\n"),
        format!("{BASE}snapCount=x\n"),
        format!("{BASE}TickTime=x\n"),
        format!("{BASE}initLimit=-1\n"),
        format!("{BASE}electionAlg=0\n"),
        format!("{BASE}autopurge.snapRetainCount=1\n"),
    ] {
        if let Err(e) = load_with_myid(&cfg, "1\n") {
            panic!("{e}\n{cfg}");
        }
    }
}

/// Java would run without what these ask for, or break later.
#[test]
fn what_cannot_be_kept_is_refused_although_java_starts() {
    let sasl = "quorum.auth.enableSasl=true\nquorum.auth.learnerRequireSasl=true\n\
                quorum.auth.serverRequireSasl=true\n";
    for (cfg, exit_code, fragment) in [
        (quorum(sasl), 2, "line 12: quorum.auth.serverRequireSasl=true needs SASL between the members"),
        (quorum("sslQuorum=true\n"), 2, "line 10: sslQuorum=true needs TLS between the members"),
        (
            quorum("quorum.auth.enableSasl=true\nquorum.auth.learnerRequireSasl=true\n"),
            2,
            "line 11: quorum.auth.learnerRequireSasl=true needs SASL between the members",
        ),
        (quorum("electionAlg=0\n"), 2, "line 10: electionAlg=0 is one of the retired UDP elections"),
        (quorum("").replace("initLimit=5", "initLimit=-5"), 2, "line 5: initLimit is not set"),
        (quorum("group.1=1:2:3\ngroup.2=7\n"), 2, "group.2 names server 7"),
        (format!("{BASE}testingonly.initialZxid=x\n"), 2, "testingonly.initialZxid"),
    ] {
        refused(load_with_myid(&cfg, "1\n"), exit_code, fragment);
    }
}

#[test]
fn a_missing_file_is_named() {
    refused(Memory::default().load(""), 2, "/c/zoo.cfg file is missing");
}

#[test]
fn myid_says_what_is_wrong_with_it() {
    for (myid, fragments) in [
        (&b"\n1\n"[..], ["serverid \"\" is not a number", "first line is empty"]),
        (b" 1\n", ["serverid \" 1\" is not a number", "a blank before the id"]),
        (b"1 \n", ["serverid \"1 \" is not a number", "a blank after the id"]),
        (b"\t1 \r\n", ["serverid \"\\t1 \" is not a number", "blanks before and after the id"]),
        (b"  \n", ["is not a number", "only blanks"]),
        (b"\xef\xbb\xbf1\n", ["is not a number", "byte order mark"]),
        (b"\xff\xfe1\0\r\0\n\0", ["is not a number", "UTF-16"]),
        (b"\xfe\xff\x001\x00\n", ["is not a number", "UTF-16"]),
        (b"\0\0\0", ["is not a number", "NUL bytes"]),
        (b"one\n", ["serverid \"one\" is not a number", "decimal digits only"]),
        (b"1.0", ["serverid \"1.0\" is not a number", "decimal digits only"]),
        (b"99999999999999999999", ["is not a number", "64 bits"]),
        (b"", ["serverid null is not a number", "the file is empty"]),
    ] {
        for fragment in fragments {
            refused(load_with_myid(&quorum(""), myid), 2, fragment);
        }
        // Standalone reads it as well.
        refused(load_with_myid(BASE, myid), 2, "Error processing /d/myid: serverid ");
    }
}

#[test]
fn myid_is_read_as_java_reads_it() {
    for (myid, id) in
        [("1\n", 1), ("1\r\n", 1), ("1\r", 1), ("1", 1), ("+1\nrest", 1), ("01\n", 1), ("3\n\n", 3)]
    {
        let config = load_with_myid(&quorum(""), myid).unwrap();
        assert_eq!(config.server_id, Some(Sid(id)), "{myid:?}");
    }
    refused(load(&quorum("")), 2, "myid file is missing");
    refused(load_with_myid(&quorum(""), "-1\n"), 2, "myid file is missing");
    refused(
        load_with_myid(&quorum(""), "9\n"),
        1,
        "Error processing /d/myid: line 1: My id 9 not in the peer list (the servers of /c/zoo.cfg are server.1 (line 7), \
         server.2 (line 8), server.3 (line 9))",
    );
    assert_eq!(load(BASE).unwrap().server_id, None);
}

#[test]
fn extended_types_limit_the_server_id_in_an_ensemble() {
    let cfg = quorum("extendedTypesEnabled=true\nserver.255=127.0.1.4:2888:3888\n");
    refused(load_with_myid(&cfg, "255\n"), 1, "server ids up to 254 only");
    assert!(load_with_myid(&cfg, "3\n").is_ok());
    assert!(load_with_myid(&format!("{BASE}extendedTypesEnabled=true\n"), "255\n").is_ok());
}

#[test]
fn defaults_are_those_of_java() {
    let config = load("dataDir=/d\nclientPort=2181\n").unwrap();
    assert_eq!(config.source.as_deref(), Some(Path::new("/c/zoo.cfg")));
    assert_eq!((config.data_dir.to_str(), config.data_log_dir.to_str()), (Some("/d"), Some("/d")));
    assert_eq!(config.client_address, Some(ClientAddress { host: None, port: 2181 }));
    assert_eq!(config.secure_client_address, None);
    assert_eq!(config.tick_time_ms, 3000);
    assert_eq!((config.min_session_timeout_ms, config.max_session_timeout_ms), (6000, 60000));
    assert_eq!(config.max_client_cnxns, 60);
    assert_eq!((config.init_limit, config.sync_limit, config.election_alg), (0, 0, 3));
    assert_eq!((config.autopurge_snap_retain_count, config.autopurge_purge_interval_hours), (3, 0));
    assert_eq!(config.peer_type, PeerType::Participant);
    assert!(config.sync_enabled && config.standalone_enabled && !config.reconfig_enabled);
    assert!(!config.local_sessions_enabled && !config.local_sessions_upgrading_enabled);
    assert!(!config.quorum_listen_on_all_ips && !config.is_distributed());
    assert_eq!(config.warnings, Vec::<String>::new());

    let s = config.settings;
    assert_eq!((s.jute_max_buffer, s.jute_extra_size), (1048575, 1048575));
    assert_eq!(
        (s.snap_count, s.pre_alloc_kib, s.force_sync, s.fsync_warning_ms),
        (100_000, 65536, true, 1000)
    );
    assert_eq!((s.snapshot_size_factor, s.snapshot_trust_empty, s.datadir_autocreate), (0.33, false, true));
    assert_eq!((s.global_outstanding_limit, s.leader_serves, s.skip_acl), (1000, true, false));
    assert_eq!((s.extended_types_enabled, s.emulate_353_ttl_nodes), (false, false));
    assert_eq!((s.observer_sync_enabled, s.force_snapshot_sync), (None, false));
    assert_eq!((s.max_concurrent_snapshots, s.max_concurrent_snapshot_timeout_ms), (10, 5));
    assert_eq!((s.super_digest, s.auth_providers.len(), s.initial_zxid), (None, 0, None));
    assert_eq!((s.container_check_interval_ms, s.container_max_per_minute), (60_000, 10_000));
    assert_eq!((s.connection_factory, s.sessionless_cnxn_timeout_ms), (ConnectionFactory::Nio, 10_000));
    assert_eq!((s.cnx_timeout_ms, s.election_port_bind_retry, s.tcp_keep_alive), (5000, 3, false));
    assert!(s.leader_nodelay && s.follower_nodelay && s.modern_client_ops && !s.readonly_mode_enabled);
    assert!(s.admin_enable && s.admin_address == "0.0.0.0" && s.admin_port == 8080);
    assert!(s.admin_command_url == "/commands" && s.admin_idle_timeout_ms == 30_000);
}

#[test]
fn every_key_arrives() {
    let config = load(
        "dataDir=/d\ndataLogDir=/l\nclientPort=2181\nclientPortAddress=127.0.0.5\nsecureClientPort=2281\n\
         secureClientPortAddress=127.0.0.6\ntickTime=500\nmaxClientCnxns=7\nminSessionTimeout=100\n\
         maxSessionTimeout=200\ninitLimit=3\nsyncLimit=4\nquorumListenOnAllIPs=True\nsyncEnabled=false\n\
         autopurge.snapRetainCount=8\nautopurge.purgeInterval=9\nreconfigEnabled=TRUE\nlocalSessionsEnabled=true\n\
         localSessionsUpgradingEnabled=true\n",
    )
    .unwrap();
    let address = |host: &str, port| Some(ClientAddress { host: Some(host.into()), port });
    assert_eq!(config.data_log_dir, Path::new("/l"));
    assert_eq!(config.client_address, address("127.0.0.5", 2181));
    assert_eq!(config.secure_client_address, address("127.0.0.6", 2281));
    assert_eq!((config.tick_time_ms, config.max_client_cnxns), (500, 7));
    assert_eq!((config.min_session_timeout_ms, config.max_session_timeout_ms), (100, 200));
    assert_eq!((config.init_limit, config.sync_limit), (3, 4));
    assert_eq!((config.autopurge_snap_retain_count, config.autopurge_purge_interval_hours), (8, 9));
    assert!(config.quorum_listen_on_all_ips && !config.sync_enabled && config.reconfig_enabled);
    assert!(config.local_sessions_enabled && config.local_sessions_upgrading_enabled);
}

#[test]
fn the_file_overrides_the_command_line_and_only_under_the_prefix() {
    let cfg = format!("{BASE}snapCount=50\njute.maxbuffer=7\nfsync.warningthresholdms=9\nforceSync=no \n");
    let memory = Memory::default().with("/c/zoo.cfg", cfg);
    let config = memory
        .load("-Dzookeeper.snapCount=10 -Dzookeeper.preAllocSize=1 -Djute.maxbuffer=0x1000 -Dfsync.warningthresholdms=5")
        .unwrap();
    let s = config.settings;
    assert_eq!((s.snap_count, s.pre_alloc_kib, s.jute_max_buffer, s.jute_extra_size), (50, 1, 4096, 4096));
    assert_eq!((s.fsync_warning_ms, s.force_sync), (9, false));
    assert_eq!(
        config.warnings,
        ["settings without effect: jute.maxbuffer (line 6, give it as -Djute.maxbuffer in SERVER_JVMFLAGS)"]
    );
}

#[test]
fn a_value_java_cannot_read_becomes_its_default() {
    let cfg = format!(
        "{BASE}snapCount=1\npreAllocSize=64M\nsnapshotSizeFactor=1.5\nglobalOutstandingLimit=\n\
         electionPortBindRetry=-2\nferrokeeper.modernClientOps=no\nadmin.enableServer=off\n"
    );
    let config = load(&cfg).unwrap();
    let s = config.settings;
    assert_eq!((s.snap_count, s.pre_alloc_kib, s.snapshot_size_factor), (2, 65536, 0.33));
    assert_eq!((s.global_outstanding_limit, s.election_port_bind_retry), (1000, 3));
    assert!(s.modern_client_ops && s.admin_enable);
    assert_eq!(
        config.warnings,
        [
            "SnapCount should be 2 or more. Now, snapCount is reset to 2",
            r#"line 6: preAllocSize: "64M" is not a valid value, using 65536"#,
            r#"line 7: snapshotSizeFactor: "1.5" is not a valid value, using 0.33"#,
            r#"line 8: globalOutstandingLimit: "" is not a valid value, using 1000"#,
            r#"line 10: ferrokeeper.modernClientOps: "no" is not a valid value, using true"#,
        ]
    );
}

#[test]
fn small_buffers_keep_javas_extra_kilobyte() {
    let s = Memory::default().with("/c/zoo.cfg", BASE).load("-Djute.maxbuffer=100").unwrap().settings;
    assert_eq!((s.jute_max_buffer, s.jute_extra_size), (100, 1024));
}

#[test]
fn our_own_key_turns_the_newer_operations_off() {
    let s = load(&format!("{BASE}ferrokeeper.modernClientOps=false\n")).unwrap().settings;
    assert!(!s.modern_client_ops);
}

#[test]
fn features_of_later_versions_are_named_in_one_warning() {
    let cfg = format!(
        "{BASE}reconfigEnabled=true\nsecureClientPort=2281\nssl.keyStore.location=/k.jks\nssl.ocsp=false\n\
         authProvider.1=org.apache.zookeeper.server.auth.SASLAuthenticationProvider\n\
         authProvider.2=org.apache.zookeeper.server.auth.DigestAuthenticationProvider\n"
    );
    let config = Memory::default().with("/c/zoo.cfg", cfg).load("-Dreadonlymode.enabled=true").unwrap();
    assert_eq!(
        config.warnings,
        [
            "not in this version, the server runs without: TLS (secureClientPort, zookeeper.ssl.keyStore.location); \
          authentication providers (org.apache.zookeeper.server.auth.SASLAuthenticationProvider); \
          read-only mode (readonlymode.enabled); reconfig (reconfigEnabled)"
        ]
    );
    assert!(config.settings.four_letter_whitelist.allows("isro"));
}

#[test]
fn other_warnings() {
    for (cfg, warning) in [
        (format!("{BASE}tickTime=3000\n"), "tickTime is set more than once: line 5 counts, line 1 does not"),
        ("dataDir=data\n".into(), "data is relative. Prepend ./ to indicate that you're sure!"),
        (
            format!("{BASE}autopurge.snapRetainCount=2\n"),
            "Invalid autopurge.snapRetainCount: 2. Defaulting to 3",
        ),
        (format!("{BASE}maxClientCnxn=5\n"), "settings without effect: maxClientCnxn (line 5)"),
        (
            quorum("peerType=observer\n"),
            "Peer type from servers list (participant) doesn't match peerType (observer). Defaulting to servers list. \
             (peerType is in line 10, the list says so in server.1 (line 7))",
        ),
        (
            quorum("server.4=127.0.1.2:2888:4888:observer\n"),
            "server.2 (line 8) and server.4 (line 10) have the same address 127.0.1.2:2888: only one of them can listen \
             there",
        ),
        (
            quorum("server.4=127.0.1.2:3888:2889:observer\n"),
            "server.2 (line 8) and server.4 (line 10) have the same address 127.0.1.2:3888: only one of them can listen \
             there",
        ),
        (
            quorum("reconfigEnabled=true\n"),
            "line 10: reconfigEnabled=true: reconfig is not served yet. While this server leads, clients are told that it \
             is unimplemented; when it follows a leader that changes the ensemble, it leaves that leader. Change the server \
             lines of all members and restart them one at a time instead",
        ),
        (
            format!("{QUORUM}{SERVER_1}"),
            "Invalid configuration, only one server specified (ignoring): running standalone",
        ),
        (
            quorum("server.4=127.0.1.4:2888:3888\n"),
            "Non-optimial configuration, consider an odd number of servers.",
        ),
        (
            quorum("").replace("server.3", "#"),
            "No server failure will be tolerated. You need at least 3 servers.",
        ),
    ] {
        assert_eq!(load_with_myid(&cfg, "1").unwrap().warnings, [warning]);
    }
    let config = load("dataDir=./data\n").unwrap();
    assert_eq!((config.warnings, config.data_dir), (vec![], PathBuf::from("./data")));
}

#[test]
fn the_whitelist_follows_java() {
    let whitelist = |list: &str| {
        load(&format!("{BASE}4lw.commands.whitelist={list}\n")).unwrap().settings.four_letter_whitelist
    };
    let all = whitelist("ruok, *, junk");
    assert!(Whitelist::KNOWN.iter().all(|command| all.allows(command)));
    assert!(!all.allows("junk"), "Java stops at the star");
    let some = whitelist(" stat ,mntr,,RUOK");
    assert!(some.allows("stat") && some.allows("mntr") && some.allows("srvr"));
    assert!(!some.allows("ruok") && !some.allows("isro") && !some.allows("telnet close"));
    let none = load(BASE).unwrap().settings.four_letter_whitelist;
    assert!(none.allows("srvr") && !none.allows("stat"));
}

#[test]
fn the_own_server_line_sets_the_client_address_and_the_role() {
    let cfg = format!(
        "{}server.1=h:2888:3888;127.0.0.7:2181\nserver.4=h:1:2:observer;2182\n{SERVERS_2_3}",
        QUORUM.replace("clientPort=2181\nclientPortAddress=127.0.0.1\n", "")
    );
    let config = load_with_myid(&cfg, "1").unwrap();
    assert_eq!(config.client_address.unwrap().to_string(), "127.0.0.7:2181");
    let config = load_with_myid(&cfg, "4").unwrap();
    assert_eq!(config.client_address.unwrap().to_string(), "0.0.0.0:2182");
    assert_eq!(config.peer_type, PeerType::Observer);
    // A wildcard in zoo.cfg gives way to any address with the same port.
    let config = load_with_myid(&format!("{cfg}clientPort=2181\n"), "1").unwrap();
    assert_eq!(config.client_address.unwrap().to_string(), "127.0.0.7:2181");
}

#[test]
fn a_dynamic_file_brings_servers_and_version() {
    let servers = format!("{SERVER_1}{SERVERS_2_3}");
    let disk = |name: &str, text: &str| {
        Memory::default()
            .with("/c/zoo.cfg", format!("{QUORUM}dynamicConfigFile={name}\n"))
            .with("/d/myid", "1")
            .with(name, text)
    };
    let config = disk("/c/zoo.cfg.dynamic.1a0000000f", &servers).load("").unwrap();
    assert!(config.is_distributed());
    assert_eq!(config.ensemble.version, 0x1a0000000f);
    assert_eq!(config.dynamic_config_file.as_deref(), Some(Path::new("/c/zoo.cfg.dynamic.1a0000000f")));
    assert_eq!(config.last_seen_ensemble, None);
    assert_eq!(disk("/c/zoo.cfg.dynamic", &servers).load("").unwrap().ensemble.version, 0);

    let next = format!("{servers}version=200000000");
    let config = disk("/c/dyn", &servers).with("/c/zoo.cfg.dynamic.next", next).load("").unwrap();
    assert_eq!(config.last_seen_ensemble.unwrap().version, 0x2_0000_0000);

    let with = |more: &str| disk("/c/dyn", &format!("{servers}{more}\n")).load("");
    refused(
        with("version=1"),
        2,
        "Error processing /c/dyn: line 4: dynamic file shouldn't have version inside",
    );
    refused(with("tickTime=1"), 2, "Error processing /c/dyn: line 4: Unrecognised parameter: tickTime");
    let missing = Memory::default().with("/c/zoo.cfg", format!("{QUORUM}dynamicConfigFile=/c/no\n"));
    refused(missing.load(""), 2, "Error processing /c/no: ");
}

#[test]
fn arguments_make_a_standalone_server() {
    let args = |port, tick, max| Config::from_args(port, "/data", tick, max, &Defines::default());
    let config = args("2181", None, None).unwrap();
    assert_eq!(config.client_address, Some(ClientAddress { host: None, port: 2181 }));
    assert_eq!((config.tick_time_ms, config.max_client_cnxns), (3000, 0));
    assert_eq!((config.min_session_timeout_ms, config.max_session_timeout_ms), (6000, 60_000));
    assert_eq!((config.data_dir.to_str(), config.data_log_dir.to_str()), (Some("/data"), Some("/data")));
    assert!(!config.is_distributed() && config.source.is_none() && config.warnings.is_empty());
    let config = args("2181", Some("500"), Some("9")).unwrap();
    assert_eq!((config.tick_time_ms, config.min_session_timeout_ms, config.max_client_cnxns), (500, 1000, 9));
    for (port, tick, fragment) in [
        ("x", None, r#"port: "x" is not a whole number"#),
        ("70000", None, "port out of range:70000"),
        ("1", Some("0"), "tickTime is not set"),
        ("1", Some("fast"), r#"tickTime: "fast""#),
    ] {
        let error = args(port, tick, None).unwrap_err();
        assert!(error.to_string().contains(fragment), "{error}");
        assert_eq!(error.exit_code, 2);
    }
}

#[test]
fn without_a_file_the_sample_values_hold() {
    let (defines, _) = Defines::from_jvm_flags(["-Dzookeeper.snapCount=5"].into_iter());
    let config = Config::builtin_defaults(&defines).unwrap();
    assert_eq!((config.tick_time_ms, config.init_limit, config.sync_limit), (2000, 10, 5));
    assert_eq!(config.data_dir, Path::new("/tmp/zookeeper"));
    assert_eq!(config.client_address.as_ref().map(|a| a.port), Some(2181));
    assert_eq!((config.max_client_cnxns, config.settings.snap_count), (60, 5));
    assert!(config.source.is_none() && !config.is_distributed());
}

#[test]
fn no_secret_is_printed() {
    let cfg = format!("{BASE}DigestAuthenticationProvider.superDigest=super:hunter2\n");
    let config = load(&cfg).unwrap();
    assert_eq!(config.settings.super_digest.as_deref(), Some("super:hunter2"));
    assert!(!format!("{config:?}").contains("hunter2"));
}

/// The list of B§7.4.
#[test]
fn every_property_of_java_has_a_fate() {
    for property in "jute.maxbuffer jute.maxbuffer.extrasize! snapCount! preAllocSize! forceSync! \
        fsync.warningthresholdms! fsync.warningthresholdms snapshotSizeFactor! snapshot.trust.empty! \
        datadir.autocreate! globalOutstandingLimit! leaderServes! skipACL! extendedTypesEnabled! \
        emulate353TTLNodes! observer.syncEnabled! forceSnapshotSync! leader.maxConcurrentSnapshots! \
        leader.maxConcurrentSnapshotTimeout! cnxTimeout! electionPortBindRetry! tcpKeepAlive! leader.nodelay \
        follower.nodelay readonlymode.enabled znode.container.checkIntervalMs znode.container.maxPerMinute \
        serverCnxnFactory! nio.numSelectorThreads! nio.numWorkerThreads! nio.directBufferBytes! \
        nio.sessionlessCnxnTimeout! nio.shutdownTimeout! commitProcessor.numWorkerThreads! \
        commitProcessor.shutdownTimeout! client.portUnification! 4lw.commands.whitelist! admin.enableServer! \
        admin.serverAddress! admin.serverPort! admin.idleTimeout! admin.commandURL! authProvider.x! \
        DigestAuthenticationProvider.superDigest! X509AuthenticationProvider.superUser! superUser! \
        SASLAuthenticationProvider.superPassword! letAnySaslUserDoX! allowSaslFailedClients! \
        kerberos.removeHostFromPrincipal! kerberos.removeRealmFromPrincipal! security.auth_to_local! \
        requireKerberosConfig! server.realm! kinit! sasl.serverconfig! java.security.auth.login.config \
        sun.security.jgss.native ssl.quorum.crl! ssl.clientAuth! jmx.log4j.disable! jmx.log4j.mbean! \
        testingonly.initialZxid! log.dir! log.file! log.threshold! log.maxfilesize! log.maxbackupindex! \
        root.logger! console.threshold! tracelog.dir! ferrokeeper.modernClientOps!"
        .split_whitespace()
    {
        let name = match property.strip_suffix('!') {
            Some(key) => format!("zookeeper.{key}"),
            None => property.to_string(),
        };
        assert!(settings::fate(&name).is_some(), "{name}");
    }
    assert_eq!(settings::fate("zookeeper.nonsense"), None);
}

proptest::proptest! {
    #[test]
    fn arbitrary_files_never_panic(
        cfg in proptest::collection::vec(proptest::num::u8::ANY, 0..300),
        myid in proptest::collection::vec(proptest::num::u8::ANY, 0..8),
    ) {
        let _ = load_with_myid(&String::from_utf8_lossy(&cfg), &myid);
        let _ = Memory::default().with("/c/zoo.cfg", cfg).load("");
    }

    /// Random bytes rarely make a key; these lines do.
    #[test]
    fn arbitrary_values_never_panic(
        lines in proptest::collection::vec(
            ("(server\\.|group\\.?|weight\\.?|version|tickTime|clientPort|dataDir|peerType|dynamicConfigFile|\
              electionAlg|initLimit|snapCount|admin\\.serverPort|4lw\\.commands\\.whitelist)[-0-9a]{0,3}",
             "[-+0-9a-z:;,.\\[\\]% \\\\u]{0,20}"), 0..12),
    ) {
        let text: String = lines.iter().map(|(key, value)| format!("{key}={value}\n")).collect();
        let _ = load_with_myid(&format!("{QUORUM}{text}"), "1");
        let _ = Ensemble::parse(&text);
    }
}

#[test]
fn the_manual_names_every_property() {
    let manual = include_str!("../../docs/configuration.md");
    for (name, _) in settings::PROPERTIES {
        let name = name.strip_suffix('.').unwrap_or(name);
        assert!(manual.contains(name), "docs/configuration.md lacks {name}");
    }
}

#[test]
fn an_error_stays_one_line_whatever_its_file_is_called() {
    let cfg = QUORUM.replace("dataDir=/d", r"dataDir=/d\nx");
    let files = Memory::default().with("/c/zoo.cfg", cfg).with("/d\nx/myid", "no number");
    refused(files.load(""), 2, r"Error processing /d\nx/myid: serverid");
}
