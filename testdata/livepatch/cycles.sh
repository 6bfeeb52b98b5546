# COUNT times in and out again, under load (tests/tests/kernel_apply.rs). Nothing may be left: what is counted before
# and after is told, and compared.
live=/sys/kernel/livepatch
# Programs that call what is patched, start others, and write files, in bursts: both processors are busy in turn.
for i in 1 2; do
    (while :; do j=0; while [ $j -lt 50 ]; do read -r x < /proc/loadavg; j=$((j + 1)); done; usleep 50000; done) &
    (while :; do dd if=/dev/zero of=/tmp/load$i bs=64k count=16 2> /dev/null; sh -c : ; sleep 0.2; done) &
done
field() { awk -v f="$1:" '$1 == f { print $2 }' /proc/meminfo; }
# Kilobytes that are free with no caches, in slabs, and in vmalloc, where modules lie; modules, entries of /sys, symbols of
# modules, open files, files of upatch. The log of upatch is kept in memory here, so it is emptied.
look() {
    : > /var/lib/upatch/log
    sync; echo 3 > /proc/sys/vm/drop_caches; sleep 3
    echo "$(field MemAvailable) $(field SUnreclaim) $(field VmallocUsed) $(grep -c . /proc/modules)" \
        "$(ls -R /sys/module /sys/kernel | grep -c .) $(grep -c '\[' /proc/kallsyms)" \
        "$(cut -f1 /proc/sys/fs/file-nr) $(find /var/lib/upatch | grep -c .)"
}
tell() { echo "$1: MemAvailable $2 kB, slabs $3 kB, vmalloc $4 kB, $5 modules, $6 entries in /sys, $7 symbols of modules, $8 open files, $9 files of upatch"; }
now() { read -r up _ < /proc/uptime; echo "${up%.*}${up#*.}"; }
timed() { began=$(now); "$@" > /tmp/out 2>&1; rc=$?; echo $(($(now) - began)) >> "/tmp/times.$1.$2"; return $rc; }
cycle() {
    timed upatch apply /p/loadavg || { echo "apply $n: $(cat /tmp/out)"; exit 1; }
    grep -q patched /proc/loadavg || { echo "apply $n: not patched"; exit 1; }
    timed upatch remove loadavg || { echo "remove $n: $(cat /tmp/out)"; exit 1; }
    grep -q patched /proc/loadavg && { echo "remove $n: still patched"; exit 1; }
    n=$((n + 1))
}
spent() { sort -n "/tmp/times.upatch.$1" | awk -v c="$1" '{ t[NR] = $1 / 100 } END { print c ": median " t[int((NR + 1) / 2)] " s, longest " t[NR] " s" }'; }

n=0
# The first ones fill caches of the kernel.
while [ $n -lt 10 ]; do cycle; done
before=$(look); tell before $before
rm -f /tmp/times.*; n=0
while [ $n -lt $COUNT ]; do
    cycle
    [ $((n % 50)) = 0 ] && echo "$n so far, $(field MemAvailable) kB available"
done
[ -z "$(ls $live; grep upatch_ /proc/modules)" ] || { echo "something is left: $(ls $live; cat /proc/modules)"; exit 1; }
after=$(look); tell after $after
spent apply; spent remove
dmesg | grep -E "WARNING|BUG:|Oops|ftrace.*(fault|failed)" && exit 1
# A leak of one page in each cycle would be 4 kB; what is free with other programs at work differs by some MB.
set -- $before $after
most=$((6000 + 2 * COUNT))
[ $(($1 - $9)) -lt $most ] || { echo "memory is lost: $(($1 - $9)) kB"; exit 1; }
shift
[ $(($9 - $1)) -lt $most ] || { echo "slabs grow: $(($9 - $1)) kB"; exit 1; }
shift
[ $(($9 - $1)) -lt $most ] || { echo "vmalloc grows: $(($9 - $1)) kB"; exit 1; }
for what in modules "entries in /sys" symbols "open files" "files of upatch"; do
    shift
    # Programs at work have files open at this moment.
    slack=0; [ "$what" = "open files" ] && slack=64
    [ $(($9 - $1)) -le $slack ] || { echo "$what: $1 before, $9 after"; exit 1; }
done
echo "$n cycles"
