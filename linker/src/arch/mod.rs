//! What depends on the instruction set. A machine is chosen by the `e_machine` of the files at hand, not by
//! what this program runs on: patches for other machines are made with cross compilers.
//!
//! Everything that names an instruction, a register or a relocation type of one machine is in that machine's
//! folder. The rest of the crate knows relocation types by what they compute
//! ([`differ::arch::RelocationType`]).

mod reading;
mod writing;
pub(crate) mod x86_64;

pub(crate) use x86_64::kernel;

pub(crate) use reading::{Epilogue, Instruction, Operand, Reading, Saves, Value};
pub(crate) use writing::{
    Block, CLibrary, Control, Entry, OldFunction, Site, Surroundings, TlsBase, Writing,
};

use differ::arch::RelocationType;

use crate::elf::ElfFile;
use crate::error::LinkError;

/// One machine: how its code is read in linked files, and how code for it is written into an image.
pub(crate) trait Machine: Reading + Writing {
    /// What is known of a relocation type; `None` if this version does not know it.
    fn relocation(&self, number: u32) -> Option<&'static RelocationType> {
        differ::arch::relocation_type(self.arch().e_machine(), number)
    }

    /// Name of a relocation type, for messages.
    fn relocation_name(&self, number: u32) -> String {
        differ::arch::relocation_name(self.arch().e_machine(), number)
    }
}

/// The machine with this `e_machine`, if patches can be made for it.
pub(crate) fn of(e_machine: u16) -> Option<&'static dyn Machine> {
    match e_machine {
        x86_64::E_MACHINE => Some(&x86_64::X86_64),
        _ => None,
    }
}

/// The machine of an ELF file that messages call `file`.
pub(crate) fn of_file(elf: &ElfFile<'_>, file: &str) -> Result<&'static dyn Machine, LinkError> {
    of(elf.machine).ok_or_else(|| LinkError::Elf {
        file: file.to_owned(),
        why: "not for x86-64; other machines are not supported by this version".to_owned(),
    })
}
