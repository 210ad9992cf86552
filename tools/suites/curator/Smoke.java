// What programs built on Apache Curator lean on: locks, leader latches, caches over persistent recursive watches, TTL and
// container nodes, transactions, ACLs, barriers, counters, ephemeral nodes that survive a cut connection.
//
//   java -cp <jars> Smoke.java HOST:PORT
//
// Prints one line per check and `curator: N passed, N failed`.

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.api.transaction.CuratorTransactionResult;
import org.apache.curator.framework.recipes.atomic.DistributedAtomicLong;
import org.apache.curator.framework.recipes.barriers.DistributedDoubleBarrier;
import org.apache.curator.framework.recipes.cache.CuratorCache;
import org.apache.curator.framework.recipes.cache.CuratorCacheListener;
import org.apache.curator.framework.recipes.leader.LeaderLatch;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.framework.recipes.locks.InterProcessReadWriteLock;
import org.apache.curator.framework.recipes.locks.InterProcessSemaphoreV2;
import org.apache.curator.framework.recipes.nodes.PersistentNode;
import org.apache.curator.framework.recipes.nodes.PersistentTtlNode;
import org.apache.curator.framework.recipes.watch.PersistentWatcher;
import org.apache.curator.retry.RetryOneTime;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.WatchedEvent;
import org.apache.zookeeper.ZooDefs;
import org.apache.zookeeper.data.Stat;

public class Smoke {
    interface Body { void run(CuratorFramework c) throws Exception; }

    static String server;
    static int passed, failed;

    static CuratorFramework client() throws Exception {
        CuratorFramework c = CuratorFrameworkFactory.builder().connectString(server).sessionTimeoutMs(20000).connectionTimeoutMs(10000)
                .retryPolicy(new RetryOneTime(200)).build();
        c.start();
        must(c.blockUntilConnected(10, TimeUnit.SECONDS), "connects");
        return c;
    }

    static void must(boolean b, String what) {
        if (!b) throw new AssertionError(what);
    }

    static void equal(Object want, Object have) {
        if (!want.equals(have)) throw new AssertionError("expected " + want + ", got " + have);
    }

    static void eventually(java.util.concurrent.Callable<Boolean> b, String what) throws Exception {
        for (int i = 0; i < 200; i++) {
            if (b.call()) return;
            Thread.sleep(50);
        }
        throw new AssertionError(what);
    }

    static void check(String name, Body body) throws Exception {
        try (CuratorFramework c = client()) {
            body.run(c);
            System.out.println("ok    " + name);
            passed++;
        } catch (Throwable t) {
            System.out.println("FAIL  " + name + ": " + t);
            failed++;
        }
    }

