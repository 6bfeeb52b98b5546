//! Tells whether code lets an address out of its hands: into memory, to a function that it calls, to its
//! caller.
//!
//! One pass in the order of the bytes. Jumps are not followed: that is enough to tell `table[i].f()` from
//! `object->table = table`. The pass errs towards *yes* where a register happens to hold the address at a
//! call.

use std::collections::HashMap;

use iced_x86::{
    Code as Opcode, Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, Mnemonic,
    OpAccess, OpKind, Register,
};

/// Registers that carry arguments (psABI, 3.2.3).
pub(super) const ARGUMENTS: [Register; 6] =
    [Register::RDI, Register::RSI, Register::RDX, Register::RCX, Register::R8, Register::R9];
/// Registers that a call leaves alone.
pub(super) const CALLEE_SAVED: [Register; 6] =
    [Register::RBX, Register::RBP, Register::R12, Register::R13, Register::R14, Register::R15];

/// Registers that hold the address, or an address derived from it. `true`: the code has read memory by it.
pub(super) type Held = HashMap<Register, bool>;

/// Whether the address may get out that the instructions form with their fields at `fields` (offsets in
/// `bytes`, sorted).
pub(super) fn escapes(bytes: &[u8], fields: &[u64]) -> bool {
    let mut decoder = Decoder::with_ip(64, bytes, 0, DecoderOptions::NONE);
    let mut factory = InstructionInfoFactory::new();
    let mut held = Held::new();
    while decoder.can_decode() {
        let insn = decoder.decode();
        let forms = fields.iter().any(|f| (insn.ip()..insn.next_ip()).contains(f)) && forms_address(&insn);
        if (forms
            && matches!(insn.mnemonic(), Mnemonic::Mov | Mnemonic::Push)
            && insn.op0_kind() != OpKind::Register)
            || (!held.is_empty() && gives_away(&insn, &held))
        {
            return true;
        }
        follow(&insn, &mut factory, &mut held);
        if forms {
            held.insert(insn.op0_register().full_register(), false);
        }
    }
    false
}

/// Does the instruction form the address itself, and not read what lies there?
pub(super) fn forms_address(insn: &Instruction) -> bool {
    let immediate = (0..insn.op_count()).any(|i| {
        matches!(insn.op_kind(i), OpKind::Immediate32 | OpKind::Immediate32to64 | OpKind::Immediate64)
    });
    insn.mnemonic() == Mnemonic::Lea
        || (immediate && matches!(insn.mnemonic(), Mnemonic::Mov | Mnemonic::Push))
}

pub(super) fn gives_away(insn: &Instruction, held: &Held) -> bool {
    let holds = |r: Register| held.contains_key(&r.full_register());
    let argument = || ARGUMENTS.iter().any(|r| held.get(r) == Some(&false));
    match insn.flow_control() {
        FlowControl::Call | FlowControl::IndirectCall => return argument(),
        FlowControl::Return => return held.contains_key(&Register::RAX),
        FlowControl::IndirectBranch => return argument(),
        _ => {}
    }
    let stored = insn.op_count() >= 2
        && insn.op0_kind() == OpKind::Memory
        && insn.op1_kind() == OpKind::Register
        && !matches!(insn.mnemonic(), Mnemonic::Cmp | Mnemonic::Test)
        && holds(insn.op1_register());
    // The address goes into a vector register, on the way to memory.
    let moved = insn.op_count() == 2
        && insn.op0_kind() == OpKind::Register
        && insn.op0_register().is_vector_register()
        && insn.op1_kind() == OpKind::Register
        && holds(insn.op1_register());
    stored || moved || (insn.mnemonic() == Mnemonic::Push && holds(insn.op0_register()))
}

/// Applies an instruction to what registers hold.
pub(super) fn follow(insn: &Instruction, factory: &mut InstructionInfoFactory, held: &mut Held) {
    if held.is_empty() {
        return;
    }
    let reads_memory = insn.mnemonic() != Mnemonic::Lea && insn.mnemonic() != Mnemonic::Nop;
    for r in [insn.memory_base(), insn.memory_index()] {
        if let Some(used) = held.get_mut(&r.full_register()).filter(|_| reads_memory) {
            *used = true;
        }
    }
    if matches!(insn.flow_control(), FlowControl::Call | FlowControl::IndirectCall) {
        held.retain(|r, _| CALLEE_SAVED.contains(r));
        return;
    }
    let derives = match insn.code() {
        Opcode::Mov_r64_rm64 | Opcode::Mov_rm64_r64 if insn.op1_kind() == OpKind::Register => {
            held.get(&insn.op1_register().full_register()).copied()
        }
        Opcode::Lea_r64_m => [insn.memory_base(), insn.memory_index()]
            .iter()
            .find_map(|r| held.get(&r.full_register()).copied()),
        _ if matches!(
            insn.mnemonic(),
            Mnemonic::Add | Mnemonic::Sub | Mnemonic::Inc | Mnemonic::Cmovne | Mnemonic::Cmove
        ) =>
        {
            let operands = (0..insn.op_count()).filter(|&i| insn.op_kind(i) == OpKind::Register);
            operands.filter_map(|i| held.get(&insn.op_register(i).full_register()).copied()).next()
        }
        _ => None,
    };
    for used in factory.info(insn).used_registers() {
        if matches!(used.access(), OpAccess::Write | OpAccess::ReadWrite) {
            held.remove(&used.register().full_register());
        }
    }
    if let Some(used) = derives
        && insn.op0_kind() == OpKind::Register
    {
        held.insert(insn.op0_register().full_register(), used);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_a_table_keeps_its_address() {
        // lea 0(%rip),%rax; mov $100,%edi; call *(%rax,%rdx,8); ret
        let code = [0x48, 0x8d, 0x05, 0, 0, 0, 0, 0xbf, 100, 0, 0, 0, 0xff, 0x14, 0xd0, 0xc3];
        assert!(!escapes(&code, &[3]));
        // lea 0(%rip),%rcx; mov (%rcx,%rax,8),%rax; call *%rax
        assert!(!escapes(&[0x48, 0x8d, 0x0d, 0, 0, 0, 0, 0x48, 0x8b, 0x04, 0xc1, 0xff, 0xd0], &[3]));
        // mov 0(%rip),%rax; ret: what lies there, not the address
        assert!(!escapes(&[0x48, 0x8b, 0x05, 0, 0, 0, 0, 0xc3], &[3]));
    }

    #[test]
    fn storing_passing_and_returning_lets_it_out() {
        // lea 0(%rip),%rax; mov %rax,(%rdi); ret
        assert!(escapes(&[0x48, 0x8d, 0x05, 0, 0, 0, 0, 0x48, 0x89, 0x07, 0xc3], &[3]));
        // lea 0(%rip),%rsi; call
        assert!(escapes(&[0x48, 0x8d, 0x35, 0, 0, 0, 0, 0xe8, 0, 0, 0, 0], &[3]));
        // lea 0(%rip),%rax; add %rdx,%rax; ret
        assert!(escapes(&[0x48, 0x8d, 0x05, 0, 0, 0, 0, 0x48, 0x01, 0xd0, 0xc3], &[3]));
        // movq $0,8(%rdi)
        assert!(escapes(&[0x48, 0xc7, 0x47, 8, 0, 0, 0, 0, 0xc3], &[4]));
        // lea 0(%rip),%rdx; movq %rdx,%xmm0
        assert!(escapes(&[0x48, 0x8d, 0x15, 0, 0, 0, 0, 0x66, 0x48, 0x0f, 0x6e, 0xc2], &[3]));
    }
}
