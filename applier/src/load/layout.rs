//! What is mapped for one image: its segments, and behind them two pages of our own.

use patchfile::image::{Access, Image, PAGE};

/// Code that moves a function's result to where it survives and makes the system call `rt_sigreturn`:
/// `mov %rax,%rdi; mov $15,%eax; syscall; int3`.
const LANDING: &[u8] = b"\x48\x89\xc7\xb8\x0f\0\0\0\x0f\x05\xcc";

/// The mapping of an image: contents and rights of each part.
#[derive(Debug)]
pub(crate) struct Layout {
    /// Size of the mapping in bytes.
    pub size: u64,
    /// Contents, control block still empty.
    pub bytes: Vec<u8>,
    /// Parts that are not only readable: offset, size, rights.
    pub parts: Vec<(u64, u64, Access)>,
}

/// Offset of the landing code for functions called in the target, in a mapping of `size` bytes.
pub(crate) fn landing(size: u64) -> u64 {
    size.saturating_sub(2 * PAGE)
}

/// Offset of writable room for the unwinder's bookkeeping, in a mapping of `size` bytes.
pub(crate) fn object(size: u64) -> u64 {
    size.saturating_sub(PAGE)
}

impl Layout {
    /// Lays an image out. An image that `patchfile` parsed has segments in order and without overlap.
    pub(crate) fn of(image: &Image) -> Self {
        let end = image.size();
        let size = end + 2 * PAGE;
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
        let mut put = |at: u64, data: &[u8]| {
            let at = usize::try_from(at).unwrap_or(usize::MAX);
            if let Some(room) = at.checked_add(data.len()).and_then(|end| bytes.get_mut(at..end)) {
                room.copy_from_slice(data);
            }
        };
        for segment in &image.segments {
            put(segment.address, &segment.data);
        }
        put(end, LANDING);
        let mut parts: Vec<_> = image
            .segments
            .iter()
            .filter(|s| s.access != Access::Read && s.size > 0)
            .map(|s| (s.address, s.size.next_multiple_of(PAGE), s.access))
            .collect();
        parts.push((end, PAGE, Access::Execute));
        parts.push((end + PAGE, PAGE, Access::Write));
        Self { size, bytes, parts: merged(parts) }
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
