import static org.apache.zookeeper.CreateMode.EPHEMERAL;
import static org.apache.zookeeper.CreateMode.PERSISTENT;
import static org.apache.zookeeper.Watcher.Event.EventType.NodeChildrenChanged;
import static org.apache.zookeeper.Watcher.Event.EventType.NodeCreated;
import static org.apache.zookeeper.Watcher.Event.EventType.NodeDataChanged;
import static org.apache.zookeeper.Watcher.Event.EventType.NodeDeleted;
import static org.apache.zookeeper.Watcher.Event.EventType.PersistentWatchRemoved;
import static org.apache.zookeeper.ZooDefs.Ids.OPEN_ACL_UNSAFE;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.apache.zookeeper.AddWatchMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.KeeperException.Code;
import org.apache.zookeeper.Op;
import org.apache.zookeeper.OpResult;
import org.apache.zookeeper.Watcher;
import org.apache.zookeeper.Watcher.Event.EventType;
import org.apache.zookeeper.Watcher.Event.KeeperState;
import org.apache.zookeeper.ZooKeeper;
import org.apache.zookeeper.data.ClientInfo;
import org.apache.zookeeper.data.Stat;

/** What the client library of 3.6 and later can do and that of 3.5 cannot. */
public final class Modern {
    static final byte[] NONE = new byte[0];

    public static void main(String[] args) throws Exception {
        Stories stories = new Stories();
        stories.story("persistent-watch", Modern::persistentWatch);
        stories.story("recursive-watch", Modern::recursiveWatch);
        stories.story("watch-modes-together", Modern::watchModesTogether);
        stories.story("persistent-watches-over-a-reconnect", Modern::persistentOverReconnect);
        stories.story("remove-persistent-watches", Modern::removePersistent);
        stories.story("async-add-watch", Modern::asyncAddWatch);
        stories.story("multi-read", Modern::multiRead);
        stories.story("ephemerals", Modern::ephemerals);
        stories.story("all-children-number", Modern::allChildrenNumber);
        stories.story("who-am-i", Modern::whoAmI);
        stories.story("sync", Modern::sync);
        stories.tellAll(args[0], Modern::makeRoot);
    }

    static void makeRoot(Stories.Place place) throws Exception {
        try (Session session = new Session(place.server)) {
            session.zk.create(place.root(), NONE, OPEN_ACL_UNSAFE, PERSISTENT);
        }
    }

    static void create(ZooKeeper zk, String path) throws Exception {
        zk.create(path, NONE, OPEN_ACL_UNSAFE, PERSISTENT);
    }

    static void persistentWatch(Stories.Place place) throws Exception {
        try (Session watching = new Session(place.rooted()); Session writing = new Session(place.rooted())) {
            Session.Events events = new Session.Events();
            watching.zk.addWatch("/p", events, AddWatchMode.PERSISTENT);
            for (int round = 0; round < 2; round++) {
                create(writing.zk, "/p");
                writing.zk.setData("/p", NONE, -1);
                create(writing.zk, "/p/c");
                writing.zk.setData("/p/c", NONE, -1);
                create(writing.zk, "/p/c/d");
                writing.zk.delete("/p/c/d", -1);
                writing.zk.delete("/p/c", -1);
                writing.zk.delete("/p", -1);
                events.expect(NodeCreated, "/p");
                events.expect(NodeDataChanged, "/p");
                events.expect(NodeChildrenChanged, "/p");
                events.expect(NodeChildrenChanged, "/p");
                events.expect(NodeDeleted, "/p");
            }
            events.silent();
        }
    }

