//! The `zookeeper-client` crate, unchanged, against Ferrokeeper. Every story also runs against Java: 3.5.7 for the ops that
//! 3.5 has, 3.9.3 for the later ones, so that a wrong expectation is found before it is held against Ferrokeeper.
//!
//! The stories of one server run at the same time, each below a node of its own.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use compat_tests::need_java;
use compat_tests::process::{Builder, Kind, Server};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use zookeeper_client as zk;
use zookeeper_client::{CreateMode, Error, EventType};

const OPEN: zk::Acls<'static> = zk::Acls::anyone_all();
const PERSISTENT: &zk::CreateOptions<'static> = &CreateMode::Persistent.with_acls(OPEN);
const EPHEMERAL: &zk::CreateOptions<'static> = &CreateMode::Ephemeral.with_acls(OPEN);
const CONTAINER: &zk::CreateOptions<'static> = &CreateMode::Container.with_acls(OPEN);
const PATIENCE: Duration = Duration::from_secs(20);
/// An event that must not come is waited for this long.
const SILENCE: Duration = Duration::from_millis(300);

type Story = fn(Place) -> Pin<Box<dyn Future<Output = ()> + Send>>;

macro_rules! stories {
    ($($name:ident),* $(,)?) => {
        &[$((stringify!($name), (|place| Box::pin($name(place))) as Story)),*]
    };
}

const SINCE_3_5: &[(&str, Story)] = stories![
    every_create_mode,
    data_and_versions,
    children_and_counts,
    access_lists,
    transactions,
    checked_transactions,
    one_shot_watches,
    a_dropped_watcher_is_silent,
    watches_survive_a_cut_connection,
    requests_are_answered_in_order,
    closing_a_session_removes_its_nodes,
    a_session_moves_to_a_new_client,
    a_session_expires,
    containers_and_ttl_nodes_are_reaped,
    the_config_node,
    locks_are_exclusive,
];

/// Persistent watches over a reconnect are not among them: the crate (0.11.2) sends setWatches for them, never setWatches2.
/// Java's 3.9 client shows that in java_clients.rs.
const SINCE_3_6: &[(&str, Story)] =
    stories![persistent_watch, recursive_watch, reads_in_one_request, ephemerals_and_descendants, who_am_i,];

#[test]
fn java_3_5_7_tells_the_stories() {
    need_java!("3.5.7");
    tell(Kind::java("3.5.7"), &[], SINCE_3_5);
}

#[test]
fn java_3_9_3_tells_the_later_stories() {
    need_java!("3.9.3");
    tell(Kind::java("3.9.3"), &[], SINCE_3_6);
}

#[test]
fn ferrokeeper_tells_the_stories() {
    tell(Kind::Ferrokeeper, &[], SINCE_3_5);
}

#[test]
fn ferrokeeper_tells_the_later_stories() {
    tell(Kind::Ferrokeeper, &[], SINCE_3_6);
}

#[test]
fn java_3_5_7_refuses_the_later_ops() {
    need_java!("3.5.7");
    tell(Kind::java("3.5.7"), &[], stories![later_ops_are_unimplemented]);
}

#[test]
fn ferrokeeper_without_modern_ops_refuses_them_too() {
    let lines = ["ferrokeeper.modernClientOps=false"];
    tell(Kind::Ferrokeeper, &lines, stories![later_ops_are_unimplemented]);
}

fn tell(kind: Kind, lines: &[&str], stories: &[(&str, Story)]) {
    let server = lines
        .iter()
        .fold(Builder::new(kind), |b, line| b.line(*line))
        .line("tickTime=500")
        .flag("-Dzookeeper.extendedTypesEnabled=true")
        .flag("-Dznode.container.checkIntervalMs=300")
        .start()
        .unwrap();
    let failed = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(tell_all(&server, stories));
    assert!(failed.is_empty(), "{:?} failed: {failed:?}", server.kind());
}

async fn tell_all(server: &Server, stories: &[(&str, Story)]) -> Vec<String> {
    let mut running = Vec::new();
    for (name, story) in stories {
        let place = Place::new(server.client_addr(), name).await;
        running.push((name, tokio::spawn(timeout(3 * PATIENCE, story(place)))));
    }
    let mut failed = Vec::new();
    for (name, task) in running {
        match task.await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => failed.push(format!("{name} (does not end)")),
            Err(_) => failed.push(name.to_string()),
        }
    }
    failed
}

/// A server and a node of the story's own on it.
#[derive(Clone)]
struct Place {
    addr: SocketAddr,
    root: String,
}

