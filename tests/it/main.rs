//! The end-to-end tests: one binary that starts the real server and talks to it as clients do.
//!
//! `RINGCACHED_BIN` names another binary to test (a memcached, say: the tests of memcached's own behaviour must
//! pass on memcached, or they are wrong). Everything that is missing on a machine (a tool, a client, a second
//! server) is skipped by name: one line on stderr, and one in the file that `RINGCACHED_SKIPPED` names.

mod auth;
mod budget;
mod classic;
mod clients;
mod cluster;
mod connections;
mod cores;
mod differential;
mod dumps;
mod failover;
mod fleet;
mod fleet_clients;
mod harness;
mod large;
mod layers;
mod memory;
mod name_server;
mod nutcracker;
mod options;
mod placement;
mod process;
mod proxy;
mod sandbox;
mod sockets;
mod statistics;
mod tidy;
mod tls;
mod tools;
mod udp;
mod watch;
