// memcache-client over the text protocol: a thousand keys in one get, noreply, raw commands.

const assert = require("assert");
const { MemcacheClient } = require("memcache-client");

const [host, port] = process.argv.slice(2);
const client = new MemcacheClient({
  server: { server: `${host}:${port}`, maxConnections: 1 },
  cmdTimeout: 20000,
});

const value = async (key) => (await client.get(key))?.value;
const refused = (promise, answer) => assert.rejects(promise, new RegExp(answer));

async function verbs() {
  assert.deepStrictEqual(await client.set("key", "value"), ["STORED"]);
  assert.strictEqual(await value("key"), "value");
  assert.strictEqual(await value("nothing"), undefined);
  await refused(client.add("key", "other"), "NOT_STORED");
  assert.deepStrictEqual(await client.add("fresh", "1"), ["STORED"]);
  await refused(client.replace("nothing", "x"), "NOT_STORED");
  assert.deepStrictEqual(await client.replace("fresh", "2"), ["STORED"]);
  assert.deepStrictEqual(await client.append("key", "!"), ["STORED"]);
  assert.deepStrictEqual(await client.prepend("key", "?"), ["STORED"]);
  assert.strictEqual(await value("key"), "?value!");
  await refused(client.append("nothing", "x"), "NOT_STORED");
  assert.deepStrictEqual(await client.touch("key", 1000), ["TOUCHED"]);
  await refused(client.touch("nothing", 1000), "NOT_FOUND");
  assert.deepStrictEqual(await client.delete("key"), ["DELETED"]);
  await refused(client.delete("key"), "NOT_FOUND");
}

async function types() {
  for (const typed of ["text", "\u00fcml\u00e4ut", "", 42, { a: [1, null] }, Buffer.from([0, 13, 10, 255])]) {
    await client.set("typed", typed);
    assert.deepStrictEqual(await value("typed"), typed);
  }
}

async function counting() {
  await client.set("count", "10");
  assert.strictEqual(await client.incr("count", 5), "15");
  assert.strictEqual(await client.decr("count", 20), "0");
  await refused(client.incr("nothing", 1), "NOT_FOUND");
  await client.set("count", "text");
  await refused(client.incr("count", 1), "CLIENT_ERROR");
  assert.strictEqual(await value("count"), "text");
}

async function comparing() {
  await client.set("cas", "1");
  const { casUniq } = await client.gets("cas");
  assert.deepStrictEqual(await client.cas("cas", "2", { casUniq }), ["STORED"]);
  await refused(client.cas("cas", "3", { casUniq }), "EXISTS");
  await refused(client.cas("nothing", "3", { casUniq }), "NOT_FOUND");
  assert.strictEqual(await value("cas"), "2");
}

async function many() {
  const keys = Array.from({ length: 1000 }, (_, number) => `many${number}`);
  await Promise.all(keys.map((key) => client.set(key, key)));
  const found = await client.get([...keys, "nothing"]);
  assert.strictEqual(Object.keys(found).length, 1000);
  assert.ok(keys.every((key) => found[key].value === key));
  const uniques = Object.values(await client.gets(keys)).map((item) => item.casUniq);
  assert.strictEqual(new Set(uniques).size, 1000);
}

async function silent() {
  for (let number = 0; number < 1000; number++) client.set("silent", `${number}`, { noreply: true });
  client.append("silent", "+", { noreply: true });
  client.prepend("silent", "-", { noreply: true });
  assert.strictEqual(await value("silent"), "-999+");
  client.delete("silent", { noreply: true });
  assert.strictEqual(await value("silent"), undefined);
}

async function large() {
  const every = Buffer.from(Array.from({ length: 256_000 }, (_, number) => number % 256));
  for (const bytes of [Buffer.from("\r\n"), Buffer.from("END\r\n"), every, Buffer.alloc(1024 * 1024 - 1024, "x")]) {
    await client.set("large", bytes);
    assert.ok(bytes.equals(await value("large")), `a value of ${bytes.length} bytes`);
  }
  await refused(client.set("large", Buffer.alloc(1024 * 1024 + 1024)), "SERVER_ERROR");
  assert.strictEqual(await value("large"), undefined);
  await client.set("large", "again");
  assert.strictEqual(await value("large"), "again");
  await client.set("k".repeat(250), "x");
  assert.strictEqual(await value("k".repeat(250)), "x");
}

async function server() {
  assert.match((await client.version()).join(" "), /^(VERSION )?1\.\d/);
  const names = (await client.cmd("stats")).STAT.map(([name]) => name);
  assert.ok(names.includes("curr_items") && names.includes("pid"));
  await client.cmd("flush_all");
  assert.strictEqual(await value("large"), undefined);
}

async function main() {
  await client.cmd("flush_all");
  for (const part of [verbs, types, counting, comparing, many, silent, large, server]) await part();
  client.shutdown();
}

main().catch((mistake) => {
  console.error(mistake);
  process.exit(1);
});
