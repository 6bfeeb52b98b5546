//! Takes code apart, and writes instructions in words.

use iced_x86::{
    Code as Opcode, Decoder, DecoderOptions, FlowControl, Formatter, Instruction as Decoded, IntelFormatter,
    Mnemonic, OpKind,
};

use crate::arch::code::{Code, Field, Instruction};

/// Decodes `bytes`.
pub(super) fn decode(bytes: &[u8]) -> Code {
    let mut decoder = Decoder::with_ip(64, bytes, 0, DecoderOptions::NONE);
    let mut instructions = Vec::with_capacity(bytes.len() / 4);
    let mut valid = true;
    let mut ordinal = 0;
    while decoder.can_decode() {
        let insn = decoder.decode();
        if insn.code() == Opcode::INVALID {
            valid = false;
            break;
        }
        let (Ok(at), Ok(length)) = (u32::try_from(insn.ip()), u8::try_from(insn.len())) else {
            valid = false;
            break;
        };
        let offsets = decoder.get_constant_offsets(&insn);
        let near = is_near_branch(&insn);
        let branch = near.then(|| {
            let width = if offsets.has_immediate() { offsets.immediate_size() } else { 4 };
            let width = u8::try_from(width).unwrap_or(4);
            Field { at: length.saturating_sub(width), width }
        });
        let relative = insn.is_ip_rel_memory_operand();
        let displacement = u8::try_from(offsets.displacement_offset()).ok().filter(|_| relative);
        let target = if near {
            Some(insn.near_branch_target().cast_signed())
        } else if relative {
            Some(insn.ip_rel_memory_address().cast_signed())
        } else {
            None
        };
        let is_padding = is_no_operation(&insn);
        instructions.push(Instruction {
            at,
            length,
            branch_kind: insn.mnemonic() as u16,
            is_padding,
            ordinal,
            branch,
            address: displacement.map(|at| Field { at, width: 4 }),
            target,
            counts_from: at + u32::from(length),
            falls_through: !matches!(
                insn.flow_control(),
                FlowControl::UnconditionalBranch
                    | FlowControl::IndirectBranch
                    | FlowControl::Return
                    | FlowControl::Exception
                    | FlowControl::Call
                    | FlowControl::IndirectCall
                    | FlowControl::Interrupt
            ),
        });
        ordinal += u32::from(!is_padding);
    }
    Code { instructions, valid }
}

/// Multi-byte no-operations, as assemblers insert for alignment.
fn is_no_operation(insn: &Decoded) -> bool {
    insn.mnemonic() == Mnemonic::Nop
        || (insn.code() == Opcode::Xchg_rm16_r16 && insn.op0_register() == insn.op1_register())
}

fn is_near_branch(insn: &Decoded) -> bool {
    insn.op_count() == 1
        && matches!(insn.op0_kind(), OpKind::NearBranch64 | OpKind::NearBranch32 | OpKind::NearBranch16)
}

/// Breakpoints or no-operations.
pub(super) fn is_padding(bytes: &[u8]) -> bool {
    const BREAKPOINT: u8 = 0xcc;
    let code = decode(bytes);
    bytes.iter().all(|&b| b == BREAKPOINT) || (code.valid && code.instructions.iter().all(|i| i.is_padding))
}

/// See [`crate::arch::Arch::show`]; in Intel syntax.
pub(super) fn show(bytes: &[u8], at: u32, refers_to: Option<(&str, bool)>) -> String {
    let mut decoder = Decoder::with_ip(64, bytes, u64::from(at), DecoderOptions::NONE);
    let insn = decoder.decode();
    let text = in_words(&insn);
    let Some((name, by_branch)) = refers_to else { return text };
    if let (true, Some((mnemonic, _))) = (by_branch, text.split_once(' ')) {
        return format!("{mnemonic} {name}");
    }
    if let (true, Some((before, rest))) = (insn.is_ip_rel_memory_operand(), text.split_once('[')) {
        let after = rest.split_once(']').map_or("", |(_, after)| after);
        return format!("{before}[{name}]{after}");
    }
    format!("{text} # {name}")
}

fn in_words(insn: &Decoded) -> String {
    if insn.op_count() == 1 && insn.op0_kind() == OpKind::NearBranch64 {
        let mnemonic = format!("{:?}", insn.mnemonic()).to_lowercase();
        return format!("{mnemonic} {:+#x}", insn.near_branch_target().cast_signed());
    }
    let mut text = String::new();
    IntelFormatter::new().format(insn, &mut text);
    text
}

/// Makes a short jump that is the last instruction a long one. Nothing else moves.
pub(super) fn widen_jump(code: &mut Vec<u8>, field: u64) -> Option<i64> {
    const SHORT_JUMP: u8 = 0xeb;
    const LONG_JUMP: [u8; 5] = [0xe9, 0, 0, 0, 0];
    let opcode = usize::try_from(field.checked_sub(1)?).ok()?;
    if opcode + 2 != code.len() || code.get(opcode) != Some(&SHORT_JUMP) {
        return None;
    }
    code.truncate(opcode);
    code.extend_from_slice(&LONG_JUMP);
    Some(-4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_last_short_jump_is_widened() {
        let mut code = vec![0x90, 0xeb, 0x10];
        assert_eq!(widen_jump(&mut code, 2), Some(-4));
        assert_eq!(code, [0x90, 0xe9, 0, 0, 0, 0]);
        assert_eq!(widen_jump(&mut vec![0xeb, 0x10, 0x90], 1), None);
        assert_eq!(widen_jump(&mut vec![0x74, 0x10], 1), None);
    }

    #[test]
    fn names_stand_for_operands() {
        // call +5; mov 0(%rip),%eax
        assert_eq!(show(&[0xe8, 0, 0, 0, 0], 0, Some(("f", true))), "call f");
        assert_eq!(show(&[0x8b, 0x05, 0, 0, 0, 0], 0, Some(("x", false))), "mov eax,[x]");
    }
}
