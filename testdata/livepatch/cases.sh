# What upatch does to a kernel, in a virtual machine (tests/tests/kernel_apply.rs), after say.sh.
echo "# the way there and back"
run check 0 upatch check /p/loadavg; has check fits
run dry-run 0 upatch apply --dry-run /p/loadavg; has dry-run "would patch the kernel"
run apply 0 upatch apply /p/loadavg; has apply "ACTIVED: vmlinux patched"
is patched grep -q "patched by version 1" /proc/loadavg
run again 0 upatch apply /p/loadavg
run list 0 upatch list; has list "ACTIVED"
run status 0 upatch status loadavg; has status "vmlinux"
run info 0 upatch info loadavg; has info "kernel:"
run pid 2 upatch apply --pid 1 /p/loadavg; has pid "no --pid"
run deactive 0 upatch deactive loadavg; has deactive "DEACTIVED"
isnt "old code is back" grep -q patched /proc/loadavg
isnt "the module is gone" grep -q upatch_ /proc/modules
run "deactive again" 0 upatch deactive loadavg
run active 0 upatch active loadavg
is "patched again" grep -q "patched by version 1" /proc/loadavg

echo "# several patches, versions, strangers"
run second 0 upatch apply /p/uptime
is "both are in force" sh -c 'grep -q patched /proc/loadavg && grep -q patched /proc/uptime'
insmod /p/foreign/*.ko; sleep 3
run list 0 upatch list; has list FOREIGN
run conflict 6 upatch apply /p/other; has conflict "replaces loadavg_proc_show of vmlinux too"
run "the first goes, below the second" 0 upatch deactive loadavg
is "the second stays" grep -q patched /proc/uptime
run active 0 upatch active loadavg
run "newer version" 0 upatch apply /p/loadavg-2
is "the newer one is in force" grep -q "patched by version 2" /proc/loadavg
is "the older one is gone" [ "$(ls -d $live/upatch_loadavg* | wc -l)" = 1 ]
is "the stranger stays" grep -q somebody /proc/version
run "remove both" 0 upatch remove loadavg uptime
is "only the stranger is left" [ "$(ls $live | wc -l)" = 1 ]
echo 0 > $live/upatch_foreign/enabled; sleep 4; rmmod upatch_foreign

echo "# what does not fit"
run "other build" 5 upatch apply /p/build; has "other build" build-id
run "other release" 5 upatch apply /p/release; has "other release" "is for Linux"
run "no such function" 5 upatch apply /p/nosuch; has "no such function" "the kernel says"
run "damaged" 5 upatch apply /p/damaged
run "ftrace is off" 0 sysctl -w kernel.ftrace_enabled=0
run "ftrace is off" 1 upatch apply /p/loadavg; has "ftrace is off" "kernel.ftrace_enabled=1"
sysctl -qw kernel.ftrace_enabled=1
is "nothing is left" [ -z "$(ls $live; grep upatch_ /proc/modules)" ]

echo "# a task that sleeps in the function"
sleep 1000 & sleeper=$!
sleep 1
run "time is up" 1 upatch apply --timeout 4 /p/sleeper; has "time is up" "task $sleeper (sleep)"; has "time is up" hrtimer_nanosleep; has "time is up" "turned round"
has "the name" "sleep"
is "nothing is left" [ -z "$(ls $live; grep upatch_ /proc/modules)" ]
run "its state" 0 upatch list
run "in the scheduler's section" 1 upatch apply --timeout 4 /p/scheduled; has "in the scheduler's section" do_nanosleep
is "debugging messages are off again" sh -c '! grep "livepatch/transition.c.*=p" /proc/dynamic_debug/control'
(sleep 3; kill -INT $(pidof upatch)) &
run "Ctrl-C" 1 upatch apply /p/sleeper; has "Ctrl-C" interrupted
is "nothing is left" [ -z "$(ls $live; grep upatch_ /proc/modules)" ]
# After 15 seconds the kernel wakes the task, and the transition ends: what follows must be quick.
run "lazy" 3 upatch apply --lazy --timeout 0.5 /p/sleeper; has lazy "in transition"
run "EBUSY" 6 upatch apply --timeout 0.5 /p/loadavg; has EBUSY "upatch_sleeper is in transition"
run "a lazy one is taken back" 0 upatch remove sleeper
is "nothing is left" [ -z "$(ls $live; grep upatch_ /proc/modules)" ]
run "lazy, looked at" 3 upatch apply --lazy --timeout 0.5 /p/sleeper
run "status" 0 upatch status sleeper; has status "$sleeper"; has status "hrtimer_nanosleep"
run "a lazy one is taken back" 0 upatch remove sleeper
run "lazy again" 3 upatch apply --lazy --timeout 1 /p/sleeper
kill $sleeper
run "it ends by itself" 0 upatch apply /p/sleeper
sleep 1000 & sleeper=$!
sleep 1
run "out, held up" 1 upatch deactive --timeout 4 sleeper; has "out, held up" "turned round"
run "still in force" 0 upatch list; has "still in force" ACTIVED
kill $sleeper
run "out" 0 upatch remove sleeper

echo "# a module that comes later"
run "before its module" 0 upatch apply /p/dummy; has "before its module" "waits for the module"
modprobe dummy
is "patched as it comes" [ "$(cat $live/upatch_dummy/dummy/patched)" = 1 ]
run "status" 0 upatch status dummy; has status "patched"
run "remove" 0 upatch remove dummy
run "after its module" 0 upatch apply /p/dummy; has "after its module" "dummy patched"
run "remove" 0 upatch remove dummy

echo "# killed at any time"
for t in 0.05 0.2 0.4 0.6 0.9 1.3 1.8 2.5; do
    upatch apply /p/loadavg > /dev/null 2>&1 & pid=$!
    sleep $t; kill -9 $pid 2> /dev/null; wait $pid 2> /dev/null
    out=$(upatch apply /p/loadavg 2>&1) && grep -q patched /proc/loadavg; verdict "apply, killed after $t s" $? "$out"
    upatch deactive loadavg > /dev/null 2>&1 & pid=$!
    sleep $t; kill -9 $pid 2> /dev/null; wait $pid 2> /dev/null
    out=$(upatch remove loadavg 2>&1) && ! grep -q patched /proc/loadavg && ! grep upatch_ /proc/modules
    verdict "deactive, killed after $t s" $? "$out"
done
insmod /p/loadavg/*.ko; sleep 4
run "loaded by hand" 0 upatch list; has "loaded by hand" ACTIVED
echo 0 > $live/upatch_loadavg/enabled; sleep 4
run "disabled by hand, not unloaded" 0 upatch apply /p/loadavg
rm -rf /var/lib/upatch/state.yaml
run "state is lost" 0 upatch list; has "state is lost" ACTIVED
run remove 0 upatch remove /p/loadavg

echo "# accepted patches come back"
run apply 0 upatch apply /p/loadavg
run accept 0 upatch accept loadavg
echo 0 > $live/upatch_loadavg/enabled; sleep 4; rmmod upatch_loadavg
sed -i 's/^boot: .*/boot: another/' /var/lib/upatch/state.yaml
run "not loaded yet" 0 upatch list; has "not loaded yet" NOT-APPLIED
upatch daemon > /tmp/daemon 2>&1 & daemon=$!
i=0; while ! grep -q patched /proc/loadavg && [ $i -lt 100 ]; do sleep 0.2; i=$((i+1)); done
is "the service brings it back" grep -q "patched by version 1" /proc/loadavg
sleep 3
run status 0 upatch status; has status "all is as it should be"
run remove 0 upatch remove loadavg
kill $daemon; wait $daemon
run log 0 upatch log; has log daemon
run doctor 0 upatch doctor; has doctor "the service is not running"

dmesg | grep -E "WARNING|BUG:|Oops" && failed=1
[ $failed = 0 ] && echo "all is well"
exit $failed
