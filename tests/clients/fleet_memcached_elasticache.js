// node's memcached-elasticache finds a fleet through one node.

const assert = require("assert");
const Memcached = require("memcached-elasticache");

const [host, port, list] = process.argv.slice(2);
const client = new Memcached(`${host}:${port}`, { timeout: 20000, retries: 0 });

const ask = (verb, ...words) =>
  new Promise((resolve, reject) =>
    client[verb](...words, (error, answer) => (error ? reject(error) : resolve(answer))),
  );

async function use(nodes) {
  assert.deepStrictEqual(nodes, list.split(",").sort());
  for (let number = 0; number < 200; number++) {
    assert.strictEqual(await ask("set", `node-${number}`, `value ${number}`, 1000), true);
  }
  for (let number = 0; number < 200; number++) {
    assert.strictEqual(await ask("get", `node-${number}`), `value ${number}`);
  }
  client.end();
}

function fail(mistake) {
  console.error(mistake);
  process.exit(1);
}

client.on("autoDiscover", (nodes) => use(nodes).then(() => process.exit(0), fail));
client.on("autoDiscoverFailure", fail);
