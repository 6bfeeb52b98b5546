//! What is mapped for one image: its segments, and behind them two pages of our own.

use patchfile::image::{Access, Hook, HookPoint, Image, PAGE};

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

/// Offset of the table of hooks, in a mapping of `size` bytes: behind the landing code. A count (u32), then for each its point and
/// its offset from the control block (u32 each).
pub(crate) fn hooks(size: u64) -> u64 {
    landing(size) + 64
}

/// Size of that table in bytes.
pub(crate) const HOOK_TABLE: usize = PAGE as usize - 64;
/// How many hooks it has room for.
pub(crate) const HOOK_ROOM: usize = (HOOK_TABLE - 4) / 8;

/// Points as they are numbered in the table.
const POINTS: [HookPoint; 4] =
    [HookPoint::PreApply, HookPoint::PostApply, HookPoint::PreUnapply, HookPoint::PostUnapply];

fn write_hooks(hooks: &[Hook]) -> Vec<u8> {
    let hooks = &hooks[..hooks.len().min(HOOK_ROOM)];
    let mut out = u32::try_from(hooks.len()).unwrap_or(0).to_le_bytes().to_vec();
    for hook in hooks {
        let point = POINTS.iter().position(|p| *p == hook.when).unwrap_or(0);
        for word in [point as u64, hook.address] {
            // Images are smaller than 4 GiB.
            out.extend_from_slice(&u32::try_from(word).unwrap_or(u32::MAX).to_le_bytes());
        }
    }
    out
}

/// The hooks of a table; what is none is left out.
pub(crate) fn read_hooks(table: &[u8]) -> Vec<Hook> {
    let mut words = table.chunks_exact(4).map(|b| b.try_into().map(u32::from_le_bytes).unwrap_or(0));
    let count = words.next().map_or(0, |n| n as usize).min(HOOK_ROOM);
    let words: Vec<u32> = words.collect();
    let hook =
        |pair: &[u32]| Some(Hook { when: *POINTS.get(pair[0] as usize)?, address: u64::from(pair[1]) });
    words.chunks_exact(2).take(count).filter_map(hook).collect()
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
        put(hooks(size), &write_hooks(&image.hooks));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hooks_are_read_as_they_were_written() {
        let hook = |when, address| Hook { when, address };
        let hooks = [hook(HookPoint::PostUnapply, 0x1010), hook(HookPoint::PreApply, 0x1040)];
        let mut table = write_hooks(&hooks);
        table.resize(HOOK_TABLE, 0);
        assert_eq!(read_hooks(&table), hooks);
        assert!(read_hooks(&[0; HOOK_TABLE]).is_empty());
        // A table that claims more than there is.
        table[..4].fill(0xff);
        assert!(read_hooks(&table).len() <= HOOK_ROOM);
        table[4] = 9;
        assert_eq!(read_hooks(&table)[0], hooks[1]);
    }
}
