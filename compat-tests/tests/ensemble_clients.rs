//! What clients of an ensemble rely on, over members of both kinds: sessions that move with their ephemerals and watches, the
//! end of a session, a session in two places, observers, and every kind of write through every kind of member.

#[path = "ensembles/support.rs"]
mod support;

use std::thread::sleep;
use std::time::{Duration, Instant};

use compat_tests::ensemble::{Ensemble, Plan, eventually};
use compat_tests::load::{Attached, Session};
use compat_tests::need_mixes;
use compat_tests::tree::synced_client;
use compat_tests::wire::{Acl, Client, Dec, Enc, Event, Reply, op};
use support::{addrs, load, serves_everywhere, verify};

const SESSION_MOVED: i32 = -118;
const CREATED: i32 = 1;
const DELETED: i32 = 2;
const CHANGED: i32 = 3;
const CHILD: i32 = 4;

fn exists(ensemble: &Ensemble, id: u64, path: &str) -> bool {
    let mut client = synced_client(ensemble[id].client_addr()).unwrap();
    let found = client.exists(path, false).unwrap().is_ok();
    client.close().unwrap();
    found
}

fn events(client: &mut Client, patience: Duration) -> Vec<(i32, String)> {
    client.poll_events(patience).unwrap();
    let mut seen: Vec<(i32, String)> =
        client.events.drain(..).map(|Event { kind, path, .. }| (kind, path)).collect();
    seen.sort();
    seen
}

/// From every member to every other: the session, its ephemerals and its watches come along.
#[test]
fn a_session_moves_between_all_members() {
    for mix in need_mixes!(["FFJ", "JFJ"], ["JJJ", "FFF", "JJF", "FJF", "NFN"]) {
        let ensemble = Plan::new(&mix).start_led_by(2).unwrap();
        let mut other = ensemble.client(2).unwrap();
        for from in ensemble.ids() {
            for to in ensemble.ids().into_iter().filter(|to| *to != from) {
                move_once(&ensemble, &mut other, from, to, &format!("{mix}, {from} to {to}"));
            }
        }
    }
}

fn move_once(ensemble: &Ensemble, other: &mut Client, from: u64, to: u64, what: &str) {
    let node = |kind: &str| format!("/{kind}-{from}-{to}");
    let (data, absent, parent) = (node("data"), node("absent"), node("parent"));
    for path in [&data, &parent] {
        other.create(path, b"", 0).unwrap().unwrap();
    }
    let mut session = Session::open(&addrs(ensemble), from as usize - 1, 20_000).unwrap();
    let (id, password) = (session.id, session.password.clone());
    let client = session.client().unwrap();
    client.sync("/").unwrap().unwrap();
    client.create(&node("ephemeral"), b"mine", 1).unwrap().unwrap();
    client.get_data(&data, true).unwrap().unwrap();
    assert!(client.exists(&absent, true).unwrap().is_err());
    client.get_children(&parent, true).unwrap().unwrap();
    let seen = client.last_zxid;
    session.last_zxid = seen;
    session.drop_connection();
    // One of the watched things happens while nobody is connected, the others after the move.
    other.set_data(&data, b"changed", -1).unwrap().unwrap();

    let attached = session.move_to(ensemble[to].client_addr());
    let attached = attached.unwrap_or_else(|e| panic!("{what}: {e:#}\n{}", ensemble.logs(30)));
    assert_eq!((attached, session.id), (Attached::Kept, id), "{what}");
    assert_eq!(session.password, password, "{what}");
    let client = session.client().unwrap();
    client.sync("/").unwrap().unwrap();
    client.set_watches(seen, &[&data], &[&absent], &[&parent]).unwrap().unwrap();
    assert_eq!(events(client, Duration::ZERO), [(CHANGED, data.clone())], "{what}: what was missed");
    other.create(&absent, b"", 0).unwrap().unwrap();
    other.create(&format!("{parent}/child"), b"", 0).unwrap().unwrap();
    let expected = [(CREATED, absent.clone()), (CHILD, parent.clone())];
    let deadline = Instant::now() + Duration::from_secs(5);
    let mut seen = Vec::new();
    while seen.len() < expected.len() && Instant::now() < deadline {
        seen.extend(events(client, Duration::from_millis(50)));
    }
    seen.sort();
    assert_eq!(seen, expected, "{what}: what happened after the move");

    // The owner has moved with it: its writes count, and the end of the session takes the ephemeral.
    client.set_data(&node("ephemeral"), b"still mine", 0).unwrap().unwrap();
    session.call(op::CLOSE_SESSION, &[]).unwrap();
    for id in ensemble.ids() {
        assert!(!exists(ensemble, id, &node("ephemeral")), "{what}: the ephemeral is gone from server {id}");
    }
}

