import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.util.ArrayList;
import java.util.List;

/** Passes connections on to a server. After {@code cut} all are closed and new ones are refused, until {@code mend}. */
final class Proxy {
    private final String host;
    private final int port;
    private final ServerSocket listener;
    private final List<Socket> open = new ArrayList<>();
    private boolean mended = true;

    Proxy(String server) throws IOException {
        int colon = server.lastIndexOf(':');
        host = server.substring(0, colon);
        port = Integer.parseInt(server.substring(colon + 1));
        listener = new ServerSocket(0, 50, InetAddress.getByName("127.0.0.1"));
        start(this::accept);
    }

    String address() {
        return "127.0.0.1:" + listener.getLocalPort();
    }

    synchronized void cut() {
        mended = false;
        for (Socket socket : open) {
            close(socket);
        }
        open.clear();
    }

    synchronized void mend() {
        mended = true;
    }

    private void accept() {
        while (true) {
            try {
                pass(listener.accept());
            } catch (IOException e) {
                return;
            }
        }
    }

    private synchronized void pass(Socket client) {
        if (!mended) {
            close(client);
            return;
        }
        try {
            Socket server = new Socket(host, port);
            open.add(client);
            open.add(server);
            start(() -> copy(client, server));
            start(() -> copy(server, client));
        } catch (IOException e) {
            close(client);
        }
    }

    private static void copy(Socket from, Socket to) {
        byte[] chunk = new byte[65536];
        try (InputStream in = from.getInputStream(); OutputStream out = to.getOutputStream()) {
            for (int n = in.read(chunk); n >= 0; n = in.read(chunk)) {
                out.write(chunk, 0, n);
            }
        } catch (IOException e) {
            // Closed by either side, or cut.
        }
        close(from);
        close(to);
    }

    private static void start(Runnable run) {
        Thread thread = new Thread(run);
        thread.setDaemon(true);
        thread.start();
    }

    private static void close(Socket socket) {
        try {
            socket.close();
        } catch (IOException e) {
            // It is gone either way.
        }
    }
}
