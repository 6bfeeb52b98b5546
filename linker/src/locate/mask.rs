//! Compares the bytes of an object's section with those of the linked file, without what the linker fills in or relaxes.

use std::ops::Range;

use crate::arch::x86_64::reloc_types as r;
use crate::elf::Rela;

/// The bytes that the linker may change for this relocation: of a relaxable reference also the opcode (psABI, "Linker Optimization";
/// TLS: ELF Handling for Thread-Local Storage, 5.5).
pub(crate) fn window(rela: &Rela) -> Range<u64> {
    let (before, after) = match rela.kind {
        r::NONE => (0, 0),
        r::ABS64 | r::PC64 | r::GOTOFF64 | r::DTPOFF64 | r::TPOFF64 | r::SIZE64 => (0, 8),
        r::ABS16 | r::PC16 | r::TLSDESC_CALL => (0, 2),
        r::ABS8 | r::PC8 => (0, 1),
        r::GOTPCREL | r::GOTPCRELX | r::REX_GOTPCRELX | r::GOTTPOFF | r::GOTPC32_TLSDESC => (3, 4),
        r::TLSGD => (4, 12),
        r::TLSLD => (3, 10),
        _ => (0, 4),
    };
    rela.offset.saturating_sub(before)..rela.offset.saturating_add(after)
}

/// Fields that the linker may change, in ascending order.
pub(crate) fn fields(relocations: &[Rela]) -> Vec<Range<u64>> {
    let mut fields: Vec<Range<u64>> = relocations.iter().map(window).collect();
    fields.sort_by_key(|f| f.start);
    fields
}

/// Is `content` at the start of `linked`, `fields` aside?
pub(crate) fn same(content: &[u8], linked: &[u8], fields: &[Range<u64>]) -> bool {
    let Some(linked) = linked.get(..content.len()) else { return false };
    let mut at = 0usize;
    for field in fields {
        let start = usize::try_from(field.start).unwrap_or(usize::MAX).min(content.len());
        if start > at && content[at..start] != linked[at..start] {
            return false;
        }
        at = at.max(usize::try_from(field.end).unwrap_or(usize::MAX).min(content.len()));
    }
    content[at..] == linked[at..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_fields_may_differ() {
        let rela = |offset, kind| Rela { offset, kind, symbol: 0, addend: 0 };
        let fields = fields(&[rela(5, r::PLT32), rela(1, r::PC32)]);
        assert!(same(b"\xe8aaaabbbbc", b"\xe8AAAABBBBcd", &fields));
        assert!(!same(b"\xe8aaaabbbbc", b"\xe9AAAABBBBc", &fields));
        assert!(!same(b"\xe8aaaabbbbc", b"\xe8AAAABBBBC", &fields));
        assert!(!same(b"\xe8aaaabbbbc", b"\xe8AAAA", &fields));
    }
}
