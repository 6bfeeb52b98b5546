#!/bin/bash
# redis: commands of every data type, scripts, transactions, expiry and a save.
. "$(dirname "$0")/lib.sh"
start() {
    port=$(freeport); echo "$port" > "$DIR/port"
    (cd "$DIR" && exec "$ROOT/usr/bin/redis-server" --port "$port" --bind 127.0.0.1 --save '' --enable-debug-command yes --dir "$DIR") >"$DIR/out" 2>&1 &
    echo $! > "$DIR/pid"
    waitport "$port" || broken "nothing listens"
}
probe() {
    "$ROOT/usr/bin/redis-cli" -p "$(cat "$DIR/port")" <<'R' || broken "no answer"
FLUSHALL
PING
SET k v EX 1000
APPEND k more
GETRANGE k 1 3
SETBIT bits 77 1
BITCOUNT bits
BITFIELD bits SET u8 0 200 GET i5 3
INCRBYFLOAT f 1.25
LPUSH l a b c d e
LRANGE l 0 -1
LPOS l c
SADD s 1 2 3 x y
SMISMEMBER s 1 9
SRANDMEMBER s -0
ZADD z 1 one 2 two 3 three
ZRANGE z 0 -1 REV WITHSCORES
ZRANGEBYLEX z - + LIMIT 0 2
HSET h a 1 b 2
HGETALL h
XADD st 1-1 a b
XADD st 2-1 c d
XRANGE st - +
XGROUP CREATE st g 0
XREADGROUP GROUP g c COUNT 1 STREAMS st >
PFADD hll a b c d e f
PFCOUNT hll
GEOADD geo 13.361389 38.115556 Palermo 15.087269 37.502669 Catania
GEODIST geo Palermo Catania km
GEOSEARCH geo FROMLONLAT 15 37 BYRADIUS 200 km ASC
EVAL "return {KEYS[1], ARGV[1], redis.call('GET', KEYS[1]), cjson.encode({1,2,{a=3}}), cmsgpack.unpack(cmsgpack.pack('x')), bit.band(12, 10), struct.pack('>I2', 258)}" 1 k arg
EVAL "local t = {} for i = 1, 100 do t[i] = tostring(i) end table.sort(t) return {#t, t[1], string.format('%5.2f', 3.14159), string.rep('ab', 3), (string.gsub('hello', 'l', 'L'))}" 0
EVAL "return redis.pcall('NOSUCH')" 0
EVAL "error('told')" 0
FUNCTION LOAD REPLACE "#!lua name=lib\nredis.register_function('f', function(keys, args) return args[1] end)"
FCALL f 0 hello
MULTI
INCR n
INCR n
EXEC
SORT l ALPHA
OBJECT ENCODING l
DUMP f
EVAL "local k = redis.call('KEYS', '*') table.sort(k) return k" 0
ACL WHOAMI
ACL SETUSER someone on >pw ~k* +get
ACL DRYRUN someone GET k
ACL DRYRUN someone SET k v
CONFIG SET maxmemory-policy allkeys-lru
CONFIG GET maxmemory-policy
DEBUG RELOAD
LRANGE l 0 -1
SINTERCARD 1 s
COMMAND COUNT
CLIENT NO-EVICT off
R
}
run "$@"
