//! What the server says of itself, and the words that change its settings.
//!
//! Monitoring tools parse these lines by name and by shape: an exporter that misses one name marks the server as
//! down. So names, order and formats are memcached's, and every figure that we have is moved by a test.

use std::collections::BTreeMap;

use rustix::process::Signal;

use crate::harness::{Client, Server, testing_memcached};

/// The general statistics of memcached 1.6.45, in its order.
const GENERAL: &str = "pid uptime time version libevent pointer_size rusage_user rusage_system max_connections \
    curr_connections total_connections rejected_connections connection_structures response_obj_oom \
    response_obj_count response_obj_bytes read_buf_count read_buf_bytes read_buf_bytes_free read_buf_oom \
    reserved_fds cmd_get cmd_set cmd_flush cmd_touch cmd_meta get_hits get_misses get_expired get_flushed \
    delete_misses delete_hits incr_misses incr_hits decr_misses decr_hits cas_misses cas_hits cas_badval \
    touch_hits touch_misses store_too_large store_no_memory auth_cmds auth_errors bytes_read bytes_written \
    limit_maxbytes accepting_conns listen_disabled_num time_in_listen_disabled_us threads conn_yields \
    hash_power_level hash_bytes hash_is_expanding slab_reassign_rescues slab_reassign_chunk_rescues \
    slab_reassign_inline_reclaim slab_reassign_busy_items slab_reassign_busy_deletes slab_reassign_busy_nomem \
    slab_reassign_last_busy_status slab_reassign_running slabs_moved lru_crawler_running lru_crawler_starts \
    lru_maintainer_juggles malloc_fails log_worker_dropped log_worker_written log_watcher_skipped \
    log_watcher_sent log_watchers unexpected_napi_ids round_robin_fallback bytes curr_items total_items \
    slab_global_page_pool expired_unfetched evicted_unfetched evicted_active evictions reclaimed \
    crawler_reclaimed crawler_items_checked lrutail_reflocked moves_to_cold moves_to_warm moves_within_lru \
    direct_reclaims lru_bumps_dropped";

const ITEMS: &str = "number number_hot number_warm number_cold age_hot age_warm age mem_requested evicted \
    evicted_nonzero evicted_time outofmemory tailrepairs reclaimed expired_unfetched evicted_unfetched \
    evicted_active crawler_reclaimed crawler_items_checked lrutail_reflocked moves_to_cold moves_to_warm \
    moves_within_lru direct_reclaims hits_to_hot hits_to_warm hits_to_cold hits_to_temp";

const SLABS: &str = "chunk_size chunks_per_page total_pages total_chunks used_chunks free_chunks \
    free_chunks_end get_hits cmd_set delete_hits incr_hits decr_hits cas_hits cas_badval touch_hits";

/// The answer to `stats <what>`: names and values in order. Any other line than `STAT <name> <value>` fails.
pub(crate) fn stats(client: &mut Client, what: &str) -> Vec<(String, String)> {
    client.send(format!("stats {what}\r\n"));
    let mut all = Vec::new();
    loop {
        let line = client.line();
        if line == "END" {
            return all;
        }
        let words: Vec<&str> = line.split(' ').collect();
        let ["STAT", name, value] = words[..] else {
            panic!("not a statistic: {line:?}")
        };
        all.push((name.to_owned(), value.to_owned()));
    }
}

fn names(all: &[(String, String)]) -> Vec<&str> {
    all.iter().map(|(name, _)| name.as_str()).collect()
}

fn value_of<'a>(all: &'a [(String, String)], name: &str) -> &'a str {
    let found = all.iter().find(|(other, _)| other == name);
    &found.unwrap_or_else(|| panic!("no {name}")).1
}

#[test]
fn general_statistics_have_memcacheds_names_in_its_order() {
    if testing_memcached() {
        return;
    }
    for threads in ["1", "4"] {
        let server = Server::start(&["-t", threads]);
        let all = stats(&mut server.connect(), "");
        let want: Vec<&str> = GENERAL.split_whitespace().collect();
        assert_eq!(want.len(), 93);
        assert_eq!(want, names(&all));
        let words = [
            "version",
            "libevent",
            "rusage_user",
            "rusage_system",
            "slab_reassign_last_busy_status",
        ];
        for (name, value) in all.iter().filter(|(name, _)| !words.contains(&name.as_str())) {
            assert!(value.parse::<u64>().is_ok(), "{name} {value}");
        }
        for name in ["rusage_user", "rusage_system"] {
            let (seconds, micros) = value_of(&all, name).split_once('.').expect("a point");
            assert!(seconds.parse::<u64>().is_ok() && micros.len() == 6 && micros.parse::<u64>().is_ok());
        }
        assert!(
            value_of(&all, "uptime").parse::<u64>().unwrap() >= 2,
            "tools divide by it"
        );
        assert_eq!(value_of(&all, "threads"), threads);
    }
    let server = Server::start(&["-o", "no_lru_crawler,no_lru_maintainer"]);
    assert_eq!(stats(&mut server.connect(), "").len(), 84);
}

