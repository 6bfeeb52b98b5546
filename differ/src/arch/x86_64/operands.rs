//! The operands of instructions.

use iced_x86::{Instruction, OpKind};

/// The number that the second operand is, at the width of the first operand.
pub(super) fn immediate(insn: &Instruction) -> Option<i64> {
    match insn.op1_kind() {
        OpKind::Immediate8 => Some(i64::from(insn.immediate8().cast_signed())),
        OpKind::Immediate16 => Some(i64::from(insn.immediate16().cast_signed())),
        OpKind::Immediate32 => Some(i64::from(insn.immediate32().cast_signed())),
        OpKind::Immediate8to16 => Some(i64::from(insn.immediate8to16())),
        OpKind::Immediate8to32 => Some(i64::from(insn.immediate8to32())),
        OpKind::Immediate8to64 => Some(insn.immediate8to64()),
        OpKind::Immediate32to64 => Some(insn.immediate32to64()),
        OpKind::Immediate64 => Some(insn.immediate64().cast_signed()),
        _ => None,
    }
}
