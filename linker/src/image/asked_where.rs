//! `dladdr` for something that the patch adds: the image is no module of which it knows.

use std::collections::HashMap;

use differ::{Refusal, Relocation};
use iced_x86::{Decoder, DecoderOptions, Instruction, Mnemonic, OpKind, Register};

use crate::arch::x86_64::reloc_types as r;
use crate::chunks::chunk::Place;
use crate::chunks::pool::Pieces;
use crate::image::inside;
use crate::image::relocate::Site;
use crate::image::resolve::Resolved;

/// Functions whose first argument is an address that they look for in the modules.
const ASKING: [&str; 2] = ["dladdr", "dladdr1"];

/// New things that a section's code has formed the address of: name by the offset of the field.
pub(crate) type Formed = HashMap<u64, String>;

/// Notes what a relocation stands for; refuses where it is a call with the address of something new as first argument.
pub(crate) fn look(
    site: Site<'_>,
    reloc: &Relocation,
    symbol: &Resolved,
    formed: &mut Formed,
    pieces: &Pieces,
) -> Result<(), Refusal> {
    if !ASKING.contains(&symbol.name.as_str()) {
        let load = matches!(reloc.r_type, r::PC32) && !is_lea(site, reloc, pieces);
        if matches!(symbol.address, Place::Chunk { .. }) && !load {
            formed.insert(reloc.offset, symbol.name.clone());
        }
        return Ok(());
    }
    if !inside::is_branch(site, reloc, pieces) {
        return Ok(());
    }
    let code = pieces.chunks.get(site.chunk).map(|chunk| chunk.data.as_slice()).unwrap_or_default();
    match first_argument(code, reloc.offset).and_then(|field| formed.get(&field)) {
        None => Ok(()),
        Some(what) => Err(site.refuse(
            "module of something that is new",
            reloc,
            format!("`{}` asks for the module of {what}, which the patch adds: it is in none", symbol.name),
            "ask for a function or variable of the file that was there before",
        )),
    }
}

fn is_lea(site: Site<'_>, reloc: &Relocation, pieces: &Pieces) -> bool {
    let opcode = reloc.offset.checked_sub(2).and_then(|at| pieces.chunks.get(site.chunk)?.bytes(at, 1));
    opcode == Some(&[0x8d])
}

/// The field from which the instruction before the one with the field `call` have the first argument, if it is an address. Code is
/// followed as it stands there.
fn first_argument(code: &[u8], call: u64) -> Option<u64> {
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