impl Place {
    async fn new(addr: SocketAddr, name: &str) -> Place {
        let root = format!("/{name}");
        let client = zk::Client::connect(&addr.to_string()).await.unwrap();
        client.create(&root, b"", PERSISTENT).await.unwrap();
        Place { addr, root }
    }

    fn connector(&self) -> zk::Connector {
        zk::Client::connector().with_session_timeout(Duration::from_secs(8))
    }

    /// A client whose root is the story's node.
    async fn client(&self) -> zk::Client {
        self.at(&self.connector(), self.addr).await.unwrap()
    }

    async fn at(&self, connector: &zk::Connector, addr: SocketAddr) -> Result<zk::Client, Error> {
        connector.clone().connect(&format!("{addr}{}", self.root)).await
    }
}

/// Waits for what the server does in its own time.
async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut look: impl FnMut() -> F) -> T {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if let Some(found) = look().await {
            return found;
        }
        sleep(Duration::from_millis(25)).await;
    }
    panic!("not seen: {what}");
}

async fn gone(client: &zk::Client, path: &str) {
    eventually(&format!("{path} gone"), || async {
        client.check_stat(path).await.unwrap().is_none().then_some(())
    })
    .await;
}

async fn fired(watcher: zk::OneshotWatcher) -> (EventType, String) {
    let event = timeout(PATIENCE, watcher.changed()).await.expect("the watcher fires");
    (event.event_type, event.path)
}

async fn next(watcher: &mut zk::PersistentWatcher) -> (EventType, String) {
    loop {
        let event = timeout(PATIENCE, watcher.changed()).await.expect("the watcher fires");
        if event.event_type != EventType::Session {
            return (event.event_type, event.path);
        }
    }
}

fn event(kind: EventType, path: &str) -> (EventType, String) {
    (kind, path.to_string())
}

async fn every_create_mode(place: Place) {
    let client = place.client().await;
    let (stat, sequence) = client.create("/plain", b"abc", PERSISTENT).await.unwrap();
    assert_eq!((stat.version, stat.cversion, stat.aversion), (0, 0, 0));
    assert_eq!((stat.data_length, stat.num_children, stat.ephemeral_owner), (3, 0, 0));
    assert_eq!((stat.mzxid, stat.pzxid, stat.mtime), (stat.czxid, stat.czxid, stat.ctime));
    assert_eq!(sequence.into_i64(), -1);
    assert_eq!(client.get_data("/plain").await.unwrap(), (b"abc".to_vec(), stat));

    // The counter is the parent's: /plain was create 0 below it (B§2.2).
    let numbered = CreateMode::PersistentSequential.with_acls(OPEN);
    let (_, sequence) = client.create("/n-", b"", &numbered).await.unwrap();
    assert_eq!(sequence.to_string(), "0000000001");
    let (stat, _) = client.create("/temporary", b"", EPHEMERAL).await.unwrap();
    assert_eq!(stat.ephemeral_owner, client.session_id().0);
    let fleeting = CreateMode::EphemeralSequential.with_acls(OPEN);
    let (stat, sequence) = client.create("/t-", b"", &fleeting).await.unwrap();
    assert_eq!((stat.ephemeral_owner, sequence.into_i64()), (client.session_id().0, 3));
    let (stat, _) = client.create("/box", b"", CONTAINER).await.unwrap();
    assert_eq!((stat.ephemeral_owner, stat.version), (0, 0));
    let lasting = CreateMode::Persistent.with_acls(OPEN).with_ttl(Duration::from_secs(3600));
    let (stat, _) = client.create("/ttl", b"x", &lasting).await.unwrap();
    assert_eq!((stat.ephemeral_owner, stat.data_length), (0, 1));
    let lasting = CreateMode::PersistentSequential.with_acls(OPEN).with_ttl(Duration::from_secs(3600));
    let (_, sequence) = client.create("/ttl-", b"", &lasting).await.unwrap();
    assert_eq!(sequence.into_i64(), 6);

    let mut names = client.list_children("/").await.unwrap();
    names.sort();
    let expected = ["box", "n-0000000001", "plain", "t-0000000003", "temporary", "ttl", "ttl-0000000006"];
    assert_eq!(names, expected);

    let exists = client.create("/plain", b"", PERSISTENT).await.unwrap_err();
    assert_eq!(exists, Error::NodeExists);
    assert_eq!(client.create("/no/parent", b"", PERSISTENT).await.unwrap_err(), Error::NoNode);
    let below = client.create("/temporary/child", b"", PERSISTENT).await.unwrap_err();
    assert_eq!(below, Error::NoChildrenForEphemerals);
}

