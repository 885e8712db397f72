//! The crate memcache over text and binary: a version on every connection that leaves the pool, counters that binary creates.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use clients::{address, every_byte};
use memcache::{Client, MemcacheError};

type Outcome = Result<(), MemcacheError>;

fn verbs(client: &Client, binary: bool) -> Outcome {
    client.set("key", "value", 0)?;
    assert_eq!(Some("value".to_owned()), client.get("key")?);
    assert_eq!(None, client.get::<String>("nothing")?);
    // Over text it does not tell that nothing was stored.
    let refused = client.add("key", "other", 0).is_err();
    assert_eq!(binary, refused, "add of a key that is there");
    client.add("fresh", "1", 1000)?;
    assert_eq!(
        binary,
        client.replace("nothing", "x", 0).is_err(),
        "replace of nothing"
    );
    client.replace("fresh", "2", 1000)?;
    client.append("key", "!")?;
    client.prepend("key", "?")?;
    assert_eq!(Some("?value!".to_owned()), client.get("key")?);
    assert_eq!(
        binary,
        client.append("nothing", "x").is_err(),
        "append to nothing"
    );
    assert!(client.touch("key", 1000)?);
    assert!(!client.touch("nothing", 1000)?);
    assert!(client.delete("key")?);
    assert!(!client.delete("key")?);
    Ok(())
}

fn counting(client: &Client, binary: bool) -> Outcome {
    client.set("count", "10", 0)?;
    assert_eq!(15, client.increment("count", 5)?);
    assert_eq!(0, client.decrement("count", 20)?);
    // Over binary it never forbids to make the counter.
    if binary {
        assert_eq!(0, client.increment("nothing yet", 5)?);
    } else {
        assert!(
            client.increment("nothing yet", 5).is_err(),
            "increment of nothing"
        );
    }
    client.set("count", "text", 0)?;
    assert!(client.increment("count", 1).is_err(), "increment of a text");
    assert_eq!(Some("text".to_owned()), client.get("count")?);
    Ok(())
}

fn comparing(client: &Client, _binary: bool) -> Outcome {
    client.set("cas", "1", 0)?;
    let found: HashMap<String, (String, u32, Option<u64>)> = client.gets(&["cas"])?;
    let unique = found["cas"].2.expect("a unique");
    assert!(client.cas("cas", "2", 0, unique)?);
    assert!(!client.cas("cas", "3", 0, unique)?);
    assert!(!client.cas("nothing", "3", 0, unique)?);
    assert_eq!(Some("2".to_owned()), client.get("cas")?);
    Ok(())
}

fn many(client: &Client, _binary: bool) -> Outcome {
    let keys: Vec<String> = (0..1000).map(|number| format!("many{number}")).collect();
    for key in &keys {
        client.set(key, key.as_str(), 0)?;
    }
    let mut asked: Vec<&str> = keys.iter().map(String::as_str).collect();
    asked.push("nothing");
    let found: HashMap<String, (String, u32, Option<u64>)> = client.gets(&asked)?;
    assert_eq!(1000, found.len());
    assert!(keys.iter().all(|key| found[key].0 == *key));
    let uniques: HashSet<Option<u64>> = found.values().map(|item| item.2).collect();
    assert_eq!(1000, uniques.len(), "every item has its own unique");
    Ok(())
}

fn large(client: &Client, _binary: bool) -> Outcome {
    for size in [0, 1, 256_000, 1024 * 1024 - 1024] {
        let value = every_byte(size);
        client.set("large", value.as_slice(), 0)?;
        assert!(
            Some(value) == client.get::<Vec<u8>>("large")?,
            "a value of {size} bytes"
        );
    }
    let refused = client.set("large", every_byte(1024 * 1024 + 1024).as_slice(), 0);
    assert!(refused.is_err(), "set of more than 1 MiB");
    assert_eq!(None, client.get::<Vec<u8>>("large")?);
    for key in ["large", &"k".repeat(250), "\u{43a}\u{43b}\u{44e}\u{447}"] {
        client.set(key, "again", 0)?;
        assert_eq!(Some("again".to_owned()), client.get(key)?);
    }
    Ok(())
}

fn server(client: &Client, binary: bool) -> Outcome {
    assert!(client.version()?[0].1.contains("1."), "version");
    // Over text it stops reading at the first line of these.
    if binary {
        assert!(client.stats()?[0].1.contains_key("curr_items"), "stats");
    }
    client.flush()?;
    assert_eq!(None, client.get::<Vec<u8>>("large")?);
    Ok(())
}

fn main() -> Outcome {
    let (host, port) = address();
    for binary in [false, true] {
        let protocol = if binary { "binary" } else { "ascii" };
        let client = Client::connect(format!("memcache://{host}:{port}?protocol={protocol}"))?;
        client.set_read_timeout(Some(Duration::from_secs(20)))?;
        client.flush()?;
        for part in [verbs, counting, comparing, many, large, server] {
            part(&client, binary)?;
        }
    }
    Ok(())
}
