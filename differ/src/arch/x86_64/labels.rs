//! Tells whether the addresses of a function's labels (`&&label`) outlive its call, and whether it jumps to
//! addresses that it finds somewhere.
//!
//! Registers and slots of the stack that may hold the address of a label, or of a table of labels, are
//! followed along the branches until nothing is added. An address outlives the call if it is stored anywhere
//! but on the stack, handed to a call, or returned.

use std::collections::HashMap;

use iced_x86::{
    ConditionCode, Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, Mnemonic,
    OpAccess, OpKind, Register,
};

use super::escape::{ARGUMENTS, CALLEE_SAVED, forms_address};
use crate::arch::flow::{LabelUse, Labels};

/// Sets of registers: general ones first, then those for vectors.
type Set = u32;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct State {
    /// May hold the address of a table.
    table: Set,
    /// May hold the address of a label, or what was computed from one.
    label: Set,
    /// Of these, what was not yet used to read memory or to jump.
    fresh: Set,
    /// May hold the sum of a label's address and something from elsewhere.
    sum: Set,
    /// Hold a label or what is from a table, whichever way was taken.
    certain: Set,
    /// May point to the stack.
    stack: Set,
}

impl State {
    fn join(self, other: State) -> State {
        State {
            table: self.table | other.table,
            label: self.label | other.label,
            fresh: self.fresh | other.fresh,
            sum: self.sum | other.sum,
            certain: self.certain & other.certain,
            stack: self.stack | other.stack,
        }
    }

    fn forget(&mut self, set: Set) {
        for own in [
            &mut self.table,
            &mut self.label,
            &mut self.fresh,
            &mut self.sum,
            &mut self.certain,
            &mut self.stack,
        ] {
            *own &= !set;
        }
    }
}

/// What lies on the stack, whichever way led there.
#[derive(Debug, Default, PartialEq, Eq, Clone)]
struct Slots {
    labels: Vec<Slot>,
    tables: Vec<Slot>,
    sums: Vec<Slot>,
}

/// Base register, first byte and the one behind the last.
type Slot = (Register, i64, i64);

/// A slot at a place that is not known.
const ANYWHERE: Slot = (Register::None, 0, 0);

/// Follows the labels through `bytes`.
pub(super) fn follow(bytes: &[u8], labels: &Labels) -> LabelUse {
    let insns: Vec<Instruction> = Decoder::with_ip(64, bytes, 0, DecoderOptions::NONE).into_iter().collect();
    let frame = insns.iter().any(|i| {
        matches!(i.mnemonic(), Mnemonic::Mov | Mnemonic::Lea)
            && i.op0_kind() == OpKind::Register
            && i.op0_register() == Register::RBP
            && (i.mnemonic() == Mnemonic::Mov && i.op1_register() == Register::RSP
                || i.mnemonic() == Mnemonic::Lea && i.memory_base() == Register::RSP)
    });
    let mut walk = Walk {
        at: insns.iter().enumerate().map(|(index, i)| (i.ip(), index)).collect(),
        before: vec![None; insns.len()],
        factory: InstructionInfoFactory::new(),
        slots: Slots::default(),
        seen: LabelUse::default(),
        insns,
        labels,
        frame,
    };
    loop {
        let slots = walk.slots.clone();
        walk.run();
        // A slot that was found late may have been read before.
        if walk.slots == slots {
            return walk.seen;
        }
    }
}

struct Walk<'a> {
    insns: Vec<Instruction>,
    at: HashMap<u64, usize>,
    labels: &'a Labels,
    /// `rbp` points to the frame.
    frame: bool,
    before: Vec<Option<State>>,
    slots: Slots,
    factory: InstructionInfoFactory,
    seen: LabelUse,
}