/// What a conversation does to the counters: nothing else may move but what moves with every word.
#[test]
fn every_counter_is_moved_by_what_it_counts() {
    let server = Server::start(&["-t", "2", "-I", "4096", "-o", "relaxed_privileges"]);
    let mut client = server.connect();
    // The search for expired items goes on once a second: not while the clock stands still.
    client.check("debugtime p\n", "OK\n");
    let large = "x".repeat(5000);
    let cases: &[(&str, &str)] = &[
        ("set a 0 0 1\nx\n", "cmd_set curr_items total_items bytes"),
        ("get a\n", "cmd_get get_hits"),
        ("get nothing\n", "cmd_get get_misses"),
        ("mg a\n", "cmd_get get_hits"),
        ("me a\n", "cmd_meta"),
        ("touch a 0\n", "cmd_touch touch_hits"),
        ("touch nothing 0\n", "cmd_touch touch_misses"),
        ("gat 0 a\n", "cmd_touch touch_hits"),
        ("cas a 0 0 1 0\nx\n", "cmd_set cas_badval"),
        ("cas nothing 0 0 1 1\nx\n", "cmd_set cas_misses"),
        ("ms a 1 C18446744073709551615 I\nx\n", "cmd_set cas_badval"),
        ("ms b 1 E7\nx\n", "cmd_set curr_items total_items bytes"),
        ("ms b 1 C7\nx\n", "cmd_set cas_hits total_items"),
        ("set n 0 0 1\n1\n", "cmd_set curr_items total_items bytes"),
        ("incr n 1\n", "incr_hits"),
        ("decr n 1\n", "decr_hits"),
        ("incr nothing 1\n", "incr_misses"),
        ("decr nothing 1\n", "decr_misses"),
        ("delete nothing\n", "delete_misses"),
        ("set e 0 -1 1\nx\n", "cmd_set curr_items total_items bytes"),
        ("get e\n", "cmd_get get_misses get_expired -curr_items -bytes"),
        ("delete n\n", "delete_hits -curr_items -bytes"),
        (&format!("set big 0 0 5000\n{large}\n"), "store_too_large"),
        ("flush_all\n", "cmd_flush"),
        ("get a\n", "cmd_get get_misses get_flushed -curr_items -bytes"),
    ];
    // These move with the wind.
    let free = [
        "time",
        "uptime",
        "rusage_user",
        "rusage_system",
        "bytes_read",
        "bytes_written",
        "hash_bytes",
    ];
    let snapshot = |client: &mut Client| -> BTreeMap<String, i64> {
        let all = stats(client, "").into_iter();
        all.filter(|(name, _)| !free.contains(&name.as_str()))
            .filter(|(name, _)| {
                !name.starts_with("crawler") && !name.starts_with("slab") && name != "hash_power_level"
            })
            .filter_map(|(name, value)| Some((name, value.parse().ok()?)))
            .collect()
    };
    let mut before = snapshot(&mut client);
    for (request, want) in cases {
        client.send(crate::harness::spell(request));
        client.send("mn\r\n");
        while client.line() != "MN" {}
        let after = snapshot(&mut client);
        let mut moved: Vec<String> = after
            .iter()
            .filter(|(name, value)| before[*name] != **value)
            .map(|(name, value)| format!("{}{name}", if *value < before[name] { "-" } else { "" }))
            .collect();
        let mut want: Vec<&str> = want.split_whitespace().collect();
        moved.sort();
        want.sort_unstable();
        assert_eq!(want, moved, "{}", &request[..request.len().min(40)]);
        before = after;
    }
    // Bytes, connections and turns.
    let read = client.stat("bytes_read");
    assert!(client.stat("bytes_read") > read && client.stat("bytes_written") > 0);
    let connections = client.stat("total_connections");
    let mut second = server.connect();
    second.check("mn\n", "MN\n");
    assert_eq!(connections + 1, client.stat("total_connections"));
    assert_eq!(2, client.stat("curr_connections"));
    drop(second);
    let server = Server::start(&["-R", "1"]);
    let mut client = server.connect();
    client.send("set a 0 0 1\r\nx\r\n".repeat(6));
    (0..6).for_each(|_| assert_eq!("STORED", client.line()));
    assert!(client.stat("conn_yields") >= 5);
}

