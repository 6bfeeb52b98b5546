//! Tells whether code counts something up, or down.
//!
//! One pass in the order of the bytes. Jumps are not followed, and where control does not run on, the pass
//! forgets what registers hold. So it may miss a count, and it may take a register for the counter that holds
//! the counter's value by chance.

use std::collections::HashMap;

use iced_x86::{
    Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind,
    Register,
};

use super::escape::CALLEE_SAVED;
use super::operands::immediate;
use crate::arch::flow::{Counter, Counts};

/// Looks through the code of a function.
pub(super) fn follow(bytes: &[u8], counter: &Counter) -> Counts {
    let mut pass = Pass {
        counter,
        held: HashMap::new(),
        numbers: HashMap::new(),
        has_frame: false,
        looked: false,
        found: Counts::default(),
    };
    let mut factory = InstructionInfoFactory::new();
    let mut decoder = Decoder::with_ip(64, bytes, 0, DecoderOptions::NONE);
    while decoder.can_decode() {
        let insn = decoder.decode();
        match insn.flow_control() {
            FlowControl::Call | FlowControl::IndirectCall => {
                pass.held.retain(|r, _| CALLEE_SAVED.contains(r));
                pass.numbers.retain(|r, _| CALLEE_SAVED.contains(r));
            }
            FlowControl::Return | FlowControl::UnconditionalBranch | FlowControl::IndirectBranch => {
                pass.held.clear();
                pass.numbers.clear();
            }
            _ => pass.step(&insn, &mut factory),
        }
    }
    pass.found
}

struct Pass<'a> {
    counter: &'a Counter,
    /// Registers that hold the count, with their distance from it.
    held: HashMap<Register, i64>,
    /// Registers that hold a number.
    numbers: HashMap<Register, i64>,
    has_frame: bool,
    looked: bool,
    found: Counts,
}

