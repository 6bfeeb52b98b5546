//! Line numbers: an assertion holds the number of its own line, which a line more above it changes.

use super::debug::DebugSections;

/// Addresses with the lines that their code is of, in ascending order (DWARF 5, 6.2).
#[derive(Debug, Default)]
pub(super) struct Lines(Vec<(u64, u64)>);

impl Lines {
    /// The lines of a file; none where it has no debug information.
    pub(super) fn of(file: &[u8]) -> Self {
        let mut lines = Self::default();
        let sections = DebugSections::of(file);
        let Some(dwarf) = sections.dwarf() else { return lines };
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
