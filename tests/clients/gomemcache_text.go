// gomemcache over the text protocol: gets for every read, many connections at once.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/bradfitz/gomemcache/memcache"
)

// Ends the program where two things differ.
func equal(want, got interface{}, what string) {
	if fmt.Sprint(want) != fmt.Sprint(got) {
		fmt.Fprintf(os.Stderr, "%s: want %.300v, got %.300v\n", what, want, got)
		os.Exit(1)
	}
}

func value(client *memcache.Client, key string) string {
	item, err := client.Get(key)
	if errors.Is(err, memcache.ErrCacheMiss) {
		return "(nothing)"
	}
	equal(nil, err, "get of "+key)
	return string(item.Value)
}

func set(client *memcache.Client, key, value string) {
	equal(nil, client.Set(&memcache.Item{Key: key, Value: []byte(value)}), "set of "+key)
}

func verbs(client *memcache.Client) {
	set(client, "key", "value")
	equal("value", value(client, "key"), "get")
	equal("(nothing)", value(client, "nothing"), "get of nothing")
	equal(memcache.ErrNotStored, client.Add(&memcache.Item{Key: "key", Value: []byte("other")}), "add of a key that is there")
	equal(nil, client.Add(&memcache.Item{Key: "fresh", Value: []byte("1"), Expiration: 1000}), "add")
	equal(memcache.ErrNotStored, client.Replace(&memcache.Item{Key: "nothing", Value: []byte("x")}), "replace of nothing")
	equal(nil, client.Replace(&memcache.Item{Key: "fresh", Value: []byte("2")}), "replace")
	equal("2", value(client, "fresh"), "after replace")
	equal(nil, client.Touch("fresh", 2000), "touch")
	equal(memcache.ErrCacheMiss, client.Touch("nothing", 2000), "touch of nothing")
	equal(nil, client.Delete("key"), "delete")
	equal(memcache.ErrCacheMiss, client.Delete("key"), "delete of nothing")
	equal(nil, client.Set(&memcache.Item{Key: "past", Value: []byte("x"), Expiration: -1}), "set in the past")
	equal("(nothing)", value(client, "past"), "get of the past")
}

func types(client *memcache.Client) {
	for _, flags := range []uint32{0, 1, 65536, 1<<32 - 1} {
		equal(nil, client.Set(&memcache.Item{Key: "typed", Value: []byte("x"), Flags: flags}), "set with flags")
		item, err := client.Get("typed")
		equal(nil, err, "get")
		equal(flags, item.Flags, "flags")
	}
}

func counting(client *memcache.Client) {
	set(client, "count", "10")
	count, err := client.Increment("count", 5)
	equal("15 <nil>", fmt.Sprint(count, err), "increment")
	count, err = client.Decrement("count", 20)
	equal("0 <nil>", fmt.Sprint(count, err), "decrement below zero")
	_, err = client.Increment("nothing", 1)
	equal(memcache.ErrCacheMiss, err, "increment of nothing")
	set(client, "count", "18446744073709551615")
	count, err = client.Increment("count", 1)
	equal("0 <nil>", fmt.Sprint(count, err), "increment wraps")
	set(client, "count", "text")
	_, err = client.Increment("count", 1)
	equal(true, err != nil, "increment of a text")
	equal("text", value(client, "count"), "after a refused increment")
}

func comparing(client *memcache.Client) {
	set(client, "cas", "1")
	first, err := client.Get("cas")
	equal(nil, err, "get with its unique")
	second, err := client.Get("cas")
	equal(nil, err, "get with its unique")
	first.Value = []byte("2")
	equal(nil, client.CompareAndSwap(first), "compare and swap")
	equal(memcache.ErrCASConflict, client.CompareAndSwap(second), "compare and swap with an old unique")
	equal("2", value(client, "cas"), "after compare and swap")
	equal(nil, client.Delete("cas"), "delete")
	equal(memcache.ErrCacheMiss, client.CompareAndSwap(second), "compare and swap of nothing")
}

func many(client *memcache.Client) {
	var keys []string
	var all sync.WaitGroup
	for number := 0; number < 1000; number++ {
		keys = append(keys, fmt.Sprint("many", number))
	}
	for worker := 0; worker < 16; worker++ {
		all.Add(1)
		go func(worker int) {
			defer all.Done()
			for number := worker; number < len(keys); number += 16 {
				set(client, keys[number], "value of "+keys[number])
				equal("value of "+keys[number], value(client, keys[number]), "get")
			}
		}(worker)
	}
	all.Wait()
	found, err := client.GetMulti(append([]string{"nothing"}, keys...))
	equal(nil, err, "get of a thousand")
	equal(1000, len(found), "get of a thousand")
	for _, key := range keys {
		equal("value of "+key, string(found[key].Value), key)
	}
}

func large(client *memcache.Client) {
	every := make([]byte, 256_000)
	for index := range every {
		every[index] = byte(index)
	}
	for _, bytes := range [][]byte{{}, []byte("\r\n"), []byte("END\r\n"), every, bytes.Repeat([]byte("x"), 1024*1024-1024)} {
		set(client, "large", string(bytes))
		equal(true, string(bytes) == value(client, "large"), fmt.Sprint("a value of ", len(bytes), " bytes"))
	}
	err := client.Set(&memcache.Item{Key: "large", Value: make([]byte, 1024*1024+1024)})
	equal(true, err != nil, "set of more than 1 MiB")
	equal("(nothing)", value(client, "large"), "a refused set takes the old value with it")
	for _, key := range []string{"large", string(bytes.Repeat([]byte("k"), 250))} {
		set(client, key, "again")
		equal("again", value(client, key), "after a refused set")
	}
}

func server(client *memcache.Client) {
	equal(nil, client.FlushAll(), "flush_all")
	equal("(nothing)", value(client, "large"), "after flush_all")
}

func main() {
	client := memcache.New(os.Args[1] + ":" + os.Args[2])
	client.Timeout = 20 * time.Second
	equal(nil, client.FlushAll(), "flush_all")
	for _, part := range []func(*memcache.Client){verbs, types, counting, comparing, many, large, server} {
		part(client)
	}
}
