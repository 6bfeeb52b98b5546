//! Converts the line numbers of the code that is in the image.

use gimli::write::{
    Address, ConvertError, ConvertResult, ConvertUnit, FileId, FileInfo, LineProgram, LineString,
};
use gimli::{LineEncoding, read};

use super::Slice;
use super::entries::Converter;

type Header<'a> = read::LineProgramHeader<Slice<'a>>;

impl Converter<'_> {
    /// Gives the unit its line number program: the files, and the lines of code in the image.
    pub(super) fn lines<'a>(&self, unit: &mut ConvertUnit<'_, Slice<'a>>) -> ConvertResult<()> {
        let Some(from) = unit.read_unit.line_program.clone() else { return Ok(()) };
        let (mut program, files) = self.files(unit, from.header())?;
        let mut rows = from.rows();
        let mut sequence = Vec::new();
        while let Some((_, row)) = rows.next_row()? {
            sequence.push(*row);
            if row.end_sequence() {
                self.sequence(&mut program, &files, &sequence)?;
                sequence.clear();
            }
        }
        unit.set_line_program(program, files);
        Ok(())
    }

    fn files<'a>(
        &self,
        unit: &mut ConvertUnit<'_, Slice<'a>>,
        header: &Header<'a>,
    ) -> ConvertResult<(LineProgram, Vec<FileId>)> {
        let encoding = header.encoding();
        let from = unit.read_unit;
        let mut string = |value| -> ConvertResult<LineString> {
            let text = from.dwarf.attr_line_string(value)?;
            let text = (self.renamed)(text.slice()).unwrap_or_else(|| text.slice().to_vec());
            if text.is_empty() && encoding.version <= 4 {
                // An empty name would end the table.
                return Err(ConvertError::MissingCompilationName);
            }
            Ok(LineString::new(text, encoding, unit.line_strings))
        };
        // Before DWARF 5 neither of the two is written: both are those of the unit's entry.
        let mut first = |value: Option<read::AttributeValue<_>>| match value {
            Some(value) => string(value),
            None => Ok(LineString::String(Vec::new())),
        };
        let folder = first(header.directory(0))?;
        let source = header.file(0);
        let source_folder = source.map(read::FileEntry::directory_index).filter(|i| *i != 0);
        let source_folder =
            source_folder.and_then(|i| header.directory(i)).map(|d| first(Some(d))).transpose()?;
        let source_name = first(source.map(read::FileEntry::path_name))?;
        // How the numbers are packed does not matter, and the library does not know every way in which
        // compilers do it.
        let packing = LineEncoding::default();
        let mut program = LineProgram::new(encoding, packing, folder, source_folder, source_name, None);
        let mut folders = Vec::new();
        if header.version() <= 4 {
            folders.push(program.default_directory());
        }
        for folder in header.include_directories() {
            folders.push(program.add_directory(string(*folder)?));
        }
        program.file_has_timestamp = header.file_has_timestamp();
        program.file_has_size = header.file_has_size();
        program.file_has_md5 = header.file_has_md5();
        let mut files = Vec::new();
        for file in header.file_names() {
            let name = string(file.path_name())?;
            let folder = usize::try_from(file.directory_index()).ok().and_then(|i| folders.get(i));
            let folder = *folder.ok_or(ConvertError::InvalidDirectoryIndex)?;
            let info =
                FileInfo { timestamp: file.timestamp(), size: file.size(), md5: *file.md5(), source: None };
            let id = program.add_file(name, folder, Some(info));
            if files.is_empty() && header.version() <= 4 {
                // Before DWARF 5 the number 0 is no file.
                files.push(id);
            }
            files.push(id);
        }
        Ok((program, files))
    }

    /// Adds the part of a sequence that is in the image.
    fn sequence(
        &self,
        program: &mut LineProgram,
        files: &[FileId],
        rows: &[read::LineRow],
    ) -> ConvertResult<()> {
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return Ok(()) };
        if !rows.is_sorted_by_key(read::LineRow::address) {
            return Err(ConvertError::UnsupportedLineInstruction);
        }
        for range in self.placements.code_ranges(first.address(), last.address()) {
            // The row that holds at the beginning of the range.
            let start = rows.partition_point(|r| r.address() < range.start);
            let at_start = rows.get(start).is_some_and(|r| r.address() == range.start);
            let start = if at_start { start } else { start.saturating_sub(1) };
            program.begin_sequence(Some(Address::Constant(range.image)));
            for row in &rows[start..] {
                if row.address() >= range.end || row.end_sequence() {
                    break;
                }
                let index = usize::try_from(row.file_index()).ok();
                let file = index.and_then(|i| files.get(i)).ok_or(ConvertError::InvalidFileIndex)?;
                let new = program.row();
                new.address_offset = row.address().saturating_sub(range.start);
                new.file = *file;
                new.line = row.line().map_or(0, std::num::NonZero::get);
                new.column = match row.column() {
                    read::ColumnType::LeftEdge => 0,
                    read::ColumnType::Column(column) => column.get(),
                };
                new.discriminator = row.discriminator();
                new.is_statement = row.is_stmt();
                new.basic_block = row.basic_block();
                new.prologue_end = row.prologue_end();
                new.epilogue_begin = row.epilogue_begin();
                new.isa = row.isa();
                program.generate_row();
            }
            program.end_sequence(range.len());
        }
        Ok(())
    }
}