async fn data_and_versions(place: Place) {
    let client = place.client().await;
    let (created, _) = client.create("/d", b"", PERSISTENT).await.unwrap();
    let stat = client.set_data("/d", b"one", Some(0)).await.unwrap();
    assert_eq!((stat.version, stat.czxid, stat.pzxid), (1, created.czxid, created.pzxid));
    assert!(stat.mzxid > created.mzxid && stat.mtime >= created.mtime);
    assert_eq!(client.set_data("/d", b"two", Some(0)).await.unwrap_err(), Error::BadVersion);
    assert_eq!(client.set_data("/d", b"two", None).await.unwrap().version, 2);
    assert_eq!(client.get_data("/d").await.unwrap().0, b"two");
    assert_eq!(client.check_stat("/d").await.unwrap().unwrap().version, 2);
    assert_eq!(client.check_stat("/none").await.unwrap(), None);
    assert_eq!(client.get_data("/none").await.unwrap_err(), Error::NoNode);
    assert_eq!(client.set_data("/none", b"", None).await.unwrap_err(), Error::NoNode);

    // Just below the default jute.maxbuffer, header and path included.
    let large: Vec<u8> = (0..1_040_000u32).map(|i| (i % 251) as u8).collect();
    assert_eq!(client.set_data("/d", &large, None).await.unwrap().data_length, 1_040_000);
    assert!(client.get_data("/d").await.unwrap().0 == large);

    client.create("/d/child", b"", PERSISTENT).await.unwrap();
    assert_eq!(client.delete("/d", None).await.unwrap_err(), Error::NotEmpty);
    assert_eq!(client.delete("/d/child", Some(1)).await.unwrap_err(), Error::BadVersion);
    client.delete("/d/child", Some(0)).await.unwrap();
    client.delete("/d", None).await.unwrap();
    assert_eq!(client.delete("/d", None).await.unwrap_err(), Error::NoNode);
    client.sync("/").await.unwrap();
}

async fn children_and_counts(place: Place) {
    let client = place.client().await;
    for path in ["/p", "/p/a", "/p/b", "/p/c"] {
        client.create(path, path.as_bytes(), PERSISTENT).await.unwrap();
    }
    client.delete("/p/b", None).await.unwrap();
    let (mut names, stat) = client.get_children("/p").await.unwrap();
    names.sort();
    assert_eq!(names, ["a", "c"]);
    // Three creates and one delete (B§2.3).
    assert_eq!((stat.cversion, stat.num_children, stat.version), (4, 2, 0));
    assert!(stat.pzxid > stat.czxid && stat.mzxid == stat.czxid);
    assert_eq!(client.list_children("/p/a").await.unwrap(), Vec::<String>::new());
    assert_eq!(client.get_children("/none").await.unwrap_err(), Error::NoNode);

    // The crate's chroot is absolute, whatever the client's own was.
    let inner = client.clone().chroot(format!("{}/p", place.root)).unwrap();
    assert_eq!(inner.get_data("/a").await.unwrap().0, b"/p/a");
    client.mkdir("/deep/er/and/deeper", PERSISTENT).await.unwrap();
    assert_eq!(client.list_children("/deep/er").await.unwrap(), ["and"]);
}

