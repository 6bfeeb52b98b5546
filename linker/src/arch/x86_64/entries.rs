//! Jumps in the target: entries of procedure linkage tables, and functions that end with a jump.

use crate::elf::{ElfFile, SHF_EXECINSTR, Section};

/// Executable sections that are procedure linkage tables, or that are none.
fn sections<'e>(elf: &'e ElfFile<'_>, tables: bool) -> impl Iterator<Item = &'e Section> {
    let is_table = |s: &Section| s.name.starts_with(".plt") || s.name == ".iplt";
    elf.sections.iter().filter(move |s| s.flags & SHF_EXECINSTR != 0 && is_table(s) == tables)
}

/// `jmp *slot(%rip)` wherever an entry may begin, with an `endbr64` or `bnd` before it or without: entry and
/// slot.
pub(super) fn plt(elf: &ElfFile<'_>) -> Vec<(u64, u64)> {
    let mut found = Vec::new();
    for section in sections(elf, true) {
        let content = elf.content(section);
        for start in (0..content.len()).step_by(8) {
            let mut code = &content[start..];
            code = code.strip_prefix(&[0xf3, 0x0f, 0x1e, 0xfa]).unwrap_or(code);
            code = code.strip_prefix(&[0xf2]).unwrap_or(code);
            let Some(field) = code.strip_prefix(&[0xff, 0x25]).and_then(|c| c.first_chunk::<4>()) else {
                continue;
            };
            let end = section.address + (content.len() - code.len()) as u64 + 6;
            let slot = end.wrapping_add_signed(i32::from_le_bytes(*field).into());
            found.push((section.address + start as u64, slot));
        }
    }
    found
}

/// What looks like `jmp to` or `jmp *to(%rip)`: its place, and `to`. Procedure linkage tables jump there too;
/// they do not count.
pub(super) fn jumps(elf: &ElfFile<'_>) -> Vec<(u64, u64)> {
    let mut jumps = Vec::new();
    for section in sections(elf, false) {
        let content = elf.content(section);
        let mut note = |at: usize, length: usize| {
            let field = content.get(at + length - 4..at + length).and_then(|b| b.try_into().ok());
            let Some(distance) = field.map(i32::from_le_bytes) else { return };
            let from = section.address + at as u64;
            jumps.push((from, (from + length as u64).wrapping_add_signed(distance.into())));
        };
        memchr::memchr_iter(0xe9, content).for_each(|at| note(at, 5));
        memchr::memmem::find_iter(content, &[0xff, 0x25]).for_each(|at| note(at, 6));
    }
    jumps
}
