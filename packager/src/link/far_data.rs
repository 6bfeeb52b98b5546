//! Code that expects a library's object nearby.
//!
//! Position-dependent code, and that of a PIE, reaches `stdout` or a type's `_ZTI…` as if the program had it: the linker would have made
//! a copy in the program. A target that never used the object has no such copy and cannot get one. The reference is changed to go
//! through a table: `lea` becomes a load, anything else makes a detour.

use differ::{Refusal, Relocation};
use iced_x86::{
    Code, Decoder, DecoderOptions, Encoder, FlowControl, Instruction, InstructionInfoFactory, OpKind,
    Register,
};
use patchfile::image::RelocationKind;

use super::chunk::{Chunk, Fixup, Place};
use super::reloc_types as r;
use super::relocate::Site;
use super::resolve::Resolved;
use super::stubs::Pieces;

/// Name of the pieces that a detour leads through. They have no unwind record: whoever stops there must come again, as the frame is that
/// of the function around.
pub(super) const DETOUR: &str = ".detour";

/// Changes the instruction around the field. `Ok(false)`: the field is none of an instruction that can be changed.
pub(super) fn rewrite(
    site: Site<'_>,
    reloc: &Relocation,
    symbol: &Resolved,
    pieces: &mut Pieces,
) -> Result<bool, Refusal> {
    let Some((start, instruction)) = pieces.chunks.get(site.chunk).and_then(|c| instruction_around(c, reloc))
    else {
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
                c.fixups.push(Fixup {
                    offset: reloc.offset,
                    kind: RelocationKind::Pc32,
                    to: slot,
                    addend: -4,
                });
                same
            });
            Ok(done)
        }
        _ if instruction.len() < 5 => Ok(false),
        code => {
            let back = Place::Chunk { chunk: site.chunk, offset: end };
            let register = || instruction.op0_register().full_register();
            let memory_source = instruction.op_kind(0) == OpKind::Register;
            let piece = match code {
                Code::Mov_r64_rm64 if memory_source => Some(detour(register(), Some(true), slot, back)),
                Code::Mov_r32_rm32 if memory_source => Some(detour(register(), Some(false), slot, back)),
                Code::Mov_r32_imm32 => Some(detour(register(), None, slot, back)),
                _ => detour_with_scratch(&instruction, slot, back),
            };
            let Some(piece) = piece else { return Ok(false) };
            let to = Place::Chunk { chunk: pieces.add(piece), offset: 0 };
            let Some(chunk) = pieces.chunks.get_mut(site.chunk) else { return Ok(false) };
            let mut jump = vec![0x90; instruction.len()];
            jump[..5].copy_from_slice(&[0xe9, 0, 0, 0, 0]);
            chunk.fixups.push(Fixup { offset: start + 1, kind: RelocationKind::Pc32, to, addend: -4 });
            Ok(chunk.edit(start, &jump))
        }
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

/// Any other instruction with the object as its memory operand: with the address in a register that it does not use. The 128 bytes below
/// the stack pointer belong to the function (psABI, 3.2.2), and no flag may change.
fn detour_with_scratch(instruction: &Instruction, slot: Place, back: Place) -> Option<Chunk> {
    let mut factory = InstructionInfoFactory::new();
    let used: Vec<Register> =
        factory.info(instruction).used_registers().iter().map(|r| r.register().full_register()).collect();
    if instruction.flow_control() != FlowControl::Next || used.contains(&Register::RSP) {
        return None;
    }
    let free = [Register::RAX, Register::RCX, Register::RDX, Register::RSI, Register::RDI];
    let scratch = free.into_iter().find(|r| !used.contains(r))?;
    let number = u8::try_from(scratch.number()).ok()?;
    // lea -128(%rsp),%rsp; push scratch; mov slot(%rip),scratch
    let mut code = vec![0x48, 0x8d, 0x64, 0x24, 0x80, 0x50 | number, 0x48, 0x8b, number << 3 | 5, 0, 0, 0, 0];
    let kind = RelocationKind::Pc32;
    let mut fixups = vec![Fixup { offset: 9, kind, to: slot, addend: -4 }];
    let mut moved = *instruction;
    moved.set_memory_base(scratch);
    moved.set_memory_displacement64(0);
    moved.set_memory_displ_size(0);
    let mut encoder = Encoder::new(64);
    encoder.encode(&moved, 0).ok()?;
    code.extend_from_slice(&encoder.take_buffer());
    // pop scratch; lea 128(%rsp),%rsp
    code.extend_from_slice(&[0x58 | number, 0x48, 0x8d, 0xa4, 0x24, 0x80, 0, 0, 0, 0xe9]);
    fixups.push(Fixup { offset: code.len() as u64, kind, to: back, addend: -4 });
    code.extend_from_slice(&[0; 4]);
    let mut chunk = Chunk::code(DETOUR, code, fixups);
    chunk.align = 1;
    Some(chunk)
}

/// The instruction whose 4-byte operand is the relocated field, read from the start of the section: reading backwards is ambiguous.
fn instruction_around(chunk: &Chunk, reloc: &Relocation) -> Option<(u64, Instruction)> {
    let mut decoder = Decoder::with_ip(64, &chunk.data, 0, DecoderOptions::NONE);
    while decoder.can_decode() && decoder.ip() <= reloc.offset {
        let instruction = decoder.decode();
        if instruction.next_ip() <= reloc.offset {
            continue;
        }
        let offsets = decoder.get_constant_offsets(&instruction);
        let field = usize::try_from(reloc.offset - instruction.ip()).ok()?;
        let relative = instruction.is_ip_rel_memory_operand() && offsets.displacement_offset() == field;
        let absolute = instruction.code() == Code::Mov_r32_imm32
            && instruction.op_kind(1) == OpKind::Immediate32
            && offsets.immediate_offset() == field;
        let fits = if reloc.r_type == r::PC32 { relative } else { absolute };
        return fits.then_some((instruction.ip(), instruction));
    }
    None
}
