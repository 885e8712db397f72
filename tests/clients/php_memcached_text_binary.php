<?php
// PHP's memcached, which is libmemcached, over text or binary, as the third argument says.

[, $host, $port, $dialect] = $argv;
define('OVER_BINARY', $dialect === 'binary');

function equal($want, $got, string $what = ''): void
{
    if ($want !== $got) {
        [$want, $got] = array_map(fn($side) => substr(json_encode($side, JSON_PARTIAL_OUTPUT_ON_ERROR), 0, 300), [$want, $got]);
        fwrite(STDERR, "$what: want $want, got $got\n" . (new Exception())->getTraceAsString() . "\n");
        exit(1);
    }
}

// A call that is refused, and for what reason.
function refused(Memcached $client, $answer, int $reason, string $what): void
{
    equal(false, $answer, $what);
    equal($reason, $client->getResultCode(), "the reason of $what");
}

function connect(array $options = []): Memcached
{
    global $host, $port;
    $client = new Memcached();
    $client->setOptions([Memcached::OPT_BINARY_PROTOCOL => OVER_BINARY, Memcached::OPT_POLL_TIMEOUT => 20000] + $options);
    $client->addServer($host, (int) $port);
    return $client;
}

function verbs(Memcached $client): void
{
    equal(true, $client->set('key', 'value'), 'set');
    equal('value', $client->get('key'), 'get');
    refused($client, $client->get('nothing'), Memcached::RES_NOTFOUND, 'get of nothing');
    refused($client, $client->add('key', 'other'), OVER_BINARY ? Memcached::RES_DATA_EXISTS : Memcached::RES_NOTSTORED, 'add of a key that is there');
    equal(true, $client->add('fresh', '1', 1000), 'add');
    equal(true, $client->replace('fresh', '2'), 'replace');
    $client->setOption(Memcached::OPT_COMPRESSION, false);
    equal(true, $client->append('key', '!'), 'append');
    equal(true, $client->prepend('key', '?'), 'prepend');
    equal('?value!', $client->get('key'), 'after append and prepend');
    refused($client, $client->append('nothing', 'x'), Memcached::RES_NOTSTORED, 'append to nothing');
    equal(true, $client->touch('key', 1000), 'touch');
    refused($client, $client->touch('nothing', 1000), Memcached::RES_NOTFOUND, 'touch of nothing');
    equal(true, $client->delete('key'), 'delete');
    refused($client, $client->delete('key'), Memcached::RES_NOTFOUND, 'delete of nothing');
}

function types(Memcached $client): void
{
    foreach (['text', 'ümläut', '', 42, PHP_INT_MAX, 3.5, true, [1, ['a' => null]], implode(array_map('chr', range(0, 255)))] as $value) {
        equal(true, $client->set('typed', $value), 'set');
        equal($value, $client->get('typed'), 'a value with its type in the flags');
    }
    $client->setOption(Memcached::OPT_COMPRESSION, true);
    equal(true, $client->set('packed', str_repeat('x', 100000)), 'set compressed');
    equal(str_repeat('x', 100000), $client->get('packed'), 'get compressed');
    $client->setOption(Memcached::OPT_COMPRESSION, false);
    $client->setOption(Memcached::OPT_USER_FLAGS, 65535);
    equal(true, $client->set('flagged', 'x'), 'set with flags');
    equal(65535, $client->get('flagged', null, Memcached::GET_EXTENDED)['flags'], 'flags');
    $client->setOption(Memcached::OPT_USER_FLAGS, -1);
}

function counting(Memcached $client): void
{
    $client->set('count', 10);
    equal(11, $client->increment('count'), 'increment');
    equal(16, $client->increment('count', 5), 'increment by 5');
    equal(6, $client->decrement('count', 10), 'decrement');
    equal(0, $client->decrement('count', 10), 'decrement below zero');
    refused($client, $client->increment('nothing'), Memcached::RES_NOTFOUND, 'increment of nothing');
    if (OVER_BINARY) {
        equal(7, $client->increment('fresh count', 1, 7, 1000), 'increment of nothing stores the first value');
        equal(8, $client->increment('fresh count', 1, 7, 1000), 'increment');
    }
}

