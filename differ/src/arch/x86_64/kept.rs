//! Tells whether a function keeps, in memory that outlives it, a value that it computes from a given source,
//! and answers from what is kept there.
//!
//! A function with a cached answer looks like this:
//! `if (s->hash) return s->hash; … return s->hash = hash(s, seed)`.
//! One pass in the order of the bytes. Jumps are followed forward only, to code behind a return or another
//! jump. A person looks at every case that is found, so the pass errs towards *no*. A value counts as
//! computed only if it was mixed: multiplied, shifted, combined by exclusive or, handed to a function. A
//! counter or a pointer that is stored is no such value.

use std::collections::{BTreeSet, HashMap, HashSet};

use iced_x86::{
    Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind,
    Register,
};

use super::escape::{ARGUMENTS, CALLEE_SAVED};
use crate::arch::flow::{Kept, MemberField, ValueSource};

/// What is known about a value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Value {
    /// The value comes from the source.
    sourced: bool,
    /// It also went through a computation that mixes.
    mixed: bool,
    /// Members that the value was read from.
    from: BTreeSet<MemberField>,
}

impl Value {
    fn add(&mut self, other: &Self) {
        self.sourced |= other.sourced;
        self.mixed |= other.mixed;
        self.from.extend(&other.from);
    }
}

/// Follows the source through a function's code.
pub(super) fn follow(bytes: &[u8], source: &ValueSource) -> Kept {
    let mut pass = Pass::new(source);
    let mut decoder = Decoder::with_ip(64, bytes, 0, DecoderOptions::NONE);
    let mut ahead: HashMap<u64, Known> = HashMap::new();
    let mut ended = false;
    while decoder.can_decode() {
        let insn = decoder.decode();
        let carried = ahead.remove(&insn.ip());
        if let Some(known) = carried.filter(|_| ended) {
            pass.known.join(known);
        }
        pass.step(&insn);
        let padding = ended && insn.mnemonic() == Mnemonic::Nop;
        ended =
            padding || matches!(insn.flow_control(), FlowControl::Return | FlowControl::UnconditionalBranch);
        let jumps =
            matches!(insn.flow_control(), FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch);
        if jumps && insn.near_branch_target() > insn.ip() {
            ahead.entry(insn.near_branch_target()).or_insert_with(|| pass.known.clone());
        }
    }
    let both = |known: &BTreeSet<MemberField>| pass.stored.iter().find(|m| known.contains(m)).copied();
    Kept { answered_from: both(&pass.read), compared: both(&pass.compared), returns: pass.returns }
}

/// Does code compute something from what it is given and nothing else? It calls nobody, writes to its own
/// stack only, and mixes.
pub(super) fn only_computes(bytes: &[u8]) -> bool {
    let mut decoder = Decoder::with_ip(64, bytes, 0, DecoderOptions::NONE);
    let mut factory = InstructionInfoFactory::new();
    let mut mixed = false;
    while decoder.can_decode() {
        let insn = decoder.decode();
        let leaves = matches!(
            insn.flow_control(),
            FlowControl::Call | FlowControl::IndirectCall | FlowControl::Interrupt | FlowControl::Exception
        );
        let writes = factory.info(&insn).used_memory().iter().any(|m| {
            let reads = matches!(
                m.access(),
                OpAccess::Read | OpAccess::CondRead | OpAccess::NoMemAccess | OpAccess::None
            );
            !reads && !matches!(m.base(), Register::RSP | Register::RBP)
        });
        if insn.is_invalid() || leaves || writes {
            return false;
        }
        let clears = insn.mnemonic() == Mnemonic::Xor && insn.op0_register() == insn.op1_register();
        mixed |= mixes(insn.mnemonic()) && !clears;
    }
    mixed
}

/// What is known at an instruction.
#[derive(Debug, Clone, Default)]
struct Known {
    values: HashMap<Register, Value>,
    slots: HashMap<(Register, i64), Value>,
    /// Registers that point to the variable itself.
    own: HashSet<Register>,
}

impl Known {
    fn join(&mut self, other: Self) {
        for (register, value) in other.values {
            self.values.entry(register).or_default().add(&value);
        }
        for (slot, value) in other.slots {
            self.slots.entry(slot).or_default().add(&value);
        }
    }
}

struct Pass<'a> {
    source: &'a ValueSource,
    factory: InstructionInfoFactory,
    known: Known,
    has_frame: bool,
    stored: BTreeSet<MemberField>,
    read: BTreeSet<MemberField>,
    compared: BTreeSet<MemberField>,
    returns: bool,
}

impl<'a> Pass<'a> {
    fn new(source: &'a ValueSource) -> Self {
        Self {
            source,
            factory: InstructionInfoFactory::new(),
            known: Known::default(),
            has_frame: false,
            stored: BTreeSet::new(),
            read: BTreeSet::new(),
            compared: BTreeSet::new(),
            returns: false,
        }
    }

