import static org.apache.zookeeper.CreateMode.EPHEMERAL;
import static org.apache.zookeeper.CreateMode.EPHEMERAL_SEQUENTIAL;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.api.CuratorEventType;
import org.apache.curator.framework.api.transaction.CuratorTransactionResult;
import org.apache.curator.framework.recipes.atomic.AtomicValue;
import org.apache.curator.framework.recipes.atomic.DistributedAtomicLong;
import org.apache.curator.framework.recipes.barriers.DistributedBarrier;
import org.apache.curator.framework.recipes.barriers.DistributedDoubleBarrier;
import org.apache.curator.framework.recipes.cache.ChildData;
import org.apache.curator.framework.recipes.cache.NodeCache;
import org.apache.curator.framework.recipes.cache.PathChildrenCache;
import org.apache.curator.framework.recipes.cache.TreeCache;
import org.apache.curator.framework.recipes.leader.LeaderLatch;
import org.apache.curator.framework.recipes.leader.LeaderSelector;
import org.apache.curator.framework.recipes.leader.LeaderSelectorListenerAdapter;
import org.apache.curator.framework.recipes.locks.InterProcessMultiLock;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.framework.recipes.locks.InterProcessReadWriteLock;
import org.apache.curator.framework.recipes.locks.InterProcessSemaphoreV2;
import org.apache.curator.framework.recipes.locks.Lease;
import org.apache.curator.framework.recipes.nodes.GroupMember;
import org.apache.curator.framework.recipes.nodes.PersistentNode;
import org.apache.curator.framework.recipes.queue.SimpleDistributedQueue;
import org.apache.curator.framework.recipes.shared.SharedCount;
import org.apache.curator.framework.recipes.shared.VersionedValue;
import org.apache.curator.framework.state.ConnectionState;
import org.apache.curator.retry.RetryNTimes;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;

/** Curator's recipes; the same source is compiled against 4.3.0 and 5.7.1. */
@SuppressWarnings("deprecation")
public final class Recipes {
    public static void main(String[] args) throws Exception {
        Stories stories = new Stories();
        stories.story("curator-operations", Recipes::operations);
        stories.story("curator-transactions", Recipes::transactions);
        stories.story("curator-connection-states", Recipes::connectionStates);
        stories.story("mutex", Recipes::mutex);
        stories.story("mutex-of-a-lost-session", Recipes::mutexOfLostSession);
        stories.story("read-write-lock", Recipes::readWriteLock);
        stories.story("semaphore", Recipes::semaphore);
        stories.story("multi-lock", Recipes::multiLock);
        stories.story("leader-latch", Recipes::leaderLatch);
        stories.story("leader-selector", Recipes::leaderSelector);
        stories.story("path-children-cache", Recipes::pathChildrenCache);
        stories.story("node-cache", Recipes::nodeCache);
        stories.story("tree-cache", Recipes::treeCache);
        stories.story("barrier", Recipes::barrier);
        stories.story("double-barrier", Recipes::doubleBarrier);
        stories.story("shared-count", Recipes::sharedCount);
        stories.story("atomic-long", Recipes::atomicLong);
        stories.story("persistent-node", Recipes::persistentNode);
        stories.story("group-member", Recipes::groupMember);
        stories.story("queue", Recipes::queue);
        stories.tellAll(args[0], place -> { });
    }

    static CuratorFramework client(String connect, Stories.Place place) throws Exception {
        CuratorFramework client = CuratorFrameworkFactory.builder().connectString(connect).namespace(place.name)
                .sessionTimeoutMs(4000).connectionTimeoutMs(3000).retryPolicy(new RetryNTimes(40, 100)).build();
        client.start();
        Stories.that(client.blockUntilConnected(20, TimeUnit.SECONDS));
        return client;
    }

    static CuratorFramework client(Stories.Place place) throws Exception {
        return client(place.server, place);
    }

    static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    static String text(byte[] bytes) {
        return new String(bytes, StandardCharsets.UTF_8);
    }

