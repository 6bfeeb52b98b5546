//! What is mapped into a process for one image: the image's segments, the first of which holds the [control
//! block](crate::control), and behind them two pages that the applier adds.
//!
//! | offset from the end | content |
//! |---|---|
//! | 2 pages | code at which functions return that the applier calls in the process ("landing") |
//! | 2 pages − [`HOOKS`] bytes | the table of hooks, [`HOOK_TABLE`] bytes |
//! | 1 page | writable: what the process's unwinder notes about the image |
//!
//! The table of hooks: their number, then for each its point and its offset from the control block, all of 4
//! bytes, little endian. It is in memory so that a patch can be taken out whose file is gone.

use crate::{
    Arch,
    image::{Hook, Image, POINTS},
};

/// Distance of the table of hooks from the beginning of its page.
const HOOKS: u64 = 64;
/// Size of the table of hooks in bytes. On all machines the same: the page is at least 4096 bytes.
pub const HOOK_TABLE: usize = 4096 - HOOKS as usize;
/// How many hooks the table has room for.
pub const MOST_HOOKS: usize = (HOOK_TABLE - 4) / 8;

/// Offsets in the mapping of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offsets {
    page: u64,
    /// Size of the mapping in bytes.
    pub size: u64,
}

impl Offsets {
    /// The offsets of an image.
    pub fn of(image: &Image) -> Self {
        let page = image.arch.facts().page;
        Self { page, size: image.size() + 2 * page }
    }

    /// The offsets of an image for `arch`, with a mapping of `size` bytes, as its control block says.
    pub fn with_size(arch: Arch, size: u64) -> Self {
        Self { page: arch.facts().page, size }
    }

    /// Offset of the code that functions return to; the page of code that the applier adds begins here.
    pub fn landing(self) -> u64 {
        self.size.saturating_sub(2 * self.page)
    }

    /// Offset of the table of hooks.
    pub fn hooks(self) -> u64 {
        self.landing() + HOOKS
    }

    /// Offset of the writable page.
    pub fn unwinder_object(self) -> u64 {
        self.size.saturating_sub(self.page)
    }
}

/// The table of these hooks, as far as there is room for them.
pub fn encode_hooks(hooks: &[Hook]) -> Vec<u8> {
    let hooks = &hooks[..hooks.len().min(MOST_HOOKS)];
    let mut out = u32::try_from(hooks.len()).unwrap_or(0).to_le_bytes().to_vec();
    for hook in hooks {
        for word in [u64::from(hook.when as u8), hook.address] {
            // Images are smaller than 4 GiB.
            out.extend_from_slice(&u32::try_from(word).unwrap_or(u32::MAX).to_le_bytes());
        }
    }
    out
}

/// The hooks of a table. Entries that no encoder writes are left out.
pub fn decode_hooks(table: &[u8]) -> Vec<Hook> {
    let mut words = table.chunks_exact(4).map(|b| b.try_into().map(u32::from_le_bytes).unwrap_or(0));
    let count = words.next().map_or(0, |n| n as usize).min(MOST_HOOKS);
    let words: Vec<u32> = words.collect();
    let hook =
        |pair: &[u32]| Some(Hook { when: *POINTS.get(pair[0] as usize)?, address: u64::from(pair[1]) });
    words.chunks_exact(2).take(count).filter_map(hook).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::HookPoint;

    #[test]
    fn hooks_are_read_as_they_were_written() {
        let hook = |when, address| Hook { when, address };
        let hooks = [hook(HookPoint::PostUnapply, 0x1010), hook(HookPoint::PreApply, 0x1040)];
        let mut table = encode_hooks(&hooks);
        table.resize(HOOK_TABLE, 0);
        assert_eq!(decode_hooks(&table), hooks);
        assert!(decode_hooks(&[0; HOOK_TABLE]).is_empty());
        // A table that claims more than there is.
        table[..4].fill(0xff);
        assert!(decode_hooks(&table).len() <= MOST_HOOKS);
        table[4] = 9;
        assert_eq!(decode_hooks(&table)[0], hooks[1]);
    }

    #[test]
    fn offsets_from_the_end() {
        let offsets = Offsets::with_size(Arch::X86_64, 0x5000);
        assert_eq!((offsets.landing(), offsets.hooks(), offsets.unwinder_object()), (0x3000, 0x3040, 0x4000));
        let offsets = Offsets::with_size(Arch::Aarch64, 0x5_0000);
        assert_eq!((offsets.landing(), offsets.unwinder_object()), (0x3_0000, 0x4_0000));
    }
}
