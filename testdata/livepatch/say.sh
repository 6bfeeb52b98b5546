# What the scripts of virtual machines begin with (tests/tests/kernel_apply.rs). Each case says `ok` or `FAIL`.
# Usage: run CASE CODE COMMAND…; has CASE TEXT (in what the last command printed); is CASE COMMAND… (succeeds).
failed=0
verdict() { if [ "$2" = 0 ]; then echo "ok   $1"; else echo "FAIL $1: $3"; failed=1; fi; }
run() { c=$1 want=$2; shift 2; out=$("$@" 2>&1); rc=$?; [ $rc = "$want" ]; verdict "$c" $? "exit $rc, not $want: $out"; }
has() { case "$out" in *"$2"*) verdict "$1: says $2" 0 ;; *) verdict "$1: says $2" 1 "$out" ;; esac; }
is() { c=$1; shift; "$@" > /tmp/is 2>&1; verdict "$c" $? "$(cat /tmp/is)"; }
isnt() { c=$1; shift; if "$@" > /tmp/is 2>&1; then verdict "$c" 1 "$(cat /tmp/is)"; else verdict "$c" 0; fi; }
live=/sys/kernel/livepatch
