//! What becomes of the empty function that the dynamic loader calls for debuggers: it leads to code elsewhere
//! by which the thread sends itself a signal.

use super::batch;

/// Bytes of the function and of the padding behind it that are looked at: it is aligned to so many.
pub(crate) const SIZE: usize = 16;
/// `mov $address,%rax; jmp *%rax`, without the operand of the first.
const LEAD: ([u8; 2], [u8; 2]) = ([0x48, 0xb8], [0xff, 0xe0]);
/// Length in bytes of the code that leads elsewhere.
pub(crate) const LEAD_SIZE: usize = 12;
const RET: u8 = 0xc3;
/// The function's body: a return. One write of it empties the function, whoever is in it.
pub(crate) const EMPTY: &[u8] = &[RET];

/// Code for the function that leads to `address`.
pub(crate) fn lead(address: u64) -> Vec<u8> {
    [&LEAD.0[..], &address.to_le_bytes(), &LEAD.1].concat()
}

/// Where the [`LEAD_SIZE`] bytes of the function lead, if they are what [`lead`] makes.
pub(crate) fn lead_target(bytes: &[u8]) -> Option<u64> {
    let to = bytes.strip_prefix(&LEAD.0)?.strip_suffix(&LEAD.1)?;
    to.try_into().ok().map(u64::from_le_bytes)
}

/// The code that the function leads to: thread `tid` sends itself the signal, where the word at `state` is
/// zero or nobody knows where that word is. Gives also the offset at which the thread is then. The code
/// changes registers that any call may change (psABI §3.2.1), and the stack is as it was while the system
/// call runs.
pub(crate) fn code(state: Option<u64>, tid: i32) -> (Vec<u8>, u64) {
    let mut mark = Vec::new();
    batch::write_mark(&mut mark, tid);
    let mut code = Vec::new();
    if let Some(state) = state {
        // mov $state,%rax; cmpl $0,(%rax); jne (behind the system call)
        code.extend([0x48, 0xb8]);
        code.extend(state.to_le_bytes());
        code.extend([0x83, 0x38, 0, 0x75, mark.len() as u8]);
    }
    code.extend(mark);
    let after = code.len() as u64;
    code.push(RET);
    (code, after)
}

/// `ret`, perhaps behind `endbr64`, and only padding behind it.
pub(crate) fn is_empty(code: &[u8; SIZE]) -> bool {
    let rest = code.strip_prefix(b"\xf3\x0f\x1e\xfa").unwrap_or(code);
    let Some(mut rest) = rest.strip_prefix(b"\xc3") else { return false };
    // The operands of the long nops that assemblers pad with (`nopw 0(%rax,%rax,1)` and the like) are zero.
    while let Some((first, more)) = rest.split_first() {
        let nop = match first {
            0x90 | 0xcc => 0,
            0x66 | 0x2e => {
                rest = more;
                continue;
            }
            0x0f if more.first() == Some(&0x1f) => match more.get(1) {
                Some(0x00) => 2,
                Some(0x40) => 3,
                Some(0x44) => 4,
                Some(0x80) => 6,
                Some(0x84) => 7,
                // The last nop goes on behind what was read.
                None => return true,
                Some(_) => return false,
            },
            // Within the last nop.
            0x0f if more.is_empty() => return true,
            _ => return false,
        };
        rest = more.get(nop..).unwrap_or_default();
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_branch_leads_to_the_return() {
        let (with, after) = code(Some(0x7f00_0000_1000), 4711);
        let (without, _) = code(None, 4711);
        assert_eq!(with[15..], without);
        assert_eq!(with[15 + usize::from(with[14])], RET);
        assert_eq!(with[usize::try_from(after).unwrap()..], *EMPTY);
    }

    #[test]
    fn only_an_empty_function_will_do() {
        let glibc = b"\xc3\x66\x66\x2e\x0f\x1f\x84\0\0\0\0\0\x0f\x1f\x40\0";
        assert!(is_empty(glibc));
        assert!(is_empty(b"\xf3\x0f\x1e\xfa\xc3\x66\x66\x2e\x0f\x1f\x84\0\0\0\0\0"));
        assert!(is_empty(b"\xc3\x66\x90\x66\x2e\x0f\x1f\x84\0\0\0\0\0\x90\x90\x90"));
        assert!(!is_empty(b"\xc3\x48\x8d\x05\xa1\x20\x03\0\x48\x85\xff\x74\x14\x48\x8d\x04"));
        assert!(!is_empty(b"\x31\xc0\xc3\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90"));
    }
}
