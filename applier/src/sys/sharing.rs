#![expect(unsafe_code, reason = "kcmp has no safe interface in std")]
//! Who else has the memory of a process.

/// Have two processes the same memory (kcmp(2), `KCMP_VM`)? `None` where the kernel does not tell.
pub(crate) fn same_memory(one: i32, other: i32) -> Option<bool> {
    const KCMP_VM: i32 = 1;
    // SAFETY: takes integers only.
    let order = unsafe { libc::syscall(libc::SYS_kcmp, one, other, KCMP_VM, 0, 0) };
    (order >= 0).then_some(order == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_has_memory_of_its_own() {
        let own = i32::try_from(std::process::id()).unwrap();
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let found = (same_memory(own, own), same_memory(own, pid));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(found, (Some(true), Some(false)));
    }
}
