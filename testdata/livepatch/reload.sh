# A module goes and comes again while a patch of it is active (tests/tests/kernel_apply.rs), after say.sh.
# This kernel takes it only once.
patched() { [ "$(cat $live/upatch_reload/dummy/patched)" = 1 ]; }
# It may come while the patch is out for a moment; then it is patched a moment later.
comes() {
    i=0; while ! modprobe dummy 2> /dev/null && [ $i -lt 60 ]; do sleep 1; i=$((i + 1)); done
    i=0; while ! patched 2> /dev/null && [ $i -lt 60 ]; do sleep 1; i=$((i + 1)); done
    patched
}
told() { has "$1" "cannot be loaded again while the patch is active"; }

run apply 0 upatch apply /p/reload; has apply "waits for the module"; told apply
is "it comes" modprobe dummy
is "patched as it comes" patched
run info 0 upatch info reload; told info
rmmod dummy
run status 0 upatch status reload; has status "waits for the module"; told status
isnt "the kernel does not take it again" modprobe dummy
run "apply once more" 0 upatch apply reload
is "then it comes again" modprobe dummy
is "and is patched" patched
rmmod dummy
isnt "not for the third time" modprobe dummy
# The service does not know whether the module was there.
upatch daemon > /tmp/daemon 2>&1 & daemon=$!
is "the service begins: it comes again" comes
sleep 3
rmmod dummy
is "the service saw it go: it comes again" comes
sleep 3
rmmod dummy
is "and again" comes
kill $daemon; wait $daemon
cat /tmp/daemon
rmmod dummy 2> /dev/null
run remove 0 upatch remove reload
is "nothing is left" [ -z "$(ls $live; grep upatch_ /proc/modules)" ]
is "without the patch" modprobe dummy

dmesg | grep -E "WARNING|BUG:|Oops" && failed=1
[ $failed = 0 ] && echo "all is well"
exit $failed
