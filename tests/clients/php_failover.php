<?php
// php-memcached with a ketama ring over several servers, of which one dies: what each request comes to, order by order.
//
//     php php_failover.php SETTINGS HOST:PORT[:WEIGHT] ...
//
// Every line read is an order, every line written its outcome: the kinds of outcome, then a letter for each key.

// Long: nothing expires while rounds are recorded, however slow the machine.
const LONG_SECONDS = 300;
const SETTINGS = [
    'kept' => [Memcached::OPT_RETRY_TIMEOUT => LONG_SECONDS],
    'removed' => [
        Memcached::OPT_REMOVE_FAILED_SERVERS => true,
        Memcached::OPT_SERVER_FAILURE_LIMIT => 1,
        Memcached::OPT_RETRY_TIMEOUT => LONG_SECONDS,
        Memcached::OPT_DEAD_TIMEOUT => LONG_SECONDS,
    ],
    'returns' => [
        Memcached::OPT_REMOVE_FAILED_SERVERS => true,
        Memcached::OPT_SERVER_FAILURE_LIMIT => 1,
        Memcached::OPT_RETRY_TIMEOUT => 1,
        Memcached::OPT_DEAD_TIMEOUT => 1,
    ],
];

function value(string $key): string {
    return "value of $key";
}

// The different outcomes, and which of them each key had, as letters.
function spell(array $outcomes): string {
    $kinds = array_unique($outcomes);
    sort($kinds);
    $letters = array_map(fn($outcome) => chr(ord('a') + array_search($outcome, $kinds)), $outcomes);
    return implode(',', $kinds) . ' ' . implode('', $letters);
}

// A wrong value must not pass for an outcome.
function judged(string $key, mixed $got, int $code): string {
    if ($got === value($key)) return 'hit';
    if ($got !== false) exit("wrong value for $key: " . var_export($got, true) . "\n");
    return $code === Memcached::RES_NOTFOUND ? 'miss' : "code$code";
}

$keys = array_map(fn($number) => 'key:' . $number * 7919, range(0, 199));
[, $settings] = $argv;
$client = new Memcached();
$client->setOption(Memcached::OPT_LIBKETAMA_COMPATIBLE, true);
foreach (SETTINGS[$settings] as $option => $choice) $client->setOption($option, $choice);
foreach (array_slice($argv, 2) as $server) {
    [$host, $port, $weight] = explode(':', "$server:1");
    $client->addServer($host, (int) $port, (int) $weight);
}
$orders = [
    'sets' => fn() => array_map(
        fn($key) => $client->set($key, value($key)) ? 'True' : 'code' . $client->getResultCode(),
        $keys,
    ),
    'gets' => fn() => array_map(function ($key) use ($client) {
        $got = $client->get($key);
        return judged($key, $got, $client->getResultCode());
    }, $keys),
    'multi' => function () use ($client, $keys) {
        $found = $client->getMulti($keys) ?: [];
        return array_map(fn($key) => judged($key, $found[$key] ?? false, Memcached::RES_NOTFOUND), $keys);
    },
];
while (($order = fgets(STDIN)) !== false) echo spell($orders[trim($order)]()), "\n";
