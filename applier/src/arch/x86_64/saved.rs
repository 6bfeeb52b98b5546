//! Registers that C libraries have saved in memory.

use super::registers::{Registers, is_syscall, syscall_before};

/// `struct ucontext_t` (sys/ucontext.h) up to the registers: bytes.
pub(crate) const CONTEXT: usize = 176;
/// Offset of a pointer into the structure itself, and the offset that it points to.
pub(crate) const POINTER: u64 = 224;
pub(crate) const POINTS_TO: u64 = 424;
/// Where in it is the result of a system call.
const RESULT: u64 = 144;

/// `jmp_buf` (bits/setjmp.h) up to the two mangled words at its end: bytes, and the distance of its beginning
/// from its last word.
pub(crate) const JUMP_BUFFER: usize = 48;
pub(crate) const JUMP_BUFFER_BEFORE: u64 = 56;

/// Where a thread has the secret that glibc mangles pointers with, counted from its thread pointer
/// (`tcbhead_t`).
pub(crate) fn secret(thread_pointer: u64) -> u64 {
    thread_pointer.wrapping_add(0x30)
}

/// The pointer that glibc has mangled to `word` (`PTR_MANGLE`).
pub(crate) fn demangled(word: u64, secret: u64) -> u64 {
    word.rotate_right(17) ^ secret
}

/// The registers in the first [`CONTEXT`] bytes of a `ucontext_t`, with the beginning and the size of its
/// stack; `others` has those that are not in there.
pub(crate) fn context(words: &[u64], others: &Registers) -> Option<(Registers, u64, u64)> {
    let [_, _, start, _, size, registers @ ..] = words else { return None };
    let &[r8, r9, r10, r11, r12, r13, r14, r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip] = registers
    else {
        return None;
    };
    let found = libc::user_regs_struct {
        r8,
        r9,
        r10,
        r11,
        r12,
        r13,
        r14,
        r15,
        rdi,
        rsi,
        rbp,
        rbx,
        rdx,
        rax,
        rcx,
        rsp,
        rip,
        ..others.0
    };
    Some((Registers(found), *start, *size))
}

/// The registers in the first [`JUMP_BUFFER`] bytes of a `jmp_buf`, with the stack pointer `rsp` and program
/// counter `rip` that are behind them; `others` has those that are not in there.
pub(crate) fn jump_buffer(
    words: &[u64],
    secret: u64,
    (rsp, rip): (u64, u64),
    others: &Registers,
) -> Option<Registers> {
    let &[rbx, rbp, r12, r13, r14, r15] = words else { return None };
    let rbp = demangled(rbp, secret);
    Some(Registers(libc::user_regs_struct { rbx, rbp, r12, r13, r14, r15, rsp, rip, ..others.0 }))
}

/// What a signal has interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interrupted {
    /// A system call that has given up for the signal.
    GaveUp,
    /// A system call of this number, which the thread makes again when the handler returns.
    ToBeMadeAgain(i64),
    /// Other code.
    Code,
}

/// What a signal has interrupted at `pc`, by the `ucontext_t` at `context` that its handler finds.
pub(crate) fn interrupted(
    context: u64,
    pc: u64,
    word: impl Fn(u64) -> Option<u64>,
    code: impl Fn(u64) -> Option<[u8; 2]>,
) -> Interrupted {
    let Some(result) = word(context.wrapping_add(RESULT)).map(u64::cast_signed) else {
        return Interrupted::Code;
    };
    let is_call = |at: u64| code(at).is_some_and(|bytes| is_syscall(&bytes));
    if result == -i64::from(libc::EINTR) {
        return if is_call(syscall_before(pc)) { Interrupted::GaveUp } else { Interrupted::Code };
    }
    if (0..1024).contains(&result) && is_call(pc) {
        return Interrupted::ToBeMadeAgain(result);
    }
    Interrupted::Code
}

/// Bytes before a return address among which the call is.
pub(crate) const LONGEST_CALL: usize = 7;

/// Do these bytes, which lie before an address, end with a call (Intel SDM volume 2: `e8` and `ff /2`)?
pub(crate) fn ends_with_call(bytes: [u8; LONGEST_CALL]) -> bool {
    let indirect = |at: usize| bytes[at] == 0xff && bytes[at + 1] >> 3 & 7 == 2;
    bytes[2] == 0xe8 || (0..LONGEST_CALL - 1).any(indirect)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_signal_interrupts() {
        let of = |result: i64, pc: u64| {
            let code = |at: u64| Some(if at == 0x1000 { [0x0f, 0x05] } else { [0x90; 2] });
            interrupted(0, pc, |_| Some(result.cast_unsigned()), code)
        };
        assert_eq!(of(-4, 0x1002), Interrupted::GaveUp);
        assert_eq!(of(-4, 0x1000), Interrupted::Code);
        assert_eq!(of(202, 0x1000), Interrupted::ToBeMadeAgain(202));
        assert_eq!(of(202, 0x1002), Interrupted::Code);
        assert_eq!(interrupted(0, 0x1002, |_| None, |_| None), Interrupted::Code);
    }

    #[test]
    fn calls_before_return_addresses() {
        assert!(ends_with_call([0x90, 0x90, 0xe8, 1, 2, 3, 4]));
        // call *%rax; call *8(%rbx)
        assert!(ends_with_call([0x90, 0x90, 0x90, 0x90, 0x90, 0xff, 0xd0]));
        assert!(ends_with_call([0x90, 0x90, 0x90, 0x90, 0xff, 0x53, 0x08]));
        assert!(!ends_with_call([0x90; LONGEST_CALL]));
    }
}