impl Walk<'_> {
    fn run(&mut self) {
        let mut todo = Vec::new();
        // Landing pads and what indirect jumps lead to begin behind something that does not run on.
        let mut starts = Vec::new();
        for (index, insn) in self.insns.iter().enumerate() {
            if !runs_on(insn) {
                starts.push(index + 1);
            }
        }
        let mut entries: Vec<usize> =
            self.labels.entries.iter().filter_map(|e| self.at.get(e)).copied().collect();
        let unreached = State { certain: Set::MAX, ..State::default() };
        self.reach(0, State::default(), &mut todo);
        for &start in starts.iter().chain(&entries) {
            self.reach(start, unreached, &mut todo);
        }
        if entries.is_empty() {
            entries = starts;
        }
        let mut jumped = unreached;
        while let Some(index) = todo.pop() {
            let (Some(before), insn) = (self.before[index], self.insns[index]) else { continue };
            let after = self.step(before, &insn);
            if runs_on(&insn) {
                self.reach(index + 1, after, &mut todo);
            }
            match insn.flow_control() {
                FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch => {
                    if let Some(&target) = self.at.get(&insn.near_branch_target()) {
                        self.reach(target, after, &mut todo);
                    }
                }
                FlowControl::IndirectBranch if jumped != jumped.join(after) => {
                    jumped = jumped.join(after);
                    for &entry in &entries {
                        self.reach(entry, jumped, &mut todo);
                    }
                }
                _ => {}
            }
        }
    }

    fn reach(&mut self, index: usize, state: State, todo: &mut Vec<usize>) {
        let Some(before) = self.before.get_mut(index) else { return };
        let joined = before.map_or(state, |known| known.join(state));
        if *before != Some(joined) {
            *before = Some(joined);
            todo.push(index);
        }
    }

    /// The state behind an instruction.
    fn step(&mut self, state: State, insn: &Instruction) -> State {
        let refers = |fields: &[u64]| {
            let first = fields.partition_point(|f| *f < insn.ip());
            fields.get(first).is_some_and(|f| *f < insn.next_ip())
        };
        let (to_table, to_label) = (refers(&self.labels.tables), refers(&self.labels.labels));
        let forms = forms_address(insn);
        let memory = (0..insn.op_count()).any(|i| insn.op_kind(i) == OpKind::Memory);
        let base = bit(insn.memory_base()) | bit(insn.memory_index());
        let reads = memory && insn.mnemonic() != Mnemonic::Lea;
        let by_table = reads && !forms && (to_table || base & state.table != 0);
        let from_slot = |slots: &[Slot]| reads && self.slot(insn, &state).is_some_and(|s| holds(slots, s));
        let (label_slot, table_slot) = (from_slot(&self.slots.labels), from_slot(&self.slots.tables));
        let sum_slot = from_slot(&self.slots.sums);
        let mut after = state;
        if reads {
            after.fresh &= !base;
        }

        // Where it gets to.
        let plus_label = to_label
            && (matches!(insn.mnemonic(), Mnemonic::Add | Mnemonic::Sub)
                || insn.mnemonic() == Mnemonic::Lea && base != 0);
        let is_label = to_label && forms && !plus_label;
        let mut label = is_label || plus_label || by_table || label_slot;
        let mut table = (to_table && forms) || table_slot;
        let (mut sum, mut certain) = (sum_slot, is_label || by_table);
        let mut sources = if insn.mnemonic() == Mnemonic::Lea { base } else { 0 };
        for i in 0..insn.op_count() {
            let read = !matches!(self.factory.info(insn).op_access(i), OpAccess::Write | OpAccess::None);
            if insn.op_kind(i) == OpKind::Register && read {
                sources |= bit(insn.op_register(i));
            }
        }
        if is_zeroing(insn) {
            sources = 0;
        }
        label |= sources & state.label != 0;
        let moves = matches!(insn.mnemonic(), Mnemonic::Mov | Mnemonic::Lea | Mnemonic::Add | Mnemonic::Sub);
        // A table's address and what was read from it make a label's.
        table |= sources & state.label == 0
            && (moves || insn.condition_code() != ConditionCode::None)
            && sources & state.table != 0;
        let adds = matches!(insn.mnemonic(), Mnemonic::Lea | Mnemonic::Add | Mnemonic::Sub);
        let all_certain = sources & !(state.certain | state.table) == 0 && (!reads || by_table);
        sum |= (adds && label && !is_label && !all_certain) || sources & state.sum != 0;
        if sources != 0 && !is_label {
            certain = label && all_certain;
        }
        self.gets_out(insn, &state, (label, table, sum), sources);
        self.jumps(insn, &state, by_table);
        if matches!(insn.flow_control(), FlowControl::IndirectBranch) {
            after.fresh &= !bit(insn.op0_register());
        }

        // What it leaves in registers.
        if matches!(insn.flow_control(), FlowControl::Call | FlowControl::IndirectCall) {
            let kept: Set = CALLEE_SAVED.iter().map(|&r| bit(r)).fold(0, |a, b| a | b);
            after.forget(!kept);
            return after;
        }
        let written: Set = (self.factory.info(insn).used_registers().iter())
            .filter(|u| matches!(u.access(), OpAccess::Write | OpAccess::ReadWrite))
            .fold(0, |set, u| set | bit(u.register()));
        // The instruction widens a value in place; no operand says so.
        if matches!(insn.mnemonic(), Mnemonic::Cdqe | Mnemonic::Cwde) {
            return after;
        }
        after.forget(written);
        let dest = if insn.op_count() > 0 && insn.op0_kind() == OpKind::Register {
            bit(insn.op0_register())
        } else {
            0
        };
        let dest = dest & written;
        for (holds, set) in [
            (label, &mut after.label),
            (label || table, &mut after.fresh),
            (table, &mut after.table),
            (sum, &mut after.sum),
            (certain, &mut after.certain),
        ] {
            *set |= if holds { dest } else { 0 };
        }
        let stack = moves && (sources & state.stack != 0 || sources & self.stack_registers() != 0);
        after.stack |= if stack { dest } else { 0 };
        after
    }

    /// Takes note where an address is stored, handed on or returned.
    fn gets_out(
        &mut self,
        insn: &Instruction,
        state: &State,
        (label, table, sum): (bool, bool, bool),
        sources: Set,
    ) {
        let arguments = || ARGUMENTS.iter().map(|&r| bit(r)).fold(0, |a, b| a | b);
        match insn.flow_control() {
            FlowControl::Call | FlowControl::IndirectCall => {
                let handed = arguments() & state.fresh;
                // A table that is copied to the stack stays with the call.
                let copies = handed == bit(Register::RSI) && state.stack & bit(Register::RDI) != 0;
                if copies {
                    note(&mut self.slots.labels, ANYWHERE);
                }
                self.seen.escapes |= handed != 0 && !copies;
                return;
            }
            FlowControl::UnconditionalBranch if !self.at.contains_key(&insn.near_branch_target()) => {
                self.seen.escapes |= arguments() & state.fresh != 0;
                return;
            }
            FlowControl::Return => {
                self.seen.escapes |= bit(Register::RAX) & state.fresh != 0;
                return;
            }
            FlowControl::IndirectBranch => return,
            _ => {}
        }
        if matches!(insn.mnemonic(), Mnemonic::Movsb | Mnemonic::Movsw | Mnemonic::Movsd | Mnemonic::Movsq)
            && insn.is_string_instruction()
        {
            if state.table & bit(Register::RSI) != 0 {
                let to_stack = state.stack & bit(Register::RDI) != 0;
                note(&mut self.slots.labels, ANYWHERE);
                self.seen.escapes |= !to_stack;
            }
            return;
        }
        let pushes = insn.mnemonic() == Mnemonic::Push;
        let access = self.factory.info(insn).op_access(0);
        let stores = insn.op_count() >= 2
            && insn.op0_kind() == OpKind::Memory
            && !matches!(
                access,
                OpAccess::Read | OpAccess::CondRead | OpAccess::None | OpAccess::NoMemAccess
            );
        if !(pushes || stores) {
            return;
        }
        // The field of a store may belong to the operand in memory: then it is a table that is written to.
        let value = label && (sources & state.label != 0 || forms_address(insn));
        let address = sources & state.table != 0 || (table && forms_address(insn));
        if !(value || address) {
            return;
        }
        match if pushes { Some(ANYWHERE) } else { self.slot(insn, state) } {
            Some(slot) => {
                if value {
                    note(&mut self.slots.labels, slot);
                }
                if value && sum {
                    note(&mut self.slots.sums, slot);
                }
                if address {
                    note(&mut self.slots.tables, slot);
                }
            }
            None => self.seen.escapes = true,
        }
    }

    fn jumps(&mut self, insn: &Instruction, state: &State, by_table: bool) {
        if insn.flow_control() != FlowControl::IndirectBranch {
            return;
        }
        let target = if insn.op0_kind() == OpKind::Register { bit(insn.op0_register()) } else { 0 };
        let from_table = by_table || (target != 0 && target & state.certain == target);
        self.seen.jumps |= !from_table;
        self.seen.jumps_by_distance |= target & state.sum != 0 && !from_table;
    }

    /// The place on the stack that the memory operand means; `None`: elsewhere.
    fn slot(&self, insn: &Instruction, state: &State) -> Option<Slot> {
        let base = insn.memory_base();
        if bit(base) & self.stack_registers() != 0 {
            if insn.memory_index() != Register::None {
                // Any element of an array.
                return Some((base, insn.memory_displacement64().cast_signed(), i64::MAX));
            }
            let from = insn.memory_displacement64().cast_signed();
            let size = i64::try_from(insn.memory_size().size()).unwrap_or(8);
            return Some((base, from, from.saturating_add(size)));
        }
        (bit(base) & state.stack != 0).then_some(ANYWHERE)
    }

    fn stack_registers(&self) -> Set {
        bit(Register::RSP) | if self.frame { bit(Register::RBP) } else { 0 }
    }
}