async fn access_lists(place: Place) {
    let owner = place.client().await;
    let stranger = place.client().await;
    owner.auth("digest", b"u:p").await.unwrap();
    let (stat, _) = owner
        .create("/mine", b"secret", &CreateMode::Persistent.with_acls(zk::Acls::creator_all()))
        .await
        .unwrap();
    assert_eq!(stat.aversion, 0);
    let (acl, _) = owner.get_acl("/mine").await.unwrap();
    // The digest of "u:p" (B§2.7).
    let digest = zk::AuthId::new("digest", "u:Jq7wMyA/w2Vd5WIDAKdu4OIIFEQ=");
    assert_eq!(acl, [zk::Acl::new(zk::Permission::ALL, digest.clone())]);

    assert_eq!(stranger.get_data("/mine").await.unwrap_err(), Error::NoAuth);
    assert_eq!(stranger.set_data("/mine", b"", None).await.unwrap_err(), Error::NoAuth);
    assert_eq!(stranger.list_children("/mine").await.unwrap_err(), Error::NoAuth);
    assert_eq!(stranger.create("/mine/x", b"", PERSISTENT).await.unwrap_err(), Error::NoAuth);
    assert_eq!(stranger.get_acl("/mine").await.unwrap_err(), Error::NoAuth);
    assert_eq!(stranger.check_stat("/mine").await.unwrap().unwrap(), stat);

    let readable =
        [zk::Acl::new(zk::Permission::ALL, digest), zk::Acl::new(zk::Permission::READ, zk::AuthId::anyone())];
    assert_eq!(owner.set_acl("/mine", &readable, Some(7)).await.unwrap_err(), Error::BadVersion);
    let stat = owner.set_acl("/mine", &readable, Some(0)).await.unwrap();
    assert_eq!((stat.aversion, stat.version), (1, 0));
    assert_eq!(stranger.get_data("/mine").await.unwrap().0, b"secret");
    assert_eq!(stranger.set_acl("/mine", &readable, None).await.unwrap_err(), Error::NoAuth);
    let masked = stranger.get_acl("/mine").await.unwrap().0;
    assert_eq!(masked[0].id(), "u:x");
    stranger.auth("digest", b"u:p").await.unwrap();
    assert_eq!(stranger.set_data("/mine", b"shared", None).await.unwrap().version, 1);

    let nonsense = [zk::Acl::new(zk::Permission::ALL, zk::AuthId::new("nonsense", "x"))];
    let refused = owner.create("/bad", b"", &CreateMode::Persistent.with_acls(zk::Acls::new(&nonsense)));
    assert_eq!(refused.await.unwrap_err(), Error::InvalidAcl);
    let failing = place.client().await;
    assert_eq!(failing.auth("nonsense", b"x").await.unwrap_err(), Error::AuthFailed);
}

async fn transactions(place: Place) {
    let client = place.client().await;
    let mut writer = client.new_multi_writer();
    writer.add_create("/a", b"0", PERSISTENT).unwrap();
    writer.add_set_data("/a", b"1", Some(0)).unwrap();
    writer.add_create("/a/b", b"", EPHEMERAL).unwrap();
    writer.add_check_version("/a", 1).unwrap();
    writer.add_create("/gone", b"", PERSISTENT).unwrap();
    writer.add_delete("/gone", None).unwrap();
    let results = writer.commit().await.unwrap();
    assert_eq!(results.len(), 6);
    assert!(matches!(&results[0], zk::MultiWriteResult::Create { path, .. } if path == "/a"));
    let zk::MultiWriteResult::SetData { stat: set } = &results[1] else { panic!("{results:?}") };
    assert!(matches!(&results[2], zk::MultiWriteResult::Create { path, .. } if path == "/a/b"));
    assert_eq!(results[3], zk::MultiWriteResult::Check);
    assert_eq!(results[5], zk::MultiWriteResult::Delete);
    let (data, stat) = client.get_data("/a").await.unwrap();
    assert_eq!((data, stat.version, set.version), (b"1".to_vec(), 1, 1));
    // One zxid for the whole of it.
    let child = client.check_stat("/a/b").await.unwrap().unwrap();
    assert_eq!(
        (stat.czxid, stat.mzxid, stat.pzxid, child.czxid),
        (set.mzxid, set.mzxid, set.mzxid, set.mzxid)
    );
    assert_eq!(client.check_stat("/gone").await.unwrap(), None);

    writer.add_create("/c", b"", PERSISTENT).unwrap();
    writer.add_delete("/a", None).unwrap();
    writer.add_create("/d", b"", PERSISTENT).unwrap();
    let failed = writer.commit().await.unwrap_err();
    assert_eq!(failed, zk::MultiWriteError::OperationFailed { index: 1, source: Error::NotEmpty });
    assert_eq!(client.check_stat("/c").await.unwrap(), None);
    assert_eq!(client.list_children("/").await.unwrap(), ["a"]);
}

async fn checked_transactions(place: Place) {
    let client = place.client().await;
    let mut writer = client.new_check_writer("/check", None).unwrap();
    writer.add_create("/a", b"", PERSISTENT).unwrap();
    let failed = writer.commit().await.unwrap_err();
    assert_eq!(failed, zk::CheckWriteError::CheckFailed { source: Error::NoNode });
    client.create("/check", b"", PERSISTENT).await.unwrap();
    let mut writer = client.new_check_writer("/check", Some(1)).unwrap();
    writer.add_create("/a", b"", PERSISTENT).unwrap();
    let failed = writer.commit().await.unwrap_err();
    assert_eq!(failed, zk::CheckWriteError::CheckFailed { source: Error::BadVersion });
    let mut writer = client.new_check_writer("/check", Some(0)).unwrap();
    writer.add_create("/a", b"", PERSISTENT).unwrap();
    assert_eq!(writer.commit().await.unwrap().len(), 1);
    assert!(client.check_stat("/a").await.unwrap().is_some());
}

