import static org.apache.zookeeper.CreateMode.CONTAINER;
import static org.apache.zookeeper.CreateMode.EPHEMERAL;
import static org.apache.zookeeper.CreateMode.EPHEMERAL_SEQUENTIAL;
import static org.apache.zookeeper.CreateMode.PERSISTENT;
import static org.apache.zookeeper.CreateMode.PERSISTENT_SEQUENTIAL;
import static org.apache.zookeeper.CreateMode.PERSISTENT_SEQUENTIAL_WITH_TTL;
import static org.apache.zookeeper.CreateMode.PERSISTENT_WITH_TTL;
import static org.apache.zookeeper.Watcher.Event.EventType.NodeChildrenChanged;
import static org.apache.zookeeper.Watcher.Event.EventType.NodeCreated;
import static org.apache.zookeeper.Watcher.Event.EventType.NodeDataChanged;
import static org.apache.zookeeper.Watcher.Event.EventType.NodeDeleted;
import static org.apache.zookeeper.ZooDefs.Ids.CREATOR_ALL_ACL;
import static org.apache.zookeeper.ZooDefs.Ids.OPEN_ACL_UNSAFE;
import static org.apache.zookeeper.ZooDefs.Ids.READ_ACL_UNSAFE;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.apache.zookeeper.AsyncCallback;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.KeeperException.Code;
import org.apache.zookeeper.Op;
import org.apache.zookeeper.OpResult;
import org.apache.zookeeper.Watcher;
import org.apache.zookeeper.Watcher.Event.EventType;
import org.apache.zookeeper.Watcher.Event.KeeperState;
import org.apache.zookeeper.ZooDefs.Perms;
import org.apache.zookeeper.ZooKeeper;
import org.apache.zookeeper.admin.ZooKeeperAdmin;
import org.apache.zookeeper.data.ACL;
import org.apache.zookeeper.data.Id;
import org.apache.zookeeper.data.Stat;

/** What Java's client library of 3.5 can do; the same source is compiled against 3.5.7 and 3.9.3. */
public final class Core {
    static final byte[] NONE = new byte[0];
    /** Started with the superDigest of super:test, extended types, ticks of 500 ms and a container check of 300 ms. */
    static final byte[] SUPER = "super:test".getBytes();

    public static void main(String[] args) throws Exception {
        Stories stories = new Stories();
        stories.story("sync-ops", Core::syncOps);
        stories.story("create-modes", Core::createModes);
        stories.story("async-ops", Core::asyncOps);
        stories.story("watches", Core::watches);
        stories.story("default-watcher", Core::defaultWatcher);
        stories.story("multi", Core::multi);
        stories.story("async-multi", Core::asyncMulti);
        stories.story("reconnect", Core::reconnect);
        stories.story("many-watches-over-a-reconnect", Core::manyWatches);
        stories.story("session-moves", Core::sessionMoves);
        stories.story("wrong-password", Core::wrongPassword);
        stories.story("session-expires", Core::sessionExpires);
        stories.story("close-removes-ephemerals", Core::closeRemovesEphemerals);
        stories.story("remove-watches", Core::removeWatches);
        stories.story("acl", Core::acl);
        stories.story("super-user", Core::superUser);
        stories.story("failing-auth", Core::failingAuth);
        stories.story("auth-over-a-reconnect", Core::authOverReconnect);
        stories.story("chroot", Core::chroot);
        stories.story("large-data", Core::largeData);
        stories.story("pipelined", Core::pipelined);
        stories.story("containers-and-ttl", Core::containersAndTtl);
        stories.story("unusual-names-and-data", Core::unusual);
        stories.story("config", Core::config);
        stories.story("sequence-is-shared", Core::sequenceIsShared);
        stories.story("read-only-flag", Core::readOnlyFlag);
        stories.tellAll(args[0], Core::makeRoot);
    }

    static void makeRoot(Stories.Place place) throws Exception {
        try (Session session = new Session(place.server)) {
            session.zk.create(place.root(), NONE, OPEN_ACL_UNSAFE, PERSISTENT);
        }
    }

    interface Failing {
        void run() throws Exception;
    }

    static void fails(Code code, Failing body) throws Exception {
        try {
            body.run();
        } catch (KeeperException e) {
            Stories.same(code, e.code());
            return;
        }
        throw new AssertionError("no error; expected " + code);
    }

    static String create(ZooKeeper zk, String path) throws Exception {
        return zk.create(path, NONE, OPEN_ACL_UNSAFE, PERSISTENT);
    }

    static List<String> sorted(List<String> names) {
        List<String> copy = new ArrayList<>(names);
        Collections.sort(copy);
        return copy;
    }

