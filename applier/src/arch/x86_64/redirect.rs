//! Jumps at the entries of functions: a long one, `jmp rel32`, or a short one, `jmp rel8`, to padding near by
//! that has room for the long one.

use super::{facts::FACTS, traps::BREAKPOINT};

/// Length in bytes of the jump at an entry, or in padding.
pub(crate) const JUMP: usize = FACTS.jump as usize;
/// Length in bytes of the jump at an entry that is too short for [`JUMP`].
pub(crate) const SHORT: usize = 2;
const _: () = assert!(matches!(FACTS.short_jump, Some(2)));

const LONG_OPCODE: u8 = 0xe9;
const SHORT_OPCODE: u8 = 0xeb;

fn distance(from: u64, length: usize, to: u64) -> i64 {
    to.wrapping_sub(from.wrapping_add(length as u64)).cast_signed()
}

/// A jump from `from` to `to`. `None` if that is out of reach.
pub(crate) fn jump(from: u64, to: u64) -> Option<Vec<u8>> {
    let distance = i32::try_from(distance(from, JUMP, to)).ok()?;
    Some([&[LONG_OPCODE], &distance.to_le_bytes()[..]].concat())
}

/// A short jump from `from` to `to`. `None` if that is out of reach.
pub(crate) fn short_jump(from: u64, to: u64) -> Option<Vec<u8>> {
    let distance = i8::try_from(distance(from, SHORT, to)).ok()?;
    Some(vec![SHORT_OPCODE, distance.cast_unsigned()])
}

/// Where the jump at `from` leads, of which these are the first bytes; `None` if it is none.
pub(crate) fn jump_target(from: u64, bytes: &[u8]) -> Option<u64> {
    let [LONG_OPCODE, distance @ ..] = bytes else { return None };
    let distance = i32::from_le_bytes(distance.get(..4)?.try_into().ok()?);
    Some(from.wrapping_add(JUMP as u64).wrapping_add_signed(distance.into()))
}

/// Where the short jump with these bytes leads, which stands at `from`. `None` for any other code.
pub(crate) fn short_jump_target(from: u64, bytes: &[u8]) -> Option<u64> {
    let [SHORT_OPCODE, distance, ..] = bytes else { return None };
    Some(from.wrapping_add(SHORT as u64).wrapping_add_signed(distance.cast_signed().into()))
}

/// The bytes of a jump as they were before somebody set a breakpoint on it; `linked` is what the file has
/// there, to which a uprobe that is taken away sets the byte that it changed, whatever it had found. `None`
/// where it was not changed like that.
pub(crate) fn without_breakpoint(found: &[u8], linked: &[u8], short: bool) -> Option<Vec<u8>> {
    let (first, rest) = found.split_first()?;
    let opcode = if short { SHORT_OPCODE } else { LONG_OPCODE };
    (*first == BREAKPOINT || Some(first) == linked.first()).then(|| [&[opcode], rest].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jumps_read_as_they_were_written() {
        let long = jump(0x1000, 0x2000).unwrap();
        assert_eq!(long, [0xe9, 0xfb, 0x0f, 0, 0]);
        assert_eq!(jump_target(0x1000, &long), Some(0x2000));
        assert_eq!(jump_target(0x1000, &long[..4]), None);
        let short = short_jump(0x1010, 0x1000).unwrap();
        assert_eq!(short, [0xeb, 0xee]);
        assert_eq!(short_jump_target(0x1010, &short), Some(0x1000));
        assert_eq!((jump(0, 1 << 32), short_jump(0x1010, 0x2000)), (None, None));
    }

    #[test]
    fn a_breakpoint_hides_the_first_byte() {
        let long = jump(0x1000, 0x2000).unwrap();
        let with = |first: u8| [&[first], &long[1..]].concat();
        for first in [0xcc, 0x55] {
            assert_eq!(without_breakpoint(&with(first), &[0x55, 0x48], false).as_ref(), Some(&long));
        }
        assert_eq!(without_breakpoint(&with(0x90), &[0x55, 0x48], false), None);
    }
}