async fn one_shot_watches(place: Place) {
    let (watching, writing) = (place.client().await, place.client().await);
    let (none, created) = watching.check_and_watch_stat("/w").await.unwrap();
    assert_eq!(none, None);
    let (_, _, children) = watching.get_and_watch_children("/").await.unwrap();
    writing.create("/w", b"0", PERSISTENT).await.unwrap();
    assert_eq!(fired(created).await, event(EventType::NodeCreated, "/w"));
    assert_eq!(fired(children).await, event(EventType::NodeChildrenChanged, "/"));

    let (_, _, changed) = watching.get_and_watch_data("/w").await.unwrap();
    let (_, also_changed) = watching.check_and_watch_stat("/w").await.unwrap();
    let (_, own) = writing.check_and_watch_stat("/w").await.unwrap();
    writing.set_data("/w", b"1", None).await.unwrap();
    for watcher in [changed, also_changed, own] {
        assert_eq!(fired(watcher).await, event(EventType::NodeDataChanged, "/w"));
    }

    let (_, _, data) = watching.get_and_watch_data("/w").await.unwrap();
    let (_, children) = watching.list_and_watch_children("/w").await.unwrap();
    let (_, _, parent) = watching.get_and_watch_children("/").await.unwrap();
    writing.delete("/w", None).await.unwrap();
    assert_eq!(fired(data).await, event(EventType::NodeDeleted, "/w"));
    assert_eq!(fired(children).await, event(EventType::NodeDeleted, "/w"));
    assert_eq!(fired(parent).await, event(EventType::NodeChildrenChanged, "/"));
    assert_eq!(watching.get_and_watch_data("/w").await.unwrap_err(), Error::NoNode);
}

/// The crate sends removeWatches when a watcher is dropped; the watch of another kind on the path stays.
async fn a_dropped_watcher_is_silent(place: Place) {
    let client = place.client().await;
    client.create("/w", b"", PERSISTENT).await.unwrap();
    let (_, _, data) = client.get_and_watch_data("/w").await.unwrap();
    let (_, children) = client.list_and_watch_children("/w").await.unwrap();
    drop(data);
    client.sync("/").await.unwrap();
    client.set_data("/w", b"1", None).await.unwrap();
    client.create("/w/c", b"", PERSISTENT).await.unwrap();
    assert_eq!(fired(children).await, event(EventType::NodeChildrenChanged, "/w"));
    // The crate reuses the path: a watch that was left behind on the server would fire here too early.
    let (_, _, data) = client.get_and_watch_data("/w").await.unwrap();
    assert!(timeout(SILENCE, data.changed()).await.is_err());
}

async fn watches_survive_a_cut_connection(place: Place) {
    let proxy = Proxy::before(place.addr).await;
    let watching = place.at(&place.connector(), proxy.addr).await.unwrap();
    let writing = place.client().await;
    for path in ["/changed", "/kept", "/deleted", "/parent"] {
        writing.create(path, b"", PERSISTENT).await.unwrap();
    }
    let session = watching.session_id();
    let (_, _, changed) = watching.get_and_watch_data("/changed").await.unwrap();
    let (_, _, kept) = watching.get_and_watch_data("/kept").await.unwrap();
    let (_, _, deleted) = watching.get_and_watch_data("/deleted").await.unwrap();
    let (_, created) = watching.check_and_watch_stat("/created").await.unwrap();
    let (_, children) = watching.list_and_watch_children("/parent").await.unwrap();

    let mut state = watching.state_watcher();
    proxy.cut();
    until(&mut state, zk::SessionState::Disconnected).await;
    writing.set_data("/changed", b"1", None).await.unwrap();
    writing.delete("/deleted", None).await.unwrap();
    writing.create("/created", b"", PERSISTENT).await.unwrap();
    writing.create("/parent/child", b"", PERSISTENT).await.unwrap();
    proxy.mend();
    until(&mut state, zk::SessionState::SyncConnected).await;

    assert_eq!(fired(changed).await, event(EventType::NodeDataChanged, "/changed"));
    assert_eq!(fired(deleted).await, event(EventType::NodeDeleted, "/deleted"));
    assert_eq!(fired(created).await, event(EventType::NodeCreated, "/created"));
    assert_eq!(fired(children).await, event(EventType::NodeChildrenChanged, "/parent"));
    assert_eq!(watching.session_id(), session);
    writing.set_data("/kept", b"1", None).await.unwrap();
    assert_eq!(fired(kept).await, event(EventType::NodeDataChanged, "/kept"));
}

