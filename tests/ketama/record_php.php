<?php
// Prints where php-memcached really sends each key: "preset<TAB>owners" a line. Run by record_php.py, which starts
// the servers that answer with their own index.
//   php record_php.php KEYFILE host:port:weight ...

// Sessions cannot be set up once anything was printed.
ob_start();
$keys = file($argv[1], FILE_IGNORE_NEW_LINES);
$servers = array_map(fn($server) => explode(':', $server), array_slice($argv, 2));

function client(array $servers, array $options): Memcached {
    $client = new Memcached();
    foreach ($options as $option => $value) $client->setOption($option, $value);
    foreach ($servers as [$host, $port, $weight]) $client->addServer($host, (int) $port, (int) $weight);
    return $client;
}

$presets = [
    'php' => [Memcached::OPT_LIBKETAMA_COMPATIBLE => true],
    'php-consistent' => [Memcached::OPT_DISTRIBUTION => Memcached::DISTRIBUTION_CONSISTENT],
    'php-modula' => [],
    'libmemcached-md5' => [
        Memcached::OPT_DISTRIBUTION => Memcached::DISTRIBUTION_CONSISTENT,
        Memcached::OPT_HASH => Memcached::HASH_MD5,
    ],
];
foreach ($presets as $preset => $options) {
    $client = client($servers, $options);
    $found = [];
    // Text keys of libmemcached are ASCII; the others are left out.
    foreach (array_chunk(preg_grep('/^[!-~]+$/', $keys), 200) as $chunk) $found += $client->getMulti($chunk) ?: [];
    echo "$preset\t", implode('', array_map(fn($key) => $found[$key] ?? '.', $keys)), "\n";
}

// Sessions: libmemcached hashes the id without the prefix. An id is what PHP lets be one.
ini_set('session.save_handler', 'memcached');
ini_set('session.save_path', implode(',', array_map(fn($server) => implode(':', $server), $servers)));
ini_set('session.use_cookies', '0');
ini_set('session.use_strict_mode', '0');
ini_set('session.cache_limiter', '');
ini_set('session.serialize_handler', 'php_serialize');
ini_set('memcached.sess_locking', '0');
ini_set('memcached.sess_binary_protocol', '0');
echo "php-session\t";
foreach ($keys as $key) {
    if (!preg_match('/^[a-zA-Z0-9,-]{1,100}$/', $key)) {
        echo '.';
        continue;
    }
    session_id($key);
    // The value is no session, so PHP drops it; the handler itself shows what it read.
    session_set_save_handler(new class extends SessionHandler {
        public function read($id): string|false { $GLOBALS['owner'] = parent::read($id); return ''; }
        public function write($id, $data): bool { return true; }
        public function updateTimestamp($id, $data): bool { return true; }
    });
    $GLOBALS['owner'] = '.';
    session_start();
    session_abort();
    echo $GLOBALS['owner'];
}
echo "\n";
ob_end_flush();
