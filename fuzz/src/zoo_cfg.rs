//! Three files, each behind its length: zoo.cfg, myid, and whatever other file zoo.cfg leads to.
//!
//! What is refused is refused in one line; what is accepted keeps the rules between keys, and its ensemble's text says the same.

use std::{io, net::IpAddr, path::Path};

use ferrokeeper::config::{Config, Defines, Ensemble, outside::Outside};

use super::next_piece;

pub fn run(data: &[u8]) {
    let mut rest = data;
    let mut file = || next_piece(&mut rest);
    let files = Files { zoo_cfg: file().unwrap_or(data), myid: file(), other: file() };
    match Config::load_from(&files, Path::new("/c/zoo.cfg"), &Defines::default()) {
        Err(e) => {
            let text = e.to_string();
            assert!(text.starts_with("Error processing ") && !text.contains('\n'), "{text:?}");
            assert_ne!(e.exit_code, 0);
        }
        Ok(config) => check(&config),
    }
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(ensemble) = Ensemble::parse(text)
    {
        says_the_same(&ensemble);
    }
}

fn check(config: &Config) {
    assert_ne!(config.tick_time_ms, 0);
    assert!(config.min_session_timeout_ms <= config.max_session_timeout_ms);
    assert!(config.autopurge_snap_retain_count >= 3);
    assert!(!config.data_dir.as_os_str().is_empty());
    if config.is_distributed() {
        assert!(config.init_limit > 0 && config.sync_limit > 0);
        assert!(config.server_id.is_some_and(|sid| config.ensemble.servers.contains_key(&sid)));
    }
    says_the_same(&config.ensemble);
}

/// Not where the text cannot say it, as Java's cannot: groups without members, and hosts that are no names.
fn says_the_same(ensemble: &Ensemble) {
    let no_groups =
        ensemble.hierarchy.as_ref().is_some_and(|h| h.group_of.is_empty() && h.weights.is_empty());
    let is_name = |host: &str| host.chars().all(|c| c.is_ascii_alphanumeric() || ".-_:%".contains(c));
    let hosts = ensemble.servers.values().flat_map(|server| {
        let client = server.client_address.as_ref().and_then(|address| address.host.as_deref());
        client.into_iter().chain([server.host.as_str()])
    });
    if no_groups || !hosts.into_iter().all(is_name) {
        return;
    }
    for text in [ensemble.to_string(), ensemble.file_text(true)] {
        assert_eq!(Ensemble::parse(&text).as_ref(), Ok(ensemble), "{text}");
    }
}

struct Files<'a> {
    zoo_cfg: &'a [u8],
    myid: Option<&'a [u8]>,
    other: Option<&'a [u8]>,
}

impl Outside for Files<'_> {
    fn read(&self, file: &Path) -> io::Result<Vec<u8>> {
        let bytes = match file.file_name().and_then(|name| name.to_str()) {
            Some("zoo.cfg") => Some(self.zoo_cfg),
            Some("myid") => self.myid,
            _ => self.other,
        };
        bytes.map(<[u8]>::to_vec).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn resolve(&self, host: &str) -> io::Result<IpAddr> {
        host.parse().map_err(|_| io::Error::other("unknown host"))
    }
}