    static void syncOps(Stories.Place place) throws Exception {
        try (Session session = new Session(place.rooted())) {
            ZooKeeper zk = session.zk;
            Stories.same("/a", zk.create("/a", "0".getBytes(), OPEN_ACL_UNSAFE, PERSISTENT));
            Stat stat = new Stat();
            Stories.same("0", new String(zk.getData("/a", false, stat)));
            Stories.same(1, stat.getDataLength());
            Stories.same(stat.getCzxid(), stat.getMzxid());
            Stories.same(stat, zk.exists("/a", false));
            Stories.same(null, zk.exists("/none", false));
            Stories.same(1, zk.setData("/a", "1".getBytes(), 0).getVersion());
            fails(Code.BADVERSION, () -> zk.setData("/a", NONE, 0));
            Stories.same(2, zk.setData("/a", null, -1).getVersion());
            Stories.same(null, zk.getData("/a", false, null));
            fails(Code.NODEEXISTS, () -> create(zk, "/a"));
            fails(Code.NONODE, () -> create(zk, "/none/a"));
            fails(Code.NONODE, () -> zk.setData("/none", NONE, -1));
            fails(Code.NONODE, () -> zk.getData("/none", false, null));
            fails(Code.NONODE, () -> zk.getChildren("/none", false));
            create(zk, "/a/b");
            create(zk, "/a/c");
            Stories.same(Arrays.asList("b", "c"), sorted(zk.getChildren("/a", false)));
            Stat withChildren = new Stat();
            Stories.same(Arrays.asList("b", "c"), sorted(zk.getChildren("/a", false, withChildren)));
            Stories.same(2, withChildren.getNumChildren());
            Stories.same(2, withChildren.getCversion());
            Stories.same(2, withChildren.getVersion());
            fails(Code.NOTEMPTY, () -> zk.delete("/a", -1));
            fails(Code.BADVERSION, () -> zk.delete("/a/b", 3));
            zk.delete("/a/b", 0);
            fails(Code.NONODE, () -> zk.delete("/a/b", -1));
            Stories.same(3, zk.exists("/a", false).getCversion());
        }
    }

    static void createModes(Stories.Place place) throws Exception {
        try (Session session = new Session(place.rooted())) {
            ZooKeeper zk = session.zk;
            Stat stat = new Stat();
            zk.create("/p", "x".getBytes(), OPEN_ACL_UNSAFE, PERSISTENT, stat);
            Stories.same(zk.exists("/p", false), stat);
            Stories.same("/s-0000000001", zk.create("/s-", NONE, OPEN_ACL_UNSAFE, PERSISTENT_SEQUENTIAL, stat));
            zk.create("/e", NONE, OPEN_ACL_UNSAFE, EPHEMERAL, stat);
            Stories.same(zk.getSessionId(), stat.getEphemeralOwner());
            Stories.same("/es-0000000003", zk.create("/es-", NONE, OPEN_ACL_UNSAFE, EPHEMERAL_SEQUENTIAL));
            zk.create("/c", NONE, OPEN_ACL_UNSAFE, CONTAINER, stat);
            Stories.same(0L, stat.getEphemeralOwner());
            zk.create("/t", NONE, OPEN_ACL_UNSAFE, PERSISTENT_WITH_TTL, stat, 3_600_000);
            Stories.same(0L, stat.getEphemeralOwner());
            Stories.same("/ts-0000000006",
                    zk.create("/ts-", NONE, OPEN_ACL_UNSAFE, PERSISTENT_SEQUENTIAL_WITH_TTL, stat, 3_600_000));
            fails(Code.NOCHILDRENFOREPHEMERALS, () -> create(zk, "/e/child"));
            Stories.same(7, zk.getChildren("/", false).size());
        }
    }

    /** One line per answer of an async call: rc, path, context, and what it brought. */
    static final class Answers implements AsyncCallback.StatCallback, AsyncCallback.DataCallback,
            AsyncCallback.ChildrenCallback, AsyncCallback.Children2Callback, AsyncCallback.StringCallback,
AsyncCallback.Create2Callback, AsyncCallback.VoidCallback {
        final BlockingQueue<String> lines = new LinkedBlockingQueue<>();

        private void add(int rc, String path, Object context, Object found) {
            lines.add(Code.get(rc) + " " + path + " " + context + " " + found);
        }

        @Override
        public void processResult(int rc, String path, Object context, Stat stat) {
            add(rc, path, context, stat == null ? null : "v" + stat.getVersion() + "/" + stat.getAversion());
        }

        @Override
        public void processResult(int rc, String path, Object context, byte[] data, Stat stat) {
            add(rc, path, context, data == null ? null : new String(data));
        }

        /** Not an interface of this class: its erasure is that of Children2Callback. */
        AsyncCallback.ACLCallback acl() {
            return (rc, path, context, acl, stat) -> add(rc, path, context, acl == null ? null : acl.size());
        }

        @Override
        public void processResult(int rc, String path, Object context, List<String> children) {
            add(rc, path, context, children);
        }

        @Override
        public void processResult(int rc, String path, Object context, List<String> children, Stat stat) {
            add(rc, path, context, children + (stat == null ? "" : " of " + stat.getNumChildren()));
        }

        @Override
        public void processResult(int rc, String path, Object context, String name) {
            add(rc, path, context, name);
        }

        @Override
        public void processResult(int rc, String path, Object context, String name, Stat stat) {
            add(rc, path, context, name + (stat == null ? "" : " v" + stat.getVersion()));
        }

        @Override
        public void processResult(int rc, String path, Object context) {
            add(rc, path, context, "");
        }

        void expect(String line) throws InterruptedException {
            Stories.same(line.trim(), String.valueOf(lines.poll(20, TimeUnit.SECONDS)).trim());
        }
    }

