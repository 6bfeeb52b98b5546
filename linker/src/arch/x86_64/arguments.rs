//! Calls: what is one, and where its first argument comes from.

use std::collections::HashMap;

use iced_x86::{Decoder, DecoderOptions, Instruction, Mnemonic, OpKind, Register};

/// The `length` bytes before the one at `offset`.
fn before(code: &[u8], offset: u64, length: usize) -> Option<&[u8]> {
    let end = usize::try_from(offset).ok()?;
    code.get(end.checked_sub(length)?..end)
}

/// `call` or `jmp`, to the function itself or by a word that holds its address.
pub(super) fn is_branch(code: &[u8], offset: u64) -> bool {
    matches!(before(code, offset, 1), Some([0xe8 | 0xe9]))
        || matches!(before(code, offset, 2), Some([0xff, 0x15 | 0x25]))
}

/// `call rel32`
pub(super) fn is_call(code: &[u8], offset: u64) -> bool {
    before(code, offset, 1) == Some(&[0xe8])
}

/// `lea`, with the field as displacement.
pub(super) fn is_lea(code: &[u8], offset: u64) -> bool {
    matches!(before(code, offset, 2), Some([0x8d, _]))
}

/// The field from which the instruction before the one with the field `call` have the first argument, if it
/// is an address. Code is followed as it stands there.
pub(super) fn first_argument(code: &[u8], call: u64) -> Option<u64> {
    let mut from: HashMap<Register, u64> = HashMap::new();
    let mut decoder = Decoder::with_ip(64, code, 0, DecoderOptions::NONE);
    while decoder.can_decode() {
        let instruction = decoder.decode();
        if instruction.next_ip() > call {
            return from.get(&Register::RDI).copied();
        }
        if instruction.op_count() == 0 || instruction.op_kind(0) != OpKind::Register {
            // What a call leaves in the registers of its arguments nobody knows.
            if matches!(instruction.mnemonic(), Mnemonic::Call | Mnemonic::Ret | Mnemonic::Jmp) {
                from.clear();
            }
            continue;
        }
        let to = instruction.op_register(0).full_register();
        let value = value(&instruction, &decoder, &from);
        if matches!(instruction.mnemonic(), Mnemonic::Cmp | Mnemonic::Test | Mnemonic::Push) {
            continue;
        }
        match value {
            Some(field) => from.insert(to, field),
            None => from.remove(&to),
        };
    }
    None
}

/// The field that the value of a register comes from.
fn value(instruction: &Instruction, decoder: &Decoder<'_>, from: &HashMap<Register, u64>) -> Option<u64> {
    let offsets = decoder.get_constant_offsets(instruction);
    match (instruction.mnemonic(), instruction.op_count().checked_sub(1).map(|_| instruction.op1_kind())) {
        (Mnemonic::Mov, Some(OpKind::Register)) => {
            from.get(&instruction.op1_register().full_register()).copied()
        }
        // The address itself, or the word of a table that holds it.
        (Mnemonic::Lea | Mnemonic::Mov, Some(OpKind::Memory)) if instruction.is_ip_rel_memory_operand() => {
            Some(instruction.ip() + offsets.displacement_offset() as u64)
        }
        (Mnemonic::Mov, Some(_)) if offsets.has_immediate() && offsets.immediate_size() >= 4 => {
            Some(instruction.ip() + offsets.immediate_offset() as u64)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_argument_is_followed_through_registers() {
        // lea x(%rip),%rax; mov %rax,%rdi; mov %rsp,%rsi; call
        let code = [0x48, 0x8d, 5, 0, 0, 0, 0, 0x48, 0x89, 0xc7, 0x48, 0x89, 0xe6, 0xe8, 0, 0, 0, 0];
        assert_eq!(first_argument(&code, 14), Some(3));
        // mov $x,%edi; call
        assert_eq!(first_argument(&[0xbf, 0, 0, 0, 0, 0xe8, 0, 0, 0, 0], 6), Some(1));
        // mov $x,%edi; call; call
        let twice = [0xbf, 0, 0, 0, 0, 0xe8, 0, 0, 0, 0, 0xe8, 0, 0, 0, 0];
        assert_eq!(first_argument(&twice, 11), None);
    }
}
