//! Size of the processor's extended state (Intel SDM vol. 1, chapter 13).

use std::{
    arch::x86_64::__cpuid_count,
    sync::{Mutex, PoisonError},
};

/// The last mask asked for and its answer. `cpuid` takes microseconds in a virtual machine, and a thread is
/// stopped while we ask.
static LAST: Mutex<Option<(u64, usize)>> = Mutex::new(None);

/// Bytes that the components `features` (a mask as in XCR0) take in the non-compacted XSAVE layout.
pub(super) fn size(features: u64) -> usize {
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, size)) = last.filter(|(mask, _)| *mask == features) {
        return size;
    }
    let legacy_and_header = 512 + 64;
    let size = (2u32..63).filter(|i| features >> i & 1 == 1).fold(legacy_and_header, |end, component| {
        let leaf = __cpuid_count(0xd, component);
        end.max((leaf.ebx + leaf.eax) as usize)
    });
    *last = Some((features, size));
    size
}
