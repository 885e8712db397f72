# dalli over binary or meta, as the third argument says. Its first words on a connection are a version.

require "dalli"

host, port, dialect = ARGV
META = dialect == "meta"
OPTIONS = { socket_timeout: 20, value_max_bytes: 4 << 20, expires_in: 1000, compress: false }.freeze
# Before there was a choice there was only binary.
CHOICE = META || defined?(Dalli::Protocol::Meta) ? { protocol: META ? :meta : :binary } : {}

def equal(want, got, what)
  return if want == got

  abort "#{caller(1..1).first}: #{what}: want #{want.inspect[0, 300]}, got #{got.inspect[0, 300]}"
end

def raises(kind, what)
  got = yield
  abort "#{caller(1..1).first}: #{what}: no complaint, but #{got.inspect[0, 300]}"
rescue kind
  nil
end

# Versions and dialects differ in how they say no.
def refused(got, what)
  equal(true, [false, nil, 0].include?(got), what)
end

def verbs(client)
  equal(true, client.set("key", "value", nil, raw: true).is_a?(Integer), "set answers the item's unique")
  equal("value", client.get("key", raw: true), "get")
  equal(nil, client.get("nothing"), "get of nothing")
  refused(client.add("key", "other"), "add of a key that is there")
  equal(true, client.add("fresh", "1").is_a?(Integer), "add")
  refused(client.replace("nothing", "x"), "replace of nothing")
  equal(true, client.replace("fresh", "2").is_a?(Integer), "replace")
  equal(true, client.append("key", "!"), "append")
  equal(true, client.prepend("key", "?"), "prepend")
  equal("?value!", client.get("key", raw: true), "after append and prepend")
  refused(client.append("nothing", "x"), "append to nothing")
  equal(true, client.touch("key", 2000), "touch")
  refused(client.touch("nothing", 2000), "touch of nothing")
  equal("?value!", client.gat("key", 3000), "gat")
  refused(client.gat("nothing", 3000), "gat of nothing")
  equal(true, client.delete("key"), "delete")
  refused(client.delete("key"), "delete of nothing")
  equal("made", client.fetch("fetched") { "made" }, "fetch of nothing")
  equal("made", client.fetch("fetched") { "made again" }, "fetch")
end

def types(client)
  ["text", "\u00fcml\u00e4ut", "", 42, 2**70, 3.5, [1, { a: nil }], true].each do |value|
    client.set("typed", value)
    equal(value, client.get("typed"), "a value with its type in the flags")
  end
  client.set("packed", "x" * 100_000, nil, compress: true)
  equal("x" * 100_000, client.get("packed"), "get compressed")
end

def counting(client)
  equal(nil, client.incr("count"), "incr of nothing")
  equal(10, client.incr("count", 1, nil, 10), "incr of nothing stores the first value")
  equal(11, client.incr("count"), "incr")
  equal(16, client.incr("count", 5), "incr by 5")
  equal(6, client.decr("count", 10), "decr")
  equal(0, client.decr("count", 10), "decr below zero")
  client.set("count", "18446744073709551615", nil, raw: true)
  equal(0, client.incr("count"), "incr wraps")
end

def comparing(client)
  client.set("cas", 1)
  equal(true, client.cas("cas") { |value| value + 1 }.is_a?(Integer), "cas")
  equal(nil, client.cas("nothing") { 1 }, "cas of nothing")
  lost = client.cas("cas") do |value|
    client.set("cas", 10)
    value + 1
  end
  equal(false, lost, "cas that another one came before")
  equal(10, client.get("cas"), "after cas")
end

# What only meta can: one of many is to fill or to renew an item.
def leases(client)
  return unless META

  equal("made", client.fetch_with_lock("locked") { "made" }, "the winner of a miss makes the value")
  equal("made", client.fetch_with_lock("locked") { "made again" }, "the others get it")
  client.set("ending", "old", 20)
  equal("new", client.fetch_with_lock("ending", recache_threshold: 30) { "new" }, "the winner renews what ends soon")
end

def many(client)
  values = (0...1000).to_h { |number| ["many#{number}", "value #{number}"] }
  client.multi { values.each { |key, value| client.set(key, value) } }
  equal(values, client.get_multi(*values.keys, "nothing"), "get_multi")
  client.multi { values.each_key { |key| client.delete(key) } }
  equal({}, client.get_multi(*values.keys), "get_multi after the deletes")
  # The quiet ones that fail are answered all the same; the library must be left in step.
  client.set("silent", 1)
  client.multi do
    client.add("silent", 2)
    client.replace("nothing", 2)
    client.delete("nothing")
    client.delete("nothing")
  end
  equal(1, client.get("silent"), "the read behind quiet failures")
end

def large(client)
  every = (0..255).to_a.pack("C*") * 1000
  ["\r\n", "END\r\n", every, "x" * (1024 * 1024 - 1024)].each do |value|
    client.set("large", value, nil, raw: true)
    equal(true, value.b == client.get("large", raw: true).b, "a value of #{value.bytesize} bytes")
  end
  raises(Dalli::DalliError, "set of more than 1 MiB") { client.set("large", "x" * (1024 * 1024 + 1024), nil, raw: true) }
  equal(nil, client.get("large"), "a refused set takes the old value with it")
  client.set("large", "again")
  equal("again", client.get("large"), "the connection is still good")
  ["k" * 250, "\u043a\u043b\u044e\u0447"].each do |key|
    client.set(key, key)
    equal(key, client.get(key), "an odd key")
  end
end

def server(client)
  equal("1.", client.version.values.first[0, 2], "version")
  [nil, :items, :slabs, :settings].each do |kind|
    equal(true, client.stats(*[kind].compact).values.first.size > 2, "stats #{kind}")
  end
  equal([true], client.reset_stats, "reset_stats")
  equal([true], client.flush, "flush")
  equal(nil, client.get("large"), "after flush")
  client.close
  equal(nil, client.get("large"), "a new connection")
end

client = Dalli::Client.new("#{host}:#{port}", OPTIONS.merge(CHOICE))
client.flush
%i[verbs types counting comparing leases many large server].each { |part| send(part, client) }