    static void recursiveWatch(Stories.Place place) throws Exception {
        try (Session watching = new Session(place.rooted()); Session writing = new Session(place.rooted())) {
            Session.Events events = new Session.Events();
            Session.Events root = new Session.Events();
            watching.zk.addWatch("/r", events, AddWatchMode.PERSISTENT_RECURSIVE);
            watching.zk.addWatch("/", root, AddWatchMode.PERSISTENT_RECURSIVE);
            create(writing.zk, "/rest");
            root.expect(NodeCreated, "/rest");
            for (int round = 0; round < 2; round++) {
                create(writing.zk, "/r");
                create(writing.zk, "/r/a");
                create(writing.zk, "/r/a/b");
                writing.zk.setData("/r/a/b", NONE, -1);
                writing.zk.multi(Arrays.asList(Op.delete("/r/a/b", -1), Op.delete("/r/a", -1), Op.delete("/r", -1)));
                for (Session.Events each : Arrays.asList(events, root)) {
                    each.expect(NodeCreated, "/r");
                    each.expect(NodeCreated, "/r/a");
                    each.expect(NodeCreated, "/r/a/b");
                    each.expect(NodeDataChanged, "/r/a/b");
                    each.expect(NodeDeleted, "/r/a/b");
                    each.expect(NodeDeleted, "/r/a");
                    each.expect(NodeDeleted, "/r");
                }
            }
            events.silent();
            root.silent();
        }
    }

    /** One-shot, persistent and recursive watches of one client on one path: an event is sent once, and told to each. */
    static void watchModesTogether(Stories.Place place) throws Exception {
        try (Session watching = new Session(place.rooted()); Session writing = new Session(place.rooted())) {
            create(writing.zk, "/w");
            Session.Events once = new Session.Events();
            Session.Events persistent = new Session.Events();
            Session.Events recursive = new Session.Events();
            watching.zk.getData("/w", once, null);
            watching.zk.addWatch("/w", persistent, AddWatchMode.PERSISTENT);
            watching.zk.addWatch("/", recursive, AddWatchMode.PERSISTENT_RECURSIVE);
            writing.zk.setData("/w", NONE, -1);
            writing.zk.setData("/w", NONE, -1);
            once.expect(NodeDataChanged, "/w");
            once.silent();
            for (Session.Events each : Arrays.asList(persistent, recursive)) {
                each.expect(NodeDataChanged, "/w");
                each.expect(NodeDataChanged, "/w");
                each.silent();
            }
        }
    }

    static void persistentOverReconnect(Stories.Place place) throws Exception {
        Proxy proxy = new Proxy(place.server);
        try (Session away = new Session(proxy.address() + place.root()); Session writing = new Session(place.rooted())) {
            create(writing.zk, "/p");
            create(writing.zk, "/once");
            Session.Events persistent = new Session.Events();
            Session.Events recursive = new Session.Events();
            Session.Events once = new Session.Events();
            away.zk.addWatch("/p", persistent, AddWatchMode.PERSISTENT);
            away.zk.addWatch("/r", recursive, AddWatchMode.PERSISTENT_RECURSIVE);
            away.zk.getData("/once", once, null);
            proxy.cut();
            away.events.state(KeeperState.Disconnected);
            writing.zk.setData("/once", NONE, -1);
            proxy.mend();
            away.events.state(KeeperState.SyncConnected);
            once.expect(NodeDataChanged, "/once");
            create(writing.zk, "/p/c");
            create(writing.zk, "/r");
            create(writing.zk, "/r/deep");
            persistent.expect(NodeChildrenChanged, "/p");
            recursive.expect(NodeCreated, "/r");
            recursive.expect(NodeCreated, "/r/deep");
            writing.zk.setData("/r/deep", NONE, -1);
            recursive.expect(NodeDataChanged, "/r/deep");
        }
    }

    static void removePersistent(Stories.Place place) throws Exception {
        try (Session watching = new Session(place.rooted()); Session writing = new Session(place.rooted())) {
            create(writing.zk, "/w");
            for (AddWatchMode mode : AddWatchMode.values()) {
                Session.Events events = new Session.Events();
                watching.zk.addWatch("/w", events, mode);
                watching.zk.removeWatches("/w", events, Watcher.WatcherType.Any, false);
                events.expect(PersistentWatchRemoved, "/w");
                writing.zk.setData("/w", NONE, -1);
                events.silent();
                try {
                    watching.zk.removeWatches("/w", events, Watcher.WatcherType.Any, false);
                    throw new AssertionError("removed twice");
                } catch (KeeperException e) {
                    Stories.same(Code.NOWATCHER, e.code());
                }
            }
        }
    }