function comparing(Memcached $client): void
{
    $client->set('cas', '1');
    $seen = $client->get('cas', null, Memcached::GET_EXTENDED);
    equal('1', $seen['value'], 'get with its unique');
    equal(true, $client->cas($seen['cas'], 'cas', '2'), 'cas');
    refused($client, $client->cas($seen['cas'], 'cas', '3'), Memcached::RES_DATA_EXISTS, 'cas with an old unique');
    equal('2', $client->get('cas'), 'after cas');
    refused($client, $client->cas($seen['cas'], 'nothing', '3'), Memcached::RES_NOTFOUND, 'cas of nothing');
}

function many(Memcached $client): void
{
    $values = [];
    for ($number = 0; $number < 1000; $number++) {
        $values["many$number"] = "value $number";
    }
    equal(true, $client->setMulti($values), 'setMulti');
    $keys = array_keys($values);
    equal($values, $client->getMulti($keys), 'getMulti');
    equal($values + ['nothing' => null], $client->getMulti([...$keys, 'nothing'], Memcached::GET_PRESERVE_ORDER), 'getMulti in order');
    $found = $client->getMulti($keys, Memcached::GET_EXTENDED);
    equal(1000, count(array_unique(array_column($found, 'cas'))), 'every item has its own unique');
    equal(true, $client->getDelayed($keys, true), 'getDelayed');
    equal(1000, count($client->fetchAll()), 'fetchAll');
    equal(array_fill_keys($keys, true), $client->deleteMulti($keys), 'deleteMulti');
    equal([], $client->getMulti($keys), 'getMulti after deleteMulti');
}

// Many stores in one piece, without their answers; then a read that must see them all.
function silent(): void
{
    $client = connect([Memcached::OPT_NO_BLOCK => true, Memcached::OPT_NOREPLY => true, Memcached::OPT_BUFFER_WRITES => true]);
    $keys = [];
    for ($number = 0; $number < 2000; $number++) {
        $keys[] = "silent$number";
        $client->set("silent$number", $number);
    }
    equal(range(0, 1999), array_values($client->getMulti($keys)), 'the read behind 2,000 buffered sets');
    foreach ($keys as $key) {
        $client->delete($key);
    }
    equal([], $client->getMulti($keys), 'the read behind 2,000 buffered deletes');
}

function large(Memcached $client): void
{
    $every = str_repeat(implode(array_map('chr', range(0, 255))), 1000);
    foreach (["\r\n", "END\r\n", $every, str_repeat('x', 1024 * 1024 - 1024)] as $value) {
        equal(true, $client->set('large', $value), 'set');
        equal(true, $value === $client->get('large'), 'a value of ' . strlen($value) . ' bytes');
    }
    refused($client, $client->set('large', str_repeat('x', 1024 * 1024 + 1024)), Memcached::RES_E2BIG, 'set of more than 1 MiB');
    equal(false, $client->get('large'), 'a refused set takes the old value with it');
    equal(true, $client->set('large', 'again'), 'the connection is still good');
    equal(true, $client->set(str_repeat('k', 249), 'x'), 'a long key');
    equal('x', $client->get(str_repeat('k', 249)), 'a long key');
}

function server(Memcached $client): void
{
    equal('1.', substr(current($client->getVersion()), 0, 2), 'version');
    equal(true, current($client->getStats())['curr_items'] > 0, 'stats');
    equal(1048576, (int) current($client->getStats('settings'))['item_size_max'], 'stats settings');
    foreach (['items', 'slabs'] as $part) {
        equal(true, count(current($client->getStats($part))) > 2, "stats $part");
    }
    equal(true, $client->flush(1000), 'flush with a delay');
    equal('again', $client->get('large'), 'before the delayed flush');
    equal(true, $client->flush(), 'flush');
    equal(false, $client->get('large'), 'after flush');
    $client->quit();
    equal(false, $client->get('large'), 'a new connection');
}

$client = connect();
$client->flush();
foreach (['verbs', 'types', 'counting', 'comparing', 'many'] as $part) {
    $part($client);
}
// Rings and single-byte reads change how keys are sent, not what comes back.
foreach ([[Memcached::OPT_LIBKETAMA_COMPATIBLE => true], [Memcached::OPT_TCP_NODELAY => true, Memcached::OPT_NO_BLOCK => true]] as $options) {
    $other = connect($options);
    $other->flush();
    foreach (['verbs', 'counting', 'comparing', 'many'] as $part) {
        $part($other);
    }
}
silent();
large($client);
server($client);