    static void operations(Stories.Place place) throws Exception {
        try (CuratorFramework client = client(place)) {
            client.create().creatingParentContainersIfNeeded().forPath("/a/b/c", bytes("x"));
            Stories.same("x", text(client.getData().forPath("/a/b/c")));
            Stories.same("/a/b/c", client.create().orSetData().forPath("/a/b/c", bytes("y")));
            Stories.same("y", text(client.getData().forPath("/a/b/c")));
            String guarded = client.create().withProtection().withMode(EPHEMERAL_SEQUENTIAL).forPath("/a/lock-");
            Stories.that(guarded.startsWith("/a/_c_") && guarded.endsWith("-lock-0000000001"));
            client.create().withTtl(3_600_000).withMode(CreateMode.PERSISTENT_WITH_TTL).forPath("/ttl");
            Stories.same(1, client.setData().compressed().withVersion(0).forPath("/ttl", bytes("zip")).getVersion());
            Stories.same("zip", text(client.getData().decompressed().forPath("/ttl")));
            BlockingQueue<String> events = new LinkedBlockingQueue<>();
            client.create().inBackground((c, event) ->
                    events.add(event.getType() + " " + event.getResultCode() + " " + event.getPath())).forPath("/bg");
            Stories.same(CuratorEventType.CREATE + " 0 /bg", events.poll(20, TimeUnit.SECONDS));
            client.sync().inBackground((c, event) -> events.add("synced")).forPath("/");
            Stories.same("synced", events.poll(20, TimeUnit.SECONDS));
            client.delete().guaranteed().deletingChildrenIfNeeded().forPath("/a");
            Stories.same(null, client.checkExists().forPath("/a"));
            client.delete().quietly().forPath("/a");
        }
    }

    static void transactions(Stories.Place place) throws Exception {
        try (CuratorFramework client = client(place)) {
            List<CuratorTransactionResult> results = client.transaction().forOperations(
                    client.transactionOp().create().forPath("/a", bytes("0")),
                    client.transactionOp().setData().withVersion(0).forPath("/a", bytes("1")),
                    client.transactionOp().check().withVersion(1).forPath("/a"),
                    client.transactionOp().create().withMode(EPHEMERAL).forPath("/a/e"));
            Stories.same(4, results.size());
            Stories.same("/a", results.get(0).getForPath());
            Stories.same(1, results.get(1).getResultStat().getVersion());
            try {
                client.transaction().forOperations(
                        client.transactionOp().create().forPath("/b"),
                        client.transactionOp().delete().forPath("/a"));
                throw new AssertionError("a failing transaction passes");
            } catch (KeeperException.NotEmptyException e) {
                Stories.same(null, client.checkExists().forPath("/b"));
            }
        }
    }

    static void connectionStates(Stories.Place place) throws Exception {
        Proxy proxy = new Proxy(place.server);
        try (CuratorFramework client = client(proxy.address(), place)) {
            BlockingQueue<ConnectionState> states = new LinkedBlockingQueue<>();
            client.getConnectionStateListenable().addListener((c, state) -> {
                if (state != ConnectionState.CONNECTED) {
                    states.add(state);
                }
            });
            client.create().withMode(EPHEMERAL).forPath("/e");
            long first = client.getZookeeperClient().getZooKeeper().getSessionId();
            proxy.cut();
            Stories.same(ConnectionState.SUSPENDED, states.poll(20, TimeUnit.SECONDS));
            proxy.mend();
            Stories.same(ConnectionState.RECONNECTED, states.poll(20, TimeUnit.SECONDS));
            Stories.same(first, client.getZookeeperClient().getZooKeeper().getSessionId());
            proxy.cut();
            Stories.same(ConnectionState.SUSPENDED, states.poll(20, TimeUnit.SECONDS));
            Stories.same(ConnectionState.LOST, states.poll(20, TimeUnit.SECONDS));
            Thread.sleep(1500);
            proxy.mend();
            Stories.same(ConnectionState.RECONNECTED, states.poll(20, TimeUnit.SECONDS));
            Stories.eventually("the ephemeral of the lost session is gone",
                    () -> client.checkExists().forPath("/e") == null);
        }
    }

    interface Critical {
        void enter() throws Exception;
    }

