import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/**
 * Runs named stories side by side and prints "PASS name" or "FAIL name: why" for each: the lines that java_clients.rs reads.
 * A story that does not end is a failure too.
 */
final class Stories {
    interface Body {
        void tell(Place place) throws Exception;
    }

    /** A server, and a node of the story's own on it. */
    static final class Place {
        final String server;
        final String name;

        Place(String server, String name) {
            this.server = server;
            this.name = name;
        }

        String root() {
            return "/" + name;
        }

        String rooted() {
            return server + root();
        }
    }

    private static final int AT_ONCE = 12;
    private static final int PATIENCE_SECONDS = 50;

    private final Map<String, Body> bodies = new LinkedHashMap<>();

    void story(String name, Body body) {
        bodies.put(name, body);
    }

    /** {@code makeRoot} creates the node of a story. */
    void tellAll(String server, Body makeRoot) throws Exception {
        ExecutorService pool = Executors.newFixedThreadPool(AT_ONCE, Stories::daemon);
        Map<String, Future<Object>> running = new LinkedHashMap<>();
        for (Map.Entry<String, Body> each : bodies.entrySet()) {
            Place place = new Place(server, each.getKey());
            makeRoot.tell(place);
            Callable<Object> run = () -> {
                each.getValue().tell(place);
                return null;
            };
            running.put(each.getKey(), pool.submit(run));
        }
        for (Map.Entry<String, Future<Object>> each : running.entrySet()) {
            System.out.println(verdict(each.getKey(), each.getValue()));
        }
        System.out.println("END " + bodies.size());
        System.out.flush();
        // Halt: a client of a story that failed must not hold the process.
        Runtime.getRuntime().halt(0);
    }

    private static String verdict(String name, Future<Object> story) throws InterruptedException {
        try {
            story.get(PATIENCE_SECONDS, TimeUnit.SECONDS);
            return "PASS " + name;
        } catch (TimeoutException e) {
            return "FAIL " + name + ": does not end";
        } catch (java.util.concurrent.ExecutionException e) {
            return "FAIL " + name + ": " + e.getCause() + " at " + where(e.getCause());
        }
    }

    private static String where(Throwable cause) {
        List<String> lines = new ArrayList<>();
        for (StackTraceElement frame : cause.getStackTrace()) {
            String file = frame.getFileName();
            boolean ours = !frame.getClassName().contains(".") && !"Stories.java".equals(file);
            if (ours) {
                lines.add(file + ":" + frame.getLineNumber());
            }
        }
        return String.join(" ", lines);
    }

    private static Thread daemon(Runnable run) {
        Thread thread = new Thread(run);
        thread.setDaemon(true);
        return thread;
    }

    static void same(Object expected, Object found) {
        boolean equal = expected == null ? found == null : expected.equals(found);
        if (!equal) {
            throw new AssertionError("expected " + expected + ", found " + found);
        }
    }

    static void that(boolean holds) {
        if (!holds) {
            throw new AssertionError("does not hold");
        }
    }

    interface Condition {
        boolean holds() throws Exception;
    }

    static void eventually(String what, Condition condition) throws Exception {
        long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(20);
        while (System.nanoTime() < end) {
            if (condition.holds()) {
                return;
            }
            Thread.sleep(20);
        }
        throw new AssertionError("not seen: " + what);
    }
}