    static void asyncOps(Stories.Place place) throws Exception {
        try (Session session = new Session(place.rooted())) {
            ZooKeeper zk = session.zk;
            Answers answers = new Answers();
            zk.create("/a", "0".getBytes(), OPEN_ACL_UNSAFE, PERSISTENT, (AsyncCallback.StringCallback) answers, 1);
            zk.create("/b", NONE, OPEN_ACL_UNSAFE, PERSISTENT, (AsyncCallback.Create2Callback) answers, 2);
            zk.create("/b/s-", NONE, OPEN_ACL_UNSAFE, EPHEMERAL_SEQUENTIAL, (AsyncCallback.StringCallback) answers, 3);
            zk.create("/t", NONE, OPEN_ACL_UNSAFE, PERSISTENT_WITH_TTL, answers, 4, 3_600_000);
            zk.create("/a", NONE, OPEN_ACL_UNSAFE, PERSISTENT, (AsyncCallback.StringCallback) answers, 5);
            zk.getData("/a", false, answers, 6);
            zk.setData("/a", "1".getBytes(), 0, answers, 7);
            zk.setData("/a", "1".getBytes(), 0, answers, 8);
            zk.exists("/a", false, answers, 9);
            zk.exists("/none", false, answers, 10);
            zk.getChildren("/b", false, (AsyncCallback.ChildrenCallback) answers, 11);
            zk.getChildren("/b", false, (AsyncCallback.Children2Callback) answers, 12);
            zk.getACL("/a", new Stat(), answers.acl(), 13);
            zk.setACL("/a", READ_ACL_UNSAFE, 0, answers, 14);
            zk.sync("/a", answers, 16);
            zk.delete("/b", -1, answers, 17);
            zk.delete("/t", 0, answers, 18);
            zk.getData("/t", false, answers, 19);
            answers.expect("OK /a 1 /a");
            answers.expect("OK /b 2 /b v0");
            answers.expect("OK /b/s- 3 /b/s-0000000000");
            answers.expect("OK /t 4 /t v0");
            answers.expect("NODEEXISTS /a 5 null");
            answers.expect("OK /a 6 0");
            answers.expect("OK /a 7 v1/0");
            answers.expect("BADVERSION /a 8 null");
            answers.expect("OK /a 9 v1/0");
            answers.expect("NONODE /none 10 null");
            answers.expect("OK /b 11 [s-0000000000]");
            answers.expect("OK /b 12 [s-0000000000] of 1");
            answers.expect("OK /a 13 1");
            answers.expect("OK /a 14 v1/1");
            answers.expect("OK /a 16");
            answers.expect("NOTEMPTY /b 17");
            answers.expect("OK /t 18");
            answers.expect("NONODE /t 19 null");
        }
    }

    static void watches(Stories.Place place) throws Exception {
        try (Session watching = new Session(place.rooted()); Session writing = new Session(place.rooted())) {
            Session.Events node = new Session.Events();
            Session.Events children = new Session.Events();
            Stories.same(null, watching.zk.exists("/w", node));
            watching.zk.getChildren("/", children);
            create(writing.zk, "/w");
            node.expect(NodeCreated, "/w");
            children.expect(NodeChildrenChanged, "/");
            writing.zk.setData("/w", NONE, -1);
            node.silent();

            watching.zk.getData("/w", node, null);
            watching.zk.exists("/w", node);
            writing.zk.setData("/w", NONE, -1);
            node.expect(NodeDataChanged, "/w");
            node.silent();

            watching.zk.getData("/w", node, null);
            watching.zk.getChildren("/w", children);
            create(writing.zk, "/w/c");
            children.expect(NodeChildrenChanged, "/w");
            writing.zk.setData("/w/c", NONE, -1);
            writing.zk.delete("/w/c", -1);
            children.silent();
            watching.zk.getChildren("/w", children);
            writing.zk.delete("/w", -1);
            node.expect(NodeDeleted, "/w");
            children.expect(NodeDeleted, "/w");
            node.silent();
            fails(Code.NONODE, () -> watching.zk.getData("/w", node, null));
            create(writing.zk, "/w");
            node.silent();

            // The writer's own event comes before its reply.
            Session.Events own = new Session.Events();
            writing.zk.exists("/w", own);
            writing.zk.setData("/w", NONE, -1);
            own.expect(NodeDataChanged, "/w");
        }
    }

    static void defaultWatcher(Stories.Place place) throws Exception {
        try (Session session = new Session(place.rooted())) {
            session.zk.exists("/w", true);
            create(session.zk, "/w");
            session.events.expect(NodeCreated, "/w");
            Session.Events other = new Session.Events();
            session.zk.register(other);
            session.zk.getChildren("/w", true);
            create(session.zk, "/w/c");
            other.expect(NodeChildrenChanged, "/w");
        }
    }