async fn requests_are_answered_in_order(place: Place) {
    let client = place.client().await;
    client.create("/n", b"", PERSISTENT).await.unwrap();
    let mut answers = Vec::new();
    for i in 0..500i32 {
        answers.push((client.set_data("/n", &i.to_be_bytes(), Some(i)), client.get_data("/n")));
    }
    let mut last = 0;
    for (i, (set, read)) in (0..500i32).zip(answers) {
        let stat = set.await.unwrap();
        let (data, seen) = read.await.unwrap();
        assert_eq!((data, seen), (i.to_be_bytes().to_vec(), stat));
        assert!(stat.mzxid > last && stat.version == i + 1);
        last = stat.mzxid;
    }
}

async fn closing_a_session_removes_its_nodes(place: Place) {
    let (staying, leaving) = (place.client().await, place.client().await);
    leaving.create("/e", b"", EPHEMERAL).await.unwrap();
    let (_, deleted) = staying.check_and_watch_stat("/e").await.unwrap();
    drop(leaving);
    assert_eq!(fired(deleted).await, event(EventType::NodeDeleted, "/e"));
}

async fn a_session_moves_to_a_new_client(place: Place) {
    let first = place.at(&place.connector().with_detached(), place.addr).await.unwrap();
    first.create("/e", b"", EPHEMERAL).await.unwrap();
    let negotiated = first.session_timeout();
    let session = first.into_session();
    let id = session.id();
    let second = place.at(&place.connector().with_session(session.clone()), place.addr).await.unwrap();
    assert_eq!((second.session_id(), second.session_timeout()), (id, negotiated));
    assert_eq!(second.check_stat("/e").await.unwrap().unwrap().ephemeral_owner, id.0);
    drop(second);
    let observer = place.client().await;
    gone(&observer, "/e").await;
    let closed = place.at(&place.connector().with_session(session), place.addr).await;
    assert_eq!(closed.unwrap_err(), Error::SessionExpired);
}

async fn a_session_expires(place: Place) {
    let observer = place.client().await;
    let brief = place.connector().with_session_timeout(Duration::from_secs(1)).with_detached();
    let leaving = place.at(&brief, place.addr).await.unwrap();
    assert_eq!(leaving.session_timeout(), Duration::from_secs(1));
    leaving.create("/e", b"", EPHEMERAL).await.unwrap();
    let (_, deleted) = observer.check_and_watch_stat("/e").await.unwrap();
    let left = Instant::now();
    let session = leaving.into_session();
    assert_eq!(fired(deleted).await, event(EventType::NodeDeleted, "/e"));
    // Expiry is rounded up to the next tick of 500 ms: after the timeout, and well before twice of it.
    let age = left.elapsed();
    assert!(age > Duration::from_millis(500) && age < Duration::from_secs(4), "{age:?}");
    let gone = place.at(&place.connector().with_session(session), place.addr).await;
    assert_eq!(gone.unwrap_err(), Error::SessionExpired);

    // A client that is cut off longer than its timeout learns of the expiry when it comes back.
    let proxy = Proxy::before(place.addr).await;
    let brief = place.connector().with_session_timeout(Duration::from_secs(1));
    let cut_off = place.at(&brief, proxy.addr).await.unwrap();
    cut_off.create("/e", b"", EPHEMERAL).await.unwrap();
    let mut state = cut_off.state_watcher();
    proxy.cut();
    self::gone(&observer, "/e").await;
    proxy.mend();
    until(&mut state, zk::SessionState::Expired).await;
    assert_eq!(cut_off.check_stat("/").await.unwrap_err(), Error::SessionExpired);
}

async fn containers_and_ttl_nodes_are_reaped(place: Place) {
    let client = place.client().await;
    client.create("/box", b"", CONTAINER).await.unwrap();
    client.create("/never-used", b"", CONTAINER).await.unwrap();
    client.create("/box/child", b"", PERSISTENT).await.unwrap();
    let brief = CreateMode::Persistent.with_acls(OPEN).with_ttl(Duration::from_millis(500));
    client.create("/brief", b"", &brief).await.unwrap();
    client.create("/parent", b"", &brief).await.unwrap();
    client.create("/parent/child", b"", PERSISTENT).await.unwrap();
    gone(&client, "/brief").await;
    assert!(client.check_stat("/box").await.unwrap().is_some());
    client.delete("/box/child", None).await.unwrap();
    gone(&client, "/box").await;
    // A container that never had a child stays, and so does a TTL node that has one (B§2.5).
    sleep(Duration::from_millis(900)).await;
    assert!(client.check_stat("/never-used").await.unwrap().is_some());
    assert!(client.check_stat("/parent").await.unwrap().is_some());
}

