//! Tells whether code only reads what it refers to.
//!
//! Like [`super::escape`] this is one pass in the order of the bytes. An address that gets out of sight
//! counts as written through.

use iced_x86::{
    Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind,
    Register,
};

use super::escape::{ARGUMENTS, Held, follow, forms_address, gives_away};

/// Whether the instructions with their fields at `fields` (offsets in `bytes`, sorted) only read, and so does
/// the code that uses the addresses which they form.
pub(super) fn only_reads(bytes: &[u8], fields: &[u64]) -> bool {
    let mut decoder = Decoder::with_ip(64, bytes, 0, DecoderOptions::NONE);
    let mut factory = InstructionInfoFactory::new();
    let mut held = Held::new();
    while decoder.can_decode() {
        let insn = decoder.decode();
        if insn.is_invalid() {
            return false;
        }
        let refers = fields.iter().any(|f| (insn.ip()..insn.next_ip()).contains(f));
        let forms = refers && forms_address(&insn);
        if forms && insn.op0_kind() != OpKind::Register {
            return false;
        }
        if writes(&insn, &mut factory, |base| (refers && base == Register::RIP) || held.contains_key(&base)) {
            return false;
        }
        // A function that is called last is called by a jump.
        let passes = insn.flow_control() == FlowControl::UnconditionalBranch
            && ARGUMENTS.iter().any(|r| held.get(r) == Some(&false));
        if !held.is_empty() && (passes || gives_away(&insn, &held)) {
            return false;
        }
        if insn.mnemonic() != Mnemonic::Lea
            && factory.info(&insn).used_memory().iter().any(|m| held.contains_key(&m.base().full_register()))
        {
            // The address was formed for this access. Copies of it that stay in registers are leftovers.
            held.values_mut().for_each(|used| *used = true);
        }
        follow(&insn, &mut factory, &mut held);
        if forms {
            held.insert(insn.op0_register().full_register(), false);
        }
    }
    true
}

/// Does the instruction write to memory, at an address that is counted from such a register?
fn writes(insn: &Instruction, factory: &mut InstructionInfoFactory, from: impl Fn(Register) -> bool) -> bool {
    // The decoder shows an operand that counts from RIP as an absolute address.
    let own = insn.is_ip_rel_memory_operand() && from(Register::RIP);
    factory.info(insn).used_memory().iter().any(|m| {
        let reads = matches!(
            m.access(),
            OpAccess::Read | OpAccess::CondRead | OpAccess::NoMemAccess | OpAccess::None
        );
        let counted = [m.base(), m.index()].iter().any(|r| *r != Register::None && from(r.full_register()));
        !reads && (counted || own && m.base() == Register::None)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_and_loads_only_read() {
        // lea 0(%rip),%rdx; mov $36,%ecx; mov %rax,%rdi; mov %rdx,%rsi; rep movsq
        let copy = [
            0x48, 0x8d, 0x15, 0, 0, 0, 0, 0xb9, 36, 0, 0, 0, 0x48, 0x89, 0xc7, 0x48, 0x89, 0xd6, 0xf3, 0x48,
            0xa5, 0xc3,
        ];
        assert!(only_reads(&copy, &[3]));
        // mov 0(%rip),%rax; mov %rax,-8(%rbp)
        assert!(only_reads(&[0x48, 0x8b, 0x05, 0, 0, 0, 0, 0x48, 0x89, 0x45, 0xf8, 0xc3], &[3]));
    }

    #[test]
    fn writing_and_passing_on_is_seen() {
        // lock incl 0(%rip)
        assert!(!only_reads(&[0xf0, 0xff, 0x05, 0, 0, 0, 0, 0xc3], &[3]));
        // mov %rax,0(%rip)
        assert!(!only_reads(&[0x48, 0x89, 0x05, 0, 0, 0, 0, 0xc3], &[3]));
        // lea 0(%rip),%rax; incl (%rax)
        assert!(!only_reads(&[0x48, 0x8d, 0x05, 0, 0, 0, 0, 0xff, 0x00, 0xc3], &[3]));
        // lea 0(%rip),%rdi; rep stosq
        assert!(!only_reads(&[0x48, 0x8d, 0x3d, 0, 0, 0, 0, 0xf3, 0x48, 0xab, 0xc3], &[3]));
        // lea 0(%rip),%rsi; call
        assert!(!only_reads(&[0x48, 0x8d, 0x35, 0, 0, 0, 0, 0xe8, 0, 0, 0, 0], &[3]));
        // lea 0(%rip),%rdi; jmp
        assert!(!only_reads(&[0x48, 0x8d, 0x3d, 0, 0, 0, 0, 0xe9, 0, 0, 0, 0], &[3]));
        // lea 0(%rip),%rax; mov %rax,(%rdi)
        assert!(!only_reads(&[0x48, 0x8d, 0x05, 0, 0, 0, 0, 0x48, 0x89, 0x07, 0xc3], &[3]));
    }
}
