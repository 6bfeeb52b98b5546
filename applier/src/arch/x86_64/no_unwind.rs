//! Code without unwind information that a thread leaves at once: what it does next is followed instead.
//!
//! A C library ends the unwind information of `clone` and `clone3` at the system call, since behind it run
//! two threads, of which only one has a caller. In a program that starts threads all the time some thread is
//! there whenever it is looked at.

use super::registers::Registers;

/// Where such code leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leads {
    /// To this address, which has unwind information.
    To(u64),
    /// Back to its caller, see [`caller`].
    Back,
}

/// The state of a stopped thread that such code depends on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct State {
    pc: u64,
    rax: i64,
    flags: Flags,
}

/// Instructions followed.
const FAR: usize = 16;
/// Bytes of an instruction read. None of those known is longer.
pub(crate) const LONGEST: usize = 8;

impl From<&Registers> for State {
    fn from(registers: &Registers) -> Self {
        let rax = result(registers.call(), registers.result());
        Self { pc: registers.pc(), rax, flags: Flags::of(registers.0.eflags) }
    }
}

/// Follows a stopped thread through branches, by the values it has. `None` where another instruction comes
/// first; those followed change no register. `known` is asked at each step whether there is unwind
/// information.
pub(crate) fn follow(
    state: State,
    read: impl Fn(u64) -> Option<[u8; LONGEST]>,
    mut known: impl FnMut(u64) -> bool,
) -> Option<Leads> {
    let State { mut pc, rax, mut flags } = state;
    for _ in 0..FAR {
        if known(pc) {
            return Some(Leads::To(pc));
        }
        let bytes = read(pc)?;
        // Intel SDM volume 2: opcodes.
        let (len, jump) = match bytes {
            [0x48, 0x85, 0xc0, ..] => {
                flags = Flags::of_test(rax);
                (3, None)
            }
            [0x85, 0xc0, ..] => {
                flags = Flags::of_test(i64::from(rax as i32));
                (2, None)
            }
            [0x48, 0x3d, a, b, c, d, ..] => {
                flags = Flags::of_compare(rax, i64::from(i32::from_le_bytes([a, b, c, d])));
                (6, None)
            }
            [0x48, 0x83, 0xf8, byte, ..] => {
                flags = Flags::of_compare(rax, i64::from(byte.cast_signed()));
                (4, None)
            }
            [0x90, ..] => (1, None),
            [0xeb, to, ..] => (2, Some(i64::from(to.cast_signed()))),
            [0xe9, a, b, c, d, ..] => (5, Some(i64::from(i32::from_le_bytes([a, b, c, d])))),
            [op @ 0x70..=0x7f, to, ..] => (2, flags.holds(op & 0xf)?.then_some(i64::from(to.cast_signed()))),
            [0x0f, op @ 0x80..=0x8f, a, b, c, d, ..] => {
                (6, flags.holds(op & 0xf)?.then_some(i64::from(i32::from_le_bytes([a, b, c, d]))))
            }
            [0xc3, ..] | [0xf3, 0xc3, ..] => return Some(Leads::Back),
            _ => return None,
        };
        pc = pc.wrapping_add(len).wrapping_add_signed(jump.unwrap_or(0));
    }
    None
}

/// Where a thread goes that is led [`Leads::Back`], and its stack pointer then: the return address is on top
/// of the stack.
pub(crate) fn caller(registers: &Registers, word: impl Fn(u64) -> Option<u64>) -> Option<(u64, u64)> {
    Some((word(registers.sp())?, registers.sp().wrapping_add(8)))
}

/// `rax`, as the code will see it, where the system call `call` was interrupted.
fn result(call: Option<i64>, rax: i64) -> i64 {
    /// `ERESTARTSYS` to `ERESTART_RESTARTBLOCK` (`linux/errno.h`, not in the user's headers): the kernel
    /// makes the call again before anything else runs. It is the maker's, since the child of a call that has
    /// not been made is not there.
    const AGAIN: std::ops::RangeInclusive<i64> = -516..=-512;
    if call.is_some() && AGAIN.contains(&rax) { 1 } else { rax }
}