#[test]
fn a_silent_session_ends_and_a_pinging_one_does_not() {
    for mix in need_mixes!(["FFJ", "JJF"], ["JJJ", "FFF", "JFJ"]) {
        let ensemble = Plan::new(&mix).start_led_by(2).unwrap();
        let connect = |id: u64| {
            let mut client = Client::connect(ensemble[id].client_addr(), 2000).unwrap();
            assert_eq!(client.connect.timeout_ms, 2000);
            client.create(&format!("/e{id}-{}", client.connect.session), b"", 1).unwrap().unwrap();
            client
        };
        // Through followers and the leader alike; a follower tells its leader about pings (B§3.8).
        let silent: Vec<(u64, Client)> = ensemble.ids().into_iter().map(|id| (id, connect(id))).collect();
        let mut pinging: Vec<(u64, Client)> =
            ensemble.ids().into_iter().map(|id| (id, connect(id))).collect();
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(5500) {
            for (id, client) in &mut pinging {
                client.ping().unwrap_or_else(|e| panic!("{mix}: the session through {id} ended: {e:#}"));
            }
            sleep(Duration::from_millis(300));
        }
        for reader in ensemble.ids() {
            let mut client = synced_client(ensemble[reader].client_addr()).unwrap();
            for (id, session) in &silent {
                let path = format!("/e{id}-{}", session.connect.session);
                let found = client.exists(&path, false).unwrap().is_ok();
                assert!(!found, "{mix}: server {reader} keeps an ephemeral of a session that ended on {id}");
            }
            for (id, session) in &pinging {
                let path = format!("/e{id}-{}", session.connect.session);
                let found = client.exists(&path, false).unwrap().is_ok();
                assert!(found, "{mix}: server {reader} lost an ephemeral of a session alive on {id}");
            }
        }
        for (id, mut session) in silent {
            session.patience = Duration::from_secs(2);
            assert!(
                session.ping().is_err(),
                "{mix}: server {id} keeps the connection of a session that ended"
            );
        }
    }
}

/// A client that comes back elsewhere before its old connection is known to be dead.
#[test]
fn of_a_session_in_two_places_the_older_connection_is_refused() {
    for mix in need_mixes!(["FFJ", "JFJ"], ["JJJ", "FFF", "JJF"]) {
        let ensemble = Plan::new(&mix).start_led_by(2).unwrap();
        let mut owner = ensemble.client(2).unwrap();
        owner.create("/moved", b"", 0).unwrap().unwrap();
        for from in ensemble.ids() {
            for to in ensemble.ids().into_iter().filter(|to| *to != from) {
                let what = format!("{mix}, {from} to {to}");
                let mut old = ensemble.client(from).unwrap();
                old.sync("/").unwrap().unwrap();
                let again = compat_tests::wire::ConnectRequest::reattach(
                    30_000,
                    old.connect.session,
                    &old.connect.password,
                );
                let mut new = Client::connect_with(ensemble[to].client_addr(), &again).unwrap();
                assert_eq!(new.connect.session, old.connect.session, "{what}");
                new.set_data("/moved", b"new", -1).unwrap().unwrap();
                let refused = old.set_data("/moved", b"old", -1);
                match refused {
                    Ok(answer) => assert_eq!(answer.unwrap_err(), SESSION_MOVED, "{what}"),
                    // The server may also have closed what it knows to be stale.
                    Err(e) => assert!(format!("{e:#}").contains("closed"), "{what}: {e:#}"),
                }
                let (data, _) = new.get_data("/moved", false).unwrap().unwrap();
                assert_eq!(data.unwrap(), b"new", "{what}");
                new.close().unwrap();
            }
        }
    }
}

/// Server 4 observes: it serves like a follower, and counts in nothing.
#[test]
fn observers_serve_and_have_no_vote() {
    for mix in need_mixes!(["FFFJ", "JJJF"], ["JJJJ", "FFFF", "FFJF", "JFJJ"]) {
        let mut ensemble = Plan::new(&mix).observer(4).start().unwrap();
        assert_eq!(ensemble[4].mode().as_deref(), Some("observer"), "{mix}");
        serves_everywhere(&ensemble, &mix);
        let load = load(&ensemble);
        load.progress(60, support::PATIENCE).unwrap();
        ensemble.kill9(&[4]).unwrap();
        load.progress(60, support::PATIENCE).unwrap();
        ensemble.add(&[4]).unwrap();
        load.progress(60, support::PATIENCE).unwrap();
        let leader = ensemble.settled().unwrap();
        ensemble.kill9(&[leader]).unwrap();
        load.progress(60, support::PATIENCE).unwrap();
        ensemble.add(&[leader]).unwrap();
        load.progress(60, support::PATIENCE).unwrap();
        verify(&ensemble, load, &mix);
        // One voter and one observer are no majority of three.
        let leader = ensemble.settled().unwrap();
        let voters = ensemble.voters();
        let last = voters.iter().copied().find(|id| *id != leader).unwrap();
        let dead: Vec<u64> = voters.into_iter().filter(|id| *id != last).collect();
        ensemble.kill9(&dead).unwrap();
        for id in [last, 4] {
            eventually("nobody serves without a majority", Duration::from_secs(15), || {
                ensemble[id].mode().is_none()
            })
            .unwrap_or_else(|e| panic!("{mix}: server {id}: {e:#}"));
        }
        ensemble.add(&dead).unwrap();
        serves_everywhere(&ensemble, &format!("{mix} again"));
    }
}

