//! Processes that `/proc` does not show: mounted with `hidepid` (proc(5)), it lists only those that the
//! caller may look into.

use super::{own, procfile};
use nix::{errno::Errno, sys::signal::kill, unistd::Pid};

/// Is there a process of this id, although `/proc` has none?
pub(crate) fn is(pid: i32) -> bool {
    // To say so is no permission to look into it. (0 and below are groups.)
    pid > 0 && kill(Pid::from_raw(pid), None) == Err(Errno::EPERM)
}

/// May there be processes that are not in the list?
pub(crate) fn some_are() -> bool {
    hides(&procfile::text("/proc/self/mountinfo").unwrap_or_default()) && !none_is()
}

/// May this program look into whatever can be looked into at all? What is still kept from it (by the kernel's
/// own rules for some sandbox) has been kept from whoever could have patched it.
pub(crate) fn none_is() -> bool {
    own::may_trace() && is_whole(&procfile::text("/proc/self/uid_map").unwrap_or_default())
}

/// Are the users of this namespace all that there are? The root of another one is a user among others.
fn is_whole(uid_map: &str) -> bool {
    uid_map.split_ascii_whitespace().eq(["0", "0", "4294967295"])
}

/// Does the last `/proc` that is mounted hide processes? (`hidepid=1` lists them, but says of none what it
/// runs.)
fn hides(mounts: &str) -> bool {
    let proc = |l: &&str| l.split(' ').nth(4) == Some("/proc");
    let options = mounts.lines().rfind(proc).and_then(|l| l.rsplit(' ').next()).unwrap_or_default();
    let hidden = options.split(',').find_map(|o| o.strip_prefix("hidepid="));
    hidden.is_some_and(|h| !matches!(h, "0" | "off" | "1" | "noaccess"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_proc() {
        let line = |options: &str| format!("23 28 0:22 / /proc rw,nosuid shared:14 - proc proc {options}\n");
        assert!(!hides("") && !hides(&line("rw")) && !hides(&line("rw,hidepid=0")));
        assert!(!hides(&line("rw,gid=4,hidepid=1")) && !hides(&line("rw,hidepid=noaccess")));
        assert!(hides(&line("rw,gid=4,hidepid=2")) && hides(&line("rw,hidepid=invisible")));
        assert!(hides(&line("rw,hidepid=ptraceable")));
        assert!(!hides(&(line("rw,hidepid=2") + &line("rw"))));
        let other = "24 23 0:23 / /mnt rw - proc proc rw,hidepid=2\n";
        assert!(!hides(&(line("rw") + other)));
    }

    #[test]
    fn users_of_namespaces() {
        assert!(is_whole("         0          0 4294967295\n"));
        assert!(!is_whole("         0       1000          1\n") && !is_whole(""));
    }

    #[test]
    fn a_process_that_is_not_there_is_not_hidden() {
        assert!(!is(-1) && !is(0) && !is(i32::MAX));
    }
}
