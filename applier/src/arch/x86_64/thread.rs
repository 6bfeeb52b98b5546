//! What C libraries note about a thread, at its thread pointer (`struct pthread`). Machines differ in whether
//! it lies above or below the thread pointer, and in the order of its fields.

use std::ops::Range;

/// Bytes of it: glibc has 2304, musl 200.
pub(crate) const DESCRIPTION: u64 = 2304;
/// The end of a stack is at most this far behind the thread pointer: the description, aligned as strictly as
/// the program's TLS wants it.
const BEHIND: u64 = 8192;
/// No stack is larger.
const LARGEST: u64 = 1 << 40;

/// Where glibc has the thread's id in it, which is 0 or negative when the thread has ended.
pub(crate) const TID: u64 = 720;

/// Where it begins.
pub(crate) fn description(thread_pointer: u64) -> u64 {
    thread_pointer
}

/// Where the stack is that the thread was made with, without its guard, if its stack pointer `sp` is in
/// there, by the words of its description.
pub(crate) fn stack_bounds(words: &[u64], thread_pointer: u64, sp: u64) -> Option<Range<u64>> {
    // Both begin with their own address; glibc has it once more, where musl has its list of threads.
    match words {
        _ if is_of_glibc(words, thread_pointer) => glibc(words, thread_pointer, sp),
        [first, ..] if *first == thread_pointer => musl(words, thread_pointer, sp),
        _ => None,
    }
}

/// The thread pointer of the thread whose description, of glibc, begins with these words, which are at `at`,
/// if the thread was made with a stack that holds `sp`.
pub(crate) fn thread_with_stack(words: &[u64], at: u64, sp: u64) -> Option<u64> {
    is_of_glibc(words, at).then(|| glibc(words, at, sp)).flatten().map(|_| at)
}

fn is_of_glibc(words: &[u64], thread_pointer: u64) -> bool {
    matches!(words, [first, _, third, ..] if *first == thread_pointer && *third == thread_pointer)
}

/// `stackblock`, `stackblock_size` and `guardsize` of `struct pthread` (nptl/descr.h). Where they are differs
/// from version to version; the block holds the structure itself, at its end.
fn glibc(words: &[u64], pointer: u64, sp: u64) -> Option<Range<u64>> {
    let starts = words.windows(3).filter_map(|w| {
        let [block, size, guard] = *w else { return None };
        let end = block.checked_add(size).filter(|end| pointer < *end && end - pointer <= BEHIND)?;
        let start = block.checked_add(guard)?;
        (size < LARGEST && start <= sp && sp < pointer && pointer < end).then_some(start)
    });
    // Other words may look like it: the smallest is certainly the thread's.
    starts.max().map(|start| start..pointer)
}

/// `map_base`, `map_size`, `stack` (its upper end), `stack_size` and `guard_size` of `struct pthread`
/// (src/internal/pthread_impl.h).
fn musl(words: &[u64], pointer: u64, sp: u64) -> Option<Range<u64>> {
    words.windows(5).find_map(|w| {
        let [map, map_size, top, size, guard] = *w else { return None };
        let start = top.checked_sub(size)?;
        let mapped = map == 0 || (map <= pointer && pointer < map.checked_add(map_size)? && map <= start);
        let start = if map == 0 { start } else { start.max(map.checked_add(guard)?) };
        (mapped && start <= sp && sp < top && size < LARGEST && guard < LARGEST).then_some(start..top)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const POINTER: u64 = 0x7000_f000;

    #[test]
    fn bounds_that_glibc_has_noted() {
        let words = [POINTER, 0, POINTER, 5, 0x7000_0000, 0xf900, 0x1000, 0x1000];
        assert_eq!(glibc(&words, POINTER, 0x7000_e000), Some(0x7000_1000..POINTER));
        // In the guard, or elsewhere altogether.
        assert_eq!(glibc(&words, POINTER, 0x7000_0800), None);
        assert_eq!(glibc(&words, POINTER, 0x7fff_0000), None);
        // The first thread has no block, only the end of the kernel's stack.
        assert_eq!(glibc(&[POINTER, 0, 0x7fff_ffff_0000, 0, 0], POINTER, 0x7000_e000), None);
    }

    #[test]
    fn bounds_that_musl_has_noted() {
        let words = [POINTER, 1, 2, 0x7000_0000, 0x1_0000, 0x7000_e800, 0xd800, 0x1000];
        assert_eq!(musl(&words, POINTER, 0x7000_e000), Some(0x7000_1000..0x7000_e800));
        let given = [POINTER, 1, 2, 0, 0, 0x40_e800, 0x4000, 0];
        assert_eq!(musl(&given, POINTER, 0x40_c000), Some(0x40_a800..0x40_e800));
        assert_eq!(musl(&given, POINTER, 0x40_a000), None);
    }
}
