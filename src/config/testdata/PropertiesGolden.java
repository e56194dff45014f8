// Answers how java.util.Properties reads hostile files: java PropertiesGolden.java [RANDOM_CASES [SEED]] > properties.golden
//
// One case a line: the file in hex, a blank, then "error", or the entries sorted by key, each key=value in hex of UTF-16.

import java.io.ByteArrayInputStream;
import java.nio.charset.StandardCharsets;
import java.util.Properties;
import java.util.Random;
import java.util.TreeMap;

public class PropertiesGolden {
    static final String[] HAND_WRITTEN = {
        "", "\n", "a", "a=b", "a:b", "a b", "a\tb", "a\fb", "a = b ", "  a=b", "a==b", "a=:b", "a = : b", "a  :  = b", "=b", ":b", " =", "=",
        "#a=b", "!a=b", "  # a=b", "a=#b", "a!=b", "#\\\na=b", "#a\r\nb=c", "#a", "a=1\na=2", "a=1\r\nb=2\rc=3\nd=4", "\r\n\r\n a=b\r\n",
        "a=b\\\n c", "a=b\\\r\n  c", "a=b\\\r  c", "a=b\\\n\n c=d", "a=b\\\n#c=d", "a\\\n=b", "a\\\n  b=c", "\\\na=b", "\\\n#a=b", "\\\n\n#a=b",
        "a=b\\", "a\\", "\\", "\\\n", "\\\r\n", "\\\n\n", "a=b\\\\", "a=b\\\\\\", "a=b\\\\\nc=d", "a=b\\\n", "a=b\\\r", "a=b\\\r\n", "a=b\\\n\\\n c",
        "a\\=b=c", "a\\:b:c", "a\\ b c", "a\\\\=b", "\\#a=b", "a\\#=b", "a=\\t\\n\\r\\f\\x\\\"\\'", "a=\\u0041", "\\u0061=b", "a=\\u00e9",
        "a=\\uD83D\\uDE00", "a=\\uD83D", "a=\\u004", "a=\\u", "a=\\u00g1", "a=\\U0041", "a=\\u0041\\u", "#\\u00", "a\\u003db=c", "a=\\u0023b",
        "a=\\\\u0041", "a=\\u 041", "a=\\u+041", "\u00e9=\u00ff", "a=\u0080\u0085\u009f\u00a0", "\u00a0a=b", "\u000ba=b", "a=b\\\n\u000b c", "a=b\\\n\u0085c",
        "\u0000a=\u0000b", "\u00ef\u00bb\u00bfa=b", "tickTime 2000", "server.1=127.0.0.1:2888:3888;2181", "dataDir=C:\\zookeeper\\data", "a=b \n", "a=b\n\n\n", "a b=c d",
        "a=b#c", "  \\  a=b", "a\n=b", "a=1\n a=2", "a\r=b", "a=\n", "a=\\\n", "a=\\\nb=c", "\f\t a\f=\tb\f",
    };
    static final String ALPHABET = "ab \t\f\n\r\\\\\\=:#!u0041\u0085\u00e9\u000b";

    public static void main(String[] args) {
        for (String file : HAND_WRITTEN) answer(file);
        int cases = args.length > 0 ? Integer.parseInt(args[0]) : 600;
        Random random = new Random(args.length > 1 ? Long.parseLong(args[1]) : 357);
        for (int i = 0; i < cases; i++) {
            StringBuilder file = new StringBuilder();
            for (int n = random.nextInt(16); n >= 0; n--) file.append(ALPHABET.charAt(random.nextInt(ALPHABET.length())));
            answer(file.toString());
        }
    }

    static void answer(String file) {
        byte[] bytes = file.getBytes(StandardCharsets.ISO_8859_1);
        StringBuilder line = new StringBuilder();
        for (byte b : bytes) line.append(String.format("%02x", b));
        try {
            Properties properties = new Properties();
            properties.load(new ByteArrayInputStream(bytes));
            TreeMap<String, String> sorted = new TreeMap<>();
            properties.forEach((k, v) -> sorted.put(hex((String) k), hex((String) v)));
            sorted.forEach((k, v) -> line.append(' ').append(k).append('=').append(v));
        } catch (Exception e) {
            line.append(" error");
        }
        System.out.println(line);
    }

    static String hex(String text) {
        StringBuilder hex = new StringBuilder();
        for (char c : text.toCharArray()) hex.append(String.format("%04x", (int) c));
        return hex.toString();
    }
}
