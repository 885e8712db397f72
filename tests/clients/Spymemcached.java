// spymemcached over text or binary, as the third argument says: everything asynchronous, gets merged into one.

import java.net.InetSocketAddress;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.TreeMap;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import net.spy.memcached.CASResponse;
import net.spy.memcached.CASValue;
import net.spy.memcached.ConnectionFactoryBuilder;
import net.spy.memcached.MemcachedClient;
import net.spy.memcached.transcoders.SerializingTranscoder;

public class Spymemcached {
    static MemcachedClient client;
    static boolean binary;

    // Ends the program where two things differ.
    static void equal(Object want, Object got, String what) {
        if (!Objects.deepEquals(want, got)) {
            throw new AssertionError(String.format("%s: want %.300s, got %.300s", what, want, got));
        }
    }

    static <T> T done(Future<T> future) throws Exception {
        return future.get(20, TimeUnit.SECONDS);
    }

    static void verbs() throws Exception {
        equal(true, done(client.set("key", 1000, "value")), "set");
        equal("value", client.get("key"), "get");
        equal(null, client.get("nothing"), "get of nothing");
        equal(false, done(client.add("key", 1000, "other")), "add of a key that is there");
        equal(true, done(client.add("fresh", 1000, "1")), "add");
        equal(false, done(client.replace("nothing", 1000, "x")), "replace of nothing");
        equal(true, done(client.replace("fresh", 1000, "2")), "replace");
        equal(true, done(client.append("key", "!")), "append");
        equal(true, done(client.prepend("key", "?")), "prepend");
        equal("?value!", client.get("key"), "after append and prepend");
        equal(false, done(client.append("nothing", "x")), "append to nothing");
        equal(true, done(client.touch("key", 2000)), "touch");
        equal(false, done(client.touch("nothing", 2000)), "touch of nothing");
        if (binary) {
            equal("?value!", client.getAndTouch("key", 3000).getValue(), "get and touch");
            equal(null, client.getAndTouch("nothing", 3000), "get and touch of nothing");
        }
        equal(true, done(client.delete("key")), "delete");
        equal(false, done(client.delete("key")), "delete of nothing");
    }

    static void types() throws Exception {
        byte[] every = new byte[256];
        for (int index = 0; index < every.length; index++) {
            every[index] = (byte) index;
        }
        for (Object value : Arrays.asList("text", "\u00fcml\u00e4ut", "", 42, 1L << 40, 3.5, true, every, new ArrayList<>(List.of(1, 2)))) {
            equal(true, done(client.set("typed", 1000, value)), "set");
            equal(value, client.get("typed"), "a value with its type in the flags");
        }
    }

    static void counting() throws Exception {
        equal(10L, client.incr("count", 5, 10L, 1000), "incr of nothing stores the first value");
        equal(15L, client.incr("count", 5, 10L, 1000), "incr");
        equal(12L, client.decr("count", 3), "decr");
        equal(0L, client.decr("count", 100), "decr below zero");
        equal(-1L, client.incr("nothing", 1), "incr of nothing");
        equal(20L, done(client.asyncIncr("count", 20)), "asyncIncr");
    }

    static void comparing() throws Exception {
        done(client.set("cas", 1000, "1"));
        CASValue<Object> seen = client.gets("cas");
        equal("1", seen.getValue(), "gets");
        equal(CASResponse.OK, client.cas("cas", seen.getCas(), "2"), "cas");
        equal(CASResponse.EXISTS, client.cas("cas", seen.getCas(), "3"), "cas with an old unique");
        equal(CASResponse.NOT_FOUND, client.cas("nothing", seen.getCas(), "3"), "cas of nothing");
        equal("2", client.get("cas"), "after cas");
        equal(null, client.gets("nothing"), "gets of nothing");
    }

