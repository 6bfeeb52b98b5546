//! ELF headers as a running process has them in memory (gABI, "ELF Header", "Program Header", "Note
//! Section").

/// `PT_LOAD`.
pub(crate) const LOAD: u32 = 1;
/// `PT_DYNAMIC`.
pub(crate) const DYNAMIC: u32 = 2;
/// `PT_NOTE`.
pub(crate) const NOTE: u32 = 4;
/// `PT_GNU_EH_FRAME`.
pub(crate) const EH_FRAME: u32 = 0x6474_e550;
/// `PF_X`.
pub(crate) const EXECUTE: u32 = 1;
/// `PF_W`.
pub(crate) const WRITE: u32 = 2;
/// Size of the file header.
pub(crate) const HEADER: usize = 64;

/// What of the file header matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// `ET_EXEC`: linked at fixed addresses.
    pub fixed: bool,
    /// `e_machine`.
    pub machine: u16,
    /// Link-time address of the program's first instruction.
    pub entry: u64,
    /// File offset of the program headers.
    pub table: u64,
    /// Their number.
    pub count: u16,
}

/// A program header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    /// `p_type`.
    pub kind: u32,
    /// `p_flags`.
    pub flags: u32,
    /// `p_offset`.
    pub offset: u64,
    /// `p_vaddr`.
    pub address: u64,
    /// `p_filesz`.
    pub file_size: u64,
    /// `p_memsz`.
    pub size: u64,
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_le_bytes)
}

/// Little-endian u32 at an offset.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at.checked_add(4)?)?.try_into().ok().map(u32::from_le_bytes)
}

/// Little-endian u64 at an offset.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..at.checked_add(8)?)?.try_into().ok().map(u64::from_le_bytes)
}

/// Reads the file header of a 64-bit little-endian executable or shared object. `None` for anything else.
pub(crate) fn header(bytes: &[u8]) -> Option<Header> {
    let elf64_le = bytes.starts_with(b"\x7fELF\x02\x01");
    let kind = u16_at(bytes, 16)?;
    let header_size = u16_at(bytes, 54)?;
    if !elf64_le || !(kind == 2 || kind == 3) || header_size != 56 {
        return None;
    }
    Some(Header {
        fixed: kind == 2,
        machine: u16_at(bytes, 18)?,
        entry: u64_at(bytes, 24)?,
        table: u64_at(bytes, 32)?,
        count: u16_at(bytes, 56)?,
    })
}

/// Reads program headers.
pub(crate) fn segments(table: &[u8]) -> Vec<Segment> {
    let read = |b: &[u8]| {
        Some(Segment {
            kind: u32_at(b, 0)?,
            flags: u32_at(b, 4)?,
            offset: u64_at(b, 8)?,
            address: u64_at(b, 16)?,
            file_size: u64_at(b, 32)?,
            size: u64_at(b, 40)?,
        })
    };
    table.chunks_exact(56).filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_program_is_understood() {
        let bytes = std::fs::read("/proc/self/exe").unwrap();
        let header = header(&bytes).unwrap();
        let table = usize::try_from(header.table).unwrap();
        let segments = segments(&bytes[table..table + 56 * usize::from(header.count)]);
        assert!(segments.iter().any(|s| s.kind == LOAD && s.flags & EXECUTE != 0));
        assert!(segments.iter().any(|s| s.kind == EH_FRAME));
    }
}
