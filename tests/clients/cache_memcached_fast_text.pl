# Cache::Memcached::Fast over the text protocol: a thousand requests in one write, noreply, gat and gats.

use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Cache::Memcached::Fast;
use Checks;

my ($host, $port) = @ARGV;
my $client = Cache::Memcached::Fast->new({
    servers => [{ address => "$host:$port", noreply => 1 }],
    io_timeout => 20,
    nowait => 1,
    max_size => 4 << 20,
});

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
    equal(1, $client->touch('key', 1000), 'touch');
    equal('', $client->touch('nothing', 1000), 'touch of nothing');
    equal('?value!', $client->gat(2000, 'key'), 'gat');
    equal('?value!', $client->gats(2000, 'key')->[1], 'gats');
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
}

sub counting {
    $client->set('count', 10);
    equal(11, $client->incr('count'), 'incr');
    equal(16, $client->incr('count', 5), 'incr by 5');
    equal(6, $client->decr('count', 10), 'decr');
    equal('0E0', $client->decr('count', 10), 'decr below zero');
    equal('', $client->incr('nothing'), 'incr of nothing');
}

sub comparing {
    $client->set('cas', '1');
    my ($unique, $value) = @{ $client->gets('cas') };
    equal('1', $value, 'gets');
    equal(1, $client->cas('cas', $unique, '2'), 'cas');
    equal('', $client->cas('cas', $unique, '3'), 'cas with an old unique');
    equal('2', $client->get('cas'), 'after cas');
}

sub many {
    my @keys = map "many$_", 0 .. 999;
    equal(1, $_, 'set_multi') for $client->set_multi(map [$_, "value of $_"], @keys);
    my $found = $client->get_multi(@keys, 'nothing');
    equal(1000, scalar keys %$found, 'get_multi');
    equal("value of $_", $found->{$_}, $_) for @keys;
    my %uniques = map { $_->[0] => 1 } values %{ $client->gets_multi(@keys) };
    equal(1000, scalar keys %uniques, 'every item has its own unique');
    # Not more: a line of gat must be short.
    equal(100, scalar keys %{ $client->gat_multi(2000, @keys[0 .. 99]) }, 'gat_multi');
    equal(1, $_, 'delete_multi') for $client->delete_multi(@keys);
    equal(0, scalar keys %{ $client->get_multi(@keys) }, 'get_multi after delete_multi');
}

# Nobody looks at these results, so the library asks for no reply.
sub silent {
    $client->set('silent', $_) for 0 .. 999;
    $client->append('silent', '+');
    $client->prepend('silent', '-');
    equal('-999+', $client->get('silent'), 'the read behind a thousand silent sets');
    $client->set('count', 1);
    $client->incr('count', 5);
    $client->decr('count', 2);
    $client->touch('count', 100);
    equal(4, $client->get('count'), 'silent counting');
    $client->delete('silent');
    equal(undef, $client->get('silent'), 'silent delete');
    $client->nowait_push;
}

sub large {
    my $every = join('', map chr, 0 .. 255) x 1000;
    for my $value ("\r\n", "END\r\n", $every, 'x' x (1024 * 1024 - 1024)) {
        equal(1, $client->set('large', $value), 'set');
        equal($value, $client->get('large'), 'a value of ' . length($value) . ' bytes');
    }
    equal(undef, $client->set('large', 'x' x (1024 * 1024 + 1024)), 'set of more than 1 MiB');
    equal(undef, $client->get('large'), 'a refused set takes the old value with it');
    equal(1, $client->set('large', 'again'), 'the connection is still good');
    equal(1, $client->set('k' x 250, 'x'), 'set');
    equal('x', $client->get('k' x 250), 'a long key');
}

sub server {
    equal('1.', substr($client->server_versions->{"$host:$port"}, 0, 2), 'version');
    equal(1, scalar values %{ $client->flush_all }, 'flush_all');
    equal(undef, $client->get('large'), 'after flush_all');
    $client->disconnect_all;
    equal(undef, $client->get('large'), 'a new connection');
}

$client->flush_all;
verbs();
types();
counting();
comparing();
many();
silent();
large();
server();