    static void many() throws Exception {
        Map<String, Object> values = new TreeMap<>();
        List<Future<Boolean>> stores = new ArrayList<>();
        for (int number = 0; number < 1000; number++) {
            values.put("many" + number, "value " + number);
            stores.add(client.set("many" + number, 1000, "value " + number));
        }
        for (Future<Boolean> store : stores) {
            equal(true, done(store), "a thousand sets at once");
        }
        List<String> keys = new ArrayList<>(values.keySet());
        keys.add("nothing");
        equal(values, new TreeMap<>(client.getBulk(keys)), "getBulk");
        // Gets that wait for each other's turn become one.
        List<Future<Object>> gets = new ArrayList<>();
        for (String key : keys) {
            gets.add(client.asyncGet(key));
        }
        for (int index = 0; index < keys.size(); index++) {
            equal(values.get(keys.get(index)), done(gets.get(index)), keys.get(index));
        }
    }

    // Several threads, one client, one connection.
    static void together() throws Exception {
        AtomicInteger good = new AtomicInteger();
        List<Thread> threads = new ArrayList<>();
        for (int thread = 0; thread < 8; thread++) {
            String key = "together" + thread;
            threads.add(new Thread(() -> {
                try {
                    for (int round = 0; round < 200; round++) {
                        done(client.set(key, 1000, key + round));
                        equal(key + round, client.get(key), "get behind the own set");
                        good.incrementAndGet();
                    }
                } catch (Throwable mistake) {
                    mistake.printStackTrace();
                }
            }));
        }
        threads.forEach(Thread::start);
        for (Thread thread : threads) {
            thread.join();
        }
        equal(1600, good.get(), "rounds of eight threads");
    }

    static void large() throws Exception {
        for (int size : new int[] {0, 1, 256_000, 1024 * 1024 - 1024}) {
            byte[] value = new byte[size];
            Arrays.fill(value, (byte) '\n');
            equal(true, done(client.set("large", 1000, value)), "set");
            equal(value, client.get("large"), "a value of " + size + " bytes");
        }
        boolean stored;
        try {
            stored = done(client.set("large", 1000, new byte[1024 * 1024 + 1024]));
        } catch (java.util.concurrent.ExecutionException complaint) {
            stored = false;
        }
        equal(false, stored, "set of more than 1 MiB");
        equal(null, client.get("large"), "a refused set takes the old value with it");
        for (String key : List.of("large", "k".repeat(250), "\u043a\u043b\u044e\u0447")) {
            equal(true, done(client.set(key, 1000, "again")), "set");
            equal("again", client.get(key), "the connection is still good");
        }
    }

    static void server() throws Exception {
        equal("1.", client.getVersions().values().iterator().next().substring(0, 2), "version");
        equal(true, client.getStats().values().iterator().next().containsKey("curr_items"), "stats");
        for (String part : List.of("settings", "items", "slabs")) {
            equal(true, client.getStats(part).values().iterator().next().size() > 2, "stats " + part);
        }
        equal(true, done(client.flush()), "flush");
        equal(null, client.get("large"), "after flush");
    }

    public static void main(String[] arguments) throws Exception {
        System.setProperty("net.spy.log.LoggerImpl", "net.spy.memcached.compat.log.SunLogger");
        java.util.logging.LogManager.getLogManager().reset();
        binary = arguments[2].equals("binary");
        SerializingTranscoder transcoder = new SerializingTranscoder(4 << 20);
        transcoder.setCompressionThreshold(2 << 20);
        client = new MemcachedClient(
            new ConnectionFactoryBuilder()
                .setProtocol(binary ? ConnectionFactoryBuilder.Protocol.BINARY : ConnectionFactoryBuilder.Protocol.TEXT)
                .setOpTimeout(20_000)
                .setTranscoder(transcoder)
                .build(),
            List.of(new InetSocketAddress(arguments[0], Integer.parseInt(arguments[1]))));
        try {
            run();
            System.exit(0);
        } catch (Throwable mistake) {
            // The library's own thread would go on for ever.
            mistake.printStackTrace();
            System.exit(1);
        }
    }

    static void run() throws Exception {
        done(client.flush());
        verbs();
        types();
        counting();
        comparing();
        many();
        together();
        large();
        server();
        client.shutdown(20, TimeUnit.SECONDS);
    }
}
