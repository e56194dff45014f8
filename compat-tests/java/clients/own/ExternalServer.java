import java.io.File;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import javax.management.JMException;
import javax.management.MBeanServer;
import javax.management.ObjectName;
import javax.management.StandardMBean;
import org.apache.zookeeper.server.ServerCnxn;
import org.apache.zookeeper.server.ServerCnxnFactory;
import org.apache.zookeeper.server.ZooKeeperServer;

/**
 * Stands in for the server that ZooKeeper's own tests start inside their JVM: named by {@code zookeeper.serverCnxnFactory}, it
 * starts a process with the same folders, port, timeouts and properties, and ends it on shutdown. The ZooKeeperServer it is
 * given is never started.
 *
 * <p>Those tests look for the JMX beans of the server and of each session; the names are registered here, from what the
 * server says of its connections.
 */
public final class ExternalServer extends ServerCnxnFactory {
    /** A command line without its last argument, the configuration file; words are separated by '|'. */
    private static final String[] COMMAND = System.getProperty("external.server").split("\\|");
    private static final String SELF = "zookeeper.serverCnxnFactory";
    private static final Pattern SESSION = Pattern.compile("sid=(0x[0-9a-f]+)");

    private final MBeanServer beans = java.lang.management.ManagementFactory.getPlatformMBeanServer();
    private final Set<ObjectName> registered = new HashSet<>();
    private InetSocketAddress address;
    private int maxConnections;
    private Process process;
    private Thread look;

    /** Nothing but a name. */
    public interface Bean {
    }

    @Override
    public void configure(InetSocketAddress addr, int maxcc, boolean secure) {
        this.address = addr;
        this.maxConnections = maxcc;
        this.secure = secure;
    }

    @Override
    public void startup(ZooKeeperServer server, boolean startServer) throws IOException, InterruptedException {
        setZooKeeperServer(server);
        if (!startServer) {
            return;
        }
        File snapshots = server.getTxnLogFactory().getSnapDir().getParentFile();
        File logs = server.getTxnLogFactory().getDataDir().getParentFile();
        List<String> lines = new ArrayList<>();
        lines.add("dataDir=" + snapshots.getAbsolutePath());
        if (!logs.equals(snapshots)) {
            lines.add("dataLogDir=" + logs.getAbsolutePath());
        }
        lines.add("clientPort=" + address.getPort());
        lines.add("clientPortAddress=127.0.0.1");
        lines.add("tickTime=" + server.getTickTime());
        lines.add("minSessionTimeout=" + server.getMinSessionTimeout());
        lines.add("maxSessionTimeout=" + server.getMaxSessionTimeout());
        lines.add("maxClientCnxns=" + maxConnections);
        lines.add("admin.enableServer=false");
        File cfg = new File(snapshots, "external.cfg");
        Files.write(cfg.toPath(), lines);
        process = new ProcessBuilder(command(cfg)).redirectErrorStream(true)
                .redirectOutput(ProcessBuilder.Redirect.appendTo(new File(System.getProperty("external.log")))).start();
        process.getOutputStream().close();
        Process started = process;
        Runtime.getRuntime().addShutdownHook(new Thread(started::destroyForcibly));
        register("");
        register(",name1=InMemoryDataTree");
        look = new Thread(this::lookForSessions);
        look.setDaemon(true);
        look.start();
    }

    private static List<String> command(File cfg) {
        List<String> command = new ArrayList<>();
        for (String word : COMMAND) {
            if (word.equals("-D")) {
                for (String name : System.getProperties().stringPropertyNames()) {
                    boolean passed = name.startsWith("zookeeper.") || name.startsWith("znode.") || name.startsWith("jute.");
                    if (passed && !name.equals(SELF)) {
                        command.add("-D" + name + "=" + System.getProperty(name));
                    }
                }
            } else {
                command.add(word);
            }
        }
        command.add(cfg.getAbsolutePath());
        return command;
    }

    @Override
    public synchronized void shutdown() {
        if (process != null) {
            look.interrupt();
            process.destroy();
            try {
                if (!process.waitFor(20, TimeUnit.SECONDS)) {
                    throw new IllegalStateException("the server does not end on SIGTERM");
                }
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
            }
            process = null;
        }
        for (ObjectName name : new ArrayList<>(registered)) {
            unregister(name);
        }
    }

    private void lookForSessions() {
        try {
            while (true) {
                Thread.sleep(50);
                Set<String> sessions = new HashSet<>();
                Matcher matcher = SESSION.matcher(ask("cons"));
                while (matcher.find()) {
                    if (!matcher.group(1).equals("0x0")) {
                        sessions.add(",name1=Connections,name2=127.0.0.1,name3=" + matcher.group(1));
                    }
                }
                show(sessions);
            }
        } catch (InterruptedException e) {
            // The server was shut down.
        }
    }

    private synchronized void show(Set<String> sessions) throws InterruptedException {
        if (Thread.interrupted()) {
            throw new InterruptedException();
        }
        for (ObjectName name : new ArrayList<>(registered)) {
            boolean isSession = name.toString().contains("name1=Connections");
            if (isSession && sessions.stream().noneMatch(s -> name.toString().endsWith(s))) {
                unregister(name);
            }
        }
        sessions.forEach(this::register);
    }

    private String ask(String word) {
        try (Socket socket = new Socket("127.0.0.1", address.getPort())) {
            socket.setSoTimeout(5000);
            OutputStream out = socket.getOutputStream();
            out.write(word.getBytes(StandardCharsets.US_ASCII));
            InputStream in = socket.getInputStream();
            return new String(in.readAllBytes(), StandardCharsets.UTF_8);
        } catch (IOException e) {
            return "";
        }
    }

    private synchronized void register(String suffix) {
        try {
            ObjectName name = new ObjectName(
                    "org.apache.ZooKeeperService:name0=StandaloneServer_port" + address.getPort() + suffix);
            if (!beans.isRegistered(name)) {
                beans.registerMBean(new StandardMBean(new Bean() { }, Bean.class), name);
                registered.add(name);
            }
        } catch (JMException e) {
            throw new IllegalStateException(e);
        }
    }

    private void unregister(ObjectName name) {
        try {
            beans.unregisterMBean(name);
        } catch (JMException e) {
            // It was gone already.
        }
        registered.remove(name);
    }

    @Override
    public int getLocalPort() {
        return address.getPort();
    }

    @Override
    public InetSocketAddress getLocalAddress() {
        return address;
    }

    @Override
    public int getMaxClientCnxnsPerHost() {
        return maxConnections;
    }

    @Override
    public void setMaxClientCnxnsPerHost(int max) {
        maxConnections = max;
    }

    @Override
    public Iterable<ServerCnxn> getConnections() {
        return Collections.emptyList();
    }

    @Override
    public boolean closeSession(long sessionId) {
        return false;
    }

    @Override
    public Iterable<Map<String, Object>> getAllConnectionInfo(boolean brief) {
        return Collections.emptyList();
    }

    @Override
    public void reconfigure(InetSocketAddress addr) {
        address = addr;
    }

    @Override
    public void join() throws InterruptedException {
        process.waitFor();
    }

    @Override
    public void start() {
    }

    @Override
    public void closeAll() {
    }

    @Override
    public void resetAllConnectionStats() {
        ask("crst");
    }
}
