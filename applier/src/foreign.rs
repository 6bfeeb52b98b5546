//! The readers of what is not ours, for fuzzing: files that manifests name, and the memory of processes,
//! which may have made anything of it.

use crate::{
    catalog::elf_file,
    engine::target::{frames::Tables, linkmap, memory::Memory, modules, symbols::Symbols},
};
use patchfile::control::Control;
use std::{fs::File, io::Write};

/// Reads `data` as an ELF file on disk, as one in memory with what its dynamic section leads to, and as
/// unwind tables. Whatever comes of it, it ends, and soon.
#[doc(hidden)]
pub fn elf(data: &[u8]) {
    let _ = Control::decode(data);
    let _ = patchfile::identity::build_id(data);
    if let Some(file) = file(data) {
        let _ = elf_file(&file, true);
        in_memory(Memory::of_file(file), data.len() as u64);
    }
}

fn in_memory(memory: Memory, size: u64) {
    let mut tables = Tables::default();
    tables.add_image(0, size, 0, &memory);
    for pc in (0..size.min(1 << 16)).step_by(64) {
        let _ = tables.row(pc);
    }
    let Some(module) = modules::by_header(0, &memory) else { return };
    let _ = module.build_id(&memory);
    let _ = linkmap::dynamic(&module, &memory);
    if let Some(symbols) = Symbols::of(&module, &memory) {
        for (name, version) in [("one", None), ("printf", Some("GLIBC_2.2.5")), ("", Some(""))] {
            let _ = symbols.find(name, version);
        }
    }
    let mut tables = Tables::default();
    tables.add_module(&module, &memory, 0, &[]);
    for address in (module.start..module.end).step_by(4096).take(64) {
        let _ = tables.row(address);
    }
}

/// In memory, with no name.
fn file(data: &[u8]) -> Option<File> {
    use nix::sys::memfd::{MFdFlags, memfd_create};
    let mut file = File::from(memfd_create(c"foreign", MFdFlags::MFD_CLOEXEC).ok()?);
    file.write_all(data).ok()?;
    Some(file)
}
