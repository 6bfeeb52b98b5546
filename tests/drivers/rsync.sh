#!/bin/bash
# rsync: a daemon that gives and takes a tree; each transfer is a child of it.
. "$(dirname "$0")/lib.sh"
start() {
    mkdir -p "$DIR/source/sub/deep" "$DIR/in"
    for n in $(seq 1 40); do seq 1 $((n * 50)) > "$DIR/source/sub/file$n"; done
    head -c 300000 "$ROOT/usr/bin/rsync" > "$DIR/source/big"; ln -sfn sub "$DIR/source/link"; : > "$DIR/source/sub/deep/empty"
    # Not now: what has the second of the transfer itself counts as unchanged.
    find "$DIR/source" -exec touch -h -d @1000000000 {} +
    port=$(freeport); echo "$port" > "$DIR/port"
    cat > "$DIR/conf" <<C
pid file = $DIR/pid
port = $port
address = 127.0.0.1
use chroot = no
uid = 0
gid = 0
log file = $DIR/log
[out]
path = $DIR/source
read only = yes
[in]
path = $DIR/in
read only = no
C
    rm -f "$DIR/pid"
    "$ROOT/usr/bin/rsync" --daemon --config="$DIR/conf" || broken "it does not start"
    waitport "$port" || broken "nothing listens"
}
transfer() { "$ROOT/usr/bin/rsync" "$@" 2>&1; echo "exit $?"; }
probe() {
    url=rsync://127.0.0.1:$(cat "$DIR/port")
    rm -rf "$DIR/got" "$DIR/in"; mkdir "$DIR/got" "$DIR/in"
    rsync_list() { transfer "$url/$1/" | grep -v '^d'| awk '{print $1, $2, $5}'; }
    transfer "$url"; rsync_list out
    transfer -a "$url/out/" "$DIR/got/"; diff -r "$DIR/source" "$DIR/got" && echo same
    head -c 100000 "$DIR/got/big" | tr 'e' 'E' > "$DIR/got/big.new"; mv "$DIR/got/big.new" "$DIR/got/big"; rm "$DIR/got/sub/file7"
    transfer -az --checksum --no-whole-file "$url/out/" "$DIR/got/"; diff -r "$DIR/source" "$DIR/got" && echo same
    transfer -a --delete "$DIR/got/" "$url/in/"; diff -r "$DIR/source" "$DIR/in" && echo same
    touch "$DIR/got/extra"; rm -r "$DIR/got/sub/deep"
    transfer -a --delete --compress-choice=zstd --itemize-changes "$DIR/got/sub" "$DIR/got/extra" "$url/in/" | sort
    transfer -a --link-dest="$DIR/source" "$url/out/" "$DIR/got2/"; diff -r "$DIR/source" "$DIR/got2" && echo same; rm -rf "$DIR/got2"
    transfer "$url/none/" | sed 's/[[(].*//'
}
run "$@"
