// node's elasticache-client finds a fleet through one node.

const assert = require("assert");
const Memcached = require("elasticache-client");

const [host, port, list] = process.argv.slice(2);
const client = new Memcached(`${host}:${port}`, { autodiscovery: true }, { timeout: 20000, retries: 0 });

const ask = (verb, ...words) =>
  new Promise((resolve, reject) =>
    client[verb](...words, (error, answer) => (error ? reject(error) : resolve(answer))),
  );

async function main() {
  assert.deepStrictEqual([...client.memcached.servers].sort(), list.split(",").sort());
  for (let number = 0; number < 200; number++) {
    assert.strictEqual(await ask("set", `elasticache-${number}`, `value ${number}`, 1000), true);
  }
  for (let number = 0; number < 200; number++) {
    assert.strictEqual(await ask("get", `elasticache-${number}`), `value ${number}`);
  }
}

main().then(
  () => process.exit(0),
  (mistake) => {
    console.error(mistake);
    process.exit(1);
  },
);