#[test]
fn a_full_cache_counts_what_it_forgets() {
    let server = Server::start(&["-m", "32", "-t", "2"]);
    let mut client = server.connect();
    const STORED: u64 = 9600;
    let bytes = vec![b'x'; 10_000];
    for number in 0..STORED {
        client.set(&format!("key-{number}"), &bytes);
    }
    let all = stats(&mut client, "");
    let figure = |name: &str| value_of(&all, name).parse::<u64>().expect("a number");
    let evicted = figure("evictions");
    assert!(
        evicted > 5600,
        "{evicted} of {STORED} items of 10,000 bytes in 32 MiB"
    );
    assert_eq!(
        (evicted, STORED - evicted),
        (figure("evicted_unfetched"), figure("curr_items"))
    );
    // The sweep goes on a little behind the scenes.
    let items = stats(&mut client, "items");
    let sum = |name: &str| -> u64 {
        let lines = items
            .iter()
            .filter(|(line, _)| line.ends_with(&format!(":{name}")));
        lines.map(|(_, value)| value.parse::<u64>().unwrap()).sum()
    };
    assert!(sum("evicted") >= evicted);
    assert_eq!(
        (sum("evicted"), STORED - sum("evicted")),
        (sum("evicted_unfetched"), sum("number"))
    );
    let refusing = Server::start(&["-m", "32", "-M", "-t", "2"]);
    let mut client = refusing.connect();
    let mut refused = 0;
    for number in 0..4000 {
        client.send(format!(
            "set key-{number} 0 0 10000\r\n{}\r\n",
            "x".repeat(10_000)
        ));
        refused += u64::from(client.line() == "SERVER_ERROR out of memory storing object");
    }
    assert!(refused > 0);
    assert_eq!(
        (refused, 0),
        (client.stat("store_no_memory"), client.stat("evictions"))
    );
}

#[test]
fn reset_leaves_what_is_there() {
    for threads in ["1", "4"] {
        let server = Server::start(&["-t", threads]);
        let mut client = server.connect();
        for number in 0..20 {
            client.set(&format!("key-{number}"), b"value");
            assert!(client.get(&format!("key-{number}")).is_some());
        }
        let bytes = client.stat("bytes");
        client.check("stats reset\nget nothing\n", "RESET\nEND\n");
        let all = stats(&mut client, "");
        for (name, want) in [
            ("cmd_set", "0"),
            ("cmd_get", "1"),
            ("get_hits", "0"),
            ("get_misses", "1"),
            ("total_items", "0"),
            ("curr_items", "20"),
            ("curr_connections", "1"),
            ("bytes", &bytes.to_string()),
        ] {
            assert_eq!(want, value_of(&all, name), "{name}");
        }
        let slabs = stats(&mut client, "slabs");
        let hits = slabs
            .iter()
            .filter(|(name, _)| name.ends_with(":get_hits") || name.ends_with(":cmd_set"));
        hits.for_each(|(name, value)| assert_eq!("0", value, "{name}"));
    }
}

