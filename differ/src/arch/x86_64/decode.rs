//! Instructions of one function, as far as a comparison needs them.

use iced_x86::{
    Code as Opcode, Decoder, DecoderOptions, FlowControl, Formatter, IntelFormatter, Mnemonic, OpKind,
};

/// The decoded instructions of a piece of code. Offsets count from its first byte.
#[derive(Debug, Default)]
pub(crate) struct Code {
    pub(crate) insns: Vec<Insn>,
    /// All bytes decoded. `false`: data between the code (hand-written assembly).
    pub(crate) valid: bool,
}

/// One instruction.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Insn {
    pub(crate) at: u32,
    pub(crate) len: u8,
    /// Mnemonic number, for branches whose encoding may be short or near.
    pub(crate) mnemonic: u16,
    /// Padding without effect.
    pub(crate) nop: bool,
    /// The number of instructions before it, padding not counted.
    pub(crate) ordinal: u32,
    /// Offset and width of the operand of a direct branch, within the instruction.
    pub(crate) branch: Option<(u8, u8)>,
    /// What a direct branch or a RIP-relative operand refers to when no relocation says otherwise.
    pub(crate) target: Option<i64>,
    /// Offset of the RIP-relative displacement within the instruction.
    pub(crate) rip_field: Option<u8>,
    /// The next instruction in memory may be executed after this one. Not so after a call: one at the very end of a function is one
    /// that does not return, and only that place matters.
    pub(crate) falls_through: bool,
}

impl Insn {
    pub(crate) fn end(&self) -> u32 {
        self.at + u32::from(self.len)
    }
}

impl Code {
    /// Decodes `bytes`.
    pub(crate) fn decode(bytes: &[u8]) -> Code {
        let mut decoder = Decoder::with_ip(64, bytes, 0, DecoderOptions::NONE);
        let mut insns = Vec::with_capacity(bytes.len() / 4);
        let mut valid = true;
        let mut ordinal = 0;
        while decoder.can_decode() {
            let insn = decoder.decode();
            if insn.code() == Opcode::INVALID {
                valid = false;
                break;
            }
            let (Ok(at), Ok(len)) = (u32::try_from(insn.ip()), u8::try_from(insn.len())) else {
                valid = false;
                break;
            };
            let near = insn.op_count() == 1
                && matches!(
                    insn.op0_kind(),
                    OpKind::NearBranch64 | OpKind::NearBranch32 | OpKind::NearBranch16
                );
            let offsets = decoder.get_constant_offsets(&insn);
            let branch = near.then(|| {
                let width = if offsets.has_immediate() { offsets.immediate_size() } else { 4 };
                let width = u8::try_from(width).unwrap_or(4);
                (len.saturating_sub(width), width)
            });
            let rip = insn.is_ip_rel_memory_operand();
            let rip_field = if rip { u8::try_from(offsets.displacement_offset()).ok() } else { None };
            let target = if near {
                Some(insn.near_branch_target().cast_signed())
            } else if rip {
                Some(insn.ip_rel_memory_address().cast_signed())
            } else {
                None
            };
            let nop = is_padding(&insn);
            insns.push(Insn {
                at,
                len,
                mnemonic: insn.mnemonic() as u16,
                nop,
                ordinal,
                branch,
                target,
                rip_field,
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
            ordinal += u32::from(!nop);
        }
        Code { insns, valid }
    }

    /// The instruction that holds the byte at `offset`.
    pub(crate) fn covering(&self, offset: u64) -> Option<&Insn> {
        let index = self.insns.partition_point(|i| u64::from(i.at) <= offset).checked_sub(1)?;
        self.insns.get(index).filter(|i| offset < u64::from(i.end()))
    }

    /// The number of instructions before `offset`, padding not counted; `None` when no instruction starts there.
    pub(crate) fn ordinal(&self, offset: i64) -> Option<u32> {
        let offset = u64::try_from(offset).ok()?;
        let index = self.insns.binary_search_by_key(&offset, |i| u64::from(i.at)).ok()?;
        self.insns.get(index).map(|i| i.ordinal)
    }
}

/// Multi-byte no-operations, as assemblers insert for alignment.
fn is_padding(insn: &iced_x86::Instruction) -> bool {
    insn.mnemonic() == Mnemonic::Nop
        || (insn.code() == Opcode::Xchg_rm16_r16 && insn.op0_register() == insn.op1_register())
}

/// The instruction in `bytes`, at offset `at` of its function, in words (Intel syntax).
pub(crate) fn show(bytes: &[u8], at: u32) -> String {
    let mut decoder = Decoder::with_ip(64, bytes, u64::from(at), DecoderOptions::NONE);
    let insn = decoder.decode();
    if insn.op_count() == 1 && insn.op0_kind() == OpKind::NearBranch64 {
        let mnemonic = format!("{:?}", insn.mnemonic()).to_lowercase();
        return format!("{mnemonic} {:+#x}", insn.near_branch_target().cast_signed());
    }
    let mut formatter = IntelFormatter::new();
    let mut text = String::new();
    formatter.format(&insn, &mut text);
    text
}