/// What a script of requests is told, with the server's name taken out.
struct Script {
    client: Client,
    root: String,
    told: Vec<String>,
}

impl Script {
    fn ask(&mut self, name: &str, op: i32, body: Enc, show: impl FnOnce(&mut Dec) -> String) {
        let Reply { err, body, .. } = self.client.call(op, &body.bytes()).unwrap();
        let shown = if err == 0 { show(&mut Dec(&body)) } else { format!("{} bytes", body.len()) };
        self.told.push(format!("{name}: {err} {shown}").replace(&self.root, "ROOT"));
    }

    fn path(&self, name: &str) -> String {
        format!("{}{name}", self.root)
    }

    fn create(&mut self, name: &str, op: i32, acl: &[Acl], flags: i32) {
        let body = Enc::new().string(&self.path(name)).buffer(Some(b"v")).acls(acl).int(flags);
        let body = if op == op::CREATE_TTL { body.long(60_000) } else { body };
        self.ask(&format!("create {name} op {op} flags {flags}"), op, body, |d| {
            let path = d.string().unwrap();
            let stat = (op != op::CREATE).then(|| d.stat().unwrap());
            format!("{path} {:?}", stat.map(|s| (s.version, s.ephemeral_owner != 0, s.data_length)))
        });
    }

    fn versioned(&mut self, name: &str, op: i32, body: Enc) {
        let what = format!("op {op} on {name}");
        self.ask(&what, op, body, |d| match d.is_empty() {
            true => String::new(),
            false => {
                let s = d.stat().unwrap();
                format!("{:?}", (s.version, s.cversion, s.aversion, s.num_children))
            }
        });
    }

    /// Header by header; the end of a multi that failed is an error code for each part.
    fn multi(&mut self, name: &str, parts: &[(i32, Enc)]) {
        let mut body = Enc::new();
        for (op, part) in parts {
            body = body.int(*op).bool(false).int(-1).raw(&part.0);
        }
        self.ask(name, op::MULTI, body.int(-1).bool(true).int(-1), |d| {
            let mut text = String::new();
            loop {
                let (kind, done, err) = (d.int().unwrap(), d.bool().unwrap(), d.int().unwrap());
                if done {
                    return text;
                }
                let result = match kind {
                    op::CREATE => d.string().unwrap(),
                    op::SET_DATA => format!("{}", d.stat().unwrap().version),
                    -1 => format!("{}", d.int().unwrap()),
                    _ => String::new(),
                };
                text += &format!("[{kind} {err} {result}]");
            }
        });
    }
}