#[test]
fn settings_say_what_was_asked_for() {
    if testing_memcached() {
        return;
    }
    let options = [
        "-m",
        "100",
        "-c",
        "333",
        "-t",
        "2",
        "-I",
        "2m",
        "-b",
        "77",
        "-R",
        "9",
        "-C",
        "-F",
        "-A",
        "-M",
        "-X",
        "-f",
        "1.5",
        "-n",
        "64",
        "-B",
        "ascii",
        "-v",
        "-D",
        "/",
        "-o",
        "hashpower=18,no_slab_reassign,slab_automove=2",
        "-o",
        "lru_crawler_sleep=7,hot_lru_pct=11,track_sizes,hash_algorithm=xxh3,idle_timeout=9,temporary_ttl=5",
    ];
    let server = Server::start(&options);
    let mut client = server.connect();
    let all = stats(&mut client, "settings");
    assert_eq!(all.len(), 78);
    assert_eq!(
        names(&all)[..5],
        ["maxbytes", "maxconns", "tcpport", "udpport", "inter"]
    );
    assert_eq!(
        names(&all)[75..],
        ["num_napi_ids", "memory_file", "client_flags_size"]
    );
    let want = "maxbytes=104857600 maxconns=333 udpport=0 inter=127.0.0.1 verbosity=1 evictions=off domain_socket=NULL \
        umask=700 shutdown_command=yes growth_factor=1.50 chunk_size=64 num_threads=2 stat_key_prefix=/ \
        detail_enabled=yes reqs_per_event=9 cas_enabled=no tcp_backlog=77 binding_protocol=ascii \
        auth_enabled_sasl=no auth_enabled_ascii=no item_size_max=2097152 maxconns_fast=yes hashpower_init=18 \
        slab_reassign=no slab_automove=2 slab_automove_ratio=0.80 lru_crawler=yes lru_crawler_sleep=7 \
        flush_enabled=no dump_enabled=no hash_algorithm=xxh3 hot_lru_pct=11 hot_max_factor=0.20 temp_lru=yes \
        temporary_ttl=5 idle_timeout=9 track_sizes=yes slab_automove_freeratio=0.010 client_flags_size=4";
    for pair in want.split_whitespace() {
        let (name, want) = pair.split_once('=').unwrap();
        assert_eq!(want, value_of(&all, name), "{name}");
    }
    client.check(
        "verbosity 2\ncache_memlimit 64\nlru_crawler disable\n",
        "OK\nOK\nOK\n",
    );
    let all = stats(&mut client, "settings");
    let now = ["verbosity", "maxbytes", "lru_crawler"].map(|name| value_of(&all, name));
    assert_eq!(now, ["2", "67108864", "no"]);
}

/// memcached's cas uniques are of the whole server, whoever owns the key.
#[test]
fn no_two_keys_have_the_same_cas_unique() {
    let server = Server::start(&["-t", "4"]);
    let mut client = server.connect();
    let mut seen = std::collections::BTreeSet::new();
    for number in 0..100 {
        let answer = client.ask(&format!("ms key-{number} 0 c\r\n"));
        assert!(seen.insert(answer.clone()), "{answer} twice");
    }
}

/// The queries of prometheus's memcached_exporter, read as it reads them.
#[test]
fn the_exporter_finds_what_it_needs() {
    for threads in ["1", "4"] {
        let server = Server::start(&["-t", threads]);
        let mut client = server.connect();
        for size in [1, 100, 1000, 5000, 100_000] {
            client.set(&format!("key-{size}"), &vec![b'x'; size]);
            assert!(client.get(&format!("key-{size}")).is_some());
        }
        let by_class = |all: &[(String, String)], skip: usize| -> BTreeMap<u8, BTreeMap<String, u64>> {
            let mut classes: BTreeMap<u8, BTreeMap<String, u64>> = BTreeMap::new();
            for (name, value) in all {
                let words: Vec<&str> = name.split(':').skip(skip).collect();
                if let [class, name] = words[..] {
                    let figures = classes.entry(class.parse().expect("a class")).or_default();
                    figures.insert(name.to_owned(), value.parse().expect("a number"));
                }
            }
            classes
        };
        let slab_lines = stats(&mut client, "slabs");
        let (slabs, items) = (
            by_class(&slab_lines, 0),
            by_class(&stats(&mut client, "items"), 1),
        );
        assert_eq!(
            slabs.len(),
            value_of(&slab_lines, "active_slabs").parse::<usize>().unwrap()
        );
        assert!(value_of(&slab_lines, "total_malloced").parse::<u64>().unwrap() > 0);
        for figures in slabs.values() {
            SLABS
                .split_whitespace()
                .for_each(|name| assert!(figures.contains_key(name), "{name}"));
            assert_eq!(
                figures["total_chunks"],
                figures["used_chunks"] + figures["free_chunks"]
            );
        }
        for (class, figures) in &items {
            assert!(
                (1..=63).contains(class) && slabs.contains_key(class),
                "class {class}"
            );
            ITEMS
                .split_whitespace()
                .for_each(|name| assert!(figures.contains_key(name), "{name}"));
        }
        let sum = |classes: &BTreeMap<u8, BTreeMap<String, u64>>, name: &str| -> u64 {
            classes.values().map(|figures| figures[name]).sum()
        };
        assert_eq!(
            (5, 5, 5),
            (
                sum(&items, "number"),
                sum(&slabs, "get_hits"),
                sum(&slabs, "cmd_set")
            )
        );
        assert_eq!(client.stat("bytes"), sum(&items, "mem_requested"));
        let settings = stats(&mut client, "settings");
        for name in [
            "maxconns",
            "lru_crawler",
            "lru_crawler_sleep",
            "lru_crawler_tocrawl",
            "lru_maintainer_thread",
            "hot_lru_pct",
            "warm_lru_pct",
            "hot_max_factor",
            "warm_max_factor",
        ] {
            assert!(!value_of(&settings, name).is_empty());
        }
    }
}

