//! Rules that hold where unwind tables say nothing (x86-64 psABI §3.2.1).

/// DWARF number of the stack pointer.
pub(crate) const SP: usize = 7;
/// DWARF number of the return address column.
pub(crate) const RETURN: usize = 16;
/// Registers followed: the 16 general ones and the return address.
pub(crate) const COUNT: usize = 17;
/// What instructions of unwind tables mean that machines define for themselves.
pub(crate) const VENDOR: gimli::Vendor = gimli::Vendor::Default;
/// Does a call push its return address? Then the stack pointer of a caller is always higher than that of what
/// it calls.
pub(crate) const CALL_PUSHES: bool = true;

/// Does a function leave this register as it found it? (`rbx`, `rbp`, `r12` to `r15`.)
pub(crate) fn is_kept(register: usize) -> bool {
    matches!(register, 3 | 6 | 12..=15)
}

/// A return address, as it is in memory or in a register, without what the machine may have added to it:
/// nothing here.
pub(crate) fn code_address(word: u64) -> u64 {
    word
}