    fn step(&mut self, insn: &Instruction) {
        let within = |fields: &[u64]| fields.iter().any(|f| (insn.ip()..insn.next_ip()).contains(f));
        match insn.flow_control() {
            FlowControl::Call | FlowControl::IndirectCall => return self.call(within(&self.source.calls)),
            FlowControl::Return => {
                self.returns |= self.known.values.get(&Register::RAX).is_some_and(|v| v.sourced);
                return;
            }
            _ => {}
        }
        let names = within(&self.source.variables);
        if insn.mnemonic() == Mnemonic::Mov
            && insn.op0_register() == Register::RBP
            && insn.op1_register() == Register::RSP
        {
            self.has_frame = true;
        }
        let result = self.result(insn, names);
        if insn.op_count() > 0 && insn.op0_kind() == OpKind::Memory {
            self.store(insn, &result);
        }
        let points = (names && insn.mnemonic() == Mnemonic::Lea)
            || (insn.op_count() > 1
                && matches!(insn.mnemonic(), Mnemonic::Mov | Mnemonic::Lea | Mnemonic::Add)
                && self.touches_own(insn));
        for used in self.factory.info(insn).used_registers() {
            if matches!(used.access(), OpAccess::Write | OpAccess::ReadWrite | OpAccess::CondWrite) {
                let register = used.register().full_register();
                self.known.own.remove(&register);
                if result == Value::default() {
                    self.known.values.remove(&register);
                } else {
                    self.known.values.insert(register, result.clone());
                }
            }
        }
        if points && insn.op0_kind() == OpKind::Register {
            self.known.own.insert(insn.op0_register().full_register());
        }
    }

    fn call(&mut self, returns_it: bool) {
        let given = ARGUMENTS.iter().any(|r| self.known.values.get(r).is_some_and(|v| v.sourced));
        self.known.values.retain(|r, _| CALLEE_SAVED.contains(r));
        self.known.own.retain(|r| CALLEE_SAVED.contains(r));
        if returns_it || given {
            let value = Value { sourced: true, mixed: true, ..Value::default() };
            self.known.values.insert(Register::RAX, value);
        }
    }

    /// The value that an instruction makes of its operands.
    fn result(&mut self, insn: &Instruction, names: bool) -> Value {
        let mut result = Value::default();
        let mut add = |value: &Value| result.add(value);
        if matches!(insn.mnemonic(), Mnemonic::Cmp | Mnemonic::Test) {
            self.note_read(insn);
            return Value::default();
        }
        let writes_only = {
            let info = self.factory.info(insn);
            insn.op_count() > 0 && info.op0_access() == OpAccess::Write
        };
        for operand in 0..insn.op_count() {
            if operand == 0 && writes_only {
                continue;
            }
            match insn.op_kind(operand) {
                OpKind::Register => {
                    if let Some(value) = self.known.values.get(&insn.op_register(operand).full_register()) {
                        add(value);
                    }
                }
                OpKind::Memory if insn.mnemonic() == Mnemonic::Lea => {
                    for register in [insn.memory_base(), insn.memory_index()] {
                        if let Some(value) = self.known.values.get(&register.full_register()) {
                            add(value);
                        }
                    }
                }
                OpKind::Memory if names => add(&Value { sourced: true, ..Value::default() }),
                OpKind::Memory => {
                    if let Some(slot) = self.slot(insn) {
                        if let Some(value) = self.known.slots.get(&slot) {
                            add(value);
                        }
                    } else if operand > 0
                        && let Some(member) = self.member(insn)
                    {
                        self.read.insert(member);
                        add(&Value { from: BTreeSet::from([member]), ..Value::default() });
                    }
                }
                _ => {}
            }
        }
        let cleared = matches!(insn.mnemonic(), Mnemonic::Xor | Mnemonic::Pxor)
            && insn.op0_kind() == OpKind::Register
            && insn.op1_kind() == OpKind::Register
            && insn.op0_register() == insn.op1_register();
        if cleared {
            return Value::default();
        }
        result.mixed |= result.sourced && mixes(insn.mnemonic());
        result
    }

    fn note_read(&mut self, insn: &Instruction) {
        let memory = (0..insn.op_count()).any(|i| insn.op_kind(i) == OpKind::Memory);
        if memory
            && self.slot(insn).is_none()
            && let Some(member) = self.member(insn)
        {
            self.read.insert(member);
        }
        if insn.mnemonic() == Mnemonic::Cmp {
            let (a, b) = (self.operand(insn, 0), self.operand(insn, 1));
            for (one, other) in [(&a, &b), (&b, &a)] {
                if one.sourced {
                    self.compared.extend(&other.from);
                }
            }
        }
    }