#[test]
fn events_are_counted_by_size() {
    let server = Server::start(&["-t", "1"]);
    let mut client = server.connect();
    client.check(
        "set n 0 0 1\n1\nincr n 1\ndecr n 1\ntouch n 0\nget n\ncas n 0 0 1 0\n1\nms n 1 E9\n1\nms n 1 C9\n1\ndelete n\n",
        "STORED\n2\n1\nTOUCHED\nVALUE n 0 1\n1\nEND\nEXISTS\nHD\nHD\nDELETED\n",
    );
    client.check("set n 0 0 1\n1\n", "STORED\n");
    let slabs = stats(&mut client, "slabs");
    let class = slabs[0].0.split(':').next().unwrap().to_owned();
    for (name, want) in [
        ("get_hits", "1"),
        ("incr_hits", "1"),
        ("decr_hits", "1"),
        ("touch_hits", "1"),
        ("cas_badval", "1"),
        ("cas_hits", "1"),
        ("delete_hits", "1"),
        ("cmd_set", "4"),
        ("used_chunks", "1"),
    ] {
        assert_eq!(want, value_of(&slabs, &format!("{class}:{name}")), "{name}");
    }
}

#[test]
fn sizes_are_shown_where_they_are_tracked() {
    let server = Server::start(&[]);
    server
        .connect()
        .check("stats sizes\n", "STAT sizes_status disabled\nEND\n");
    let server = Server::start(&["-t", "2", "-o", "track_sizes"]);
    let mut client = server.connect();
    for number in 0..500 {
        client.set(&format!("key-{number}"), b"");
    }
    client.set("large", &[b'x'; 3000]);
    let sizes = stats(&mut client, "sizes");
    let numbers: Vec<(u64, u64)> = sizes
        .iter()
        .map(|(size, count)| (size.parse().unwrap(), count.parse().unwrap()))
        .collect();
    assert_eq!(501, numbers.iter().map(|(_, count)| count).sum::<u64>());
    assert!(numbers.iter().all(|(size, _)| size % 32 == 0) && numbers.is_sorted());
    assert_eq!(
        1,
        numbers
            .iter()
            .find(|(size, _)| (3000..3200).contains(size))
            .expect("the large one")
            .1
    );
}

#[test]
fn connections_are_described() {
    for threads in ["1", "4"] {
        let server = Server::start(&["-t", threads]);
        let mut client = server.connect();
        let mut busy = server.connect();
        busy.send("get a\r\nset foo 0 0 6\r\nfo");
        assert_eq!("END", busy.line());
        let port = busy.socket().local_addr().unwrap().port();
        let all = stats(&mut client, "conns");
        let of = |address: &str| {
            let line = all
                .iter()
                .find(|(name, value)| name.ends_with(":addr") && value == address);
            line.unwrap_or_else(|| panic!("{address} in {all:?}"))
                .0
                .split(':')
                .next()
                .unwrap()
        };
        let listening = format!("tcp:{}", server.address());
        let fd = of(&listening);
        assert_eq!("conn_listening", value_of(&all, &format!("{fd}:state")));
        let fd = of(&format!("tcp:127.0.0.1:{port}"));
        assert_eq!("conn_nread", value_of(&all, &format!("{fd}:state")));
        assert_eq!(listening, value_of(&all, &format!("{fd}:listen_addr")));
        value_of(&all, &format!("{fd}:secs_since_last_cmd"))
            .parse::<u64>()
            .expect("seconds");
        let fd = of(&format!("tcp:{}", client.socket().local_addr().unwrap()));
        assert_eq!("conn_parse_cmd", value_of(&all, &format!("{fd}:state")));
    }
}

