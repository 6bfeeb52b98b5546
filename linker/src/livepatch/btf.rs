//! Sizes of structures, by the type information that a kernel carries (BTF, `Documentation/bpf/btf.rst`).

/// First bytes of the section, little-endian.
const MAGIC: u16 = 0xeb9f;

/// Size in bytes of the structure `name`, by the content of the section `.BTF`.
pub(super) fn structure_size(btf: &[u8], name: &str) -> Option<u64> {
    let word = |at: usize| Some(u32::from_le_bytes(btf.get(at..at.checked_add(4)?)?.try_into().ok()?));
    if u16::from_le_bytes(btf.get(..2)?.try_into().ok()?) != MAGIC {
        return None;
    }
    let header = word(4)? as usize;
    let mut at = header.checked_add(word(8)? as usize)?;
    let end = at.checked_add(word(12)? as usize)?;
    let strings = btf.get(header.checked_add(word(16)? as usize)?..)?;
    while at < end {
        let (name_at, info, size) = (word(at)? as usize, word(at + 4)?, word(at + 8)?);
        let (count, kind) = ((info & 0xffff) as usize, info >> 24 & 0x1f);
        if kind == 4 && is_named(strings, name_at, name) {
            return Some(size.into());
        }
        at += 12 + rest(kind, count)?;
    }
    None
}

/// Bytes of an entry behind its first twelve.
fn rest(kind: u32, count: usize) -> Option<usize> {
    Some(match kind {
        // Pointers, forward declarations, names for types, qualifiers, functions, floats, tags of types.
        2 | 7..=12 | 16 | 18 => 0,
        // Integers, variables, tags of declarations.
        1 | 14 | 17 => 4,
        // Arrays.
        3 => 12,
        // Structures and unions; sections; enumerations of 64 bits.
        4 | 5 | 15 | 19 => 12 * count,
        // Enumerations; parameters.
        6 | 13 => 8 * count,
        _ => return None,
    })
}

fn is_named(strings: &[u8], at: usize, name: &str) -> bool {
    let rest = strings.get(at..).and_then(|rest| rest.strip_prefix(name.as_bytes()));
    rest.is_some_and(|rest| rest.first() == Some(&0))
}
