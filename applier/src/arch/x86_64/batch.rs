//! Code that makes several system calls in one go and then stops its own thread, see [`crate::engine`].
//!
//! It is a function: it is run where a function was called, may change the registers that any function may
//! change, and returns to the caller at the end. Each result is pushed, so that the stack pointer tells how
//! many calls were made. After the first call that fails it makes no more.

use super::registers::Registers;
use crate::sys::call::SystemCall;
use std::ops::Range;

/// Numbers of the registers used.
#[derive(Clone, Copy)]
enum Register {
    Rax = 0,
    Rdx = 2,
    Rsi = 6,
    Rdi = 7,
    R8 = 8,
    R9 = 9,
    R10 = 10,
}

/// The registers of a system call's arguments (psABI appendix A.2.1).
const ARGUMENTS: [Register; 6] =
    [Register::Rdi, Register::Rsi, Register::Rdx, Register::R10, Register::R8, Register::R9];

/// `mov $value,register` in its shortest form (Intel SDM volume 2).
fn set(code: &mut Vec<u8>, register: Register, value: u64) {
    let (extended, low) = (register as u8 >> 3, register as u8 & 7);
    match u32::try_from(value) {
        Ok(value) => {
            code.extend((extended == 1).then_some(0x41));
            code.push(0xb8 | low);
            code.extend(value.to_le_bytes());
        }
        Err(_) => {
            code.extend([0x48 | extended, 0xb8 | low]);
            code.extend(value.to_le_bytes());
        }
    }
}

/// `mov 8*words(%rsp),register`.
fn load(code: &mut Vec<u8>, register: Register, words: usize) {
    let (extended, low) = (register as u8 >> 3, register as u8 & 7);
    code.extend([0x48 | extended << 2, 0x8b, 0x84 | low << 3, 0x24]);
    code.extend((8 * words as u32).to_le_bytes());
}

/// A system call by which a thread that calls itself `tid` sends itself `SIGURG`:
/// `mov $tid,%edi; push $SIGURG; pop %rsi; mov $SYS_tkill,%eax; syscall`.
pub(crate) fn write_mark(code: &mut Vec<u8>, tid: i32) {
    set(code, Register::Rdi, u64::from(tid.cast_unsigned()));
    code.extend([0x6a, libc::SIGURG as u8, 0x5e]);
    set(code, Register::Rax, libc::SYS_tkill.cast_unsigned());
    code.extend([0x0f, 0x05]);
}

/// Appends the function, for a thread that calls itself `tid` and has the registers `home` when it is called.
/// Gives the offset at which the thread is when it has sent itself the signal; `None` for more code than a
/// jump spans.
pub(crate) fn write(code: &mut Vec<u8>, tid: i32, home: &Registers, calls: &[SystemCall]) -> Option<usize> {
    let mut ends = Vec::new();
    for (made, call) in calls.iter().enumerate() {
        for (index, (register, value)) in ARGUMENTS.into_iter().zip(call.args).enumerate() {
            // The last result is on top of the stack.
            let below_top = |of: usize| made.checked_sub(of + 1);
            match call.from_result.filter(|(_, of)| *of == index).and_then(|(of, _)| below_top(of)) {
                Some(words) => load(code, register, words),
                None => set(code, register, value),
            }
        }
        set(code, Register::Rax, call.number.cast_unsigned());
        // syscall; push %rax
        code.extend([0x0f, 0x05, 0x50]);
        if call.gives_first_argument() {
            // cmp %rdi,%rax; jne
            code.extend([0x48, 0x39, 0xf8, 0x0f, 0x85]);
        } else {
            // cmp $-4095,%rax; jae
            code.extend([0x48, 0x3d, 0x01, 0xf0, 0xff, 0xff, 0x0f, 0x83]);
        }
        ends.push(code.len());
        code.extend([0; 4]);
    }
    let end = code.len();
    for at in ends {
        let distance = i32::try_from(end - at - 4).ok()?;
        code[at..at + 4].copy_from_slice(&distance.to_le_bytes());
    }
    write_mark(code, tid);
    let mark = code.len();
    set(code, Register::Rax, home.sp());
    // mov %rax,%rsp; ret
    code.extend([0x48, 0x89, 0xc4, 0xc3]);
    Some(mark)
}

/// Where the results lie, 8 bytes each, the first one at the end, when the thread that had the registers
/// `home` has sent itself the signal and has the registers `now`. `None` where it is anywhere else.
pub(crate) fn results(home: &Registers, now: &Registers) -> Option<Range<u64>> {
    (now.sp() <= home.sp()).then(|| now.sp()..home.sp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shortest_moves() {
        let of = |register, value| {
            let mut code = Vec::new();
            set(&mut code, register, value);
            code
        };
        assert_eq!(of(Register::Rdi, 7), [0xbf, 7, 0, 0, 0]);
        assert_eq!(of(Register::R10, 0x32), [0x41, 0xba, 0x32, 0, 0, 0]);
        assert_eq!(of(Register::R8, u64::MAX), [[0x49, 0xb8].as_slice(), &[0xff; 8]].concat());
        assert_eq!(of(Register::Rsi, 1 << 32), [0x48, 0xbe, 0, 0, 0, 0, 1, 0, 0, 0]);
    }

    #[test]
    fn results_lie_on_the_stack() {
        let of = |register, words| {
            let mut code = Vec::new();
            load(&mut code, register, words);
            code
        };
        // As the GNU assembler has `mov 0x28(%rsp),%rdi` and `mov 0x10(%rsp),%r8` with displacements of four
        // bytes.
        assert_eq!(of(Register::Rdi, 5), [0x48, 0x8b, 0xbc, 0x24, 0x28, 0, 0, 0]);
        assert_eq!(of(Register::R8, 2), [0x4c, 0x8b, 0x84, 0x24, 0x10, 0, 0, 0]);
    }
}
