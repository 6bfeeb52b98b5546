//! Damaged copies of an ELF file, for unit tests of readers: they take this file in by its path, since no
//! crate but this one may depend on this one.

/// `count` copies of an ELF-64 file, each with up to eight bytes changed; some are cut off too.
pub(crate) fn damaged(whole: &[u8], count: u32) -> impl Iterator<Item = Vec<u8>> {
    const INTERESTING: [u8; 5] = [0, 1, 0x7f, 0xff, 0x80];
    // The generator "xorshift64" of Marsaglia: the same copies each time.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as usize % below
    };
    // `e_shoff`: headers say where everything is, so half of the hits go there.
    let headers = whole[40..48].iter().rev().fold(0, |all, byte| all << 8 | usize::from(*byte));
    (0..count).map(move |round| {
        let mut data = whole.to_vec();
        for _ in 0..=random(8) {
            let start = if random(2) == 0 { headers } else { 0 };
            let at = start + random(data.len() - start);
            data[at] = INTERESTING[random(INTERESTING.len())];
        }
        if round % 16 == 0 {
            data.truncate(random(whole.len()));
        }
        data
    })
}
