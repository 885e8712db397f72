// Prints where spymemcached's own KetamaNodeLocator places keys: a row of spymemcached.tsv.gz a line.
// Run by record_spymemcached.py: java -cp spymemcached.jar RecordSpymemcached.java KEYFILE SERVERFILE

import java.lang.reflect.Proxy;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.nio.file.*;
import java.util.*;
import net.spy.memcached.*;

public class RecordSpymemcached {
    /** A node that knows its address and nothing else: all that the locator asks of it. */
    static MemcachedNode node(InetSocketAddress address) {
        Object identity = new Object();
        return (MemcachedNode) Proxy.newProxyInstance(
            MemcachedNode.class.getClassLoader(), new Class<?>[] {MemcachedNode.class},
            (proxy, method, arguments) -> switch (method.getName()) {
                case "getSocketAddress" -> address;
                case "equals" -> proxy == arguments[0];
                case "hashCode" -> identity.hashCode();
                case "toString" -> address.toString();
                default -> throw new UnsupportedOperationException(method.getName());
            });
    }

    static void record(List<String[]> servers, String set, String preset, KetamaNodeKeyFormatter.Format format,
            List<String> keys) throws Exception {
        List<MemcachedNode> nodes = new ArrayList<>();
        Map<InetSocketAddress, Integer> weights = new HashMap<>();
        boolean weighted = false;
        for (String[] server : servers) {
            String ip = server[5].equals("-") ? server[1] : server[5];
            byte[] bytes = InetAddress.getByName(ip).getAddress();
            InetAddress host = server[1].equals(ip)
                ? InetAddress.getByAddress(bytes) : InetAddress.getByAddress(server[1], bytes);
            InetSocketAddress address = new InetSocketAddress(host, Integer.parseInt(server[2]));
            nodes.add(node(address));
            weights.put(address, Integer.parseInt(server[3]));
            weighted |= !server[3].equals("1");
        }
        var locator = new KetamaNodeLocator(nodes, DefaultHashAlgorithm.KETAMA_HASH, format,
            weighted ? weights : new HashMap<>());
        StringBuilder owners = new StringBuilder();
        for (String key : keys) owners.append(Character.forDigit(nodes.indexOf(locator.getPrimary(key)), 36));
        System.out.println(set + "\t" + preset + "\t" + owners);
    }

    public static void main(String[] arguments) throws Exception {
        List<String> keys = Files.readAllLines(Path.of(arguments[0]), StandardCharsets.UTF_8);
        Map<String, List<String[]>> sets = new LinkedHashMap<>();
        for (String line : Files.readAllLines(Path.of(arguments[1]))) {
            String[] fields = line.split("\t");
            if (!line.startsWith("#")) sets.computeIfAbsent(fields[0], name -> new ArrayList<>()).add(fields);
        }
        for (String set : List.of("equal5", "equal25", "port11211", "weights12345", "weights11211", "hosts5"))
            record(sets.get(set), set, "spymemcached", KetamaNodeKeyFormatter.Format.SPYMEMCACHED, keys);
        for (String set : List.of("localhost5", "localhost11211", "hosts5"))
            record(sets.get(set), set, "spymemcached-libmemcached", KetamaNodeKeyFormatter.Format.LIBMEMCACHED, keys);
    }
}
