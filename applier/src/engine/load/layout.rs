//! What is mapped for one image: its segments, and behind them two pages of our own.

use crate::arch::{ARCH, FACTS, borrow::LANDING};
use patchfile::{
    image::{Access, Image},
    mapped::{Offsets, encode_hooks},
};

/// The mapping of an image: contents and rights of each part.
#[derive(Debug)]
pub(crate) struct Layout {
    /// Where in the mapping is what.
    pub offsets: Offsets,
    /// Contents, control block still empty.
    pub bytes: Vec<u8>,
    /// Parts that are not only readable: offset, size, rights.
    pub parts: Vec<(u64, u64, Access)>,
}

/// Offsets in the mapping, of `size` bytes, of an image that is in a process.
pub(crate) fn offsets(size: u64) -> Offsets {
    Offsets::with_size(ARCH, size)
}

impl Layout {
    /// Lays an image out. An image that `patchfile` parsed has segments in order and without overlap.
    pub(crate) fn of(image: &Image) -> Self {
        let offsets = Offsets::of(image);
        let page = FACTS.page;
        let mut bytes = vec![0; usize::try_from(offsets.size).unwrap_or(0)];
        let mut put = |at: u64, data: &[u8]| {
            let at = usize::try_from(at).unwrap_or(usize::MAX);
            if let Some(room) = at.checked_add(data.len()).and_then(|end| bytes.get_mut(at..end)) {
                room.copy_from_slice(data);
            }
        };
        for segment in &image.segments {
            put(segment.address, &segment.data);
        }
        put(offsets.landing(), LANDING);
        put(offsets.hooks(), &encode_hooks(&image.hooks));
        let mut parts: Vec<_> = image
            .segments
            .iter()
            .filter(|s| s.access != Access::Read && s.size > 0)
            .map(|s| (s.address, s.size.next_multiple_of(page), s.access))
            .collect();
        parts.push((offsets.landing(), page, Access::Execute));
        parts.push((offsets.unwinder_object(), page, Access::Write));
        Self { offsets, bytes, parts: merged(parts) }
    }
}

/// Neighbours with equal rights become one: each part costs a system call in the target.
fn merged(parts: Vec<(u64, u64, Access)>) -> Vec<(u64, u64, Access)> {
    let mut out: Vec<(u64, u64, Access)> = Vec::new();
    for part in parts {
        match out.last_mut() {
            Some(last) if last.0 + last.1 == part.0 && last.2 == part.2 => last.1 += part.1,
            _ => out.push(part),
        }
    }
    out
}
