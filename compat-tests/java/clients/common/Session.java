import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.apache.zookeeper.WatchedEvent;
import org.apache.zookeeper.Watcher;
import org.apache.zookeeper.Watcher.Event.EventType;
import org.apache.zookeeper.Watcher.Event.KeeperState;
import org.apache.zookeeper.ZooKeeper;

/** A ZooKeeper handle that is connected, with a queue of what its default watcher was told. */
final class Session implements AutoCloseable {
    static final int TIMEOUT_MS = 8000;

    final ZooKeeper zk;
    final Events events;

    Session(String connect) throws Exception {
        this(connect, TIMEOUT_MS);
    }

    Session(String connect, int timeoutMs) throws Exception {
        events = new Events();
        zk = new ZooKeeper(connect, timeoutMs, events);
        events.state(KeeperState.SyncConnected);
    }

    Session(String connect, long id, byte[] password) throws Exception {
        events = new Events();
        zk = new ZooKeeper(connect, TIMEOUT_MS, events, id, password);
    }

    @Override
    public void close() throws InterruptedException {
        zk.close();
    }

    /** A watcher that remembers. State events and node events are kept apart. */
    static final class Events implements Watcher {
        private final BlockingQueue<WatchedEvent> nodes = new LinkedBlockingQueue<>();
        private final BlockingQueue<KeeperState> states = new LinkedBlockingQueue<>();

        @Override
        public void process(WatchedEvent event) {
            if (event.getType() == EventType.None) {
                states.add(event.getState());
            } else {
                nodes.add(event);
            }
        }

        void expect(EventType type, String path) throws InterruptedException {
            WatchedEvent event = nodes.poll(20, TimeUnit.SECONDS);
            if (event == null) {
                throw new AssertionError("no event; expected " + type + " " + path);
            }
            Stories.same(type + " " + path, event.getType() + " " + event.getPath());
        }

        void silent() throws InterruptedException {
            WatchedEvent event = nodes.poll(300, TimeUnit.MILLISECONDS);
            if (event != null) {
                throw new AssertionError("an event too many: " + event);
            }
        }

        /** Waits for the state; those that come before it are passed over. */
        void state(KeeperState wanted) throws InterruptedException {
            while (true) {
                KeeperState state = states.poll(25, TimeUnit.SECONDS);
                if (state == null) {
                    throw new AssertionError("the session does not become " + wanted);
                }
                if (state == wanted) {
                    return;
                }
            }
        }
    }
}
