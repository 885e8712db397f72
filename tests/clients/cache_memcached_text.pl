# Cache::Memcached over the text protocol: a blank at the end of every get, many keys in one line.

use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Cache::Memcached;
use Checks;

my ($host, $port) = @ARGV;
my $client = Cache::Memcached->new({ servers => ["$host:$port"], compress_threshold => 10_000, select_timeout => 20 });

sub verbs {
    equal(1, $client->set('key', 'value'), 'set');
    equal('value', $client->get('key'), 'get');
    equal(undef, $client->get('nothing'), 'get of nothing');
    equal('', $client->add('key', 'other'), 'add of a key that is there');
    equal(1, $client->add('fresh', '1', 1000), 'add');
    equal('', $client->replace('nothing', 'x'), 'replace of nothing');
    equal(1, $client->replace('fresh', '2'), 'replace');
    equal(1, $client->append('key', '!'), 'append');
    equal(1, $client->prepend('key', '?'), 'prepend');
    equal('?value!', $client->get('key'), 'after append and prepend');
    equal('', $client->append('nothing', 'x'), 'append to nothing');
    equal(1, $client->delete('key'), 'delete');
    equal('', $client->delete('key'), 'delete of nothing');
}

sub types {
    for my $value ('text', '', 42, 3.5, join('', map chr, 0 .. 255)) {
        equal(1, $client->set('typed', $value), 'set');
        equal($value, $client->get('typed'), 'a value');
    }
    equal(1, $client->set('typed', { a => [1, 2] }), 'set of a structure');
    equal(2, $client->get('typed')->{a}[1], 'a structure, as its flags say');
    equal(1, $client->set('packed', 'x' x 100_000), 'set compressed');
    equal('x' x 100_000, $client->get('packed'), 'get compressed');
}

sub counting {
    $client->set('count', 10);
    equal(11, $client->incr('count'), 'incr');
    equal(16, $client->incr('count', 5), 'incr by 5');
    equal(6, $client->decr('count', 10), 'decr');
    equal(0, $client->decr('count', 10), 'decr below zero');
    equal(undef, $client->incr('nothing'), 'incr of nothing');
}

sub many {
    my @keys = map "many$_", 0 .. 999;
    equal(1, $client->set($_, "value of $_"), 'set') for @keys;
    my $found = $client->get_multi(@keys, 'nothing');
    equal(1000, scalar keys %$found, 'get_multi');
    equal("value of $_", $found->{$_}, $_) for @keys;
    $client->delete($_) for @keys;
    equal(0, scalar keys %{ $client->get_multi(@keys) }, 'get_multi after the deletes');
}

sub large {
    $client->enable_compress(0);
    my $every = join('', map chr, 0 .. 255) x 1000;
    for my $value ("\r\n", "END\r\n", $every, 'x' x (1024 * 1024 - 1024)) {
        equal(1, $client->set('large', $value), 'set');
        equal($value, $client->get('large'), 'a value of ' . length($value) . ' bytes');
    }
    equal('', $client->set('large', 'x' x (1024 * 1024 + 1024)), 'set of more than 1 MiB');
    equal(undef, $client->get('large'), 'a refused set takes the old value with it');
    equal(1, $client->set('large', 'again'), 'the connection is still good');
    equal(1, $client->set('k' x 250, 'x'), 'set');
    equal('x', $client->get('k' x 250), 'a long key');
}

sub server {
    my $statistics = $client->stats(['misc', 'items', 'slabs', 'malloc'])->{hosts}{"$host:$port"};
    equal(1, $statistics->{misc}{curr_items} > 0, 'stats');
    equal(1, $client->flush_all, 'flush_all');
    equal(undef, $client->get('large'), 'after flush_all');
    $client->disconnect_all;
    equal(undef, $client->get('large'), 'a new connection');
}

$client->flush_all;
verbs();
types();
counting();
many();
large();
server();
