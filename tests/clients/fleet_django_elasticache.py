"""django-elasticache (pylibmc underneath) finds a fleet through one node."""

import sys

import django
from django.conf import settings

from checks import address, equal

host, port = address()
nodes = sorted(sys.argv[3].split(","))
settings.configure(
    CACHES={
        "default": {
            "BACKEND": "django_elasticache.memcached.ElastiCache",
            "LOCATION": f"{host}:{port}",
        }
    }
)
django.setup()

from django.core.cache import cache

equal(nodes, sorted(cache.get_cluster_nodes()))
values = {f"django-elasticache-{number}": f"value {number}" for number in range(200)}
for key, value in values.items():
    cache.set(key, value, 1000)
equal(values, cache.get_many(list(values)))
for key, value in values.items():
    equal(value, cache.get(key), key)