    static void multi(Stories.Place place) throws Exception {
        try (Session session = new Session(place.rooted())) {
            ZooKeeper zk = session.zk;
            List<OpResult> results = zk.multi(Arrays.asList(
                    Op.create("/a", "0".getBytes(), OPEN_ACL_UNSAFE, PERSISTENT),
                    Op.create("/a/s-", NONE, OPEN_ACL_UNSAFE, EPHEMERAL_SEQUENTIAL),
                    Op.setData("/a", "1".getBytes(), 0),
                    Op.check("/a", 1),
                    Op.create("/c", NONE, OPEN_ACL_UNSAFE, CONTAINER),
                    Op.create("/t", NONE, OPEN_ACL_UNSAFE, PERSISTENT_WITH_TTL, 3_600_000),
                    Op.create("/gone", NONE, OPEN_ACL_UNSAFE, PERSISTENT),
                    Op.delete("/gone", 0)));
            Stories.same(8, results.size());
            Stories.same("/a", created(results.get(0), place));
            Stories.same("/a/s-0000000000", created(results.get(1), place));
            Stat set = ((OpResult.SetDataResult) results.get(2)).getStat();
            Stories.same(1, set.getVersion());
            Stories.that(results.get(3) instanceof OpResult.CheckResult);
            Stories.same("/c", created(results.get(4), place));
            Stories.same("/t", created(results.get(5), place));
            Stories.that(results.get(7) instanceof OpResult.DeleteResult);
            Stories.same(Arrays.asList("a", "c", "t"), sorted(zk.getChildren("/", false)));
            Stories.same(set.getMzxid(), zk.exists("/t", false).getCzxid());

            try {
                zk.multi(Arrays.asList(
                        Op.create("/b", NONE, OPEN_ACL_UNSAFE, PERSISTENT),
                        Op.check("/a", 0),
                        Op.delete("/a", -1)));
                throw new AssertionError("a failing multi passes");
            } catch (KeeperException e) {
                Stories.same(Code.BADVERSION, e.code());
                List<OpResult> each = e.getResults();
                Stories.same(3, each.size());
                Stories.same(0, ((OpResult.ErrorResult) each.get(0)).getErr());
                Stories.same(Code.BADVERSION.intValue(), ((OpResult.ErrorResult) each.get(1)).getErr());
                Stories.same(Code.RUNTIMEINCONSISTENCY.intValue(), ((OpResult.ErrorResult) each.get(2)).getErr());
            }
            Stories.same(null, zk.exists("/b", false));

            Stories.same(2, zk.transaction().create("/x", NONE, OPEN_ACL_UNSAFE, PERSISTENT).setData("/x", NONE, 0)
                    .commit().size());
            Stories.same(0, zk.multi(Collections.<Op>emptyList()).size());
            Session.Events events = new Session.Events();
            zk.exists("/x", events);
            zk.multi(Arrays.asList(Op.setData("/x", NONE, -1), Op.delete("/x", -1)));
            events.expect(NodeDataChanged, "/x");
            events.silent();
        }
    }

    /** The library does not take the chroot off the paths of a multi's results. */
    static String created(OpResult result, Stories.Place place) {
        String path = ((OpResult.CreateResult) result).getPath();
        return path.startsWith(place.root() + "/") ? path.substring(place.root().length()) : path;
    }

    static void asyncMulti(Stories.Place place) throws Exception {
        try (Session session = new Session(place.rooted())) {
            BlockingQueue<String> found = new LinkedBlockingQueue<>();
            AsyncCallback.MultiCallback callback = (rc, path, context, results) ->
                    found.add(Code.get(rc) + " " + context + " " + (results == null ? null : results.size()));
            session.zk.multi(Arrays.asList(Op.create("/a", NONE, OPEN_ACL_UNSAFE, PERSISTENT)), callback, 1);
            session.zk.multi(Arrays.asList(Op.check("/a", 0), Op.delete("/none", -1)), callback, 2);
            session.zk.transaction().delete("/a", 0).commit(callback, 3);
            Stories.same("OK 1 1", found.poll(20, TimeUnit.SECONDS));
            Stories.same("NONODE 2 2", found.poll(20, TimeUnit.SECONDS));
            Stories.same("OK 3 1", found.poll(20, TimeUnit.SECONDS));
        }
    }

