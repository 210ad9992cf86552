import java.io.BufferedReader;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.File;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.jute.BinaryOutputArchive;
import org.apache.zookeeper.ZooDefs;
import org.apache.zookeeper.data.ACL;
import org.apache.zookeeper.data.Stat;
import org.apache.zookeeper.server.DataNode;
import org.apache.zookeeper.server.DataTree;
import org.apache.zookeeper.server.persistence.FileTxnSnapLog;
import org.apache.zookeeper.server.persistence.TxnLog;

/**
 * What ZooKeeper's own classes find in a directory. For each line "dataDir TAB logDir TAB answer" on stdin, lines in the file
 * that the third names, and then "answered" on stdout: last zxid, the digest that Java keeps of its tree, mismatches with the digests in the files,
 * runs of zxids in the logs, sessions with their timeouts, ACL ids, and every node as a client would see it. The directory is written to as little as a
 * server's start would; give it a copy. For a line "craft TAB dir TAB answer", a snapshot is made there instead.
 */
public class Restore {
    public static void main(String[] args) throws Exception {
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line; (line = in.readLine()) != null; ) {
            String[] dirs = line.split("\t");
            PrintStream out = new PrintStream(dirs[2], "UTF-8");
            try {
                if (dirs[0].equals("craft")) {
                    craft(dirs[1]);
                } else {
                    show(dirs[0], dirs[1], out);
                }
            } catch (Throwable e) {
                out.println("failed\t" + e.toString().replace('\n', ' '));
            }
            out.close();
            System.out.println("answered");
            System.out.flush();
        }
    }

    /** A snapshot with parents whose count of creates is near the end of its numbers, as no client could bring it about in time. */
    static void craft(String data) throws Exception {
        DataTree tree = new DataTree();
        long zxid = 0;
        for (int cversion : new int[] {Integer.MAX_VALUE - 2, Integer.MIN_VALUE, -3, -1000000001, 999999999}) {
            String path = "/at" + cversion;
            tree.createNode(path, new byte[0], ZooDefs.Ids.OPEN_ACL_UNSAFE, 0, -1, ++zxid, 1);
            tree.setCversionPzxid(path, cversion, zxid);
            tree.getNode(path).stat.setCversion(cversion);
        }
        tree.lastProcessedZxid = zxid;
        FileTxnSnapLog files = new FileTxnSnapLog(new File(data), new File(data));
        files.save(tree, new ConcurrentHashMap<>(), true);
        files.close();
    }

    static void show(String data, String log, PrintStream out) throws Exception {
        DataTree tree = new DataTree();
        List<Long> wrong = new ArrayList<>();
        tree.addDigestWatcher(zxid -> wrong.add(zxid));
        ConcurrentHashMap<Long, Integer> sessions = new ConcurrentHashMap<>();
        FileTxnSnapLog files = new FileTxnSnapLog(new File(log), new File(data));
        long zxid = files.restore(tree, sessions, (header, txn, digest) -> { });
        StringBuilder ranges = new StringBuilder();
        long last = -1;
        try (TxnLog.TxnIterator all = files.readTxnLog(1, false)) {
            for (boolean more = all.getHeader() != null; more; more = all.next()) {
                long z = all.getHeader().getZxid();
                if (z != last + 1) {
                    ranges.append(last < 0 ? "" : "-" + Long.toHexString(last)).append('\t').append(Long.toHexString(z));
                }
                last = z;
            }
        }
        out.println("logged" + ranges + (last < 0 ? "" : "-" + Long.toHexString(last)));
        files.close();
        out.println("zxid\t" + Long.toHexString(zxid));
        out.println("digest\t" + tree.getTreeDigest());
        out.println("mismatches\t" + wrong);
        for (Map.Entry<Long, Integer> s : new TreeMap<>(sessions).entrySet()) {
            out.println("session\t" + Long.toHexString(s.getKey()) + "\t" + s.getValue());
        }
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        tree.serializeAcls(BinaryOutputArchive.getArchive(bytes));
        DataInputStream acls = new DataInputStream(new ByteArrayInputStream(bytes.toByteArray()));
        TreeMap<Long, String> ids = new TreeMap<>();
        for (int n = acls.readInt(); n > 0; n--) {
            long id = acls.readLong();
            StringBuilder text = new StringBuilder();
            for (int k = acls.readInt(); k > 0; k--) {
                text.append('\t').append(acls.readInt()).append(':').append(string(acls)).append(':').append(string(acls));
            }
            ids.put(id, text.toString());
        }
        ids.forEach((id, text) -> out.println("acl\t" + id + text));
        out.println("containers\t" + quoted(new TreeSet<>(tree.getContainers())));
        out.println("ttls\t" + quoted(new TreeSet<>(tree.getTtls())));
        walk(tree, "/", out);
    }

    static String string(DataInputStream in) throws Exception {
        byte[] b = new byte[in.readInt()];
        in.readFully(b);
        return new String(b, StandardCharsets.UTF_8);
    }

    static String quoted(Iterable<String> paths) {
        StringBuilder out = new StringBuilder();
        for (String p : paths) {
            out.append(' ').append(Base64.getEncoder().encodeToString(p.getBytes(StandardCharsets.UTF_8)));
        }
        return out.toString().trim();
    }

    static void walk(DataTree tree, String path, PrintStream out) throws Exception {
        DataNode node = tree.getNode(path);
        Stat s = new Stat();
        node.copyStat(s);
        byte[] data = node.getData();
        StringBuilder line = new StringBuilder("node\t" + quoted(List.of(path)) + "\t");
        line.append(data == null ? "null" : Base64.getEncoder().encodeToString(MessageDigest.getInstance("SHA-1").digest(data)));
        for (long n : new long[] {s.getCzxid(), s.getMzxid(), s.getCtime(), s.getMtime(), s.getVersion(), s.getCversion(), s.getAversion(),
                s.getEphemeralOwner(), s.getDataLength(), s.getNumChildren(), s.getPzxid(), node.stat.getEphemeralOwner()}) {
            line.append('\t').append(n);
        }
        for (ACL a : tree.getACL(node)) {
            line.append('\t').append(a.getPerms()).append(':').append(a.getId().getScheme()).append(':').append(a.getId().getId());
        }
        out.println(line);
        for (String child : new TreeSet<>(node.getChildren())) {
            walk(tree, path.equals("/") ? "/" + child : path + "/" + child, out);
        }
    }
}
