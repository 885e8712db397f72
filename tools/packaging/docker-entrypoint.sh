#!/bin/sh
set -e

# As memcached's official image has it: a first argument that is an option means the server.
if [ "${1#-}" != "$1" ]; then
	set -- memcached "$@"
fi

exec "$@"
