# COUNT times in and out again, under load (tests/tests/kernel_apply.rs).
for i in 1 2; do
    (while :; do cat /proc/loadavg > /dev/null; done) &
    (while :; do dd if=/dev/zero of=/tmp/load$i bs=64k count=16 2> /dev/null; sh -c : ; sleep 0.1; done) &
done
n=0
while [ $n -lt $COUNT ]; do
    upatch apply /p/loadavg > /tmp/out 2>&1 || { echo "apply $n: $(cat /tmp/out)"; exit 1; }
    grep -q patched /proc/loadavg || { echo "apply $n: not patched"; exit 1; }
    upatch remove loadavg > /tmp/out 2>&1 || { echo "remove $n: $(cat /tmp/out)"; exit 1; }
    grep -q patched /proc/loadavg && { echo "remove $n: still patched"; exit 1; }
    n=$((n + 1))
    [ $((n % 10)) = 0 ] && echo "$n so far"
done
[ -z "$(ls /sys/kernel/livepatch; grep upatch_ /proc/modules)" ] || exit 1
dmesg | grep -E "WARNING|BUG:|Oops" && exit 1
grep -E "MemAvailable|Slab" /proc/meminfo
echo "$n cycles"
