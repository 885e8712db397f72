package Checks;
# What the scripts of the Perl clients share.

use strict;
use warnings;
use Exporter 'import';
our @EXPORT = qw(equal);

# Ends the script where two things differ; an undefined one differs from all others. (The prototype asks for one
# result of a call, where a list might be empty.)
sub equal($$$) {
    my ($want, $got, $what) = @_;
    return if defined $want ? defined $got && $want eq $got : !defined $got;
    my ($wanted, $found) = map { defined $_ ? substr($_, 0, 300) : 'undef' } $want, $got;
    my (undef, undef, $line) = caller;
    die "line $line: $what: want $wanted, got $found\n";
}

1;
