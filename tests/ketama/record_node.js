// Records where npm hashring (node memcached's ring) places each key, for all sets of five and of seven servers.
// Its own table of looked-up keys is switched off. Usage, beside a node_modules that holds hashring:
//   NODE_PATH=.../node_modules node record_node.js > rows; record_node.py packs and checks them.

const fs = require('fs');
const path = require('path');
const zlib = require('zlib');
const HashRing = require('hashring');
const version = require('hashring/package.json').version;

const keys = zlib.gunzipSync(fs.readFileSync(path.join(__dirname, 'keys.gz'))).toString().split('\n').slice(0, -1);
const sets = {};
for (const line of fs.readFileSync(path.join(__dirname, 'servers.tsv'), 'utf8').trim().split('\n')) {
  if (line.startsWith('#')) continue;
  const [set, host, port, weight] = line.split('\t');
  (sets[set] ||= []).push({ address: `${host}:${port}`, weight: Number(weight) });
}

const presets = { 'node-hashring': {}, 'node-hashring-ketama': { 'default port': 11211 } };
for (const set of ['equal5', 'names5', 'port11211', 'weights12345', 'weights11211', 'equal7', 'equal25', 'named5']) {
  const servers = Object.fromEntries(sets[set].map((server) => [server.address, server.weight]));
  const index = Object.fromEntries(sets[set].map((server, i) => [server.address, i.toString(36)]));
  for (const [preset, options] of Object.entries(presets)) {
    const ring = new HashRing(servers, 'md5', { ...options, 'max cache size': 1 });
    const owners = keys.map((key) => index[ring.get(key)]).join('');
    process.stdout.write(`${set}\t${preset}\t-\tnpm hashring ${version}\t${owners}\n`);
  }
}
