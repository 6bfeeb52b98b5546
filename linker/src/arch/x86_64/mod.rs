//! x86-64.

mod arguments;
mod decode;
mod entries;
mod epilogue;
mod far_data;
mod getter;
pub(crate) mod kernel;
mod padding;
mod redirect;
mod relocate;
mod returning;
mod tls;

use differ::arch::x86_64::relocations as r;
use differ::{Refusal, Relocation};
use patchfile::Arch;
use patchfile::image::{Hop, RelocationKind};
use std::ops::Range;

use super::{
    Block, CLibrary, Control, Entry, Epilogue, Instruction, Machine, OldFunction, Reading, Site,
    Surroundings, Writing,
};
use crate::chunks::{Chunk, Chunks, Fixup, FrameRules, Place, Resolved, Returning, Stubs};
use crate::elf::{ElfFile, Segment};

/// `EM_X86_64`
pub(crate) const E_MACHINE: u16 = Arch::X86_64.facts().e_machine;

/// DWARF register numbers (psABI, table 3.36).
const RBX: u8 = 3;
const RBP: u8 = 6;
const RSP: u8 = 7;
/// Number of the return address among registers.
const RETURN: u8 = 16;

/// The machine.
#[derive(Debug)]
pub(crate) struct X86_64;

impl Machine for X86_64 {}

impl Stubs for X86_64 {
    /// `jmp *slot(%rip)`
    fn jump_through(&self, slot: Place) -> (Vec<u8>, Vec<Fixup>) {
        let fixup = Fixup { offset: 2, kind: RelocationKind::Pc32, to: slot, addend: -4 };
        (vec![0xff, 0x25, 0, 0, 0, 0], vec![fixup])
    }
}

impl Reading for X86_64 {
    fn arch(&self) -> Arch {
        Arch::X86_64
    }

    fn instructions<'c>(&self, code: &'c [u8], at: u64) -> Box<dyn Iterator<Item = Instruction<'c>> + 'c> {
        Box::new(decode::Instructions::new(code, at))
    }

    fn text(&self, instruction: &Instruction<'_>) -> String {
        decode::text(instruction)
    }

    fn data_references(&self, code: &[u8], at: u64, found: &mut dyn FnMut(u64)) {
        decode::data_references(code, at, found);
    }

    fn plt_entries(&self, elf: &ElfFile<'_>) -> Vec<(u64, u64)> {
        entries::plt(elf)
    }

    fn jumps(&self, elf: &ElfFile<'_>) -> Vec<(u64, u64)> {
        entries::jumps(elf)
    }

    // Variant II of the TLS ABI: the segment ends at the thread pointer.
    fn thread_offset(&self, tls: &Segment, offset: u64) -> Option<i64> {
        let size = tls.size.checked_next_multiple_of(tls.align.max(1))?;
        offset.cast_signed().checked_sub(size.cast_signed())
    }

    fn offset_in_tls(&self, tls: &Segment, from_thread_pointer: i64) -> Option<u64> {
        let size = tls.size.checked_next_multiple_of(tls.align.max(1))?;
        size.checked_add_signed(from_thread_pointer)
    }

    fn find_epilogue(&self, target: &ElfFile<'_>, replaced: &[(u64, u64)]) -> Option<Epilogue> {
        epilogue::find(target, replaced)
    }

    fn is_padding(&self, code: &[u8], at: u64) -> bool {
        padding::is_padding(code, at)
    }

    fn is_patchable_entry(&self, code: &[u8]) -> bool {
        padding::is_patchable_entry(code)
    }

    fn leads_to(&self, code: &[u8], at: u64, to: &Range<u64>, counts: &dyn Fn(u64) -> bool) -> bool {
        padding::leads_to(code, at, to, counts)
    }
}

impl Writing for X86_64 {
    fn frame_rules(&self) -> &'static FrameRules {
        const RULES: FrameRules = FrameRules {
            stack_pointer: RSP,
            return_column: RETURN,
            depth_at_entry: 8,
            return_saved: Some(1),
        };
        &RULES
    }

    /// `int3`
    fn filler(&self) -> u8 {
        0xcc
    }

    fn relocate(
        &self,
        around: &Surroundings<'_>,
        site: Site<'_>,
        reloc: &Relocation,
        symbol: &Resolved,
        chunks: &mut Chunks,
    ) -> Result<Option<u64>, Refusal> {
        relocate::relocate(around, site, reloc, symbol, chunks)
    }

    fn is_branch(&self, code: &[u8], offset: u64) -> bool {
        arguments::is_branch(code, offset)
    }

    fn is_call(&self, code: &[u8], offset: u64) -> bool {
        arguments::is_call(code, offset)
    }

    fn forms_address(&self, code: &[u8], reloc: &Relocation) -> bool {
        reloc.r_type != r::PC32 || arguments::is_lea(code, reloc.offset)
    }

    fn first_argument(&self, code: &[u8], call: u64) -> Option<u64> {
        arguments::first_argument(code, call)
    }

    fn plan_entry(
        &self,
        old: &OldFunction<'_>,
        code_of_old: &[(u64, &[u8])],
        padding: &mut dyn FnMut(u64) -> Option<Hop>,
    ) -> Result<Entry, Refusal> {
        redirect::plan(old, code_of_old, padding)
    }

    fn overwritten(&self, old: &OldFunction<'_>) -> Range<u64> {
        redirect::overwritten(old)
    }

    fn redirect_stub(&self, index: usize, name: &str, new: Place) -> Chunk {
        redirect::stub(index, name, new)
    }

    fn returning_stub(&self, to: Place, epilogue: Epilogue) -> Returning {
        returning::stub(to, epilogue)
    }

    fn getter(&self, block: &Block, library: &CLibrary, control: Control, chunks: &mut Chunks) -> Place {
        getter::add(block, library, control, chunks)
    }
}
