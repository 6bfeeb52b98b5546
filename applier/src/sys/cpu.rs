//! Size of the processor's extended state (Intel SDM vol. 1, chapter 13).

use std::arch::x86_64::__cpuid_count;

/// Bytes that the components `features` (a mask as in XCR0) take in the non-compacted XSAVE layout.
pub(crate) fn xsave_size(features: u64) -> usize {
    let legacy_and_header = 512 + 64;
    (2u32..63).filter(|i| features >> i & 1 == 1).fold(legacy_and_header, |end, component| {
        let leaf = __cpuid_count(0xd, component);
        end.max((leaf.ebx + leaf.eax) as usize)
    })
}