    public static void main(String[] args) throws Exception {
        server = args[0];

        check("a mutex excludes: 6 clients count to 60 without a lost update", c -> {
            c.create().forPath("/count", "0".getBytes());
            ExecutorService pool = Executors.newFixedThreadPool(6);
            List<Future<?>> all = new ArrayList<>();
            for (int i = 0; i < 6; i++) all.add(pool.submit(() -> {
                try (CuratorFramework mine = client()) {
                    InterProcessMutex lock = new InterProcessMutex(mine, "/lock");
                    for (int k = 0; k < 10; k++) {
                        must(lock.acquire(30, TimeUnit.SECONDS), "acquired");
                        int n = Integer.parseInt(new String(mine.getData().forPath("/count")));
                        mine.setData().forPath("/count", Integer.toString(n + 1).getBytes());
                        lock.release();
                    }
                }
                return null;
            }));
            for (Future<?> f : all) f.get(90, TimeUnit.SECONDS);
            pool.shutdown();
            equal("60", new String(c.getData().forPath("/count")));
        });

        check("read and write locks, a semaphore", c -> {
            InterProcessReadWriteLock lock = new InterProcessReadWriteLock(c, "/rw");
            lock.readLock().acquire();
            try (CuratorFramework other = client()) {
                InterProcessReadWriteLock theirs = new InterProcessReadWriteLock(other, "/rw");
                must(theirs.readLock().acquire(5, TimeUnit.SECONDS), "two readers");
                theirs.readLock().release();
                must(!theirs.writeLock().acquire(300, TimeUnit.MILLISECONDS), "no writer beside a reader");
                lock.readLock().release();
                must(theirs.writeLock().acquire(5, TimeUnit.SECONDS), "a writer alone");
                theirs.writeLock().release();
                InterProcessSemaphoreV2 sem = new InterProcessSemaphoreV2(c, "/sem", 2);
                var a = sem.acquire();
                var b = sem.acquire();
                must(sem.acquire(300, TimeUnit.MILLISECONDS) == null, "two leases only");
                sem.returnLease(a);
                sem.returnLease(b);
            }
        });

        check("a leader latch passes on when its leader goes", c -> {
            List<CuratorFramework> clients = new ArrayList<>();
            List<LeaderLatch> latches = new ArrayList<>();
            for (int i = 0; i < 3; i++) {
                clients.add(client());
                latches.add(new LeaderLatch(clients.get(i), "/leader", "n" + i));
                latches.get(i).start();
                eventually(() -> latches.get(0).getParticipants().size() == latches.size(), "all take part");
            }
            for (int round = 3; round > 0; round--) {
                eventually(() -> latches.stream().filter(LeaderLatch::hasLeadership).count() == 1, "exactly one leads");
                LeaderLatch leader = latches.stream().filter(LeaderLatch::hasLeadership).findFirst().get();
                int at = latches.indexOf(leader);
                if (round == 2) clients.get(at).close(); else leader.close();
                latches.remove(at);
                clients.remove(at).close();
            }
        });

        check("a cache follows every change below it", c -> {
            c.create().creatingParentsIfNeeded().forPath("/cache/old", "1".getBytes());
            LinkedBlockingQueue<String> events = new LinkedBlockingQueue<>();
            CuratorCache cache = CuratorCache.build(c, "/cache");
            CountDownLatch ready = new CountDownLatch(1);
            cache.listenable().addListener(CuratorCacheListener.builder()
                    .forAll((type, before, after) -> { if (type != null) events.add(type.name().split("_")[1] + " " + (after == null ? before : after).getPath()); })
                    .forInitialized(ready::countDown).afterInitialized().build());
            cache.start();
            must(ready.await(10, TimeUnit.SECONDS), "initialised");
            try (CuratorFramework other = client()) {
                other.create().forPath("/cache/new", "x".getBytes());
                other.setData().forPath("/cache/old", "2".getBytes());
                other.create().creatingParentsIfNeeded().forPath("/cache/deep/er");
                other.delete().forPath("/cache/new");
            }
            List<String> want = Arrays.asList("CREATED /cache/new", "CHANGED /cache/old", "CREATED /cache/deep", "CREATED /cache/deep/er", "DELETED /cache/new");
            List<String> have = new ArrayList<>();
            for (int i = 0; i < want.size(); i++) have.add(String.valueOf(events.poll(10, TimeUnit.SECONDS)));
            have.replaceAll(s -> s);
            Collections.sort(have);
            List<String> sorted = new ArrayList<>(want);
            Collections.sort(sorted);
            equal(sorted, have);
            equal("2", new String(cache.get("/cache/old").get().getData()));
            equal(4L, cache.stream().count());
            cache.close();
        });

        check("a persistent recursive watcher sees creates, changes and deletes in order", c -> {
            LinkedBlockingQueue<WatchedEvent> events = new LinkedBlockingQueue<>();
            PersistentWatcher w = new PersistentWatcher(c, "/pw", true);
            w.getListenable().addListener(e -> { if (e.getPath() != null) events.add(e); });
            w.start();
            Thread.sleep(500);
            try (CuratorFramework other = client()) {
                other.create().forPath("/pw");
                other.create().forPath("/pw/a");
                other.setData().forPath("/pw/a", "x".getBytes());
                other.delete().forPath("/pw/a");
            }
            for (String want : Arrays.asList("NodeCreated /pw", "NodeCreated /pw/a", "NodeDataChanged /pw/a", "NodeDeleted /pw/a")) {
                WatchedEvent e = events.poll(10, TimeUnit.SECONDS);
                equal(want, e.getType() + " " + e.getPath());
            }
            w.close();
        });

        check("TTL nodes go, unless kept alive", c -> {
            c.create().withTtl(1500).withMode(CreateMode.PERSISTENT_WITH_TTL).forPath("/ttl", "x".getBytes());
            String seq = c.create().withTtl(1500).withMode(CreateMode.PERSISTENT_SEQUENTIAL_WITH_TTL).forPath("/ttl-");
            PersistentTtlNode kept = new PersistentTtlNode(c, "/kept", 2000, "x".getBytes());
            kept.start();
            must(kept.waitForInitialCreate(10, TimeUnit.SECONDS), "created");
            eventually(() -> c.checkExists().forPath("/ttl") == null && c.checkExists().forPath(seq) == null, "gone");
            Thread.sleep(3000);
            must(c.checkExists().forPath("/kept") != null, "still there");
            kept.close();
        });

        check("containers go with their last child", c -> {
            c.createContainers("/container");
            c.create().forPath("/container/k");
            c.delete().forPath("/container/k");
            eventually(() -> c.checkExists().forPath("/container") == null, "gone");
        });

        check("a transaction is all or nothing, and tells its results", c -> {
            List<CuratorTransactionResult> r = c.transaction().forOperations(
                    c.transactionOp().create().forPath("/tx", "1".getBytes()),
                    c.transactionOp().create().withMode(CreateMode.PERSISTENT_SEQUENTIAL).forPath("/tx/s-"),
                    c.transactionOp().setData().withVersion(0).forPath("/tx", "2".getBytes()),
                    c.transactionOp().check().withVersion(1).forPath("/tx"),
                    c.transactionOp().delete().forPath("/tx/s-0000000000"));
            equal(5, r.size());
            equal("/tx/s-0000000000", r.get(1).getResultPath());
            equal(1, r.get(2).getResultStat().getVersion());
            try {
                c.transaction().forOperations(c.transactionOp().create().forPath("/tx/never"), c.transactionOp().check().withVersion(9).forPath("/tx"));
                throw new AssertionError("must fail");
            } catch (KeeperException.BadVersionException e) {
                equal(2, e.getResults().size());
            }
            must(c.checkExists().forPath("/tx/never") == null, "nothing of it");
        });

        check("versions, stats, guarantees", c -> {
            Stat s = new Stat();
            c.create().storingStatIn(s).forPath("/st", "abc".getBytes());
            equal(3, s.getDataLength());
            equal(1, c.setData().withVersion(0).forPath("/st", "d".getBytes()).getVersion());
            try {
                c.setData().withVersion(0).forPath("/st", "e".getBytes());
                throw new AssertionError("must fail");
            } catch (KeeperException.BadVersionException e) {
                equal("/st", e.getPath());
            }
            String p = c.create().withProtection().withMode(CreateMode.EPHEMERAL_SEQUENTIAL).forPath("/st/p-");
            must(c.checkExists().forPath(p).getEphemeralOwner() != 0, "ephemeral");
            c.delete().guaranteed().deletingChildrenIfNeeded().forPath("/st");
            c.create().orSetData().forPath("/st", "f".getBytes());
            c.create().orSetData().forPath("/st", "g".getBytes());
            equal("g", new String(c.getData().storingStatIn(s).forPath("/st")));
            equal(1, s.getVersion());
        });

        check("ACLs keep others out", c -> {
            try (CuratorFramework owner = CuratorFrameworkFactory.builder().connectString(server).retryPolicy(new RetryOneTime(200))
                    .authorization("digest", "me:secret".getBytes()).build()) {
                owner.start();
                owner.create().withACL(ZooDefs.Ids.CREATOR_ALL_ACL).forPath("/mine", "x".getBytes());
                equal("x", new String(owner.getData().forPath("/mine")));
                try {
                    c.getData().forPath("/mine");
                    throw new AssertionError("must fail");
                } catch (KeeperException.NoAuthException e) {
                    equal("/mine", e.getPath());
                }
            }
        });

        check("an atomic counter under contention, a double barrier", c -> {
            AtomicInteger sum = new AtomicInteger();
            ExecutorService pool = Executors.newFixedThreadPool(3);
            List<Future<?>> all = new ArrayList<>();
            for (int i = 0; i < 3; i++) all.add(pool.submit(() -> {
                try (CuratorFramework mine = client()) {
                    DistributedDoubleBarrier barrier = new DistributedDoubleBarrier(mine, "/barrier", 3);
                    must(barrier.enter(20, TimeUnit.SECONDS), "enters");
                    DistributedAtomicLong n = new DistributedAtomicLong(mine, "/atomic", new org.apache.curator.retry.RetryNTimes(200, 5));
                    for (int k = 0; k < 10; k++) if (n.increment().succeeded()) sum.incrementAndGet();
                    must(barrier.leave(20, TimeUnit.SECONDS), "leaves");
                }
                return null;
            }));
            for (Future<?> f : all) f.get(60, TimeUnit.SECONDS);
            pool.shutdown();
            equal((long) sum.get(), new DistributedAtomicLong(c, "/atomic", new RetryOneTime(1)).get().postValue());
        });

        check("an ephemeral that another deletes comes back by its recipe", c -> {
            PersistentNode node = new PersistentNode(c, CreateMode.EPHEMERAL, false, "/pn", "x".getBytes());
            node.start();
            must(node.waitForInitialCreate(10, TimeUnit.SECONDS), "created");
            try (CuratorFramework other = client()) {
                other.delete().forPath("/pn");
                eventually(() -> other.checkExists().forPath("/pn") != null, "made again");
            }
            node.close();
        });

        System.out.println("curator: " + passed + " passed, " + failed + " failed");
        System.exit(failed == 0 ? 0 : 1);
    }
}