    static void asyncAddWatch(Stories.Place place) throws Exception {
        try (Session session = new Session(place.rooted())) {
            BlockingQueue<Integer> codes = new LinkedBlockingQueue<>();
            Session.Events events = new Session.Events();
            session.zk.addWatch("/a", events, AddWatchMode.PERSISTENT, (rc, path, context) -> codes.add(rc), null);
            Stories.same(0, codes.poll(20, TimeUnit.SECONDS));
            create(session.zk, "/a");
            events.expect(NodeCreated, "/a");
        }
    }

    static void multiRead(Stories.Place place) throws Exception {
        try (Session session = new Session(place.rooted())) {
            session.zk.create("/a", "0".getBytes(), OPEN_ACL_UNSAFE, PERSISTENT);
            create(session.zk, "/a/b");
            List<OpResult> results = session.zk.multi(Arrays.asList(
                    Op.getData("/a"), Op.getChildren("/a"), Op.getData("/none"), Op.getChildren("/a/b")));
            OpResult.GetDataResult data = (OpResult.GetDataResult) results.get(0);
            Stories.same("0", new String(data.getData()));
            Stories.same(session.zk.exists("/a", false), data.getStat());
            Stories.same(Arrays.asList("b"), ((OpResult.GetChildrenResult) results.get(1)).getChildren());
            Stories.same(Code.NONODE.intValue(), ((OpResult.ErrorResult) results.get(2)).getErr());
            Stories.same(Collections.emptyList(), ((OpResult.GetChildrenResult) results.get(3)).getChildren());
        }
    }

    static void ephemerals(Stories.Place place) throws Exception {
        // The prefix is not put below the chroot by every library: paths in full.
        try (Session mine = new Session(place.server); Session other = new Session(place.server)) {
            String root = place.root();
            create(mine.zk, root + "/dir");
            mine.zk.create(root + "/dir/e", NONE, OPEN_ACL_UNSAFE, EPHEMERAL);
            mine.zk.create(root + "/e", NONE, OPEN_ACL_UNSAFE, EPHEMERAL);
            other.zk.create(root + "/theirs", NONE, OPEN_ACL_UNSAFE, EPHEMERAL);
            List<String> all = new ArrayList<>(mine.zk.getEphemerals());
            Collections.sort(all);
            Stories.same(Arrays.asList(root + "/dir/e", root + "/e"), all);
            Stories.same(Arrays.asList(root + "/dir/e"), mine.zk.getEphemerals(root + "/dir"));
            Stories.same(Collections.emptyList(), mine.zk.getEphemerals("/none"));
        }
    }

    static void allChildrenNumber(Stories.Place place) throws Exception {
        try (Session session = new Session(place.rooted())) {
            for (String path : Arrays.asList("/a", "/a/b", "/a/b/c", "/ab")) {
                create(session.zk, path);
            }
            Stories.same(2, session.zk.getAllChildrenNumber("/a"));
            Stories.same(4, session.zk.getAllChildrenNumber("/"));
            try {
                session.zk.getAllChildrenNumber("/none");
                throw new AssertionError("no error");
            } catch (KeeperException e) {
                Stories.same(Code.NONODE, e.code());
            }
        }
    }

    static void whoAmI(Stories.Place place) throws Exception {
        try (Session session = new Session(place.rooted())) {
            List<ClientInfo> before = session.zk.whoAmI();
            Stories.same(1, before.size());
            Stories.same("ip", before.get(0).getAuthScheme());
            session.zk.addAuthInfo("digest", "name:password".getBytes());
            List<String> users = new ArrayList<>();
            for (ClientInfo info : session.zk.whoAmI()) {
                users.add(info.getAuthScheme() + ":" + info.getUser());
            }
            Stories.that(users.contains("digest:name"));
        }
    }

    static void sync(Stories.Place place) throws Exception {
        try (Session session = new Session(place.rooted())) {
            session.zk.sync("/");
            Stories.same(0, session.zk.exists("/", false).getNumChildren());
        }
    }
}