async fn the_config_node(place: Place) {
    let client = place.client().await;
    let (config, stat) = client.get_config().await.unwrap();
    assert_eq!((config, stat.data_length), (Vec::new(), 0));
    let unrooted = zk::Client::connect(&place.addr.to_string()).await.unwrap();
    let (acl, stat) = unrooted.get_acl("/zookeeper/config").await.unwrap();
    assert_eq!(acl, [zk::Acl::new(zk::Permission::READ, zk::AuthId::anyone())]);
    assert_eq!(stat.aversion, -1);
}

async fn locks_are_exclusive(place: Place) {
    let holders = Arc::new(Mutex::new((0, 0)));
    let mut contenders = Vec::new();
    for _ in 0..4 {
        let (client, holders) = (place.client().await, holders.clone());
        contenders.push(tokio::spawn(async move {
            for _ in 0..3 {
                let prefix = zk::LockPrefix::new_curator("/locks", "lock-").unwrap();
                let options = zk::LockOptions::new(OPEN).with_ancestor_options(CONTAINER.clone()).unwrap();
                let lock = client.lock(prefix, b"", options).await.unwrap();
                holders.lock().unwrap().0 += 1;
                assert_eq!(holders.lock().unwrap().0, 1);
                sleep(Duration::from_millis(10)).await;
                let mut now = holders.lock().unwrap();
                *now = (now.0 - 1, now.1 + 1);
                drop(now);
                drop(lock);
            }
        }));
    }
    for contender in contenders {
        contender.await.unwrap();
    }
    assert_eq!(*holders.lock().unwrap(), (0, 12));
}

async fn persistent_watch(place: Place) {
    let (watching, writing) = (place.client().await, place.client().await);
    let mut watcher = watching.watch("/p", zk::AddWatchMode::Persistent).await.unwrap();
    for round in 0..2 {
        writing.create("/p", b"", PERSISTENT).await.unwrap();
        writing.set_data("/p", b"1", None).await.unwrap();
        writing.create("/p/c", b"", PERSISTENT).await.unwrap();
        writing.set_data("/p/c", b"1", None).await.unwrap();
        writing.delete("/p/c", None).await.unwrap();
        writing.delete("/p", None).await.unwrap();
        let expected = [
            EventType::NodeCreated,
            EventType::NodeDataChanged,
            EventType::NodeChildrenChanged,
            EventType::NodeChildrenChanged,
            EventType::NodeDeleted,
        ];
        for kind in expected {
            assert_eq!(next(&mut watcher).await, event(kind, "/p"), "round {round}");
        }
    }
    assert!(timeout(SILENCE, watcher.changed()).await.is_err());
    drop(watcher);
    watching.sync("/").await.unwrap();
    // A one-shot watch on the path lives beside it, and outlives it.
    let (_, created) = watching.check_and_watch_stat("/p").await.unwrap();
    writing.create("/p", b"", PERSISTENT).await.unwrap();
    assert_eq!(fired(created).await, event(EventType::NodeCreated, "/p"));
}

async fn recursive_watch(place: Place) {
    let (watching, writing) = (place.client().await, place.client().await);
    let mut watcher = watching.watch("/r", zk::AddWatchMode::PersistentRecursive).await.unwrap();
    for path in ["/r", "/r/a", "/r/a/b", "/rest"] {
        writing.create(path, b"", PERSISTENT).await.unwrap();
    }
    writing.set_data("/r/a/b", b"1", None).await.unwrap();
    writing.delete("/r/a/b", None).await.unwrap();
    writing.delete("/r/a", None).await.unwrap();
    let mut multi = writing.new_multi_writer();
    multi.add_create("/r/m", b"", PERSISTENT).unwrap();
    multi.add_set_data("/r", b"1", None).unwrap();
    multi.commit().await.unwrap();
    // No child events in this mode, and nothing of /rest.
    let expected = [
        event(EventType::NodeCreated, "/r"),
        event(EventType::NodeCreated, "/r/a"),
        event(EventType::NodeCreated, "/r/a/b"),
        event(EventType::NodeDataChanged, "/r/a/b"),
        event(EventType::NodeDeleted, "/r/a/b"),
        event(EventType::NodeDeleted, "/r/a"),
        event(EventType::NodeCreated, "/r/m"),
        event(EventType::NodeDataChanged, "/r"),
    ];
    for expected in expected {
        assert_eq!(next(&mut watcher).await, expected);
    }
    assert!(timeout(SILENCE, watcher.changed()).await.is_err());
}

