//! The way from an old function's entry to its new code: what gets overwritten, the stub, and the old first
//! instructions moved elsewhere so that the old function still works while the patch is not active.

use differ::Refusal;
use iced_x86::{Code, Decoder, DecoderOptions, FlowControl, Instruction, OpKind, Register};
use patchfile::image::{Hop, RelocationKind};
use patchfile::{Arch, control};

use super::padding::is_filler;
use super::{RBP, RBX};
use crate::arch::{Entry, OldFunction};
use crate::chunks::{Chunk, Fixup, Place, Step};
use crate::error::refusal;

/// Length of `jmp rel32`.
const JUMP: usize = Arch::X86_64.facts().jump as usize;
/// Length of `jmp rel8`.
const SHORT: usize = match Arch::X86_64.facts().short_jump {
    Some(length) => length as usize,
    None => JUMP,
};
/// Length of [`ENDBR64`].
const ENDBR: u8 = 4;
const ENDBR64: [u8; ENDBR as usize] = [0xf3, 0x0f, 0x1e, 0xfa];

/// Plans the entry of one function. `code_of_old`: address and bytes of the whole function and its fragments,
/// to find branches into what gets overwritten. `padding` finds some in reach of a short jump from an
/// address.
///
/// # Errors
/// When there is no room for a jump.
pub(super) fn plan(
    old: &OldFunction<'_>,
    code_of_old: &[(u64, &[u8])],
    padding: &mut dyn FnMut(u64) -> Option<Hop>,
) -> Result<Entry, Refusal> {
    // What does not fit in memory is no function.
    let room = usize::try_from(room(old)).unwrap_or(0);
    let endbr = old.bytes.starts_with(&ENDBR64);
    let kept: u8 = if endbr && room >= ENDBR64.len() + JUMP { ENDBR } else { 0 };
    let skip = usize::from(kept);
    let short = room < skip + JUMP || old.bytes.len() < skip + JUMP;
    let hop = if short {
        let enough = room >= SHORT && old.bytes.len() >= SHORT;
        Some(enough.then(|| padding(old.address)).flatten().ok_or_else(|| too_short(old, room))?)
    } else {
        None
    };
    let jump = if short { SHORT } else { JUMP };
    let mut original = [0; 8];
    for (to, from) in original.iter_mut().zip(&old.bytes[skip..]) {
        *to = *from;
    }
    let site = old.address + skip as u64;
    let into = code_of_old.iter().any(|(address, bytes)| branches_into(*address, bytes, site, jump));
    let resume = if into { None } else { resume(old, skip, jump) };
    Ok(Entry { skip: kept, original, resume, hop })
}

/// Bytes at the entry that its jump overwrites, long or short.
pub(super) fn overwritten(old: &OldFunction<'_>) -> std::ops::Range<u64> {
    let (room, jump) = (room(old), JUMP as u64);
    let skip =
        if old.bytes.starts_with(&ENDBR64) && room >= u64::from(ENDBR) + jump { u64::from(ENDBR) } else { 0 };
    let site = old.address + skip;
    site..site + if room >= skip + jump { jump } else { SHORT as u64 }
}

fn too_short(old: &OldFunction<'_>, room: usize) -> Refusal {
    let why = if room < SHORT {
        format!("its code with the padding behind it has {room} byte, and even a short jump needs {SHORT}")
    } else {
        format!(
            "its code with the padding behind it has {room} bytes, the jump to the new code needs {JUMP}, \
             and no padding of that size \
             is known within reach of a short jump"
        )
    };
    refusal(
        "function too short to redirect",
        &old.name,
        why,
        "change its callers instead, so that they no longer call it",
    )
}

/// Bytes that belong to the function: its own and the padding behind it, up to the alignment of the next
/// function.
fn room(old: &OldFunction<'_>) -> u64 {
    let end = old.address + old.size;
    let limit = end.next_multiple_of(16).min(old.address + old.reach.max(old.size));
    let start = usize::try_from(old.size).unwrap_or(usize::MAX);
    let padding = old.bytes.get(start..).unwrap_or_default();
    let mut decoder = Decoder::with_ip(64, padding, end, DecoderOptions::NONE);
    let mut room = old.size;
    while decoder.can_decode() {
        let instruction = decoder.decode();
        if !is_filler(instruction.code()) || instruction.next_ip() > limit {
            break;
        }
        room = instruction.next_ip() - old.address;
    }
    room
}

