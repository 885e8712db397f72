//! The crate async-memcached over text and meta: batches, noreply, quiet deletes behind an mn.

use async_memcached::{AsciiProtocol, Client, Error, MetaProtocol};
use clients::{address, every_byte};

type Outcome = Result<(), Error>;

async fn value(client: &mut Client, key: &str) -> Result<Option<Vec<u8>>, Error> {
    Ok(client.get(key).await?.and_then(|item| item.data))
}

async fn verbs(client: &mut Client) -> Outcome {
    client.set("key", "value", None, None).await?;
    assert_eq!(Some(b"value".to_vec()), value(client, "key").await?);
    assert_eq!(None, value(client, "nothing").await?);
    assert!(
        client.add("key", "other", None, None).await.is_err(),
        "add of a key that is there"
    );
    client.add("fresh", "1", Some(1000), Some(u32::MAX)).await?;
    let item = client.get("fresh").await?.expect("an item");
    assert_eq!(Some(u32::MAX), item.flags);
    client.delete("key").await?;
    assert!(client.delete("key").await.is_err(), "delete of nothing");
    Ok(())
}

async fn counting(client: &mut Client) -> Outcome {
    client.set("count", "10", None, None).await?;
    assert_eq!(15, client.increment("count", 5).await?);
    assert_eq!(0, client.decrement("count", 20).await?);
    assert!(
        client.increment("nothing", 1).await.is_err(),
        "increment of nothing"
    );
    client.increment_no_reply("count", 7).await?;
    client.decrement_no_reply("count", 3).await?;
    assert_eq!(5, client.increment("count", 1).await?);
    Ok(())
}

async fn many(client: &mut Client) -> Outcome {
    let items: Vec<(String, String)> = (0..500)
        .map(|number| (format!("many{number}"), format!("value {number}")))
        .collect();
    let stores: Vec<(&String, &String)> = items.iter().map(|(key, value)| (key, value)).collect();
    for outcome in client.set_multi(&stores, Some(1000), None).await?.into_values() {
        outcome?;
    }
    let found = client.get_multi(items.iter().map(|item| &item.0)).await?;
    assert_eq!(500, found.len());
    for (item, (key, value)) in found.iter().zip(&items) {
        assert_eq!(
            (key.as_bytes(), Some(value.as_bytes())),
            (&item.key[..], item.data.as_deref())
        );
    }
    let keys: Vec<&String> = items.iter().map(|item| &item.0).collect();
    client.delete_multi_no_reply(&keys).await?;
    // It calls it an error where there is none of the keys.
    assert!(client.get_multi(&keys).await.is_err(), "get of what was deleted");
    Ok(())
}

async fn meta(client: &mut Client) -> Outcome {
    client
        .meta_set("meta", "value", false, None, Some(&["T1000", "F7"]))
        .await?;
    let flags = ["v", "f", "t", "s", "c", "h", "l", "k"];
    let item = client
        .meta_get("meta", false, Some(b"mine"), Some(&flags))
        .await?
        .expect("an item");
    assert_eq!(Some(b"value".to_vec()), item.data);
    assert_eq!(
        (Some(7), Some(5), Some(false)),
        (item.flags, item.size, item.hit_before)
    );
    assert_eq!(Some(b"mine".to_vec()), item.opaque_token);
    assert!(item.cas.is_some() && item.ttl_remaining.is_some_and(|left| left > 900));
    assert!(
        client
            .meta_get("nothing", false, None, Some(&["v"]))
            .await?
            .is_none()
    );
    assert!(
        client
            .meta_get("nothing", true, None, Some(&["v"]))
            .await?
            .is_none()
    );
    client.meta_set("meta", "quiet", true, None, None).await?;
    assert_eq!(Some(b"quiet".to_vec()), value(client, "meta").await?);
    client.meta_delete("meta", true, None, None).await?;
    assert_eq!(None, value(client, "meta").await?);
    Ok(())
}

async fn large(client: &mut Client) -> Outcome {
    for size in [0, 1, 256_000, 1024 * 1024 - 1024] {
        let bytes = every_byte(size);
        client.set("large", &bytes[..], None, None).await?;
        assert!(
            Some(bytes) == value(client, "large").await?,
            "a value of {size} bytes"
        );
    }
    let refused = client
        .set("large", &every_byte(1024 * 1024 + 1024)[..], None, None)
        .await;
    assert!(refused.is_err(), "set of more than 1 MiB");
    assert_eq!(None, value(client, "large").await?);
    client.set("large", "again", None, None).await?;
    assert_eq!(Some(b"again".to_vec()), value(client, "large").await?);
    Ok(())
}

async fn server(client: &mut Client) -> Outcome {
    assert!(client.version().await?.starts_with("1."), "version");
    assert!(client.stats().await?.contains_key("curr_items"), "stats");
    client.flush_all().await?;
    assert_eq!(None, value(client, "large").await?);
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome {
    let (host, port) = address();
    let client = &mut Client::new(format!("tcp://{host}:{port}")).await?;
    client.flush_all().await?;
    verbs(client).await?;
    counting(client).await?;
    many(client).await?;
    meta(client).await?;
    large(client).await?;
    server(client).await
}