    /// What is known of the value of an operand.
    fn operand(&self, insn: &Instruction, operand: u32) -> Value {
        let known = match insn.op_kind(operand) {
            OpKind::Register => self.known.values.get(&insn.op_register(operand).full_register()).cloned(),
            OpKind::Memory => match self.slot(insn) {
                Some(slot) => self.known.slots.get(&slot).cloned(),
                None => self.member(insn).map(|m| Value { from: BTreeSet::from([m]), ..Value::default() }),
            },
            _ => None,
        };
        known.unwrap_or_default()
    }

    fn store(&mut self, insn: &Instruction, result: &Value) {
        if matches!(insn.mnemonic(), Mnemonic::Cmp | Mnemonic::Test) {
            return;
        }
        if let Some(slot) = self.slot(insn) {
            self.known.slots.insert(slot, result.clone());
        } else if let Some(member) = self.member(insn)
            && insn.mnemonic() == Mnemonic::Mov
            && result.mixed
            && !result.from.contains(&member)
        {
            self.stored.insert(member);
        }
    }

    /// The slot of the stack that the memory operand means.
    fn slot(&self, insn: &Instruction) -> Option<(Register, i64)> {
        let base = insn.memory_base();
        let is_stack = base == Register::RSP || base == Register::RBP && self.has_frame;
        is_stack.then(|| (base, insn.memory_displacement64().cast_signed()))
    }

    /// The member that the memory operand means, of an object that a pointer leads to. The variable itself is
    /// no such object.
    fn member(&self, insn: &Instruction) -> Option<MemberField> {
        let base = insn.memory_base().full_register();
        let plain = base != Register::None && base != Register::RIP && insn.memory_index() == Register::None;
        let size = insn.memory_size().size();
        (plain && !self.touches_own(insn)).then(|| (insn.memory_displacement64().cast_signed(), size))
    }

    fn touches_own(&self, insn: &Instruction) -> bool {
        let memory = [insn.memory_base(), insn.memory_index()];
        let operands = (1..insn.op_count()).map(|i| insn.op_register(i));
        memory.into_iter().chain(operands).any(|r| self.known.own.contains(&r.full_register()))
    }
}

fn mixes(mnemonic: Mnemonic) -> bool {
    use Mnemonic::{Imul, Mul, Mulx, Rol, Ror, Rorx, Sar, Sarx, Shl, Shld, Shlx, Shr, Shrd, Shrx, Xor};
    matches!(
        mnemonic,
        Xor | Imul | Mul | Mulx | Rol | Ror | Rorx | Sar | Sarx | Shl | Shld | Shlx | Shr | Shrd | Shrx
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(code: &[u8], variables: &[u64]) -> Option<MemberField> {
        follow(code, &ValueSource { variables: variables.to_vec(), calls: Vec::new() }).answered_from
    }

    #[test]
    fn a_cached_value_is_found() {
        // mov 4(%rdi),%eax; test %eax,%eax; jne +; mov 0(%rip),%eax; imul $33,%eax,%eax; mov %eax,4(%rdi);
        // ret
        let code = [
            0x8b, 0x47, 4, 0x85, 0xc0, 0x75, 12, 0x8b, 0x05, 0, 0, 0, 0, 0x6b, 0xc0, 33, 0x89, 0x47, 4, 0xc3,
        ];
        assert_eq!(kept(&code, &[9]), Some((4, 4)));
        // The same, and the variable is another one.
        assert_eq!(kept(&code, &[]), None);
    }

    #[test]
    fn counters_sums_and_other_members_are_none() {
        // mov 4(%rdi),%eax; mov 0(%rip),%eax; add $1,%eax; mov %eax,4(%rdi); ret: a counter
        let counter = [0x8b, 0x47, 4, 0x8b, 0x05, 0, 0, 0, 0, 0x83, 0xc0, 1, 0x89, 0x47, 4, 0xc3];
        assert_eq!(kept(&counter, &[5]), None);
        // mov 4(%rdi),%eax; xor 0(%rip),%eax; mov %eax,4(%rdi); ret: made of what was there
        assert_eq!(kept(&[0x8b, 0x47, 4, 0x33, 0x05, 0, 0, 0, 0, 0x89, 0x47, 4, 0xc3], &[5]), None);
        // mov 8(%rdi),%eax; imul 0(%rip),%eax; mov %eax,4(%rdi); ret: nobody reads it here
        assert_eq!(kept(&[0x8b, 0x47, 8, 0x0f, 0xaf, 0x05, 0, 0, 0, 0, 0x89, 0x47, 4, 0xc3], &[6]), None);
    }

    #[test]
    fn what_is_returned_is_told() {
        // mov 0(%rip),%eax; ret
        let source = ValueSource { variables: vec![2], calls: Vec::new() };
        assert!(follow(&[0x8b, 0x05, 0, 0, 0, 0, 0xc3], &source).returns);
        // call; ret
        let source = ValueSource { variables: Vec::new(), calls: vec![1] };
        assert!(follow(&[0xe8, 0, 0, 0, 0, 0xc3], &source).returns);
        assert!(!follow(&[0xe8, 0, 0, 0, 0, 0xc3], &ValueSource::default()).returns);
    }
}