/// Does a branch lead between the first and the last overwritten byte? One to the first byte is a call of the
/// entry as any other.
fn branches_into(address: u64, bytes: &[u8], site: u64, jump: usize) -> bool {
    let inside = site + 1..site + jump as u64;
    Decoder::with_ip(64, bytes, address, DecoderOptions::NONE).iter().any(|instruction| {
        (0..instruction.op_count()).any(|i| {
            instruction.op_kind(i) == OpKind::NearBranch64 && inside.contains(&instruction.near_branch64())
        })
    })
}

/// The instructions that the jump overwrites, at another address, and the jump to those behind them.
fn resume(old: &OldFunction<'_>, skip: usize, jump: usize) -> Option<(Chunk, Vec<Step>)> {
    let bytes = old.bytes.get(skip..)?;
    let site = old.address + skip as u64;
    let mut decoder = Decoder::with_ip(64, bytes, site, DecoderOptions::NONE);
    let (mut code, mut fixups, mut steps) = (Vec::new(), Vec::new(), Vec::new());
    let mut depth = 8i64;
    while decoder.ip() < site + jump as u64 {
        if !decoder.can_decode() {
            return None;
        }
        let instruction = decoder.decode();
        let start = usize::try_from(instruction.ip() - site).ok()?;
        let raw = bytes.get(start..start + instruction.len())?;
        relocate(&instruction, &decoder, raw, &mut code, &mut fixups)?;
        step(&instruction, code.len() as u64, &mut depth, &mut steps)?;
    }
    code.push(0xe9);
    let offset = code.len() as u64;
    fixups.push(Fixup { offset, kind: RelocationKind::Pc32, to: Place::Target(decoder.ip()), addend: -4 });
    code.extend_from_slice(&[0; 4]);
    Some((Chunk::code(format!("{}.resume", old.name), code, fixups), steps))
}

/// Appends an instruction so that it does the same at another address. `None`: not possible.
fn relocate(
    instruction: &Instruction,
    decoder: &Decoder<'_>,
    raw: &[u8],
    code: &mut Vec<u8>,
    fixups: &mut Vec<Fixup>,
) -> Option<()> {
    let at = code.len() as u64;
    let mut field = |code: &mut Vec<u8>, opcode: &[u8], to: u64| {
        code.extend_from_slice(opcode);
        let offset = code.len() as u64;
        fixups.push(Fixup { offset, kind: RelocationKind::Pc32, to: Place::Target(to), addend: -4 });
        code.extend_from_slice(&[0; 4]);
    };
    if instruction.is_invalid() {
        return None;
    }
    if (0..instruction.op_count()).any(|i| instruction.op_kind(i) == OpKind::NearBranch64) {
        let to = instruction.near_branch64();
        match instruction.flow_control() {
            FlowControl::UnconditionalBranch => field(code, &[0xe9], to),
            FlowControl::Call => field(code, &[0xe8], to),
            FlowControl::ConditionalBranch if instruction.is_jcc_short_or_near() => {
                // The condition is in the low four bits of either form.
                let short = instruction.is_jcc_short();
                let opcode = if short { *raw.first()? } else { *raw.get(raw.len().checked_sub(5)?)? };
                let prefixed = raw.len() != if short { 2 } else { 6 };
                if prefixed {
                    return None;
                }
                field(code, &[0x0f, 0x80 | (opcode & 0x0f)], to);
            }
            _ => return None,
        }
        return Some(());
    }
    if instruction.is_ip_rel_memory_operand() {
        let offsets = decoder.get_constant_offsets(instruction);
        if !offsets.has_displacement() || offsets.displacement_size() != 4 {
            return None;
        }
        let displacement = offsets.displacement_offset();
        let tail = i64::try_from(instruction.len() - displacement).ok()?;
        let to = instruction.ip_rel_memory_address();
        let offset = at + displacement as u64;
        code.extend_from_slice(raw);
        fixups.push(Fixup { offset, kind: RelocationKind::Pc32, to: Place::Target(to), addend: -tail });
        return Some(());
    }
    code.extend_from_slice(raw);
    Some(())
}

