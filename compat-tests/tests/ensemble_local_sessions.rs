//! Sessions that one member alone knows (localSessionsEnabled), over members of both kinds: they cost no txn, they become
//! global when they ask for an ephemeral and that is allowed, and nobody else takes them.

use std::time::Duration;

use compat_tests::ensemble::{Ensemble, Plan, eventually};
use compat_tests::need_mixes;
use compat_tests::tree::synced_client;
use compat_tests::wire::{Client, ConnectRequest};

const EPHEMERAL_ON_LOCAL_SESSION: i32 = -120;
const PATIENCE: Duration = Duration::from_secs(10);

fn start(mix: &str, upgrading: bool) -> Ensemble {
    Plan::new(mix)
        .line("localSessionsEnabled=true")
        .line(format!("localSessionsUpgradingEnabled={upgrading}"))
        .start_led_by(2)
        .unwrap()
}

fn connect(ensemble: &Ensemble, id: u64) -> Client {
    Client::connect(ensemble[id].client_addr(), 10_000).unwrap()
}

#[test]
fn a_local_session_costs_no_txn_and_is_unknown_elsewhere() {
    for mix in need_mixes!(["FFJ", "JJF"], ["JJJ", "FFF", "FJF"]) {
        let ensemble = start(&mix, false);
        connect(&ensemble, 2).create("/a", b"", 0).unwrap().unwrap();
        for id in ensemble.ids() {
            let before = ensemble.zxid(2).unwrap();
            let mut client = connect(&ensemble, id);
            let (session, password) = (client.connect.session, client.connect.password.clone());
            client.ping().unwrap();
            assert_eq!(ensemble.zxid(2).unwrap(), before, "{mix}, server {id}: opening one is no txn");
            client.set_data("/a", b"x", -1).unwrap().unwrap();
            assert_eq!(ensemble.zxid(2).unwrap(), before + 1, "{mix}, server {id}: a write is one");
            let refused = client.create("/e", b"", 1).unwrap();
            assert_eq!(refused, Err(EPHEMERAL_ON_LOCAL_SESSION), "{mix}, server {id}");
            client.conn.stream().shutdown(std::net::Shutdown::Both).unwrap();

            let reattach = ConnectRequest::reattach(10_000, session, &password);
            let elsewhere = id % 3 + 1;
            let moved = Client::connect_with(ensemble[elsewhere].client_addr(), &reattach);
            assert!(moved.is_err(), "{mix}: the session of {id} is unknown to {elsewhere}");
            let mut back = Client::connect_with(ensemble[id].client_addr(), &reattach).unwrap();
            assert_eq!(back.connect.session, session);
            back.set_data("/a", b"y", -1).unwrap().unwrap();
            let before = ensemble.zxid(id).unwrap();
            back.close().unwrap();
            assert_eq!(ensemble.zxid(id).unwrap(), before, "{mix}, server {id}: closing one is no txn");
        }
    }
}

#[test]
fn an_ephemeral_makes_a_session_global() {
    for mix in need_mixes!(["FFJ", "JJF"], ["JJJ", "FFF", "FJF"]) {
        let ensemble = start(&mix, true);
        for id in ensemble.ids() {
            let mut client = connect(&ensemble, id);
            let (session, password) = (client.connect.session, client.connect.password.clone());
            let path = format!("/e{id}");
            client.create(&path, b"", 1).unwrap().unwrap();
            let owner = client.exists(&path, false).unwrap().unwrap().ephemeral_owner;
            assert_eq!(owner, session, "{mix}, server {id}");
            client.conn.stream().shutdown(std::net::Shutdown::Both).unwrap();

            let elsewhere = id % 3 + 1;
            let reattach = ConnectRequest::reattach(10_000, session, &password);
            let moved = Client::connect_with(ensemble[elsewhere].client_addr(), &reattach);
            let moved = moved
                .unwrap_or_else(|e| panic!("{mix}: {elsewhere} does not take the session of {id}: {e:#}"));
            moved.close().unwrap();
            eventually("the ephemeral goes with its session", PATIENCE, || {
                synced_client(ensemble[id].client_addr()).unwrap().exists(&path, false).unwrap().is_err()
            })
            .unwrap_or_else(|e| panic!("{mix}, server {id}: {e:#}"));
        }
    }
}
