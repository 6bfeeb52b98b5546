//! What this program itself may do.

use super::{procfile, status};

/// Bits of capabilities (linux/capability.h).
const SYS_PTRACE: u32 = 19;
const SYS_ADMIN: u32 = 21;

/// Does a seccomp filter act on this program?
pub(crate) fn is_filtered() -> bool {
    status::status(own_pid()).is_ok_and(|s| s.seccomp)
}

/// May it look into every process?
pub(crate) fn may_trace() -> bool {
    has(&own_status(), SYS_PTRACE)
}

/// Why the kernel does not let this program attach to a process; `filters`: to one whose seccomp filters have
/// to be held off meanwhile.
pub(crate) fn denied(filters: bool) -> &'static str {
    let status = own_status();
    if filters && is_filtered() {
        "it has a seccomp filter, and this upatch has one too (of its service unit or container): the kernel \
         lets only a program without one hold \
         off another's; run upatch without, where the container was started from, or with the unit file that \
         upatch brings"
    } else if filters && !has(&status, SYS_ADMIN) {
        "it has a seccomp filter, and only CAP_SYS_ADMIN may hold that off; run as root"
    } else if has(&status, SYS_PTRACE) {
        "the kernel does not let even a user with CAP_SYS_PTRACE trace it (a security module, \
         kernel.yama.ptrace_scope 3, or a process of an \
         outer namespace)"
    } else {
        "the kernel does not let this user trace it; run as root (or see kernel.yama.ptrace_scope)"
    }
}

/// Why a process may not even be looked into: `why`, unless this program may look into all.
pub(crate) fn unread(why: &str) -> String {
    if may_trace() { denied(false).into() } else { why.into() }
}

fn own_pid() -> i32 {
    i32::try_from(std::process::id()).unwrap_or(0)
}

fn own_status() -> String {
    procfile::text("/proc/self/status").unwrap_or_default()
}

fn has(status: &str, bit: u32) -> bool {
    let effective = status.lines().find_map(|l| l.strip_prefix("CapEff:"));
    effective.and_then(|c| u64::from_str_radix(c.trim(), 16).ok()).is_some_and(|c| c & 1 << bit != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities() {
        assert!(has("Name:\tx\nCapEff:\t000001fffeffffff\n", SYS_PTRACE));
        assert!(!has("CapEff:\t00000000a80425fb\n", SYS_PTRACE) && !has("", SYS_ADMIN));
    }
}