#[test]
fn detail_counts_by_prefix() {
    for threads in ["1", "4"] {
        let server = Server::start(&["-t", threads]);
        let mut client = server.connect();
        client.check(
            "stats detail dump\nset foo:1 0 0 1\nx\nstats detail dump\n",
            "END\nSTORED\nEND\n",
        );
        client.check(
            "stats detail on\nset foo:1 0 0 1\nx\nget foo:1 foo:2 plain\ndelete foo:3\nset bar:x:y 0 0 1\nx\nstats detail dump\n",
            "OK\nSTORED\nVALUE foo:1 0 1\nx\nEND\nNOT_FOUND\nSTORED\n\
             PREFIX bar get 0 hit 0 set 1 del 0\nPREFIX foo get 2 hit 1 set 1 del 1\nEND\n",
        );
        client.check(
            "stats detail off\nget foo:1\nstats detail dump\nstats reset\nstats detail dump\n",
            "OK\nVALUE foo:1 0 1\nx\nEND\nPREFIX bar get 0 hit 0 set 1 del 0\nPREFIX foo get 2 hit 1 set 1 del 1\nEND\nRESET\nEND\n",
        );
        client.check(
            "stats detail\nstats detail x\n",
            "CLIENT_ERROR usage: stats detail on|off|dump\nCLIENT_ERROR usage: stats detail on|off|dump\n",
        );
    }
    let server = Server::start(&["-D", "#"]);
    server.connect().check(
        "get a#b a:b\nstats detail dump\n",
        "END\nPREFIX a get 1 hit 0 set 0 del 0\nEND\n",
    );
    let server = Server::start(&["-X"]);
    server
        .connect()
        .check("stats detail on\n", "CLIENT_ERROR stats detail not allowed\n");
}

/// Binary Stat: one packet a statistic, an empty one at the end.
#[test]
fn binary_statistics_are_the_same() {
    let server = Server::start(&["-t", "2"]);
    let mut client = server.connect();
    let mut ask = |key: &str| -> Result<Vec<(String, String)>, u16> {
        let mut packet = vec![
            0x80,
            0x10,
            0,
            key.len() as u8,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            key.len() as u8,
        ];
        packet.resize(24, 0);
        packet.extend_from_slice(key.as_bytes());
        client.send(packet);
        let mut all = Vec::new();
        loop {
            let header = client.exact(24);
            let key_size = usize::from(header[3]);
            let size = u32::from_be_bytes([header[8], header[9], header[10], header[11]]) as usize;
            let mut name = client.exact(size);
            let value = name.split_off(key_size);
            match u16::from_be_bytes([header[6], header[7]]) {
                0 if size == 0 => return Ok(all),
                0 => all.push((
                    String::from_utf8(name).unwrap(),
                    String::from_utf8(value).unwrap(),
                )),
                status => return Err(status),
            }
        }
    };
    assert_eq!(
        GENERAL.split_whitespace().collect::<Vec<_>>(),
        names(&ask("").unwrap())
    );
    assert_eq!(78, ask("settings").unwrap().len());
    assert_eq!(
        vec![("sizes_status".to_owned(), "disabled".to_owned())],
        ask("sizes").unwrap()
    );
    assert_eq!(
        names(&ask("slabs").unwrap()),
        ["active_slabs", "total_malloced"].map(|n| n).to_vec()
    );
    assert_eq!(Ok(Vec::new()), ask("items"));
    assert_eq!(Ok(Vec::new()), ask("detail on"));
    assert_eq!(
        Ok(vec![("detailed".to_owned(), "END\r\n".to_owned())]),
        ask("detail dump")
    );
    assert_eq!(Ok(Vec::new()), ask("reset"));
    assert_eq!(Err(1), ask("conns"));
    assert_eq!(Err(1), ask("nonsense"));
}

