/* Prints where libmemcached places the keys it reads: one digit a key, in base 36, through memcached_generate_hash.
 *
 *   cc record_libmemcached.c -o record_libmemcached -lmemcached
 *   record_libmemcached ORDER BEHAVIOUR[,BEHAVIOUR] HASH host:port:weight ... < keys
 *
 * ORDER is "first" (servers added before the behaviours are set) or "last"; BEHAVIOUR is none, ketama, weighted,
 * consistent or spy; HASH is a number of memcached_hash_t, or -1 to leave it alone. Run by record_libmemcached.py.
 */
#include <libmemcached/memcached.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void must(memcached_return_t rc, const char *what) {
  if (rc != MEMCACHED_SUCCESS) {
    fprintf(stderr, "%s: %s\n", what, memcached_strerror(NULL, rc));
    exit(1);
  }
}

static void set_behaviours(memcached_st *memc, char *names, int hash) {
  for (char *name = strtok(names, ","); name; name = strtok(NULL, ",")) {
    if (!strcmp(name, "ketama"))
      must(memcached_behavior_set(memc, MEMCACHED_BEHAVIOR_KETAMA, 1), name);
    else if (!strcmp(name, "weighted"))
      must(memcached_behavior_set(memc, MEMCACHED_BEHAVIOR_KETAMA_WEIGHTED, 1), name);
    else if (!strcmp(name, "consistent"))
      must(memcached_behavior_set(memc, MEMCACHED_BEHAVIOR_DISTRIBUTION, MEMCACHED_DISTRIBUTION_CONSISTENT), name);
    else if (!strcmp(name, "spy"))
      must(memcached_behavior_set(memc, MEMCACHED_BEHAVIOR_DISTRIBUTION,
                                  MEMCACHED_DISTRIBUTION_CONSISTENT_KETAMA_SPY), name);
  }
  if (hash >= 0)
    must(memcached_behavior_set(memc, MEMCACHED_BEHAVIOR_HASH, (uint64_t) hash), "hash");
}

static void add_servers(memcached_st *memc, char **servers, int count) {
  for (int i = 0; i < count; i++) {
    char *port = strchr(servers[i], ':'), *weight = port ? strchr(port + 1, ':') : NULL;
    if (!weight)
      exit(2);
    *port = 0;
    must(memcached_server_add_with_weight(memc, servers[i], (in_port_t) atoi(port + 1), (uint32_t) atoi(weight + 1)),
         servers[i]);
  }
}

int main(int argc, char **argv) {
  if (argc < 5)
    return 2;
  memcached_st *memc = memcached_create(NULL);
  int servers_first = !strcmp(argv[1], "first");
  if (servers_first)
    add_servers(memc, argv + 4, argc - 4);
  set_behaviours(memc, argv[2], atoi(argv[3]));
  if (!servers_first)
    add_servers(memc, argv + 4, argc - 4);
  static char line[1024];
  while (fgets(line, sizeof line, stdin)) {
    uint32_t owner = memcached_generate_hash(memc, line, strcspn(line, "\n"));
    putchar("0123456789abcdefghijklmnopqrstuvwxyz"[owner]);
  }
  fprintf(stderr, "%s\n", memcached_lib_version());
  memcached_free(memc);
  return 0;
}