fn note(slots: &mut Vec<Slot>, slot: Slot) {
    if !slots.contains(&slot) {
        slots.push(slot);
    }
}

/// May one of the slots be the one that is read?
fn holds(slots: &[Slot], (base, from, to): Slot) -> bool {
    let open = to == i64::MAX || base == Register::None;
    slots.iter().any(|&(b, f, t)| {
        if b == Register::None {
            // Filled through a pointer or by a copy: an array, which is read by an index or a pointer.
            return open;
        }
        base == Register::None || (b == base && f < to && from < t)
    })
}

fn runs_on(insn: &Instruction) -> bool {
    !matches!(
        insn.flow_control(),
        FlowControl::UnconditionalBranch
            | FlowControl::IndirectBranch
            | FlowControl::Return
            | FlowControl::Exception
    )
}

fn is_zeroing(insn: &Instruction) -> bool {
    matches!(
        insn.mnemonic(),
        Mnemonic::Xor | Mnemonic::Sub | Mnemonic::Pxor | Mnemonic::Xorps | Mnemonic::Vpxor
    ) && insn.op_count() >= 2
        && insn.op0_kind() == OpKind::Register
        && insn.op1_kind() == OpKind::Register
        && insn.op_register(insn.op_count() - 1) == insn.op_register(insn.op_count() - 2)
}

fn bit(register: Register) -> Set {
    let number = register.full_register().number();
    if register.is_gpr() {
        1 << (number & 15)
    } else if register.is_vector_register() {
        1 << (16 + (number & 15))
    } else {
        0
    }
}
