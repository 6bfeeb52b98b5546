//! What breakpoints and uprobes of others look like in code.

/// `int3`.
pub(super) const BREAKPOINT: u8 = 0xcc;
/// An instruction without effect as long as a call, for which the kernel may put a call for a uprobe (Linux
/// 6.18).
const LONG_NOP: &[u8] = b"\x0f\x1f\x44\0\0";

/// May there be a breakpoint in this code?
pub(crate) fn may_be_in(code: &[u8]) -> bool {
    code.contains(&BREAKPOINT)
}

/// Does a trap make `found` differ from `linked` at index `at`?
pub(crate) fn is_trap(found: &[u8], linked: &[u8], at: usize) -> bool {
    let in_long_nop =
        || (at.saturating_sub(LONG_NOP.len() - 1)..=at).any(|i| linked[i..].starts_with(LONG_NOP));
    found[at] == BREAKPOINT || in_long_nop()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_breakpoint_and_the_call_of_a_uprobe() {
        let linked = [0x55, 0x0f, 0x1f, 0x44, 0, 0, 0xc3];
        let found = [0xcc, 0xe8, 1, 2, 3, 4, 0x90];
        let traps: Vec<usize> = (0..7).filter(|at| is_trap(&found, &linked, *at)).collect();
        assert_eq!(traps, [0, 1, 2, 3, 4, 5]);
        assert!(may_be_in(&found) && !may_be_in(&linked));
    }
}