    static void reconnect(Stories.Place place) throws Exception {
        Proxy proxy = new Proxy(place.server);
        try (Session away = new Session(proxy.address() + place.root()); Session writing = new Session(place.rooted())) {
            away.zk.create("/mine", NONE, OPEN_ACL_UNSAFE, EPHEMERAL);
            for (String path : Arrays.asList("/changed", "/kept", "/deleted", "/parent", "/reborn")) {
                create(writing.zk, path);
            }
            Session.Events data = new Session.Events();
            Session.Events exist = new Session.Events();
            Session.Events children = new Session.Events();
            Session.Events kept = new Session.Events();
            Session.Events deleted = new Session.Events();
            Session.Events reborn = new Session.Events();
            away.zk.getData("/changed", data, null);
            away.zk.getData("/deleted", deleted, null);
            away.zk.getData("/kept", kept, null);
            away.zk.getData("/reborn", reborn, null);
            away.zk.exists("/created", exist);
            away.zk.getChildren("/parent", children);
            long id = away.zk.getSessionId();
            proxy.cut();
            away.events.state(KeeperState.Disconnected);
            writing.zk.setData("/changed", NONE, -1);
            writing.zk.delete("/deleted", -1);
            writing.zk.delete("/reborn", -1);
            create(writing.zk, "/reborn");
            create(writing.zk, "/created");
            create(writing.zk, "/parent/child");
            proxy.mend();
            away.events.state(KeeperState.SyncConnected);
            data.expect(NodeDataChanged, "/changed");
            deleted.expect(NodeDeleted, "/deleted");
            reborn.expect(NodeDataChanged, "/reborn");
            exist.expect(NodeCreated, "/created");
            children.expect(NodeChildrenChanged, "/parent");
            kept.silent();
            writing.zk.setData("/kept", NONE, -1);
            kept.expect(NodeDataChanged, "/kept");
            Stories.same(id, away.zk.getSessionId());
            Stories.same(id, away.zk.exists("/mine", false).getEphemeralOwner());
        }
    }

    /** More watches than one setWatches of 128 KiB holds. */
    static void manyWatches(Stories.Place place) throws Exception {
        Proxy proxy = new Proxy(place.server);
        int nodes = 2500;
        StringBuilder pad = new StringBuilder();
        for (int i = 0; i < 60; i++) {
            pad.append('x');
        }
        try (Session away = new Session(proxy.address() + place.root()); Session writing = new Session(place.rooted())) {
            CountDownLatch created = new CountDownLatch(nodes);
            for (int i = 0; i < nodes; i++) {
                writing.zk.create("/" + pad + i, NONE, OPEN_ACL_UNSAFE, PERSISTENT,
                        (AsyncCallback.StringCallback) (rc, path, context, name) -> created.countDown(), null);
            }
            Stories.that(created.await(20, TimeUnit.SECONDS));
            CountDownLatch watched = new CountDownLatch(nodes);
            CountDownLatch fired = new CountDownLatch(nodes);
            Watcher watcher = event -> {
                if (event.getType() == EventType.NodeDataChanged) {
                    fired.countDown();
                }
            };
            for (int i = 0; i < nodes; i++) {
                away.zk.exists("/" + pad + i, watcher, (rc, path, context, stat) -> watched.countDown(), null);
            }
            Stories.that(watched.await(20, TimeUnit.SECONDS));
            proxy.cut();
            away.events.state(KeeperState.Disconnected);
            for (int i = 0; i < nodes / 2; i++) {
                writing.zk.setData("/" + pad + i, NONE, -1, (rc, path, context, stat) -> { }, null);
            }
            writing.zk.exists("/", false);
            proxy.mend();
            away.events.state(KeeperState.SyncConnected);
            for (int i = nodes / 2; i < nodes; i++) {
                writing.zk.setData("/" + pad + i, NONE, -1, (rc, path, context, stat) -> { }, null);
            }
            Stories.that(fired.await(20, TimeUnit.SECONDS));
        }
    }

    static void sessionMoves(Stories.Place place) throws Exception {
        Session first = new Session(place.rooted());
        first.zk.create("/e", NONE, OPEN_ACL_UNSAFE, EPHEMERAL);
        long id = first.zk.getSessionId();
        try (Session second = new Session(place.rooted(), id, first.zk.getSessionPasswd())) {
            second.events.state(KeeperState.SyncConnected);
            first.events.state(KeeperState.Disconnected);
            Stories.same(id, second.zk.getSessionId());
            Stories.same(Session.TIMEOUT_MS, second.zk.getSessionTimeout());
            Stories.same(id, second.zk.exists("/e", false).getEphemeralOwner());
        }
        first.events.state(KeeperState.Expired);
        try (Session observer = new Session(place.rooted())) {
            Stories.same(null, observer.zk.exists("/e", false));
        }
    }

    static void wrongPassword(Stories.Place place) throws Exception {
        try (Session owner = new Session(place.rooted())) {
            byte[] wrong = owner.zk.getSessionPasswd().clone();
            wrong[3] ^= 1;
            Session thief = new Session(place.rooted(), owner.zk.getSessionId(), wrong);
            thief.events.state(KeeperState.Expired);
            fails(Code.SESSIONEXPIRED, () -> thief.zk.exists("/", false));
            // The owner's connection was closed for the thief's (B§1.3), its session is not.
            Stories.eventually("the owner is back", () -> {
                try {
                    return owner.zk.exists("/", false) != null;
                } catch (KeeperException.ConnectionLossException e) {
                    return false;
                }
            });
        }
    }

