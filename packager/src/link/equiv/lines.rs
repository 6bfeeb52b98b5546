//! Line numbers: an assertion holds the number of its own line, which a line more above it changes.

use std::borrow::Cow;
use std::collections::HashMap;

use gimli::{EndianSlice, LittleEndian};

const SECTIONS: [&str; 7] = [
    ".debug_info",
    ".debug_abbrev",
    ".debug_str",
    ".debug_line_str",
    ".debug_str_offsets",
    ".debug_addr",
    ".debug_line",
];

/// Addresses with the lines that their code is of, in ascending order (DWARF 5, 6.2).
#[derive(Debug, Default)]
pub(super) struct Lines(Vec<(u64, u64)>);

impl Lines {
    /// Those of a file; none where it has no debug information.
    pub(super) fn of(file: &[u8]) -> Self {
        let mut lines = Self::default();
        let sections: HashMap<String, Cow<'_, [u8]>> = crate::elf::debug_sections(file, &SECTIONS);
        let load = |id: gimli::SectionId| -> Result<_, gimli::Error> {
            Ok(EndianSlice::new(sections.get(id.name()).map_or(&[][..], |b| &**b), LittleEndian))
        };
        let Ok(dwarf) = gimli::Dwarf::load(load) else { return lines };
        let mut headers = dwarf.units();
        while let Ok(Some(header)) = headers.next() {
            let Some(program) = dwarf.unit(header).ok().and_then(|unit| unit.line_program) else { continue };
            let mut rows = program.rows();
            while let Ok(Some((_, row))) = rows.next_row() {
                if let (Some(line), false) = (row.line(), row.end_sequence()) {
                    lines.0.push((row.address(), line.get()));
                }
            }
        }
        lines.0.sort_unstable();
        lines.0.dedup();
        lines
    }

    /// Is some code between these addresses of this line?
    pub(super) fn has(&self, start: u64, end: u64, line: u64) -> bool {
        let from = self.0.partition_point(|(address, _)| *address < start);
        self.0[from..].iter().take_while(|(address, _)| *address < end).any(|(_, l)| *l == line)
    }
}
