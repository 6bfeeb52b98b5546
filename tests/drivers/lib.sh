# Shared part of the smoke drivers: each keeps one process of a package running and makes it do the package's ordinary work on demand.
#
#   NAME.sh ROOT start DIR       start the process; its pid is in DIR/pid
#   NAME.sh ROOT probe DIR       make it work; prints a transcript that is the same every time, exit code 0
#   NAME.sh ROOT stop DIR
#
# ROOT is the unpacked package. A driver defines start() and probe(), and ends with: run "$@".
# The exit code of probe is 2 if the process does not answer or has died.

HERE=$(cd "$(dirname "$0")" && pwd)
export LC_ALL=C TERM=xterm
# Only the package's own libraries, and only where a driver says so.
unset LD_LIBRARY_PATH

broken() { echo "BROKEN $*"; exit 2; }
alive() { kill -0 "$(cat "$DIR/pid")" 2>/dev/null; }
freeport() { python3 -c 'import socket; s=socket.socket(); s.bind(("127.0.0.1",0)); print(s.getsockname()[1])'; }
waitport() { for _ in $(seq 300); do (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null && return 0; sleep 0.1; done; return 1; }

# Compiles a driver from standard input against the package's library, and starts it. It defines `static void work(void)`,
# which prints what it finds; the process does it once for every line that it reads, always within itself.
start_driver() {
    { cat <<'C'
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static void work(void);
static unsigned long sum(const void *data, size_t size) {
    const unsigned char *byte = data;
    unsigned long hash = 14695981039346656037UL;
    while (size--) hash = (hash ^ *byte++) * 1099511628211UL;
    return hash;
}
int main(void) {
    char line[64];
    setvbuf(stdout, NULL, _IOLBF, 0);
    while (fgets(line, sizeof line, stdin)) { work(); printf("end of work\n"); }
    return 0;
}
C
    cat; } > "$DIR/driver.c"
    gcc -O1 -w -I"$ROOT/usr/include" $INCLUDES -o "$DIR/driver" "$DIR/driver.c" -L"$ROOT/usr/lib64" -Wl,-rpath,"$ROOT/usr/lib64" "$@" \
        >"$DIR/cc.log" 2>&1 || broken "the driver does not compile: $(tail -n 3 "$DIR/cc.log")"
    serve "$DIR/driver"
}
# Starts a program that reads lines from a pipe and writes to DIR/out.
serve() {
    : > "$DIR/out"
    rm -f "$DIR/in"; mkfifo "$DIR/in"
    LD_LIBRARY_PATH="$ROOT/usr/lib64" "$@" <>"$DIR/in" >"$DIR/out" 2>"$DIR/err" &
    echo $! > "$DIR/pid"
}
# ask END [TEXT]: sends a text and prints what comes, up to and without a line END.
ask() {
    n=$(stat -c %s "$DIR/out"); printf '%s\n' "${2:-go}" > "$DIR/in"
    for _ in $(seq 600); do
        tail -c +$((n + 1)) "$DIR/out" | grep -q "^$1" && { tail -c +$((n + 1)) "$DIR/out" | sed "/^$1/,\$d"; return 0; }
        alive || broken "the process has ended: $(tail -n 3 "$DIR/err" 2>/dev/null)"
        sleep 0.05
    done
    broken "no answer: $(tail -n 3 "$DIR/out" "$DIR/err" 2>/dev/null)"
}
# in_view COMMAND...: becomes a command that sees the package as installed: its /usr and /etc lie over the system's; what it writes below
# /usr, /etc and /var goes to DIR, and /run is empty. To be called in the background, or in a subshell.
in_view() {
    for name in usr etc var; do mkdir -p "$DIR/view/$name" "$DIR/view/$name.work" "$ROOT/$name"; done
    # shellcheck disable=SC2016 # The inner shell expands these.
    exec unshare --mount bash -c 'set -e; root=$1 dir=$2; shift 2
        for name in usr etc var; do
            mount -t overlay overlay -o "lowerdir=$root/$name:/$name,upperdir=$dir/view/$name,workdir=$dir/view/$name.work" "/$name"
        done
        mount -t tmpfs tmpfs /run
        export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
        exec env -u LD_LIBRARY_PATH "$@"' in_view "$ROOT" "$DIR" "$@"
}
stop() {
    for file in "$DIR"/pid "$DIR"/pid2; do [ -f "$file" ] && kill "$(cat "$file")" 2>/dev/null; done
    return 0
}
run() {
    ROOT=$(cd "$1" && pwd) || exit 2
    mkdir -p "$3"; DIR=$(cd "$3" && pwd)
    case $2 in
        start) start;;
        probe) alive || broken "the process is not there"; (probe);;
        stop) stop;;
    esac
}
