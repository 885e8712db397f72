<?php
// PHP's memcached over binary with SASL: php_sasl.php HOST PORT.

function connect(string $user, string $password): Memcached
{
    global $argv;
    $client = new Memcached();
    $client->setOption(Memcached::OPT_BINARY_PROTOCOL, true);
    $client->setSaslAuthData($user, $password);
    $client->addServer($argv[1], (int) $argv[2]);
    return $client;
}

function equal($want, $got, string $what): void
{
    if ($want !== $got) {
        fprintf(STDERR, "%s: want %s, got %s\n", $what, var_export($want, true), var_export($got, true));
        exit(1);
    }
}

$root = connect('root', 'all');
equal(true, $root->set('key', 'value'), 'set: ' . $root->getResultMessage());
equal('value', $root->get('key'), 'get');
$many = [];
for ($number = 0; $number < 200; $number++) {
    $many["many$number"] = str_repeat('x', $number);
}
equal(true, $root->setMulti($many), 'setMulti');
equal($many, $root->getMulti(array_keys($many)), 'getMulti');

foreach ([['root', 'wrong'], ['nobody', 'all']] as [$user, $password]) {
    equal(false, connect($user, $password)->set('key', 'bad'), "$user with $password");
}

$reader = connect('reader', 'r');
equal('value', $reader->get('key'), 'get by one who may read');
equal(false, $reader->set('key', 'bad'), 'set by one who may not');
// Of what is answered to this the library says nothing.
connect('reader', 'r')->flush();
equal('value', connect('reader', 'r')->get('key'), 'get after what was refused');

$web = connect('web', 'pass word: and all');
equal(true, $web->set('shop:1', 'mine'), 'set of a key that is his');
equal(false, $web->get('key'), 'get of a key that is not');
equal('value', $root->get('key'), 'in the end');