    static void sessionExpires(Stories.Place place) throws Exception {
        Proxy proxy = new Proxy(place.server);
        Session away = new Session(proxy.address() + place.root(), 1000);
        try (Session observer = new Session(place.rooted())) {
            Stories.same(1000, away.zk.getSessionTimeout());
            away.zk.create("/e", NONE, OPEN_ACL_UNSAFE, EPHEMERAL);
            Session.Events events = new Session.Events();
            observer.zk.exists("/e", events);
            proxy.cut();
            events.expect(NodeDeleted, "/e");
            proxy.mend();
            away.events.state(KeeperState.Expired);
            fails(Code.SESSIONEXPIRED, () -> away.zk.exists("/", false));
        }
    }

    static void closeRemovesEphemerals(Stories.Place place) throws Exception {
        try (Session observer = new Session(place.rooted())) {
            Session leaving = new Session(place.rooted());
            for (int i = 0; i < 50; i++) {
                leaving.zk.create("/e" + i, NONE, OPEN_ACL_UNSAFE, EPHEMERAL);
            }
            Session.Events events = new Session.Events();
            observer.zk.exists("/e7", events);
            leaving.close();
            events.expect(NodeDeleted, "/e7");
            Stories.same(Collections.emptyList(), observer.zk.getChildren("/", false));
        }
    }

    static void removeWatches(Stories.Place place) throws Exception {
        try (Session watching = new Session(place.rooted()); Session writing = new Session(place.rooted())) {
            ZooKeeper zk = watching.zk;
            create(zk, "/w");
            Session.Events data = new Session.Events();
            Session.Events other = new Session.Events();
            Session.Events children = new Session.Events();
            zk.getData("/w", data, null);
            zk.getData("/w", other, null);
            zk.getChildren("/w", children);
            zk.removeWatches("/w", data, Watcher.WatcherType.Data, false);
            data.expect(EventType.DataWatchRemoved, "/w");
            fails(Code.NOWATCHER, () -> zk.removeWatches("/w", data, Watcher.WatcherType.Data, false));
            writing.zk.setData("/w", NONE, -1);
            other.expect(NodeDataChanged, "/w");
            data.silent();

            zk.getData("/w", data, null);
            zk.removeAllWatches("/w", Watcher.WatcherType.Any, false);
            data.expect(EventType.DataWatchRemoved, "/w");
            children.expect(EventType.ChildWatchRemoved, "/w");
            writing.zk.setData("/w", NONE, -1);
            create(writing.zk, "/w/c");
            data.silent();
            children.silent();

            zk.exists("/none", data);
            BlockingQueue<Integer> codes = new LinkedBlockingQueue<>();
            zk.removeAllWatches("/none", Watcher.WatcherType.Data, false,
                    (rc, path, context) -> codes.add(rc), null);
            Stories.same(0, codes.poll(20, TimeUnit.SECONDS));
            data.expect(EventType.DataWatchRemoved, "/none");
            create(writing.zk, "/none");
            data.silent();
        }
    }

    static void acl(Stories.Place place) throws Exception {
        try (Session owner = new Session(place.rooted()); Session stranger = new Session(place.rooted())) {
            owner.zk.addAuthInfo("digest", "u:p".getBytes());
            owner.zk.create("/mine", "s".getBytes(), CREATOR_ALL_ACL, PERSISTENT);
            Stat stat = new Stat();
            List<ACL> acl = owner.zk.getACL("/mine", stat);
            Stories.same(1, acl.size());
            Stories.same(new Id("digest", "u:Jq7wMyA/w2Vd5WIDAKdu4OIIFEQ="), acl.get(0).getId());
            Stories.same(Perms.ALL, acl.get(0).getPerms());
            fails(Code.NOAUTH, () -> stranger.zk.getData("/mine", false, null));
            fails(Code.NOAUTH, () -> stranger.zk.getChildren("/mine", false));
            fails(Code.NOAUTH, () -> stranger.zk.setData("/mine", NONE, -1));
            fails(Code.NOAUTH, () -> create(stranger.zk, "/mine/x"));
            fails(Code.NOAUTH, () -> stranger.zk.setACL("/mine", OPEN_ACL_UNSAFE, -1));
            Stories.that(stranger.zk.exists("/mine", false) != null);
            // Deleting is the parent's to allow.
            create(owner.zk, "/mine/child");
            fails(Code.NOAUTH, () -> stranger.zk.delete("/mine/child", -1));
            fails(Code.NOAUTH, () -> stranger.zk.multi(Arrays.asList(Op.check("/mine", 0))));
            List<ACL> readable = new ArrayList<>(acl);
            readable.addAll(READ_ACL_UNSAFE);
            fails(Code.BADVERSION, () -> owner.zk.setACL("/mine", readable, 1));
            Stories.same(1, owner.zk.setACL("/mine", readable, 0).getAversion());
            Stories.same("s", new String(stranger.zk.getData("/mine", false, null)));
            stranger.zk.addAuthInfo("digest", "u:p".getBytes());
            Stories.same(1, stranger.zk.setData("/mine", NONE, -1).getVersion());

            List<ACL> local = Arrays.asList(new ACL(Perms.ALL, new Id("ip", "127.0.0.0/8")));
            owner.zk.create("/local", NONE, local, PERSISTENT);
            stranger.zk.setData("/local", NONE, -1);
            List<ACL> elsewhere = Arrays.asList(new ACL(Perms.ALL, new Id("ip", "10.1.2.3")));
            owner.zk.create("/elsewhere", NONE, elsewhere, PERSISTENT);
            fails(Code.NOAUTH, () -> stranger.zk.setData("/elsewhere", NONE, -1));
            fails(Code.INVALIDACL, () -> owner.zk.create("/x", NONE, Collections.<ACL>emptyList(), PERSISTENT));
            fails(Code.INVALIDACL, () -> owner.zk.create("/x", NONE,
                    Arrays.asList(new ACL(Perms.ALL, new Id("nonsense", "x"))), PERSISTENT));
            fails(Code.INVALIDACL, () -> owner.zk.create("/x", NONE,
                    Arrays.asList(new ACL(Perms.ALL, new Id("ip", "300.1.1.1"))), PERSISTENT));
            try (Session nobody = new Session(place.rooted())) {
                fails(Code.INVALIDACL, () -> nobody.zk.create("/x", NONE, CREATOR_ALL_ACL, PERSISTENT));
            }
        }
    }

