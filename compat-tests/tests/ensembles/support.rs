//! What the tests of ensembles have in common.
#![allow(dead_code)]

use std::net::SocketAddr;
use std::time::Duration;

use compat_tests::ensemble::Ensemble;
use compat_tests::history::History;
use compat_tests::load::{Load, Session, Shape};
use compat_tests::process::Server;
use compat_tests::tree::{Tree, equal_trees, synced_client};
use compat_tests::wire::{Client, Enc, Incoming, Reply, op};

pub const PATIENCE: Duration = Duration::from_secs(60);

pub fn addrs(ensemble: &Ensemble) -> Vec<SocketAddr> {
    ensemble.ids().into_iter().map(|id| ensemble[id].client_addr()).collect()
}

pub fn load(ensemble: &Ensemble) -> Load {
    Load::start(&addrs(ensemble), Shape::default()).expect("the load starts")
}

/// Ends the load, waits until everybody is there and equal, and holds what the clients were told against that.
pub fn verify(ensemble: &Ensemble, load: Load, what: &str) -> (History, Vec<Session>, Tree) {
    verify_members(ensemble, &ensemble.running(), load, what)
}

/// As `verify`, where not every member is a process of ours.
pub fn verify_members(
    ensemble: &Ensemble,
    members: &[u64],
    load: Load,
    what: &str,
) -> (History, Vec<Session>, Tree) {
    let (history, sessions) = load.stop().unwrap_or_else(|e| panic!("{what}: {e:#}\n{}", ensemble.logs(40)));
    ensemble.settled_among(members, PATIENCE).unwrap_or_else(|e| panic!("{what}: {e:#}"));
    let tree = equal_trees(&addrs(ensemble), Duration::from_secs(20))
        .unwrap_or_else(|e| panic!("{what}: {e:#}\n{}", ensemble.logs(40)));
    if let Err(e) = history.check(&tree) {
        panic!("{what}: {e:#}\n{}", ensemble.logs(60));
    }
    assert!(history.acked_writes() > 50, "{what}: {} writes are no load", history.acked_writes());
    (history, sessions, tree)
}

/// A write through every server is read on every server.
pub fn serves_everywhere(ensemble: &Ensemble, what: &str) {
    let ids = ensemble.ids();
    for id in &ids {
        let mut client = ensemble.client(*id).unwrap_or_else(|e| panic!("{what}: server {id}: {e:#}"));
        let path = format!("/through-{id}");
        match client.create(&path, format!("{what} {id}").as_bytes(), 0).unwrap() {
            Ok(_) => {}
            Err(-110) => {
                client.set_data(&path, format!("{what} {id}").as_bytes(), -1).unwrap().unwrap();
            }
            Err(code) => panic!("{what}: create through server {id}: error {code}"),
        }
        client.close().unwrap();
    }
    for reader in &ids {
        let mut client = synced_client(ensemble[*reader].client_addr()).unwrap();
        for writer in &ids {
            let (data, _) = client.get_data(&format!("/through-{writer}"), false).unwrap().unwrap();
            assert_eq!(data.unwrap(), format!("{what} {writer}").as_bytes(), "{what}: server {reader}");
        }
        client.close().unwrap();
    }
}

/// Sets `path` (made if need be) `n` times with all requests in flight at once.
pub fn write_many(client: &mut Client, path: &str, value: &str, n: usize) {
    let _ = client.create(path, b"", 0).unwrap();
    let body = |i| Enc::new().string(path).buffer(Some(format!("{value}-{i}").as_bytes())).int(-1).bytes();
    for i in 0..n {
        client.conn.send_request(10_000 + i as i32, op::SET_DATA, &body(i)).unwrap();
    }
    for i in 0..n {
        let Incoming::Frame(frame) = client.conn.read_frame(PATIENCE).unwrap() else {
            panic!("no reply {i} of {n}")
        };
        let reply = Reply::decode(&frame).unwrap();
        assert_eq!((reply.xid, reply.err), (10_000 + i as i32, 0));
    }
}

/// Whether the bytes are in one of the server's txn logs.
pub fn is_logged(server: &Server, needle: &[u8]) -> bool {
    let Ok(files) = std::fs::read_dir(server.data_dir().join("version-2")) else { return false };
    files.flatten().filter(|f| f.file_name().to_string_lossy().starts_with("log.")).any(|file| {
        let bytes = std::fs::read(file.path()).unwrap_or_default();
        // A preallocated tail of zeros is 64 MiB that need no search.
        let end = bytes.iter().rposition(|b| *b != 0).map_or(0, |n| n + 1);
        bytes[..end].windows(needle.len()).any(|w| w == needle)
    })
}