fn every_write(ensemble: &Ensemble, id: u64) -> Vec<String> {
    let mut client = ensemble.client(id).unwrap();
    client.sync("/").unwrap().unwrap();
    let root = format!("/server-{id}");
    client.create(&root, b"", 0).unwrap().unwrap();
    let mut s = Script { client, root, told: Vec::new() };
    let open = Acl::open();
    let mine = [Acl::new(31, "auth", "")];
    for (name, op, flags) in [
        ("/plain", op::CREATE, 0),
        ("/plain", op::CREATE, 0),
        ("/plain2", op::CREATE2, 0),
        ("/ephemeral", op::CREATE, 1),
        ("/ephemeral/child", op::CREATE, 0),
        ("/sequence-", op::CREATE, 2),
        ("/sequence-", op::CREATE2, 2),
        ("/es-", op::CREATE, 3),
        ("/container", op::CREATE_CONTAINER, 4),
        ("/ttl", op::CREATE_TTL, 5),
        ("/ttl-", op::CREATE_TTL, 6),
        ("/absent/child", op::CREATE, 0),
        ("/bad//path", op::CREATE, 0),
    ] {
        s.create(name, op, &open, flags);
    }
    s.create("/before-auth", op::CREATE, &mine, 0);
    s.client.auth("digest", b"ann:secret").unwrap().unwrap();
    s.create("/after-auth", op::CREATE, &mine, 0);
    s.create("/no-acl", op::CREATE, &[], 0);
    s.create("/bad-acl", op::CREATE, &[Acl::new(31, "ip", "nonsense")], 0);
    for (name, version) in [("/plain", 0), ("/plain", 0), ("/plain", -1), ("/absent", -1)] {
        let body = Enc::new().string(&s.path(name)).buffer(Some(b"new")).int(version);
        s.versioned(name, op::SET_DATA, body);
    }
    let body = Enc::new().string(&s.path("/plain2")).acls(&mine).int(0);
    s.versioned("/plain2", op::SET_ACL, body);
    let stranger = {
        let mut stranger = ensemble.client(id).unwrap();
        stranger.sync("/").unwrap().unwrap();
        let answers = format!(
            "{:?} {:?} {:?}",
            stranger.set_data(&s.path("/after-auth"), b"", -1).unwrap().map(|s| s.version),
            stranger.get_data(&s.path("/after-auth"), false).unwrap().map(|(d, _)| d),
            stranger.create(&s.path("/plain2/child"), b"", 0).unwrap(),
        );
        stranger.close().unwrap();
        answers
    };
    s.told.push(format!("a stranger: {stranger}"));
    let path = |name: &str| format!("/server-{id}{name}");
    let set = |name: &str, version: i32| {
        (op::SET_DATA, Enc::new().string(&path(name)).buffer(Some(b"m")).int(version))
    };
    let create =
        |name: &str| (op::CREATE, Enc::new().string(&path(name)).buffer(Some(b"m")).acls(&open).int(0));
    let check = |name: &str, version: i32| (op::CHECK, Enc::new().string(&path(name)).int(version));
    let delete = |name: &str| (op::DELETE, Enc::new().string(&path(name)).int(-1));
    s.multi("a multi", &[create("/m"), set("/m", 0), check("/m", 1), delete("/m"), set("/plain", -1)]);
    s.multi("a multi with a wrong version", &[create("/m"), check("/plain", 99), set("/plain", -1)]);
    s.multi("a multi on what is not there", &[set("/plain", -1), delete("/absent")]);
    s.multi("an empty multi", &[]);
    for (name, version) in [("/plain", 99), ("/absent", -1), ("/ttl", -1), ("/plain", -1), ("", -1)] {
        let body = Enc::new().string(&s.path(name)).int(version);
        s.versioned(name, op::DELETE, body);
    }
    let reconfig = Enc::new().string("server.9=127.0.0.1:1:2;3").string("").string("").long(-1);
    s.ask("reconfig", op::RECONFIG, reconfig, |_| String::new());
    let sync = Enc::new().string("/");
    s.ask("sync", op::SYNC, sync, |d| d.string().unwrap());
    s.told
}

#[test]
fn every_write_is_answered_alike_by_leader_followers_and_observers() {
    for mix in need_mixes!(["JFFJ", "FJJF"], ["JJJJ"]) {
        let plan = Plan::new(&mix).observer(4).flag("-Dzookeeper.extendedTypesEnabled=true");
        let ensemble = plan.start_led_by(2).unwrap();
        let told: Vec<(u64, Vec<String>)> =
            ensemble.ids().into_iter().map(|id| (id, every_write(&ensemble, id))).collect();
        let (java, expected) = told.iter().find(|(id, _)| mix.as_bytes()[*id as usize - 1] != b'F').unwrap();
        for (id, told) in &told {
            for (line, wanted) in told.iter().zip(expected) {
                assert_eq!(line, wanted, "{mix}: server {id}, and what server {java} said");
            }
            assert_eq!(told.len(), expected.len());
        }
        let refused = expected.iter().filter(|line| line.contains(": -")).count();
        assert!(expected.len() > 30 && refused > 8, "{mix}: a poor script:\n{}", expected.join("\n"));
        compat_tests::tree::equal_trees(&addrs(&ensemble), Duration::from_secs(10)).unwrap();
    }
}

#[test]
fn deleting_a_watched_node_is_told_by_every_member() {
    for mix in need_mixes!(["FFJ", "JJF"], ["JJJ", "FFF"]) {
        let ensemble = Plan::new(&mix).start().unwrap();
        let mut writer = ensemble.client(1).unwrap();
        writer.create("/watched", b"", 0).unwrap().unwrap();
        let mut watchers: Vec<(u64, Client)> = Vec::new();
        for id in ensemble.ids() {
            let mut client = synced_client(ensemble[id].client_addr()).unwrap();
            client.exists("/watched", true).unwrap().unwrap();
            watchers.push((id, client));
        }
        writer.delete("/watched", -1).unwrap().unwrap();
        for (id, client) in &mut watchers {
            // An event comes before any reply that shows the change.
            client.sync("/").unwrap().unwrap();
            assert!(client.exists("/watched", false).unwrap().is_err(), "{mix}: server {id}");
            let seen = events(client, Duration::ZERO);
            assert_eq!(seen, [(DELETED, "/watched".to_string())], "{mix}: server {id}");
        }
    }
}
