#!/usr/bin/perl
# Answers every request with DIR/index.html. Needs nothing that debian:*-slim lacks.
use strict;
use warnings;
use IO::Socket::INET;

my $dir = shift // '/srv';
# Process 1 of a container has no default signal handlers.
$SIG{TERM} = $SIG{INT} = sub { exit 0 };
$SIG{PIPE} = 'IGNORE';

my $server = IO::Socket::INET->new(LocalPort => 8080, Listen => 16, ReuseAddr => 1) or die "listen on 8080: $!\n";
while (1) {
    my $client = $server->accept or next;
    while (defined(my $line = <$client>)) {
        last if $line =~ /^\r?\n$/;
    }
    my ($status, $body) = ('200 OK', '');
    if (open my $page, '<:raw', "$dir/index.html") {
        local $/;
        $body = <$page>;
    } else {
        ($status, $body) = ('500 Internal Server Error', "no page: $!\n");
    }
    print $client "HTTP/1.1 $status\r\nContent-Type: text/html; charset=utf-8\r\n",
        'Content-Length: ', length $body, "\r\nConnection: close\r\n\r\n", $body;
    close $client;
}