/// Follows the stack pointer for the unwind table. `None`: it is changed in a way that is not followed.
fn step(instruction: &Instruction, end: u64, depth: &mut i64, steps: &mut Vec<Step>) -> Option<()> {
    let writes_rsp = instruction.op_count() > 0
        && instruction.op_kind(0) == OpKind::Register
        && instruction.op_register(0).full_register() == Register::RSP;
    match instruction.code() {
        Code::Push_r64 => {
            *depth += 8;
            steps.push(Step { at: end, depth: *depth, saved: dwarf(instruction.op_register(0)) });
        }
        Code::Sub_rm64_imm8 | Code::Sub_rm64_imm32 if writes_rsp => {
            *depth += instruction.immediate(1).cast_signed();
            steps.push(Step { at: end, depth: *depth, saved: None });
        }
        Code::Add_rm64_imm8 | Code::Add_rm64_imm32 if writes_rsp => {
            *depth -= instruction.immediate(1).cast_signed();
            steps.push(Step { at: end, depth: *depth, saved: None });
        }
        Code::Test_rm64_r64 | Code::Cmp_rm64_r64 | Code::Cmp_r64_rm64 => {}
        Code::Retnq | Code::Retnq_imm16 => {}
        _ if instruction.is_stack_instruction() && instruction.flow_control() == FlowControl::Next => {
            let change = i64::from(instruction.stack_pointer_increment());
            if change == 0 || instruction.is_privileged() {
                return None;
            }
            *depth -= change;
            steps.push(Step { at: end, depth: *depth, saved: None });
        }
        _ if writes_rsp => return None,
        _ => {}
    }
    Some(())
}

/// DWARF number of a register that a function has to preserve (psABI, table 3.36).
fn dwarf(register: Register) -> Option<u8> {
    Some(match register {
        Register::RBX => RBX,
        Register::RBP => RBP,
        Register::R12 => 12,
        Register::R13 => 13,
        Register::R14 => 14,
        Register::R15 => 15,
        _ => return None,
    })
}

