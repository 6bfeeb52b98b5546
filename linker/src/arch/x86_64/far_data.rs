//! Code that expects a library's object nearby.
//!
//! Position-dependent code, and that of a PIE, reaches `stdout` or a type's `_ZTI…` as if the program had it:
//! the linker would have made a copy in the program. A target that never used the object has no such copy and
//! cannot get one. The reference is changed to go through a table: `lea` becomes a load, anything else makes
//! a detour.

use differ::{Refusal, Relocation};
use iced_x86::{
    Code, Decoder, DecoderOptions, Encoder, FlowControl, Instruction, InstructionInfoFactory, MemoryOperand,
    OpKind, Register,
};
use patchfile::image::RelocationKind;

use super::r;
use crate::arch::Site;
use crate::chunks::{Chunk, Chunks, Fixup, Place, Resolved};

/// Name of the chunks that a detour leads through. They have no unwind record: whoever stops there must come
/// again, as the frame is that of the function around.
const DETOUR: &str = ".detour";

/// Changes the instruction around the field. `Ok(false)`: the field is none of an instruction that can be
/// changed.
pub(super) fn rewrite(
    site: Site<'_>,
    reloc: &Relocation,
    symbol: &Resolved,
    chunks: &mut Chunks,
) -> Result<bool, Refusal> {
    let Some((start, instruction, part)) =
        chunks.chunks.get(site.chunk).and_then(|c| instruction_around(c, reloc))
    else {
        return Ok(false);
    };
    let end = start + instruction.len() as u64;
    // The addend counts from the end of the instruction in a relative field.
    let distance = if reloc.r_type == r::PC32 { (end - reloc.offset).cast_signed() } else { 0 };
    let slot = chunks.words(&[(symbol.address, reloc.addend + distance)]);
    match instruction.code() {
        // lea x(%rip),%r64 -> mov slot(%rip),%r64
        Code::Lea_r64_m if reloc.r_type == r::PC32 => {
            let done = chunks.chunks.get_mut(site.chunk).is_some_and(|c| {
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
                Code::Mov_r64_rm64 if memory_source && part == Part::Relative => {
                    detour(register(), Some(true), slot, back)
                }
                Code::Mov_r32_rm32 if memory_source && part == Part::Relative => {
                    detour(register(), Some(false), slot, back)
                }
                Code::Mov_r32_imm32 => detour(register(), None, slot, back),
                _ => detour_with_scratch(&instruction, part, slot, back),
            };
            let Some(piece) = piece else { return Ok(false) };
            let to = Place::Chunk { chunk: chunks.add(piece), offset: 0 };
            let Some(chunk) = chunks.chunks.get_mut(site.chunk) else { return Ok(false) };
            let mut jump = vec![0x90; instruction.len()];
            jump[..5].copy_from_slice(&[0xe9, 0, 0, 0, 0]);
            chunk.fixups.push(Fixup { offset: start + 1, kind: RelocationKind::Pc32, to, addend: -4 });
            Ok(chunk.edit(start, &jump))
        }
    }
}

/// `mov slot(%rip),%reg`, for a load `mov (%reg),%reg`, then back.
fn detour(register: Register, load: Option<bool>, slot: Place, back: Place) -> Option<Chunk> {
    let number = u8::try_from(register.number()).ok()?;
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
    Some(chunk)
}

/// How far the stack pointer is lowered around a moved instruction: the red zone, and one register.
const BELOW: u64 = 128 + 8;

/// Which operand of the instruction the field is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// Displacement from the next instruction.
    Relative,
    /// Displacement that is the address itself, or is added to other registers.
    Displacement,
    /// Immediate.
    Immediate,
}

/// The instruction that does the same with a register in place of a sign-extended immediate.
fn by_register(code: Code) -> Option<Code> {
    Some(match code {
        Code::Add_rm64_imm32 | Code::Add_RAX_imm32 => Code::Add_rm64_r64,
        Code::Sub_rm64_imm32 | Code::Sub_RAX_imm32 => Code::Sub_rm64_r64,
        Code::Cmp_rm64_imm32 | Code::Cmp_RAX_imm32 => Code::Cmp_rm64_r64,
        Code::And_rm64_imm32 | Code::And_RAX_imm32 => Code::And_rm64_r64,
        Code::Or_rm64_imm32 | Code::Or_RAX_imm32 => Code::Or_rm64_r64,
        Code::Xor_rm64_imm32 | Code::Xor_RAX_imm32 => Code::Xor_rm64_r64,
        Code::Mov_rm64_imm32 => Code::Mov_rm64_r64,
        _ => return None,
    })
}

