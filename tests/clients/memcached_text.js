// node's memcached over the text protocol.

const assert = require("assert");
const Memcached = require("memcached");

const [host, port] = process.argv.slice(2);
const client = new Memcached(`${host}:${port}`, { timeout: 20000, retries: 0, maxKeySize: 250 });

// A command of the library as a promise.
const ask = (verb, ...words) =>
  new Promise((resolve, reject) =>
    client[verb](...words, (error, answer) => (error ? reject(error) : resolve(answer))),
  );

async function main() {
  await ask("flush");
  assert.strictEqual(await ask("set", "key", "value", 1000), true);
  assert.strictEqual(await ask("get", "key"), "value");
  assert.strictEqual(await ask("get", "nothing"), undefined);
  await assert.rejects(ask("add", "key", "other", 1000));
  assert.strictEqual(await ask("add", "fresh", "1", 1000), true);
  await assert.rejects(ask("replace", "nothing", "x", 1000));
  assert.strictEqual(await ask("replace", "fresh", "2", 1000), true);
  assert.strictEqual(await ask("append", "key", "!"), true);
  assert.strictEqual(await ask("prepend", "key", "?"), true);
  assert.strictEqual(await ask("get", "key"), "?value!");
  assert.strictEqual(await ask("touch", "key", 1000), true);
  assert.strictEqual(await ask("del", "key"), true);
  assert.strictEqual(await ask("del", "key"), false);

  assert.strictEqual(await ask("set", "count", 10, 1000), true);
  assert.strictEqual(await ask("incr", "count", 5), 15);
  assert.strictEqual(await ask("decr", "count", 20), 0);
  assert.strictEqual(await ask("incr", "nothing", 1), false);

  await ask("set", "cas", "1", 1000);
  const seen = await ask("gets", "cas");
  assert.strictEqual(await ask("cas", "cas", "2", seen.cas, 1000), true);
  assert.strictEqual(await ask("cas", "cas", "3", seen.cas, 1000), false);
  assert.strictEqual(await ask("get", "cas"), "2");

  // Types travel in the flags.
  for (const value of [{ a: [1, 2] }, 42, Buffer.from([0, 13, 10, 255]), "", "\u00fcml\u00e4ut"]) {
    await ask("set", "typed", value, 1000);
    assert.deepStrictEqual(await ask("get", "typed"), value);
  }
  const large = "x".repeat(1000 * 1000);
  await ask("set", "large", large, 1000);
  assert.strictEqual(await ask("get", "large"), large);

  const keys = Array.from({ length: 1000 }, (_, number) => `many${number}`);
  await Promise.all(keys.map((key) => ask("set", key, key, 1000)));
  const found = await ask("getMulti", keys);
  assert.strictEqual(Object.keys(found).length, 1000);
  assert.ok(keys.every((key) => found[key] === key));

  const [version] = await ask("version");
  assert.ok(version.version.startsWith("1."), version.version);
  const [statistics] = await ask("stats");
  assert.ok(statistics.curr_items >= 1000);
  await ask("flush");
  assert.strictEqual(await ask("get", "cas"), undefined);
  client.end();
}

main().catch((mistake) => {
  console.error(mistake);
  process.exit(1);
});