#[test]
fn the_budget_can_be_changed() {
    let server = Server::start(&["-m", "64", "-t", "2"]);
    let mut client = server.connect();
    let bytes = vec![b'x'; 50_000];
    for number in 0..800 {
        client.set(&format!("key-{number}"), &bytes);
    }
    assert_eq!(0, client.stat("evictions"));
    client.check("cache_memlimit 16\n", "OK\n");
    assert_eq!(16 << 20, client.stat("limit_maxbytes"));
    // Memory goes back with what is stored next, and in idle moments.
    for number in 0..2000 {
        client.set(&format!("next-{number}"), &bytes);
    }
    assert!(client.stat("bytes") <= 16 << 20, "{}", client.stat("bytes"));
    client.check("cache_memlimit 64\n", "OK\n");
    let evictions = client.stat("evictions");
    for number in 0..300 {
        client.set(&format!("more-{number}"), &bytes);
    }
    assert_eq!(evictions, client.stat("evictions"), "there is room again");
    client.check(
        "cache_memlimit 7\ncache_memlimit x\ncache_memlimit\ncache_memlimit 1000000001\ncache_memlimit 64 noreply\n",
        "MEMLIMIT_TOO_SMALL cannot set maxbytes to less than 8m\nERROR\nERROR\n\
         MEMLIMIT_ADJUST_FAILED input value is megabytes not bytes\n",
    );
}

#[test]
fn shutdown_where_it_is_enabled() {
    let server = Server::start(&[]);
    let not = "SERVER_ERROR: shutdown not enabled\n";
    server
        .connect()
        .check("shutdown\nshutdown graceful\nshutdown x\n", &not.repeat(3));
    for word in ["shutdown", "shutdown graceful"] {
        let server = Server::start(&["-A", "-t", "2"]);
        let mut client = server.connect();
        client.check("shutdown x\n", "CLIENT_ERROR invalid shutdown mode\n");
        client.send(format!("version\r\n{word}\r\n"));
        assert!(
            client.line().starts_with("VERSION"),
            "what was asked before is answered"
        );
        assert!(client.rest().is_empty());
        // It is on its way out already: another signal changes nothing.
        let (status, _) = server.stop(Signal::TERM);
        assert!(status.success(), "{word}: {status}");
    }
}

#[test]
fn what_there_is_nothing_to_tune_for_is_accepted() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.check(
        "slabs automove 0\nslabs automove 1\nslabs automove ratio 0.5\nslabs automove window 5\nslabs automove invalid\n\
         slabs reassign 1 1\nslabs reassign 1 2\nslabs reassign 70 2\nslabs\nslabs x\n",
        "OK\nOK\nOK\nOK\nCLIENT_ERROR bad command line format\n\
         SAME src and dst class are identical\nNOSPARE source class has no spare pages\n\
         BADCLASS invalid src or dst class id\nERROR\nERROR\n",
    );
    client.check(
        "lru tune 10 25 0.1 2.0\nlru mode flat\nlru mode segmented\nlru temp_ttl 9\nlru tune 50 50 1 1\n",
        "OK\nOK\nOK\nOK\nERROR hot and warm pcts must not exceed 80\n",
    );
    client.check(
        "lru_crawler enable\nlru_crawler disable\nlru_crawler disable\nlru_crawler crawl all\nlru_crawler enable\n\
         lru_crawler crawl all\nlru_crawler sleep 5\nlru_crawler tocrawl 5\nlru_crawler sleep 1000001\n",
        "ERROR failed to start lru crawler thread\nOK\nOK\n\
         CLIENT_ERROR lru crawler disabled\nOK\nOK\nOK\nOK\nCLIENT_ERROR sleep must be one second or less\n",
    );
    client.check(
        "extstore item_size 5\nrefresh_certs\ndebugtime 1\n",
        "ERROR\nError TLS not enabled\nERROR\n",
    );
    let server = Server::start(&["-o", "no_slab_reassign"]);
    server.connect().check(
        "slabs reassign 1 2\n",
        "CLIENT_ERROR slab reassignment disabled\n",
    );
}

#[test]
fn the_clock_can_be_moved_where_that_is_allowed() {
    for threads in ["1", "4"] {
        let server = Server::start(&["-t", threads, "-o", "relaxed_privileges"]);
        let mut client = server.connect();
        let mut other = server.connect();
        client.check("debugtime p\n", "OK\n");
        for number in 0..16 {
            client.check(&format!("set k{number} 0 5 1\nx\n"), "STORED\n");
        }
        // One conversation, so that the clock has moved for what is asked in the same breath.
        client.check(
            "debugtime 4\nget k0\ndebugtime 1\nget k0\n",
            "OK\nVALUE k0 0 1\nx\nEND\nOK\nEND\n",
        );
        for number in 0..16 {
            other.check(&format!("get k{number}\n"), "END\n");
        }
        client.check("debugtime r\ndebugtime x\n", "OK\nERROR\n");
    }
}
