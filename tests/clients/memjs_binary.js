// memjs, which speaks the binary protocol alone: counters that it always creates, flush without extras.

const assert = require("assert");
const { Client } = require("memjs");

const [host, port] = process.argv.slice(2);
const client = Client.create(`${host}:${port}`, { timeout: 20, retries: 1, keepAlive: true });

const text = async (key) => {
  const { value } = await client.get(key);
  return value === null ? null : value.toString();
};

async function verbs() {
  assert.strictEqual(await client.set("key", "value", {}), true);
  assert.strictEqual(await text("key"), "value");
  assert.strictEqual(await text("nothing"), null);
  assert.strictEqual(await client.add("key", "other", {}), false);
  assert.strictEqual(await client.add("fresh", "1", { expires: 1000 }), true);
  assert.strictEqual(await client.replace("nothing", "x", {}), false);
  assert.strictEqual(await client.replace("fresh", "2", {}), true);
  assert.strictEqual(await client.append("key", "!"), true);
  assert.strictEqual(await text("key"), "value!");
  await assert.rejects(client.append("nothing", "x"));
  // It sends an append for this one.
  assert.strictEqual(await client.prepend("key", "?"), true);
  assert.strictEqual(await text("key"), "value!?");
  assert.strictEqual(await client.touch("key", 1000), true);
  assert.strictEqual(await client.touch("nothing", 1000), false);
  assert.strictEqual(await client.delete("key"), true);
  assert.strictEqual(await client.delete("key"), false);
}

async function counting() {
  assert.strictEqual((await client.increment("count", 5, { initial: 10 })).value, 10);
  assert.strictEqual((await client.increment("count", 5, {})).value, 15);
  assert.strictEqual((await client.decrement("count", 3, {})).value, 12);
  assert.strictEqual((await client.decrement("count", 100, {})).value, 0);
  assert.strictEqual((await client.decrement("fresh count", 1, { initial: 7, expires: 1000 })).value, 7);
}

async function many() {
  const keys = Array.from({ length: 1000 }, (_, number) => `many${number}`);
  await Promise.all(keys.map((key) => client.set(key, key, {})));
  assert.deepStrictEqual(await Promise.all(keys.map(text)), keys);
  await Promise.all(keys.map((key) => client.delete(key)));
  assert.ok((await Promise.all(keys.map(text))).every((value) => value === null));
}

async function large() {
  const every = Buffer.from(Array.from({ length: 256_000 }, (_, number) => number % 256));
  for (const value of [Buffer.alloc(0), Buffer.from("\r\n"), every, Buffer.alloc(1024 * 1024 - 1024, "x")]) {
    assert.strictEqual(await client.set("large", value, {}), true);
    assert.ok(value.equals((await client.get("large")).value), `a value of ${value.length} bytes`);
  }
  await assert.rejects(client.set("large", Buffer.alloc(1024 * 1024 + 1024), {}));
  assert.strictEqual(await text("large"), null);
  assert.strictEqual(await client.set("large", "again", {}), true);
  for (const key of ["k".repeat(250), "a b", "a\r\nb", "\u043a\u043b\u044e\u0447"]) {
    assert.strictEqual(await client.set(key, key, {}), true);
    assert.strictEqual(await text(key), key);
  }
}

// The library calls back once for every server.
const statistics = (key) =>
  new Promise((resolve, reject) =>
    client.statsWithKey(key, (error, _, figures) => (error ? reject(error) : resolve(figures))),
  );

async function server() {
  assert.ok(Number((await statistics("")).curr_items) > 0);
  assert.strictEqual((await statistics("settings")).item_size_max, "1048576");
  await new Promise((resolve, reject) => client.resetStats((error) => (error ? reject(error) : resolve())));
  await client.flush();
  assert.strictEqual(await text("large"), null);
}

async function main() {
  await client.flush();
  for (const part of [verbs, counting, many, large, server]) await part();
  client.quit();
}

main().catch((mistake) => {
  console.error(mistake);
  process.exit(1);
});