/// The instruction with the address in `scratch`: what comes before it, and itself.
fn with_address_in(scratch: Register, instruction: &Instruction, part: Part) -> Option<Vec<Instruction>> {
    let mut moved = *instruction;
    let mut before = Vec::new();
    match part {
        Part::Immediate => {
            moved.set_code(by_register(instruction.code())?);
            moved.set_op1_kind(OpKind::Register);
            moved.set_op1_register(scratch);
            if instruction.memory_base() == Register::RSP {
                let distance = instruction.memory_displacement64().wrapping_add(BELOW);
                moved.set_memory_displacement64(distance);
                moved.set_memory_displ_size(8);
            }
        }
        Part::Relative | Part::Displacement => {
            let base = instruction.memory_base();
            if part == Part::Displacement && base != Register::None {
                let sum = MemoryOperand::with_base_index(scratch, base);
                before.push(Instruction::with2(Code::Lea_r64_m, scratch, sum).ok()?);
            }
            moved.set_memory_base(scratch);
            moved.set_memory_displacement64(0);
            moved.set_memory_displ_size(0);
        }
    }
    before.push(moved);
    Some(before)
}

/// Any other instruction with the object's address in an operand: with the address in a register that it does
/// not use. The 128 bytes below the stack pointer belong to the function (psABI, 3.2.2), and no flag may
/// change.
fn detour_with_scratch(instruction: &Instruction, part: Part, slot: Place, back: Place) -> Option<Chunk> {
    let mut factory = InstructionInfoFactory::new();
    let used: Vec<Register> =
        factory.info(instruction).used_registers().iter().map(|r| r.register().full_register()).collect();
    let in_frame = part == Part::Immediate
        && instruction.memory_base() == Register::RSP
        && instruction.op0_kind() == OpKind::Memory
        && !instruction.is_stack_instruction();
    if instruction.flow_control() != FlowControl::Next || (used.contains(&Register::RSP) && !in_frame) {
        return None;
    }
    let free = [Register::RAX, Register::RCX, Register::RDX, Register::RSI, Register::RDI];
    let scratch = free.into_iter().find(|r| !used.contains(r))?;
    let number = u8::try_from(scratch.number()).ok()?;
    // lea -128(%rsp),%rsp; push scratch; mov slot(%rip),scratch
    let mut code = vec![0x48, 0x8d, 0x64, 0x24, 0x80, 0x50 | number, 0x48, 0x8b, number << 3 | 5, 0, 0, 0, 0];
    let kind = RelocationKind::Pc32;
    let mut fixups = vec![Fixup { offset: 9, kind, to: slot, addend: -4 }];
    let mut encoder = Encoder::new(64);
    for instruction in with_address_in(scratch, instruction, part)? {
        encoder.encode(&instruction, 0).ok()?;
    }
    code.extend_from_slice(&encoder.take_buffer());
    // pop scratch; lea 128(%rsp),%rsp
    code.extend_from_slice(&[0x58 | number, 0x48, 0x8d, 0xa4, 0x24, 0x80, 0, 0, 0, 0xe9]);
    fixups.push(Fixup { offset: code.len() as u64, kind, to: back, addend: -4 });
    code.extend_from_slice(&[0; 4]);
    let mut chunk = Chunk::code(DETOUR, code, fixups);
    chunk.align = 1;
    Some(chunk)
}

/// The instruction whose 4-byte operand is the relocated field, read from the start of the section: reading
/// backwards is ambiguous.
fn instruction_around(chunk: &Chunk, reloc: &Relocation) -> Option<(u64, Instruction, Part)> {
    let mut decoder = Decoder::with_ip(64, &chunk.data, 0, DecoderOptions::NONE);
    while decoder.can_decode() && decoder.ip() <= reloc.offset {
        let instruction = decoder.decode();
        if instruction.next_ip() <= reloc.offset {
            continue;
        }
        let offsets = decoder.get_constant_offsets(&instruction);
        let field = usize::try_from(reloc.offset - instruction.ip()).ok()?;
        let relative = instruction.is_ip_rel_memory_operand() && offsets.displacement_offset() == field;
        let part = match reloc.r_type {
            r::PC32 => relative.then_some(Part::Relative),
            _ if offsets.has_immediate() && offsets.immediate_offset() == field => Some(Part::Immediate),
            _ if offsets.has_displacement() && offsets.displacement_offset() == field => {
                (!instruction.is_ip_rel_memory_operand()).then_some(Part::Displacement)
            }
            _ => None,
        };
        return Some((instruction.ip(), instruction, part?));
    }
    None
}