/// `cmpb $0, active; jne new; jmp *previous`. Flags carry nothing into a function (psABI, 3.2.1).
pub(super) fn stub(index: usize, name: &str, new: Place) -> Chunk {
    let mut code = vec![0x80, 0x3d, 0, 0, 0, 0, 0];
    code.extend_from_slice(&[0x0f, 0x85, 0, 0, 0, 0]);
    code.extend_from_slice(&[0xff, 0x25, 0, 0, 0, 0]);
    let kind = RelocationKind::Pc32;
    let previous = Place::Control(control::entry(index) + control::PREVIOUS);
    let fixups = vec![
        // The immediate byte lies between the field and the next instruction.
        Fixup { offset: 2, kind, to: Place::Control(control::ACTIVE), addend: -5 },
        Fixup { offset: 9, kind, to: new, addend: -4 },
        Fixup { offset: 15, kind, to: previous, addend: -4 },
    ];
    Chunk::code(format!("{name}.stub"), code, fixups)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn old(bytes: &[u8], size: u64) -> OldFunction<'_> {
        OldFunction { name: "f".into(), address: 0x1000, size, bytes, reach: bytes.len() as u64 }
    }

    #[test]
    fn endbr_is_kept_and_first_instructions_move() {
        // endbr64; push rbp; mov rbp,rsp; sub rsp,16; ret
        let code = [0xf3, 0x0f, 0x1e, 0xfa, 0x55, 0x48, 0x89, 0xe5, 0x48, 0x83, 0xec, 0x10, 0xc3];
        let entry = plan(&old(&code, 13), &[(0x1000, &code)], &mut |_| None).unwrap();
        assert_eq!(entry.skip, 4);
        assert_eq!(entry.original, [0x55, 0x48, 0x89, 0xe5, 0x48, 0x83, 0xec, 0x10]);
        let (chunk, steps) = entry.resume.unwrap();
        assert_eq!(chunk.data[..8], code[4..12]);
        assert_eq!(chunk.data[8], 0xe9);
        assert_eq!(chunk.fixups[0].to, Place::Target(0x100c));
        assert_eq!(
            steps.iter().map(|s| (s.at, s.depth, s.saved)).collect::<Vec<_>>(),
            [(1, 16, Some(6)), (8, 32, None)]
        );
    }

    #[test]
    fn short_function_uses_its_padding_but_not_its_neighbour() {
        let mut code = vec![0x31, 0xc0, 0xc3];
        code.extend([0x90; 13]);
        assert!(plan(&old(&code, 3), &[], &mut |_| None).is_ok());
        let crowded = [0x31, 0xc0, 0xc3, 0x31, 0xc0, 0xc3, 0x90, 0x90];
        let refused = plan(&old(&crowded, 3), &[], &mut |_| None).unwrap_err();
        assert!(refused.why.contains("3 bytes"), "{refused:?}");
        // With padding near by two bytes are enough, one is not.
        let hop = Hop { address: 0xff0, original: [0x90; 8] };
        let short = plan(&old(&crowded, 3), &[], &mut |site| (site == 0x1000).then_some(hop)).unwrap();
        assert_eq!((short.hop, short.skip), (Some(hop), 0));
        assert_eq!(short.resume.unwrap().0.data[..3], [0x31, 0xc0, 0xe9]);
        let lone = [0xc3, 0x31, 0xc0, 0xc3];
        let refused = plan(&old(&lone, 1), &[], &mut |_| Some(hop)).unwrap_err();
        assert!(refused.why.contains("1 byte"), "{refused:?}");
        let next_near = OldFunction { reach: 4, ..old(&code, 3) };
        assert!(plan(&next_near, &[], &mut |_| None).is_err());
    }

    #[test]
    fn relative_operands_keep_their_target() {
        // cmp dword [rip+0x10],0 (7 bytes) and je +5
        let code = [0x83, 0x3d, 0x10, 0, 0, 0, 0, 0x74, 5, 0xc3];
        let (chunk, _) = plan(&old(&code, 10), &[], &mut |_| None).unwrap().resume.unwrap();
        let f = chunk.fixups[0];
        // Target = P + 4 + displacement + 1 immediate byte.
        assert_eq!((f.offset, f.to, f.addend), (2, Place::Target(0x1017), -5));
        let code = [0x74, 5, 0x48, 0x89, 0xe5, 0xc3, 0x90];
        let (chunk, _) = plan(&old(&code, 7), &[], &mut |_| None).unwrap().resume.unwrap();
        assert_eq!(chunk.data[..2], [0x0f, 0x84]);
        assert_eq!(chunk.fixups[0].to, Place::Target(0x1007));
    }

    #[test]
    fn branch_into_the_overwritten_bytes_leaves_no_resume() {
        // mov eax,edi; 2: dec eax; jne 2b; ret
        let code = [0x89, 0xf8, 0xff, 0xc8, 0x75, 0xfc, 0xc3, 0x90];
        assert!(plan(&old(&code, 7), &[(0x1000, &code[..7])], &mut |_| None).unwrap().resume.is_none());
        // To the first byte is fine.
        let code = [0xff, 0xcf, 0x89, 0xf8, 0x90, 0x75, 0xf9, 0xc3];
        assert!(plan(&old(&code, 8), &[(0x1000, &code)], &mut |_| None).unwrap().resume.is_some());
    }

    #[test]
    fn stub_has_the_documented_form() {
        let chunk = stub(1, "f", Place::Target(0));
        let text: Vec<String> =
            Decoder::new(64, &chunk.data, DecoderOptions::NONE).iter().map(|i| i.to_string()).collect();
        assert_eq!(text.len(), 3, "{text:?}");
        assert_eq!(chunk.fixups[2].to, Place::Control(128 + 64 + 8));
    }
}
