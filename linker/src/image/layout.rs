//! Gives every piece its address in the image and settles what can be settled.

use differ::SectionKind;
use patchfile::control;
use patchfile::image::{Access, Relocation, RelocationKind, Segment};

use crate::arch::Machine;
use crate::chunks::{Chunk, IMAGE, Place, TARGET};
use crate::error::LinkError;

/// Segments, and the address of each piece.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) segments: Vec<Segment>,
    pub(crate) addresses: Vec<u64>,
    /// Address and size of the unwind table, terminator included.
    pub(crate) eh_frame: Option<(u64, u64)>,
}

/// Order within the image: segments by protection, unwind records together and last in theirs, zero pages
/// last of all.
fn rank(kind: SectionKind) -> (Access, u8) {
    match kind {
        SectionKind::Text => (Access::Execute, 0),
        SectionKind::Rodata | SectionKind::Table => (Access::Read, 0),
        // Copied for each thread, never used itself.
        SectionKind::RelRo | SectionKind::Tls => (Access::Read, 1),
        SectionKind::Lsda => (Access::Read, 2),
        SectionKind::EhFrame => (Access::Read, 3),
        SectionKind::Data => (Access::Write, 0),
        SectionKind::Bss => (Access::Write, 1),
    }
}

/// Lays out the chunks behind a control segment for `entries` redirects.
pub(crate) fn lay_out(chunks: &[Chunk], entries: usize, machine: &dyn Machine) -> Result<Layout, LinkError> {
    let (size, page) = (control::size(entries), machine.arch().facts().page);
    let mut segments = vec![Segment { access: Access::Read, address: 0, size, data: Vec::new() }];
    let mut addresses = vec![0; chunks.len()];
    let mut eh_frame = None;
    for access in [Access::Execute, Access::Read, Access::Write] {
        let mut order: Vec<usize> = (0..chunks.len()).filter(|i| rank(chunks[*i].kind).0 == access).collect();
        order.sort_by_key(|i| rank(chunks[*i].kind).1);
        let start = segments.last().map_or(0, |s: &Segment| (s.address + s.size).next_multiple_of(page));
        let mut segment = Segment { access, address: start, size: 0, data: Vec::new() };
        for index in order {
            let chunk = &chunks[index];
            if !chunk.align.is_power_of_two() || chunk.align > page {
                let why = format!("{} wants an alignment of {} bytes", chunk.name, chunk.align);
                return Err(LinkError::Inconsistent(why));
            }
            let align = if chunk.kind == SectionKind::EhFrame {
                // A gap would be read as the end of the table.
                if !chunk.size.is_multiple_of(4) {
                    return Err(LinkError::Inconsistent(format!("{} ends inside a word", chunk.name)));
                }
                4
            } else {
                chunk.align
            };
            let offset = segment.size.next_multiple_of(align);
            addresses[index] = start + offset;
            segment.size = offset + chunk.size;
            if chunk.kind == SectionKind::Bss {
                continue;
            }
            let filler = if access == Access::Execute { machine.filler() } else { 0 };
            let length = usize::try_from(offset)
                .map_err(|_| LinkError::Inconsistent(format!("{} is too far from the start", chunk.name)))?;
            segment.data.resize(length, filler);
            segment.data.extend_from_slice(&chunk.data);
            if chunk.kind == SectionKind::EhFrame {
                let (first, _) = eh_frame.unwrap_or((start + offset, 0));
                eh_frame = Some((first, start + segment.size - first));
            }
        }
        if let (Access::Read, Some((_, size))) = (access, &mut eh_frame) {
            segment.data.extend_from_slice(&[0; 4]);
            segment.size += 4;
            *size += 4;
        }
        if segment.size > 0 {
            segments.push(segment);
        }
    }
    Ok(Layout { segments, addresses, eh_frame })
}

impl Layout {
    /// Size of the image in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.segments.last().map_or(0, |s| s.address + s.size)
    }

    /// Address in the image of a place that lies in it.
    pub(crate) fn address(&self, place: Place) -> Option<u64> {
        match place {
            Place::Chunk { chunk, offset } => self.addresses.get(chunk).map(|a| a + offset),
            Place::Control(offset) => Some(offset),
            _ => None,
        }
    }

    /// Fills in what does not depend on where image and target are; returns the rest, in ascending order of
    /// address.
    pub(crate) fn settle(&mut self, chunks: &[Chunk]) -> Result<Vec<Relocation>, LinkError> {
        let mut rest = Vec::new();
        for (index, chunk) in chunks.iter().enumerate() {
            for fixup in &chunk.fixups {
                let outside = |what: &str| {
                    LinkError::Inconsistent(format!("{}+{:#x}: {what}", chunk.name, fixup.offset))
                };
                let field = self.addresses[index] + fixup.offset;
                if fixup.offset.checked_add(fixup.kind.width()).is_none_or(|end| end > chunk.size) {
                    return Err(outside("a field reaches beyond its section"));
                }
                let relative = matches!(fixup.kind, RelocationKind::Pc32 | RelocationKind::Pc64);
                let relocation =
                    |reference, addend| Relocation { address: field, kind: fixup.kind, reference, addend };
                match (fixup.to, self.address(fixup.to)) {
                    (_, Some(to)) if relative => {
                        let value = to.cast_signed() + fixup.addend - field.cast_signed();
                        self.write(field, fixup.kind, value)
                            .ok_or_else(|| outside("does not fit in its field"))?;
                    }
                    (_, Some(to)) => rest.push(relocation(IMAGE, to.cast_signed() + fixup.addend)),
                    (Place::Target(to), _) => {
                        rest.push(relocation(TARGET, to.cast_signed().wrapping_add(fixup.addend)));
                    }
                    (Place::Outside(reference), _) => rest.push(relocation(reference, fixup.addend)),
                    (Place::Constant(value), _) if !relative => {
                        let value = value.cast_signed().wrapping_add(fixup.addend);
                        self.write(field, fixup.kind, value)
                            .ok_or_else(|| outside("does not fit in its field"))?;
                    }
                    _ => return Err(outside("a constant cannot be reached relative to code")),
                }
            }
        }
        rest.sort_by_key(|r| r.address);
        Ok(rest)
    }

    fn write(&mut self, address: u64, kind: RelocationKind, value: i64) -> Option<()> {
        let bytes = value.to_le_bytes();
        let bytes = match kind {
            RelocationKind::Abs64 | RelocationKind::Pc64 => &bytes[..],
            RelocationKind::Abs32 => u32::try_from(value).ok().map(|_| &bytes[..4])?,
            RelocationKind::Abs32Signed | RelocationKind::Pc32 => {
                i32::try_from(value).ok().map(|_| &bytes[..4])?
            }
        };
        let holds = |s: &&mut Segment| address >= s.address && address < s.address + s.size;
        let segment = self.segments.iter_mut().find(holds)?;
        let at = usize::try_from(address - segment.address).ok()?;
        segment.data.get_mut(at..at + bytes.len())?.copy_from_slice(bytes);
        Some(())
    }
}