    /** Runs {@code body} in {@code count} threads with a client each; a failure of one is thrown. */
    static void together(int count, Stories.Place place, java.util.function.Function<CuratorFramework, Critical> body)
            throws Exception {
        ExecutorService pool = Executors.newFixedThreadPool(count);
        List<Future<?>> running = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            running.add(pool.submit(() -> {
                try (CuratorFramework client = client(place)) {
                    body.apply(client).enter();
                }
                return null;
            }));
        }
        for (Future<?> each : running) {
            each.get(45, TimeUnit.SECONDS);
        }
        pool.shutdown();
    }

    static void mutex(Stories.Place place) throws Exception {
        AtomicInteger inside = new AtomicInteger();
        AtomicInteger entered = new AtomicInteger();
        together(4, place, client -> () -> {
            InterProcessMutex mutex = new InterProcessMutex(client, "/lock");
            for (int i = 0; i < 5; i++) {
                mutex.acquire();
                Stories.that(mutex.acquire(1, TimeUnit.SECONDS));
                Stories.same(1, inside.incrementAndGet());
                entered.incrementAndGet();
                Thread.sleep(5);
                inside.decrementAndGet();
                mutex.release();
                mutex.release();
            }
        });
        Stories.same(20, entered.get());
        try (CuratorFramework one = client(place); CuratorFramework two = client(place)) {
            InterProcessMutex held = new InterProcessMutex(one, "/lock");
            held.acquire();
            Stories.that(!new InterProcessMutex(two, "/lock").acquire(300, TimeUnit.MILLISECONDS));
            held.release();
            Stories.that(new InterProcessMutex(two, "/lock").acquire(20, TimeUnit.SECONDS));
        }
    }

    /** A holder that is cut off loses the lock when its session expires. */
    static void mutexOfLostSession(Stories.Place place) throws Exception {
        Proxy proxy = new Proxy(place.server);
        CuratorFramework holder = client(proxy.address(), place);
        try (CuratorFramework waiting = client(place)) {
            new InterProcessMutex(holder, "/lock").acquire();
            InterProcessMutex mutex = new InterProcessMutex(waiting, "/lock");
            Stories.that(!mutex.acquire(200, TimeUnit.MILLISECONDS));
            proxy.cut();
            Stories.that(mutex.acquire(20, TimeUnit.SECONDS));
            mutex.release();
        }
    }

    static void readWriteLock(Stories.Place place) throws Exception {
        try (CuratorFramework one = client(place); CuratorFramework two = client(place)) {
            InterProcessReadWriteLock a = new InterProcessReadWriteLock(one, "/rw");
            InterProcessReadWriteLock b = new InterProcessReadWriteLock(two, "/rw");
            a.readLock().acquire();
            Stories.that(b.readLock().acquire(20, TimeUnit.SECONDS));
            b.readLock().release();
            Stories.that(!b.writeLock().acquire(300, TimeUnit.MILLISECONDS));
            a.readLock().release();
            Stories.that(b.writeLock().acquire(20, TimeUnit.SECONDS));
            Stories.that(!a.readLock().acquire(300, TimeUnit.MILLISECONDS));
            Stories.that(b.readLock().acquire(20, TimeUnit.SECONDS));
            b.writeLock().release();
            Stories.that(a.readLock().acquire(20, TimeUnit.SECONDS));
        }
    }

    static void semaphore(Stories.Place place) throws Exception {
        AtomicInteger inside = new AtomicInteger();
        together(5, place, client -> () -> {
            InterProcessSemaphoreV2 semaphore = new InterProcessSemaphoreV2(client, "/sem", 2);
            for (int i = 0; i < 3; i++) {
                Lease lease = semaphore.acquire();
                Stories.that(inside.incrementAndGet() <= 2);
                Thread.sleep(10);
                inside.decrementAndGet();
                semaphore.returnLease(lease);
            }
        });
    }

    static void multiLock(Stories.Place place) throws Exception {
        try (CuratorFramework one = client(place); CuratorFramework two = client(place)) {
            InterProcessMultiLock both = new InterProcessMultiLock(one, Arrays.asList("/l1", "/l2"));
            both.acquire();
            Stories.that(!new InterProcessMutex(two, "/l2").acquire(200, TimeUnit.MILLISECONDS));
            both.release();
            Stories.that(new InterProcessMutex(two, "/l2").acquire(20, TimeUnit.SECONDS));
        }
    }

    static void leaderLatch(Stories.Place place) throws Exception {
        try (CuratorFramework one = client(place); CuratorFramework two = client(place)) {
            LeaderLatch first = new LeaderLatch(one, "/latch", "first");
            LeaderLatch second = new LeaderLatch(two, "/latch", "second");
            first.start();
            Stories.that(first.await(20, TimeUnit.SECONDS));
            second.start();
            Stories.eventually("two participants", () -> first.getParticipants().size() == 2);
            Stories.same("first", second.getLeader().getId());
            Stories.that(!second.hasLeadership());
            first.close();
            Stories.that(second.await(20, TimeUnit.SECONDS));
            second.close();
        }
    }

    static void leaderSelector(Stories.Place place) throws Exception {
        try (CuratorFramework one = client(place); CuratorFramework two = client(place)) {
            AtomicInteger leading = new AtomicInteger();
            CountDownLatch terms = new CountDownLatch(6);
            LeaderSelectorListenerAdapter listener = new LeaderSelectorListenerAdapter() {
                @Override
                public void takeLeadership(CuratorFramework client) throws Exception {
                    if (leading.incrementAndGet() == 1) {
                        terms.countDown();
                    }
                    Thread.sleep(20);
                    leading.decrementAndGet();
                }
            };
            List<LeaderSelector> selectors = new ArrayList<>();
            for (CuratorFramework client : Arrays.asList(one, two)) {
                LeaderSelector selector = new LeaderSelector(client, "/selector", listener);
                selector.autoRequeue();
                selector.start();
                selectors.add(selector);
            }
            Stories.that(terms.await(30, TimeUnit.SECONDS));
            for (LeaderSelector selector : selectors) {
                selector.close();
            }
        }
    }

    static void pathChildrenCache(Stories.Place place) throws Exception {
        try (CuratorFramework client = client(place)) {
            client.create().creatingParentsIfNeeded().forPath("/dir/first", bytes("0"));
            BlockingQueue<String> events = new LinkedBlockingQueue<>();
            PathChildrenCache cache = new PathChildrenCache(client, "/dir", true);
            cache.getListenable().addListener((c, event) -> {
                ChildData data = event.getData();
                events.add(event.getType() + (data == null ? "" : " " + data.getPath() + "=" + text(data.getData())));
            });
            cache.start(PathChildrenCache.StartMode.POST_INITIALIZED_EVENT);
            Stories.same("CHILD_ADDED /dir/first=0", events.poll(20, TimeUnit.SECONDS));
            Stories.same("INITIALIZED", events.poll(20, TimeUnit.SECONDS));
            client.create().forPath("/dir/second", bytes("1"));
            Stories.same("CHILD_ADDED /dir/second=1", events.poll(20, TimeUnit.SECONDS));
            client.setData().forPath("/dir/first", bytes("2"));
            Stories.same("CHILD_UPDATED /dir/first=2", events.poll(20, TimeUnit.SECONDS));
            client.delete().forPath("/dir/first");
            Stories.same("CHILD_REMOVED /dir/first=2", events.poll(20, TimeUnit.SECONDS));
            Stories.same(1, cache.getCurrentData().size());
            cache.close();
        }
    }

    static void nodeCache(Stories.Place place) throws Exception {
        try (CuratorFramework client = client(place)) {
            NodeCache cache = new NodeCache(client, "/n");
            cache.start(true);
            Stories.same(null, cache.getCurrentData());
            client.create().forPath("/n", bytes("0"));
            Stories.eventually("0", () -> cache.getCurrentData() != null && "0".equals(text(cache.getCurrentData().getData())));
            client.setData().forPath("/n", bytes("1"));
            Stories.eventually("1", () -> "1".equals(text(cache.getCurrentData().getData())));
            client.delete().forPath("/n");
            Stories.eventually("gone", () -> cache.getCurrentData() == null);
            cache.close();
        }
    }

    static void treeCache(Stories.Place place) throws Exception {
        Proxy proxy = new Proxy(place.server);
        try (CuratorFramework away = client(proxy.address(), place); CuratorFramework client = client(place)) {
            client.create().creatingParentsIfNeeded().forPath("/t/a/b", bytes("0"));
            TreeCache cache = new TreeCache(away, "/t");
            CountDownLatch ready = new CountDownLatch(1);
            cache.getListenable().addListener((c, event) -> {
                if (event.getType() == org.apache.curator.framework.recipes.cache.TreeCacheEvent.Type.INITIALIZED) {
                    ready.countDown();
                }
            });
            cache.start();
            Stories.that(ready.await(20, TimeUnit.SECONDS));
            Stories.same("0", text(cache.getCurrentData("/t/a/b").getData()));
            proxy.cut();
            client.create().forPath("/t/a/c", bytes("1"));
            client.delete().forPath("/t/a/b");
            proxy.mend();
            Stories.eventually("the tree after the cut", () ->
                    cache.getCurrentData("/t/a/c") != null && cache.getCurrentData("/t/a/b") == null);
            cache.close();
        }
    }

    static void barrier(Stories.Place place) throws Exception {
        try (CuratorFramework one = client(place); CuratorFramework two = client(place)) {
            DistributedBarrier barrier = new DistributedBarrier(one, "/barrier");
            barrier.setBarrier();
            DistributedBarrier waiting = new DistributedBarrier(two, "/barrier");
            Stories.that(!waiting.waitOnBarrier(200, TimeUnit.MILLISECONDS));
            barrier.removeBarrier();
            Stories.that(waiting.waitOnBarrier(20, TimeUnit.SECONDS));
        }
    }

    static void doubleBarrier(Stories.Place place) throws Exception {
        AtomicInteger inside = new AtomicInteger();
        together(3, place, client -> () -> {
            DistributedDoubleBarrier barrier = new DistributedDoubleBarrier(client, "/barrier", 3);
            inside.incrementAndGet();
            Stories.that(barrier.enter(30, TimeUnit.SECONDS));
            Stories.same(3, inside.get());
            Stories.that(barrier.leave(30, TimeUnit.SECONDS));
        });
    }

    static void sharedCount(Stories.Place place) throws Exception {
        try (CuratorFramework one = client(place); CuratorFramework two = client(place)) {
            SharedCount a = new SharedCount(one, "/count", 7);
            SharedCount b = new SharedCount(two, "/count", 7);
            a.start();
            b.start();
            Stories.same(7, b.getCount());
            VersionedValue<Integer> stale = b.getVersionedValue();
            a.setCount(8);
            Stories.that(!b.trySetCount(stale, 9));
            Stories.eventually("8", () -> b.getCount() == 8);
            Stories.that(b.trySetCount(b.getVersionedValue(), 9));
            Stories.eventually("9", () -> a.getCount() == 9);
            a.close();
            b.close();
        }
    }

    static void atomicLong(Stories.Place place) throws Exception {
        together(3, place, client -> () -> {
            DistributedAtomicLong number = new DistributedAtomicLong(client, "/n", new RetryNTimes(500, 3));
            for (int i = 0; i < 10; i++) {
                AtomicValue<Long> value = number.increment();
                Stories.that(value.succeeded());
            }
        });
        try (CuratorFramework client = client(place)) {
            Stories.same(30L, new DistributedAtomicLong(client, "/n", new RetryNTimes(1, 1)).get().postValue());
        }
    }

    static void persistentNode(Stories.Place place) throws Exception {
        try (CuratorFramework client = client(place); CuratorFramework other = client(place)) {
            PersistentNode node = new PersistentNode(client, EPHEMERAL, false, "/p/node", bytes("x"));
            node.start();
            Stories.that(node.waitForInitialCreate(20, TimeUnit.SECONDS));
            other.delete().forPath(node.getActualPath());
            Stories.eventually("made again", () -> other.checkExists().forPath("/p/node") != null);
            node.setData(bytes("y"));
            Stories.eventually("y", () -> "y".equals(text(other.getData().forPath("/p/node"))));
            node.close();
            Stories.eventually("gone", () -> other.checkExists().forPath("/p/node") == null);
        }
    }

    static void groupMember(Stories.Place place) throws Exception {
        try (CuratorFramework one = client(place); CuratorFramework two = client(place)) {
            GroupMember first = new GroupMember(one, "/group", "first", bytes("1"));
            GroupMember second = new GroupMember(two, "/group", "second", bytes("2"));
            first.start();
            second.start();
            Stories.eventually("both", () -> first.getCurrentMembers().size() == 2);
            Stories.eventually("both", () -> second.getCurrentMembers().size() == 2);
            Stories.same("2", text(first.getCurrentMembers().get("second")));
            second.close();
            Stories.eventually("one", () -> first.getCurrentMembers().keySet().equals(Collections.singleton("first")));
            first.close();
        }
    }

    static void queue(Stories.Place place) throws Exception {
        try (CuratorFramework one = client(place); CuratorFramework two = client(place)) {
            SimpleDistributedQueue in = new SimpleDistributedQueue(one, "/queue");
            SimpleDistributedQueue out = new SimpleDistributedQueue(two, "/queue");
            for (int i = 0; i < 20; i++) {
                Stories.that(in.offer(bytes("item " + i)));
            }
            for (int i = 0; i < 20; i++) {
                Stories.same("item " + i, text(out.poll(20, TimeUnit.SECONDS)));
            }
            Stories.same(null, out.poll(100, TimeUnit.MILLISECONDS));
        }
    }
}