/// Of the flags register, those that branches look at, but for parity.
#[derive(Clone, Copy, Debug)]
struct Flags {
    carry: bool,
    zero: bool,
    sign: bool,
    overflow: bool,
}

impl Flags {
    fn of(eflags: u64) -> Self {
        let bit = |n: u32| eflags >> n & 1 != 0;
        Self { carry: bit(0), zero: bit(6), sign: bit(7), overflow: bit(11) }
    }

    fn of_test(value: i64) -> Self {
        Self { carry: false, zero: value == 0, sign: value < 0, overflow: false }
    }

    fn of_compare(left: i64, right: i64) -> Self {
        let (difference, overflow) = left.overflowing_sub(right);
        let carry = left.cast_unsigned() < right.cast_unsigned();
        Self { carry, zero: difference == 0, sign: difference < 0, overflow }
    }

    /// Does a branch with this condition code jump?
    fn holds(self, condition: u8) -> Option<bool> {
        let holds = match condition >> 1 {
            0 => self.overflow,
            1 => self.carry,
            2 => self.zero,
            3 => self.carry || self.zero,
            4 => self.sign,
            6 => self.sign != self.overflow,
            7 => self.zero || self.sign != self.overflow,
            _ => return None,
        };
        Some(holds != (condition & 1 != 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `test rax, rax; jl +0x18; je +1; ret; (unwind information) xor ebp, ebp`: glibc behind `clone3`.
    const BEHIND: [u8; 10] = [0x48, 0x85, 0xc0, 0x7c, 0x18, 0x74, 0x01, 0xc3, 0x31, 0xed];
    const AT: u64 = 0x1000;
    const CHILD: u64 = AT + 8;
    const FAILED: u64 = AT + 5 + 0x18;

    fn lead(code: &[u8], rax: i64, skip: u64, eflags: u64) -> Option<Leads> {
        let read = |pc: u64| {
            let mut bytes = code.get(usize::try_from(pc.checked_sub(AT)?).ok()?..)?.to_vec();
            bytes.resize(LONGEST, 0xcc);
            bytes.try_into().ok()
        };
        let state = State { pc: AT + skip, rax: result(Some(435), rax), flags: Flags::of(eflags) };
        follow(state, read, |pc| pc == CHILD || pc == FAILED)
    }

    #[test]
    fn new_thread_and_its_maker_part_behind_clone() {
        assert_eq!(lead(&BEHIND, 0, 0, 0), Some(Leads::To(CHILD)));
        assert_eq!(lead(&BEHIND, 4711, 0, 0), Some(Leads::Back));
        assert_eq!(lead(&BEHIND, -11, 0, 0), Some(Leads::To(FAILED)));
    }

    #[test]
    fn call_to_be_made_again_is_the_makers() {
        assert_eq!(lead(&BEHIND, -513, 0, 0), Some(Leads::Back));
    }

    #[test]
    fn flags_of_the_thread_count_where_it_has_tested_already() {
        let (zero, sign) = (1 << 6, 1 << 7);
        assert_eq!(lead(&BEHIND, 0, 3, zero), Some(Leads::To(CHILD)));
        assert_eq!(lead(&BEHIND, 0, 3, sign), Some(Leads::To(FAILED)));
        assert_eq!(lead(&BEHIND, 0, 3, 0), Some(Leads::Back));
    }

    #[test]
    fn anything_else_is_unknown() {
        // push rax; ret: the return address is not where it seems.
        assert_eq!(lead(&[0x50, 0xc3], 1, 0, 0), None);
        // Round and round.
        assert_eq!(lead(&[0xeb, 0xfe], 1, 0, 0), None);
        // jp: parity is not followed.
        assert_eq!(lead(&[0x7a, 0x00, 0xc3], 1, 0, 0), None);
    }
}
