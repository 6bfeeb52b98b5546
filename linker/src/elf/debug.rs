//! Debug information of linked files.

use std::borrow::Cow;
use std::collections::HashMap;

use object::elf;
use object::read::elf::{CompressionHeader, FileHeader, SectionHeader};

/// Most bytes that the debug sections of one file may unpack to.
const LARGEST_UNPACKED: u64 = 1 << 30;

/// The sections of debug information that are asked for, unpacked. What cannot be read is left out.
pub(crate) fn debug_sections<'d>(data: &'d [u8], names: &[&str]) -> HashMap<String, Cow<'d, [u8]>> {
    let mut found = HashMap::new();
    let headers = || {
        let header = elf::FileHeader64::<object::Endianness>::parse(data)?;
        let endian = header.endian()?;
        Ok::<_, object::read::Error>((endian, header.sections(endian, data)?))
    };
    let Ok((endian, table)) = headers() else { return found };
    for section in table.iter() {
        let name = table.section_name(endian, section).map(String::from_utf8_lossy).unwrap_or_default();
        if !names.contains(&&*name) || section.sh_type(endian) == elf::SHT_NOBITS {
            continue;
        }
        let content = match section.compression(endian, data) {
            Ok(None) => section.data(endian, data).ok().map(Cow::Borrowed),
            Ok(Some((header, start, length))) => {
                let format = match header.ch_type(endian) {
                    elf::ELFCOMPRESS_ZLIB => Some(object::CompressionFormat::Zlib),
                    elf::ELFCOMPRESS_ZSTD => Some(object::CompressionFormat::Zstandard),
                    _ => None,
                };
                let end = usize::try_from(start.saturating_add(length)).ok();
                let packed =
                    usize::try_from(start).ok().zip(end).and_then(|(start, end)| data.get(start..end));
                let uncompressed_size = header.ch_size(endian);
                format.zip(packed).filter(|_| uncompressed_size <= LARGEST_UNPACKED).and_then(
                    |(format, data)| {
                        let packed = object::read::CompressedData { format, data, uncompressed_size };
                        packed.decompress().ok()
                    },
                )
            }
            Err(_) => None,
        };
        found.extend(content.map(|content| (name.into_owned(), content)));
    }
    found
}
