import java.nio.charset.StandardCharsets;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.recipes.cache.CuratorCache;
import org.apache.curator.framework.recipes.cache.CuratorCacheListener;
import org.apache.curator.framework.recipes.nodes.PersistentTtlNode;
import org.apache.curator.framework.recipes.watch.PersistentWatcher;
import org.apache.zookeeper.AddWatchMode;
import org.apache.zookeeper.Watcher.Event.EventType;

/** What Curator 5 builds on persistent watches. */
public final class Caches {
    public static void main(String[] args) throws Exception {
        Stories stories = new Stories();
        stories.story("curator-cache", Caches::curatorCache);
        stories.story("curator-cache-over-a-reconnect", Caches::cacheOverReconnect);
        stories.story("curator-cache-of-one-node", Caches::singleNode);
        stories.story("persistent-watcher", Caches::persistentWatcher);
        stories.story("watchers-add", Caches::watchersAdd);
        stories.story("persistent-ttl-node", Caches::persistentTtlNode);
        stories.tellAll(args[0], place -> { });
    }

    static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    static void curatorCache(Stories.Place place) throws Exception {
        try (CuratorFramework client = Recipes.client(place)) {
            client.create().creatingParentsIfNeeded().forPath("/t/a", bytes("0"));
            BlockingQueue<String> events = new LinkedBlockingQueue<>();
            CuratorCache cache = CuratorCache.build(client, "/t");
            cache.listenable().addListener(CuratorCacheListener.builder()
                    .forInitialized(() -> events.add("initialized"))
                    .afterInitialized()
                    .forAll((type, before, now) -> events.add(type + " " + (now == null ? before : now).getPath()))
                    .build());
            CuratorCacheListener ready = CuratorCacheListener.builder().forInitialized(() -> events.add("ready")).build();
            cache.listenable().addListener(ready);
            cache.start();
            Stories.eventually("ready", () -> events.contains("ready"));
            events.clear();
            client.create().forPath("/t/a/b", bytes("1"));
            Stories.same("NODE_CREATED /t/a/b", events.poll(20, TimeUnit.SECONDS));
            client.setData().forPath("/t/a/b", bytes("2"));
            Stories.same("NODE_CHANGED /t/a/b", events.poll(20, TimeUnit.SECONDS));
            client.delete().forPath("/t/a/b");
            Stories.same("NODE_DELETED /t/a/b", events.poll(20, TimeUnit.SECONDS));
            Stories.same("0", Recipes.text(cache.get("/t/a").get().getData()));
            cache.close();
        }
    }

    static void cacheOverReconnect(Stories.Place place) throws Exception {
        Proxy proxy = new Proxy(place.server);
        try (CuratorFramework away = Recipes.client(proxy.address(), place); CuratorFramework client = Recipes.client(place)) {
            client.create().creatingParentsIfNeeded().forPath("/t/a", bytes("0"));
            CuratorCache cache = CuratorCache.build(away, "/t");
            cache.start();
            Stories.eventually("a", () -> cache.get("/t/a").isPresent());
            proxy.cut();
            client.create().forPath("/t/b", bytes("1"));
            client.delete().forPath("/t/a");
            proxy.mend();
            Stories.eventually("the tree after the cut", () -> cache.get("/t/b").isPresent() && !cache.get("/t/a").isPresent());
            client.create().forPath("/t/c", bytes("2"));
            Stories.eventually("c", () -> cache.get("/t/c").isPresent());
            cache.close();
        }
    }

    static void singleNode(Stories.Place place) throws Exception {
        try (CuratorFramework client = Recipes.client(place)) {
            CuratorCache cache = CuratorCache.build(client, "/n", CuratorCache.Options.SINGLE_NODE_CACHE);
            cache.start();
            client.create().forPath("/n", bytes("0"));
            client.create().forPath("/n/c", bytes("0"));
            Stories.eventually("n", () -> cache.get("/n").isPresent());
            Stories.same(1L, cache.stream().count());
            client.setData().forPath("/n", bytes("1"));
            Stories.eventually("1", () -> "1".equals(Recipes.text(cache.get("/n").get().getData())));
            cache.close();
        }
    }

    static void persistentWatcher(Stories.Place place) throws Exception {
        Proxy proxy = new Proxy(place.server);
        try (CuratorFramework away = Recipes.client(proxy.address(), place); CuratorFramework client = Recipes.client(place)) {
            BlockingQueue<String> events = new LinkedBlockingQueue<>();
            PersistentWatcher watcher = new PersistentWatcher(away, "/w", true);
            watcher.getListenable().addListener(event -> {
                if (event.getType() != EventType.None) {
                    events.add(event.getType() + " " + event.getPath());
                }
            });
            BlockingQueue<String> resets = new LinkedBlockingQueue<>();
            watcher.getResetListenable().addListener(() -> resets.add("reset"));
            watcher.start();
            Stories.same("reset", resets.poll(20, TimeUnit.SECONDS));
            client.create().forPath("/w");
            client.create().forPath("/w/x");
            Stories.same("NodeCreated /w", events.poll(20, TimeUnit.SECONDS));
            Stories.same("NodeCreated /w/x", events.poll(20, TimeUnit.SECONDS));
            proxy.cut();
            Thread.sleep(100);
            proxy.mend();
            Stories.same("reset", resets.poll(20, TimeUnit.SECONDS));
            client.setData().forPath("/w/x", bytes("1"));
            Stories.same("NodeDataChanged /w/x", events.poll(20, TimeUnit.SECONDS));
            watcher.close();
        }
    }

    static void watchersAdd(Stories.Place place) throws Exception {
        try (CuratorFramework client = Recipes.client(place)) {
            Session.Events events = new Session.Events();
            client.create().forPath("/w");
            client.watchers().add().withMode(AddWatchMode.PERSISTENT).usingWatcher(events).forPath("/w");
            client.setData().forPath("/w", bytes("1"));
            client.setData().forPath("/w", bytes("2"));
            events.expect(EventType.NodeDataChanged, "/w");
            events.expect(EventType.NodeDataChanged, "/w");
            client.watchers().removeAll().forPath("/w");
            events.expect(EventType.PersistentWatchRemoved, "/w");
            client.setData().forPath("/w", bytes("3"));
            events.silent();
        }
    }

    static void persistentTtlNode(Stories.Place place) throws Exception {
        try (CuratorFramework client = Recipes.client(place)) {
            PersistentTtlNode node = new PersistentTtlNode(client, "/ttl", 600, bytes("x"));
            node.start();
            Stories.that(node.waitForInitialCreate(20, TimeUnit.SECONDS));
            // Its touch node keeps it alive well beyond its time to live.
            Thread.sleep(2000);
            Stories.that(client.checkExists().forPath("/ttl") != null);
            node.close();
            Stories.eventually("reaped", () -> client.checkExists().forPath("/ttl") == null);
        }
    }
}