async fn reads_in_one_request(place: Place) {
    let client = place.client().await;
    let (stat, _) = client.create("/a", b"0", PERSISTENT).await.unwrap();
    let mut reader = client.new_multi_reader();
    reader.add_get_data("/a").unwrap();
    reader.add_get_data("/none").unwrap();
    reader.add_get_children("/").unwrap();
    reader.add_get_children("/none").unwrap();
    let results = reader.commit().await.unwrap();
    assert_eq!(results.len(), 4);
    let zk::MultiReadResult::Data { data, stat: seen } = &results[0] else { panic!("{results:?}") };
    assert_eq!((&data[..], *seen), (&b"0"[..], stat));
    assert!(matches!(results[1], zk::MultiReadResult::Error { err: Error::NoNode }));
    assert!(matches!(&results[2], zk::MultiReadResult::Children { children } if children == &["a"]));
    assert!(matches!(results[3], zk::MultiReadResult::Error { err: Error::NoNode }));
}

async fn ephemerals_and_descendants(place: Place) {
    let (client, other) = (place.client().await, place.client().await);
    client.create("/dir", b"", PERSISTENT).await.unwrap();
    client.create("/dir/e1", b"", EPHEMERAL).await.unwrap();
    client.create("/e2", b"", EPHEMERAL).await.unwrap();
    other.create("/theirs", b"", EPHEMERAL).await.unwrap();
    let mut mine = client.list_ephemerals("/").await.unwrap();
    mine.sort();
    assert_eq!(mine, ["/dir/e1", "/e2"]);
    assert_eq!(client.list_ephemerals("/dir").await.unwrap(), ["/dir/e1"]);
    assert_eq!(client.count_descendants_number("/").await.unwrap(), 4);
    assert_eq!(client.count_descendants_number("/dir").await.unwrap(), 1);
    assert_eq!(client.count_descendants_number("/none").await.unwrap_err(), Error::NoNode);
}

async fn who_am_i(place: Place) {
    let client = place.client().await;
    let ip = zk::AuthUser::new("ip", &place.addr.ip().to_string());
    let users = client.list_auth_users().await.unwrap();
    // The client's own address: it is on loopback, but not the server's.
    assert_eq!(users.len(), 1);
    assert_eq!(users[0].scheme(), ip.scheme());
    assert!(users[0].user().parse::<Ipv4Addr>().unwrap().is_loopback());
    client.auth("digest", b"name:password").await.unwrap();
    let users = client.list_auth_users().await.unwrap();
    assert!(users.contains(&zk::AuthUser::new("digest", "name")), "{users:?}");
}

async fn later_ops_are_unimplemented(place: Place) {
    let client = place.client().await;
    assert_eq!(client.list_ephemerals("/").await.unwrap_err(), Error::Unimplemented);
    let client = place.client().await;
    let watch = client.watch("/", zk::AddWatchMode::Persistent).await;
    assert_eq!(watch.unwrap_err(), Error::Unimplemented);
    // The server closes after it; the session lives on over a new connection.
    eventually("the client is back", || async { client.check_stat("/").await.ok() }).await;
}

async fn until(state: &mut zk::StateWatcher, wanted: zk::SessionState) {
    let wait = async { while state.state() != wanted && state.changed().await != wanted {} };
    timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("the session does not become {wanted}"));
}

/// Passes connections on until `cut`: then all are closed, and new ones are refused until `mend`.
struct Proxy {
    addr: SocketAddr,
    open: Arc<AtomicBool>,
    running: Arc<Mutex<Vec<tokio::task::AbortHandle>>>,
}

impl Proxy {
    async fn before(server: SocketAddr) -> Proxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let proxy = Proxy { addr, open: Arc::new(AtomicBool::new(true)), running: Arc::default() };
        let (open, running) = (proxy.open.clone(), proxy.running.clone());
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                if !open.load(Ordering::SeqCst) {
                    continue;
                }
                let pass = tokio::spawn(async move {
                    if let Ok(mut upstream) = TcpStream::connect(server).await {
                        let _ = copy_bidirectional(&mut client, &mut upstream).await;
                    }
                });
                running.lock().unwrap().push(pass.abort_handle());
            }
        });
        proxy
    }

    fn cut(&self) {
        self.open.store(false, Ordering::SeqCst);
        self.running.lock().unwrap().drain(..).for_each(|task| task.abort());
    }

    fn mend(&self) {
        self.open.store(true, Ordering::SeqCst);
    }
}
