# A kernel that loads nothing without a signature that it trusts (tests/tests/kernel_apply.rs), after say.sh.
# WHO says why; TRUSTED=1: its owner trusts the key of /p/owner.
mount -t securityfs security /sys/kernel/security
nothing() { is "nothing is left of $1" [ -z "$(ls $live; grep upatch_ /proc/modules)" ]; isnt "$1: nor in the list" sh -c 'upatch list | grep -q ACTIVED'; isnt "$1: not in force" grep -q patched /proc/loadavg; }

echo "# $WHO"
for verb in check "apply --dry-run" apply; do
    run "unsigned: $verb" 7 upatch $verb /p/loadavg; has "unsigned: $verb" "$WHO, and the module is not signed"; has "unsigned: $verb" "--sign-key"
done
nothing unsigned
run "a stranger's key" 7 upatch apply /p/stranger; has "a stranger's key" "$WHO, and it does not trust the key that the module is signed with"
has "a stranger's key" "MOK"
nothing "a stranger's key"
if [ "$TRUSTED" = 1 ]; then
    run "changed after it was signed" 7 upatch apply /p/changed; has "changed after it was signed" "signature is not that of its contents"
    nothing "changed after it was signed"
    run "the owner's key" 0 upatch apply /p/owner
    is "in force" grep -q "patched by version 1" /proc/loadavg
    is "the kernel counts no unsigned module" [ $(($(cat /proc/sys/kernel/tainted) & 8192)) = 0 ]
    run "the owner's key, out" 0 upatch remove /p/owner
    nothing "the owner's key"
fi
umount /sys/kernel/security
run "where securityfs is not mounted" 7 upatch apply /p/stranger
has "where securityfs is not mounted" "it does not trust the key"
echo 1 > /proc/sys/kernel/modules_disabled
run "modules are disabled" 7 upatch apply /p/stranger; has "modules are disabled" "kernel.modules_disabled is 1"

dmesg | grep -E "WARNING|BUG:|Oops" && failed=1
[ $failed = 0 ] && echo "all is well"
exit $failed
