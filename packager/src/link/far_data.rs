//! Code that expects a library's object nearby.
//!
//! Position-dependent code, and that of a PIE, reaches `stdout` or a type's `_ZTI…` as if the program had it: the linker would have made
//! a copy in the program. A target that never used the object has no such copy and cannot get one. The reference is changed to go
//! through a table: `lea` becomes a load; a load makes a detour.

use differ::{Refusal, Relocation};
use iced_x86::{Code, Decoder, DecoderOptions, Instruction, OpKind, Register};
use patchfile::image::RelocationKind;

use super::chunk::{Chunk, Fixup, Place};
use super::reloc_types as r;
use super::relocate::Site;
use super::resolve::Resolved;
use super::stubs::Pieces;

/// Name of the pieces that a detour leads through. They have no unwind record: whoever stops there must come again, as the frame is that
/// of the function around.
pub(super) const DETOUR: &str = ".detour";

/// Longest encoding of an instruction.
const LONGEST: u64 = 15;

/// Changes the instruction around the field. `Ok(false)`: the field is none of an instruction that can be changed.
pub(super) fn rewrite(
    site: Site<'_>,
    reloc: &Relocation,
    symbol: &Resolved,
    pieces: &mut Pieces,
) -> Result<bool, Refusal> {
    let Some((start, instruction)) = pieces.chunks.get(site.chunk).and_then(|c| instruction_around(c, reloc)) else {
        return Ok(false);
    };
    let end = start + instruction.len() as u64;
    // The addend counts from the end of the instruction in a relative field.
    let distance = if reloc.r_type == r::PC32 { (end - reloc.offset).cast_signed() } else { 0 };
    let slot = pieces.words(&[(symbol.address, reloc.addend + distance)]);
    match instruction.code() {
        // lea x(%rip),%r64 -> mov slot(%rip),%r64
        Code::Lea_r64_m if reloc.r_type == r::PC32 => {
            let done = pieces.chunks.get_mut(site.chunk).is_some_and(|c| {
                let same = c.bytes(reloc.offset - 2, 1) == Some(&[0x8d]) && c.edit(reloc.offset - 2, &[0x8b]);
                c.fixups.push(Fixup { offset: reloc.offset, kind: RelocationKind::Pc32, to: slot, addend: -4 });
                same
            });
            Ok(done)
        }
        Code::Mov_r64_rm64 | Code::Mov_r32_rm32 | Code::Mov_EAX_moffs32 | Code::Mov_r32_imm32 if instruction.len() >= 5 => {
            let register = instruction.op0_register().full_register();
            let load = match instruction.code() {
                Code::Mov_r64_rm64 => Some(true),
                Code::Mov_r32_rm32 => Some(false),
                _ => None,
            };
            let back = Place::Chunk { chunk: site.chunk, offset: end };
            let detour = pieces.add(detour(register, load, slot, back));
            let Some(chunk) = pieces.chunks.get_mut(site.chunk) else { return Ok(false) };
            let mut code = vec![0x90; instruction.len()];
            code[..5].copy_from_slice(&[0xe9, 0, 0, 0, 0]);
            let to = Place::Chunk { chunk: detour, offset: 0 };
            chunk.fixups.push(Fixup { offset: start + 1, kind: RelocationKind::Pc32, to, addend: -4 });
            Ok(chunk.edit(start, &code))
        }
        _ => Ok(false),
    }
}

/// `mov slot(%rip),%reg`, for a load `mov (%reg),%reg`, then back.
fn detour(register: Register, load: Option<bool>, slot: Place, back: Place) -> Chunk {
    let number = u8::try_from(register.number()).unwrap_or(0);
    let (high, low) = (number >> 3, number & 7);
    let mut code = vec![0x48 | high << 2, 0x8b, low << 3 | 5, 0, 0, 0, 0];
    let kind = RelocationKind::Pc32;
    let mut fixups = vec![Fixup { offset: 3, kind, to: slot, addend: -4 }];
    if let Some(wide) = load {
        let prefix = u8::from(wide) << 3 | high << 2 | high;
        if prefix != 0 {
            code.push(0x40 | prefix);
        }
        code.push(0x8b);
        match low {
            // These two base registers are spelt with an index byte, or a displacement.
            4 => code.extend_from_slice(&[low << 3 | 4, 0x24]),
            5 => code.extend_from_slice(&[0x40 | low << 3 | 5, 0]),
            _ => code.push(low << 3 | low),
        }
    }
    code.push(0xe9);
    fixups.push(Fixup { offset: code.len() as u64, kind, to: back, addend: -4 });
    code.extend_from_slice(&[0; 4]);
    let mut chunk = Chunk::code(DETOUR, code, fixups);
    chunk.align = 1;
    chunk
}

/// The one instruction whose 4-byte operand is the relocated field. Reading backwards is ambiguous, so it must be the only decoding among
/// those from the known forms of `lea` and `mov`.
fn instruction_around(chunk: &Chunk, reloc: &Relocation) -> Option<(u64, Instruction)> {
    let mut found = None;
    for before in 1..=LONGEST.min(reloc.offset).min(3) {
        let start = reloc.offset - before;
        let bytes = chunk.data.get(usize::try_from(start).ok()?..)?;
        let mut decoder = Decoder::with_ip(64, bytes, start, DecoderOptions::NONE);
        let instruction = decoder.decode();
        let offsets = decoder.get_constant_offsets(&instruction);
        let field = usize::try_from(before).ok()?;
        let relative = instruction.is_ip_rel_memory_operand() && offsets.displacement_offset() == field;
        let absolute = instruction.code() == Code::Mov_r32_imm32
            && instruction.op_kind(1) == OpKind::Immediate32
            && offsets.immediate_offset() == field;
        if relative && reloc.r_type == r::PC32 || absolute && reloc.r_type != r::PC32 {
            // A longer match has the prefix that belongs to it: REX directly before the opcode.
            found = Some((start, instruction));
        }
    }
    found
}
