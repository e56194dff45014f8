//! What the tests of ensembles have in common.
#![allow(dead_code)]

use std::net::SocketAddr;
use std::time::Duration;

use compat_tests::ensemble::Ensemble;
use compat_tests::history::History;
use compat_tests::load::{Load, Session, Shape};
use compat_tests::tree::{Tree, equal_trees, synced_client};

pub const PATIENCE: Duration = Duration::from_secs(60);

pub fn addrs(ensemble: &Ensemble) -> Vec<SocketAddr> {
    ensemble.ids().into_iter().map(|id| ensemble[id].client_addr()).collect()
}

pub fn load(ensemble: &Ensemble) -> Load {
    Load::start(&addrs(ensemble), Shape::default()).expect("the load starts")
}

/// Ends the load, waits until everybody is there and equal, and holds what the clients were told against that.
pub fn verify(ensemble: &Ensemble, load: Load, what: &str) -> (History, Vec<Session>, Tree) {
    let (history, sessions) = load.stop().unwrap_or_else(|e| panic!("{what}: {e:#}\n{}", ensemble.logs(40)));
    ensemble.settled().unwrap_or_else(|e| panic!("{what}: {e:#}"));
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
