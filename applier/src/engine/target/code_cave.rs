//! Executable memory that nobody uses.

use crate::{
    engine::target::{elf, memory::Memory, modules::Module},
    sys::page,
};

/// The rest of the last page of a code segment, all zeros: behind what the file gives the program, and mapped
/// all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CodeCave {
    /// Where it begins.
    pub address: u64,
    /// Its size in bytes.
    pub size: u64,
}

/// What is asked for, in bytes.
const ENOUGH: u64 = 1280;

impl CodeCave {
    /// In the first of these modules that has enough.
    pub(crate) fn find<'a>(modules: impl IntoIterator<Item = &'a Module>, memory: &Memory) -> Option<Self> {
        modules.into_iter().find_map(|module| Self::of(module, memory))
    }

    fn of(module: &Module, memory: &Memory) -> Option<Self> {
        let code = module.of_kind(elf::LOAD).find(|s| s.flags & elf::EXECUTE != 0)?;
        // With more memory than file there would be data behind it.
        let whole = code.size == code.file_size && code.flags & elf::WRITE == 0;
        let end = module.bias.wrapping_add(code.address).checked_add(code.size).filter(|_| whole)?;
        let address = end.checked_next_multiple_of(16)?;
        let size =
            end.checked_next_multiple_of(page::size())?.checked_sub(address).filter(|s| *s >= ENOUGH)?;
        let bytes = memory.read(address, usize::try_from(size).ok()?).ok()?;
        bytes.iter().all(|b| *b == 0).then_some(Self { address, size })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Options, engine::target::process::Process};

    #[test]
    fn is_behind_the_code_of_a_module() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let process = Process::open(pid, &Options::default()).unwrap();
        let room = CodeCave::find(&process.modules, &process.memory).unwrap();
        let mapping = process.maps.iter().find(|m| m.contains(room.address)).unwrap();
        assert!(mapping.execute && room.address + room.size == mapping.end);
    }
}