    static void superUser(Stories.Place place) throws Exception {
        try (Session owner = new Session(place.rooted()); Session admin = new Session(place.rooted())) {
            owner.zk.addAuthInfo("digest", "u:p".getBytes());
            owner.zk.create("/mine", NONE, CREATOR_ALL_ACL, PERSISTENT);
            fails(Code.NOAUTH, () -> admin.zk.setData("/mine", NONE, -1));
            admin.zk.addAuthInfo("digest", SUPER);
            Stories.same(1, admin.zk.setData("/mine", NONE, -1).getVersion());
            Stories.same("u:Jq7wMyA/w2Vd5WIDAKdu4OIIFEQ=",
                    admin.zk.getACL("/mine", new Stat()).get(0).getId().getId());
            admin.zk.delete("/mine", -1);
        }
    }

    static void failingAuth(Stories.Place place) throws Exception {
        Session session = new Session(place.rooted());
        session.zk.addAuthInfo("nonsense", NONE);
        session.events.state(KeeperState.AuthFailed);
        fails(Code.AUTHFAILED, () -> session.zk.exists("/", false));
    }

    static void authOverReconnect(Stories.Place place) throws Exception {
        Proxy proxy = new Proxy(place.server);
        try (Session session = new Session(proxy.address() + place.root())) {
            session.zk.addAuthInfo("digest", "u:p".getBytes());
            session.zk.create("/mine", NONE, CREATOR_ALL_ACL, PERSISTENT);
            proxy.cut();
            session.events.state(KeeperState.Disconnected);
            proxy.mend();
            session.events.state(KeeperState.SyncConnected);
            Stories.same(1, session.zk.setData("/mine", NONE, -1).getVersion());
        }
    }

    static void chroot(Stories.Place place) throws Exception {
        try (Session outer = new Session(place.server)) {
            create(outer.zk, place.root() + "/in");
            try (Session inner = new Session(place.rooted() + "/in")) {
                Stories.same("/a", create(inner.zk, "/a"));
                Stories.same("/a/s-0000000000",
                        inner.zk.create("/a/s-", NONE, OPEN_ACL_UNSAFE, PERSISTENT_SEQUENTIAL));
                Stories.that(outer.zk.exists(place.root() + "/in/a/s-0000000000", false) != null);
                Session.Events events = new Session.Events();
                inner.zk.getData("/a", events, null);
                inner.zk.getChildren("/", events);
                outer.zk.setData(place.root() + "/in/a", NONE, -1);
                events.expect(NodeDataChanged, "/a");
                outer.zk.delete(place.root() + "/in/a/s-0000000000", -1);
                outer.zk.delete(place.root() + "/in/a", -1);
                events.expect(NodeChildrenChanged, "/");
            }
            try (Session missing = new Session(place.rooted() + "/missing")) {
                fails(Code.NONODE, () -> create(missing.zk, "/a"));
                Stories.same(null, missing.zk.exists("/", false));
            }
        }
    }

    static void largeData(Stories.Place place) throws Exception {
        try (Session session = new Session(place.rooted())) {
            byte[] large = new byte[1_040_000];
            Arrays.fill(large, (byte) 'x');
            large[large.length - 1] = 'y';
            session.zk.create("/large", large, OPEN_ACL_UNSAFE, PERSISTENT);
            Stories.that(Arrays.equals(large, session.zk.getData("/large", false, null)));
            // Longer than jute.maxbuffer: the server closes, the session survives.
            fails(Code.CONNECTIONLOSS, () -> session.zk.setData("/large", new byte[1_048_600], -1));
            session.events.state(KeeperState.Disconnected);
            session.events.state(KeeperState.SyncConnected);
            Stories.same(0, session.zk.exists("/large", false).getVersion());
        }
    }