impl Pass<'_> {
    fn step(&mut self, insn: &Instruction, factory: &mut InstructionInfoFactory) {
        let (to, from) = (insn.op0_register().full_register(), insn.op1_register().full_register());
        if insn.mnemonic() == Mnemonic::Mov && to == Register::RBP && from == Register::RSP {
            self.has_frame = true;
        }
        let in_memory = self.is_counter(insn);
        if matches!(insn.mnemonic(), Mnemonic::Cmp | Mnemonic::Test) {
            // A value that was computed from the count is looked at after the counting.
            let is_held = |r: Register| self.held.get(&r) == Some(&0);
            self.looked |= in_memory || is_held(to) || is_held(from);
            return;
        }
        if in_memory && insn.op0_kind() == OpKind::Memory {
            let by = match insn.mnemonic() {
                Mnemonic::Mov => self.held.get(&from).copied(),
                _ => self.change(insn),
            };
            self.count(by.unwrap_or_default());
            return;
        }
        let moves =
            matches!(insn.mnemonic(), Mnemonic::Mov | Mnemonic::Movzx | Mnemonic::Movsx | Mnemonic::Movsxd);
        let (mut held, mut number) = (None, None);
        match insn.mnemonic() {
            _ if moves && in_memory => held = Some(0),
            _ if moves && insn.op1_kind() == OpKind::Register => {
                (held, number) = (self.held.get(&from).copied(), self.numbers.get(&from).copied());
            }
            Mnemonic::Mov => number = immediate(insn),
            Mnemonic::Or if immediate(insn) == Some(-1) => number = Some(-1),
            Mnemonic::Lea if insn.memory_index() == Register::None => {
                let base = self.held.get(&insn.memory_base().full_register());
                held = base.map(|by| by.wrapping_add(insn.memory_displacement64().cast_signed()));
            }
            _ => {
                let change = self.change(insn);
                held = self.held.get(&to).zip(change).map(|(at, by)| at.wrapping_add(by));
            }
        }
        for used in factory.info(insn).used_registers() {
            if matches!(used.access(), OpAccess::Write | OpAccess::ReadWrite | OpAccess::CondWrite) {
                self.held.remove(&used.register().full_register());
                self.numbers.remove(&used.register().full_register());
            }
        }
        if insn.op0_kind() == OpKind::Register {
            self.held.extend(held.map(|by| (to, by)));
            self.numbers.extend(number.map(|n| (to, n)));
        }
    }

    fn count(&mut self, by: i64) {
        self.found.up |= by > 0;
        self.found.down |= by < 0 && !self.looked;
    }

    /// By how much an instruction changes its first operand.
    fn change(&self, insn: &Instruction) -> Option<i64> {
        let number =
            || immediate(insn).or_else(|| self.numbers.get(&insn.op1_register().full_register()).copied());
        match insn.mnemonic() {
            Mnemonic::Inc => Some(1),
            Mnemonic::Dec => Some(-1),
            Mnemonic::Add | Mnemonic::Xadd => number(),
            Mnemonic::Sub => number().map(i64::wrapping_neg),
            _ => None,
        }
    }

    /// Does the memory operand mean the counter?
    fn is_counter(&self, insn: &Instruction) -> bool {
        let memory = (0..insn.op_count()).any(|i| insn.op_kind(i) == OpKind::Memory);
        if !memory || insn.mnemonic() == Mnemonic::Lea {
            return false;
        }
        match self.counter {
            Counter::Variable(fields) => fields.iter().any(|f| (insn.ip()..insn.next_ip()).contains(f)),
            Counter::Member(offset) => {
                let base = insn.memory_base();
                let on_stack = base == Register::RSP || base == Register::RBP && self.has_frame;
                base.is_gpr64()
                    && !on_stack
                    && insn.memory_index() == Register::None
                    && insn.memory_displacement64().cast_signed() == *offset
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UP: Counts = Counts { up: true, down: false };
    const DOWN: Counts = Counts { up: false, down: true };

    fn member(code: &[u8]) -> Counts {
        follow(code, &Counter::Member(28))
    }

    #[test]
    fn one_instruction_counts() {
        // addl $1,28(%rdi); addl $-1,28(%rdi); subl $1,28(%rdi); lock decl 28(%rdi)
        assert_eq!(member(&[0x83, 0x47, 28, 1]), UP);
        assert_eq!(member(&[0x83, 0x47, 28, 0xff]), DOWN);
        assert_eq!(member(&[0x83, 0x6f, 28, 1]), DOWN);
        assert_eq!(member(&[0xf0, 0xff, 0x4f, 28]), DOWN);
        // addl $1,24(%rdi), addl $1,28(%rsp)
        assert_eq!(member(&[0x83, 0x47, 24, 1, 0x83, 0x44, 0x24, 28, 1]), Counts::default());
        // mov $-1,%eax; lock xadd %eax,28(%rdi)
        assert_eq!(member(&[0xb8, 0xff, 0xff, 0xff, 0xff, 0xf0, 0x0f, 0xc1, 0x47, 28]), DOWN);
    }

    #[test]
    fn a_value_counts_when_it_comes_back() {
        // mov 28(%rdi),%eax; add $1,%eax; mov %eax,28(%rdi); cmp $256,%eax
        let up = [0x8b, 0x47, 28, 0x83, 0xc0, 1, 0x89, 0x47, 28, 0x3d, 0, 1, 0, 0];
        assert_eq!(member(&up), UP);
        // mov 28(%rdi),%eax; lea -1(%rax),%edx; mov %edx,28(%rdi)
        assert_eq!(member(&[0x8b, 0x47, 28, 0x8d, 0x50, 0xff, 0x89, 0x57, 28]), DOWN);
        // mov 28(%rdi),%eax; sub $1,%eax; mov %eax,24(%rdi): kept elsewhere
        assert_eq!(member(&[0x8b, 0x47, 28, 0x83, 0xe8, 1, 0x89, 0x47, 24]), Counts::default());
    }

    #[test]
    fn who_looks_first_does_not_count_below_zero() {
        // mov 28(%rdi),%eax; test %eax,%eax; je +6; sub $1,%eax; mov %eax,28(%rdi)
        let code = [0x8b, 0x47, 28, 0x85, 0xc0, 0x74, 6, 0x83, 0xe8, 1, 0x89, 0x47, 28];
        assert_eq!(member(&code), Counts::default());
    }

    #[test]
    fn variables_are_known_by_their_fields() {
        // addl $1,x(%rip); subl $1,y(%rip)
        let code = [0x83, 5, 0, 0, 0, 0, 1, 0x83, 0x2d, 0, 0, 0, 0, 1];
        assert_eq!(follow(&code, &Counter::Variable(vec![2])), UP);
        assert_eq!(follow(&code, &Counter::Variable(vec![9])), DOWN);
    }
}
