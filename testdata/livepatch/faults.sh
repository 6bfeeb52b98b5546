# upatch is killed, or its system call fails, at each step of a change (tests/tests/kernel_apply.rs), after say.sh.
# CALLS: which ones, as killer.c numbers them; "all" for every one. The next command must mend what is left.
mended=0
# Mends in turn by taking the change up and by taking it back.
mend() {
    what=$1
    out=$(upatch list 2>&1) || verdict "$what: list" 1 "$out"
    out=$(upatch status 2>&1); case $? in 0 | 3) ;; *) verdict "$what: status" 1 "$out" ;; esac
    mended=$((mended + 1))
    if [ $((mended % 2)) = 0 ]; then
        out=$(upatch apply /p/loadavg 2>&1) && grep -q patched /proc/loadavg; verdict "$what: apply" $? "$out"
    fi
    out=$(upatch remove /p/loadavg 2>&1) && [ -z "$(ls $live; grep upatch_ /proc/modules)" ]
    verdict "$what: remove" $? "$out $(ls $live; cat /proc/modules)"
    # A state that was being written may not be left beside the right one.
    out=$(ls -A /var/lib/upatch | grep -vE '^(state.yaml|log|attempts|patches|kept)$'); [ -z "$out" ]
    verdict "$what: nothing lies about" $? "$out"
}
# One harm: at KIND (before, after, an error number) of CALL.
harm() {
    verb=$1 kind=$2 call=$3
    [ "$verb" = apply ] && set -- upatch apply /p/loadavg || { upatch apply /p/loadavg > /tmp/out 2>&1 || verdict "apply before $verb" 1 "$(cat /tmp/out)"; set -- upatch deactive loadavg; }
    killer "$call" "$kind" "$@" > /tmp/harm 2>&1; rc=$?
    [ $rc = 99 ] && { upatch remove /p/loadavg > /tmp/out 2>&1; return 1; }
    what="$verb, $kind at call $call ($(head -1 /tmp/harm)), exit $rc"
    case $kind:$rc in
        before:137 | after:137) ;;
        # What failed and was no matter is not told; a panic ends with 101, a signal with 128 and more.
        [0-9]*:[0-7]) ;;
        *) verdict "$what" 1 "$(cat /tmp/harm)" ;;
    esac
    grep -q "panicked" /tmp/harm && verdict "$what" 1 "$(cat /tmp/harm)"
    # Done is what is in force.
    [ $rc = 0 ] && [ $verb = apply ] && { grep -q patched /proc/loadavg; verdict "$what: in force" $?; }
    [ $rc = 0 ] && [ $verb = deactive ] && { ! grep -q patched /proc/loadavg; verdict "$what: out of force" $?; }
    mend "$what"
}
for verb in apply deactive; do
    for kind in before after 28 12; do
        echo "# $verb, $kind"
        if [ "$CALLS" = all ]; then
            n=0; while harm $verb $kind $n; do n=$((n + 1)); done
            is "$verb, $kind: $n calls" [ $n -gt 5 ]
        else
            for call in $CALLS; do harm $verb $kind $call; done
        fi
    done
done

echo "# a full disk"
mount -t tmpfs -o size=64k,mode=755 full /var/lib/upatch
fill() { dd if=/dev/zero of=/var/lib/upatch/filler bs=1k 2> /dev/null; }
fill
run "full: apply" 1 upatch apply /p/loadavg; has "full: apply" "No space left"
is "full: nothing is loaded" [ -z "$(ls $live; grep upatch_ /proc/modules)" ]
run "full: list" 0 upatch list
rm /var/lib/upatch/filler
run "room again: apply" 0 upatch apply /p/loadavg
fill
run "full: accept" 1 upatch accept loadavg; has "full: accept" "No space left"
out=$(upatch deactive loadavg 2>&1); rc=$?
case "$rc:$(ls $live)" in
    0:) verdict "full: deactive is done" 0 ;;
    1:upatch_loadavg) has "full: deactive" "No space left"; is "full: still in force" grep -q patched /proc/loadavg ;;
    *) verdict "full: deactive" 1 "exit $rc: $out" ;;
esac
run "full: list, after deactive" 0 upatch list
rm /var/lib/upatch/filler
run "room again: remove" 0 upatch remove loadavg
is "nothing is left" [ -z "$(ls $live; grep upatch_ /proc/modules)" ]
umount /var/lib/upatch

dmesg | grep -E "WARNING|BUG:|Oops" && failed=1
[ $failed = 0 ] && echo "all is well"
exit $failed
