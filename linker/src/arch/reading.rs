//! What the comparison of linked files and the reading of the target have to know of a machine.

use std::fmt::Debug;

use patchfile::Arch;

use crate::elf::{ElfFile, Segment};

/// An instruction, as far as two of them are compared.
#[derive(Clone, Debug)]
pub(crate) struct Instruction<'c> {
    /// Its address.
    pub(crate) at: u64,
    pub(crate) bytes: &'c [u8],
    /// What it does and with which kinds of operands: a number that only the machine's decoder knows the
    /// meaning of.
    pub(crate) opcode: u32,
    /// Parts of `bytes` that may be a reference, in the order in which they are followed.
    pub(crate) operands: [Option<Operand>; 2],
    /// Loads the thread pointer itself.
    pub(crate) loads_thread_pointer: bool,
}

impl Instruction<'_> {
    /// Address of the next one.
    pub(crate) fn end(&self) -> u64 {
        self.at + self.bytes.len() as u64
    }

    /// The bytes with zeros in place of these operands.
    pub(crate) fn without<'o>(&self, operands: impl IntoIterator<Item = &'o Operand>) -> Vec<u8> {
        let mut rest = self.bytes.to_vec();
        for operand in operands {
            if let Some(bytes) = rest.get_mut(operand.offset..operand.offset.saturating_add(operand.size)) {
                bytes.fill(0);
            }
        }
        rest
    }
}

/// An operand that is a number in the instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Operand {
    /// Where in the instruction it is, in bytes.
    pub(crate) offset: usize,
    /// Bytes.
    pub(crate) size: usize,
    /// Its bits as a signed number.
    pub(crate) bits: u64,
    pub(crate) value: Value,
}

/// What an operand stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// Address that a call or jump leads to.
    Branch(u64),
    /// Address of data, which the instruction holds relative to itself.
    Data(u64),
    /// Added to a register or to nothing: an offset, or an address in code that is linked to a fixed place.
    Displacement {
        /// As the processor adds it.
        value: u64,
        /// The register is the stack pointer or the frame pointer.
        stack: bool,
    },
    /// A number, as the processor takes it.
    Immediate(u64),
}

/// The last instructions of a function of the target, through which a call of the image can return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Epilogue {
    /// Link-time address of the first of them in the target.
    pub(crate) address: u64,
    pub(crate) saves: Saves,
}

/// What the last instructions do with the word on the stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Saves {
    /// The instructions only take the word off the stack, or overwrite a register that no caller counts on.
    Nothing,
    /// The word goes to this register (DWARF number), which the caller expects to be kept.
    Register(u8),
    /// It is the caller's frame pointer, and the frame counts from the frame pointer.
    FramePointer,
}

/// How the code of linked files is read.
pub(crate) trait Reading: Debug + Sync {
    /// The machine.
    fn arch(&self) -> Arch;

    /// The instructions of `code`, whose first byte is at address `at`. Bytes that are no instruction count
    /// as one too, whose `opcode` says so.
    fn instructions<'c>(&self, code: &'c [u8], at: u64) -> Box<dyn Iterator<Item = Instruction<'c>> + 'c>;

    /// An instruction in words, for messages.
    fn text(&self, instruction: &Instruction<'_>) -> String;

    /// Calls `found` with every address of data that an instruction of `code` holds relative to itself.
    fn data_references(&self, code: &[u8], at: u64, found: &mut dyn FnMut(u64));

    /// Entries of the procedure linkage tables, and the slot that each jumps through: addresses.
    fn plt_entries(&self, elf: &ElfFile<'_>) -> Vec<(u64, u64)>;

    /// What looks like a jump, and where it would lead: to code, or through a slot. Addresses.
    fn jumps(&self, elf: &ElfFile<'_>) -> Vec<(u64, u64)>;

    /// Offset from the thread pointer of the program's own variable at `offset` in its TLS segment.
    fn thread_offset(&self, tls: &Segment, offset: u64) -> Option<i64>;

    /// Offset in the TLS segment of the program that an offset from the thread pointer stands for.
    fn offset_in_tls(&self, tls: &Segment, from_thread_pointer: i64) -> Option<u64>;

    /// The end of a function outside of `replaced` (address and size) that a call from the image can return
    /// through.
    fn find_epilogue(&self, target: &ElfFile<'_>, replaced: &[(u64, u64)]) -> Option<Epilogue>;

    /// Is all of `code`, at address `at`, instructions that only fill?
    fn is_padding(&self, code: &[u8], at: u64) -> bool;

    /// Is all of `code` what a compiler puts before a function on request (`-fpatchable-function-entry`)?
    fn is_patchable_entry(&self, code: &[u8]) -> bool;

    /// Does anything in `code`, at address `at`, look as if it led to one of the addresses `to`? `counts`
    /// tells by the address of the field whether it counts.
    fn leads_to(&self, code: &[u8], at: u64, to: &std::ops::Range<u64>, counts: &dyn Fn(u64) -> bool)
    -> bool;
}