    static void pipelined(Stories.Place place) throws Exception {
        int count = 1000;
        try (Session session = new Session(place.rooted())) {
            BlockingQueue<String> found = new LinkedBlockingQueue<>();
            for (int i = 0; i < count; i++) {
                byte[] data = Integer.toString(i).getBytes();
                session.zk.create("/n" + i, data, OPEN_ACL_UNSAFE, i % 2 == 0 ? PERSISTENT : EPHEMERAL,
                        (AsyncCallback.StringCallback) (rc, path, context, name) -> found.add(rc + name), null);
                session.zk.setData("/n" + i, data, 0, (rc, path, context, stat) ->
                        found.add(rc + path + " v" + stat.getVersion()), null);
                session.zk.getData("/n" + i, false, (rc, path, context, read, stat) ->
                        found.add(rc + path + " " + new String(read)), null);
            }
            for (int i = 0; i < count; i++) {
                Stories.same("0/n" + i, found.poll(30, TimeUnit.SECONDS));
                Stories.same("0/n" + i + " v1", found.poll(30, TimeUnit.SECONDS));
                Stories.same("0/n" + i + " " + i, found.poll(30, TimeUnit.SECONDS));
            }
            long last = 0;
            for (int i = 0; i < count; i += 97) {
                Stat stat = session.zk.exists("/n" + i, false);
                Stories.that(stat.getCzxid() > last && stat.getMzxid() > stat.getCzxid());
                last = stat.getMzxid();
            }
            Stories.same(count, session.zk.getChildren("/", false).size());
        }
    }

    static void containersAndTtl(Stories.Place place) throws Exception {
        try (Session session = new Session(place.rooted())) {
            ZooKeeper zk = session.zk;
            zk.create("/box", NONE, OPEN_ACL_UNSAFE, CONTAINER);
            zk.create("/unused", NONE, OPEN_ACL_UNSAFE, CONTAINER);
            create(zk, "/box/child");
            zk.create("/brief", NONE, OPEN_ACL_UNSAFE, PERSISTENT_WITH_TTL, new Stat(), 400);
            Session.Events events = new Session.Events();
            zk.exists("/brief", events);
            events.expect(NodeDeleted, "/brief");
            Stories.that(zk.exists("/box", events) != null);
            zk.delete("/box/child", -1);
            events.expect(NodeDeleted, "/box");
            Stories.that(zk.exists("/unused", false) != null);
        }
    }

    static void unusual(Stories.Place place) throws Exception {
        try (Session session = new Session(place.rooted())) {
            ZooKeeper zk = session.zk;
            String name = "/\u00fc \u4e2d\u6587 .x-~!@#$%^&*()";
            Stories.same(name, zk.create(name, null, OPEN_ACL_UNSAFE, PERSISTENT));
            Stories.same(Collections.singletonList(name.substring(1)), zk.getChildren("/", false));
            Stories.same(null, zk.getData(name, false, null));
            Stories.same(0, zk.exists(name, false).getDataLength());
            zk.setData(name, NONE, -1);
            Stories.same(0, zk.getData(name, false, null).length);
            StringBuilder deep = new StringBuilder();
            for (int i = 0; i < 200; i++) {
                deep.append("/d");
                create(zk, deep.toString());
            }
            Stories.same(Collections.emptyList(), zk.getChildren(deep.toString(), false));
        }
    }

    static void config(Stories.Place place) throws Exception {
        try (Session session = new Session(place.server)) {
            Stat stat = new Stat();
            Stories.same(0, session.zk.getConfig(false, stat).length);
            fails(Code.NOAUTH, () -> session.zk.setData("/zookeeper/config", NONE, -1));
        }
        Session.Events events = new Session.Events();
        ZooKeeperAdmin admin = new ZooKeeperAdmin(place.server, Session.TIMEOUT_MS, events);
        events.state(KeeperState.SyncConnected);
        fails(Code.RECONFIGDISABLED, () -> admin.reconfigure("server.5=localhost:1:2;3", null, null, -1, new Stat()));
        admin.close();
    }

    static void sequenceIsShared(Stories.Place place) throws Exception {
        try (Session one = new Session(place.rooted()); Session two = new Session(place.rooted())) {
            List<String> names = new ArrayList<>();
            for (int i = 0; i < 20; i++) {
                ZooKeeper zk = (i % 2 == 0 ? one : two).zk;
                names.add(zk.create("/q-", NONE, OPEN_ACL_UNSAFE, i % 3 == 0 ? EPHEMERAL_SEQUENTIAL : PERSISTENT_SEQUENTIAL));
                zk.delete(names.get(i), -1);
            }
            for (int i = 0; i < 20; i++) {
                Stories.same(String.format("/q-%010d", i), names.get(i));
            }
        }
    }

    static void readOnlyFlag(Stories.Place place) throws Exception {
        Session.Events events = new Session.Events();
        ZooKeeper zk = new ZooKeeper(place.rooted(), Session.TIMEOUT_MS, events, true);
        events.state(KeeperState.SyncConnected);
        Stories.same(ZooKeeper.States.CONNECTED, zk.getState());
        create(zk, "/a");
        zk.close();
    }
}
