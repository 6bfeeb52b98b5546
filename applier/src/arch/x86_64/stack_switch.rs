//! Instructions by which code goes to another stack: they load the stack pointer with an address from
//! elsewhere.

/// Where the address comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// From where a `ucontext_t` has it: in a static program this is the C library's `swapcontext`.
    Context,
    /// From where `_dl_runtime_profile` of glibc has its own (`mov 0x18(%rbx),%rsp`).
    RuntimeProfile,
    /// From anywhere else.
    Elsewhere,
}

/// Bytes that are looked at for one instruction.
pub(crate) const LONGEST: usize = 8;

/// Is there such an instruction at the beginning of these bytes, [`LONGEST`] of them?
pub(crate) fn source(bytes: &[u8]) -> Option<Source> {
    if !loads_stack_pointer(bytes.get(..3)?) {
        return None;
    }
    Some(match bytes[1..] {
        [0x8b, _, 160, 0, 0, 0, ..] => Source::Context,
        [0x8b, 0x63, 0x18, ..] => Source::RuntimeProfile,
        _ => Source::Elsewhere,
    })
}

/// Intel SDM volume 2, with the stack pointer (4) for the register: `mov memory,%rsp`, where the address
/// counts neither from the frame pointer nor from the stack pointer; `xchg %rsp,memory`; and `mov %rdi,%rsp`
/// or `mov %rsi,%rsp`, arguments of a function.
fn loads_stack_pointer(bytes: &[u8]) -> bool {
    let &[rex @ (0x48 | 0x49), opcode, modrm] = bytes else { return false };
    let (mode, register, base) = (modrm >> 6, modrm >> 3 & 7, modrm & 7);
    let counts = register == 4 && mode != 3 && base != 4 && (base != 5 || rex == 0x49);
    match opcode {
        0x8b => counts || (rex == 0x48 && matches!(modrm, 0xe7 | 0xe6)),
        0x87 => counts && mode != 2 && rex == 0x48,
        0x89 => rex == 0x48 && matches!(modrm, 0xfc | 0xf4),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_that_go_to_another_stack() {
        let is = |bytes: &[u8]| loads_stack_pointer(bytes);
        // mov 0xa0(%rdi),%rsp; mov (%rsi),%rsp; mov 8(%r13),%rsp; mov %rdi,%rsp in both forms; xchg
        // %rsp,(%rax)
        for code in [
            [0x48, 0x8b, 0xa7],
            [0x48, 0x8b, 0x26],
            [0x49, 0x8b, 0x65],
            [0x48, 0x89, 0xfc],
            [0x48, 0x8b, 0xe7],
            [0x48, 0x87, 0x20],
        ] {
            assert!(is(&code), "{code:x?}");
        }
        // mov -0x38(%rbp),%rsp; mov 8(%rsp),%rsp; mov %rbp,%rsp; mov %rbx,%rsp; mov (%rdi),%rbx; mov
        // (%rdi),%r12
        for code in [
            [0x48, 0x8b, 0x65],
            [0x48, 0x8b, 0x64],
            [0x48, 0x89, 0xec],
            [0x48, 0x89, 0xdc],
            [0x48, 0x8b, 0x1f],
            [0x4c, 0x8b, 0x27],
        ] {
            assert!(!is(&code), "{code:x?}");
        }
    }
}
