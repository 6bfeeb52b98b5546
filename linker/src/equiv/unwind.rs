//! Where the exception tables of functions are: no code refers to them, only the unwind tables do.

use std::collections::HashMap;

use gimli::{BaseAddresses, CieOrFde, EhFrame, LittleEndian, Pointer, UnwindSection};

use crate::elf::ElfFile;

/// Address of the exception table (LSDA) by the start of the function, or of the part of one, that it is for.
pub(super) fn exception_tables(elf: &ElfFile<'_>) -> HashMap<u64, u64> {
    let mut found = HashMap::new();
    let address = |name: &str| elf.sections.iter().find(|s| s.name == name).map_or(0, |s| s.address);
    let bases = BaseAddresses::default().set_text(address(".text")).set_got(address(".got"));
    // GNU ld joins them into one section; a file may have several all the same.
    for section in elf.sections.iter().filter(|s| s.name == ".eh_frame") {
        let table = EhFrame::new(elf.content(section), LittleEndian);
        let bases = bases.clone().set_eh_frame(section.address);
        let mut entries = table.entries(&bases);
        while let Ok(Some(entry)) = entries.next() {
            let CieOrFde::Fde(partial) = entry else { continue };
            let Ok(fde) = partial.parse(EhFrame::cie_from_offset) else { continue };
            if let Some(Pointer::Direct(at)) = fde.lsda() {
                found.insert(fde.initial_address(), at);
            }
        }
    }
    found
}
