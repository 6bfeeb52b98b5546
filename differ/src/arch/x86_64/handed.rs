//! Which functions made the values that code puts into members of objects, and which ones it hands the members' values to.
//!
//! One pass in the order of the bytes. Jumps forward carry what is known along, and where ways meet, all of it counts; jumps back, and
//! through tables, carry nothing. Only whole pointers are followed: moved, kept on the stack, chosen between; what is computed from one
//! is another value. So it misses some and invents none, but for registers that still hold a value by chance when something is called.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use iced_x86::{
    ConditionCode, Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, Mnemonic,
    OpAccess, OpKind, Register,
};

use super::escape::{ARGUMENTS, KEPT};

/// Per offset from a pointer, in bytes: functions, by the numbers that the caller gave them.
pub(crate) type Members = BTreeMap<i64, BTreeSet<usize>>;

/// What code does with the values of members.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Handed {
    /// Members that hold what these functions returned.
    pub(crate) made: Members,
    /// Members whose values are handed to these functions.
    pub(crate) given: Members,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Origin {
    Result(usize),
    Member(i64),
}

/// Where a value is: a register, or a place on the stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Place {
    Register(Register),
    Stack(Register, i64),
}

type State = HashMap<Place, BTreeSet<Origin>>;

/// Follows the values through the code of a function. `calls`: offset of the operand of each call, or jump, out of it, and the number of
/// the function that it leads to.
pub(crate) fn follow(bytes: &[u8], calls: &HashMap<u64, usize>) -> Handed {
    let mut pass =
        Pass { found: Handed::default(), factory: InstructionInfoFactory::new(), has_frame: false };
    let mut state = State::new();
    let mut ahead: HashMap<u64, State> = HashMap::new();
    let mut decoder = Decoder::with_ip(64, bytes, 0, DecoderOptions::NONE);
    while decoder.can_decode() {
        let insn = decoder.decode();
        if let Some(other) = ahead.remove(&insn.ip()) {
            join(&mut state, other);
        }
        let callee = (insn.ip()..insn.next_ip()).find_map(|at| calls.get(&at)).copied();
        match insn.flow_control() {
            FlowControl::Call | FlowControl::IndirectCall => pass.call(&mut state, callee),
            FlowControl::UnconditionalBranch | FlowControl::IndirectBranch => {
                match callee {
                    Some(callee) => pass.give(&state, callee),
                    None => carry(&insn, &state, &mut ahead),
                }
                state.clear();
            }
            FlowControl::ConditionalBranch if callee.is_none() => carry(&insn, &state, &mut ahead),
            FlowControl::Return => state.clear(),
            _ => pass.step(&insn, &mut state),
        }
    }
    pass.found
}

fn join(state: &mut State, other: State) {
    for (place, origins) in other {
        state.entry(place).or_default().extend(origins);
    }
}

fn carry(insn: &Instruction, state: &State, ahead: &mut HashMap<u64, State>) {
    let near = matches!(insn.op0_kind(), OpKind::NearBranch64 | OpKind::NearBranch32 | OpKind::NearBranch16);
    if near && insn.near_branch_target() > insn.ip() {
        join(ahead.entry(insn.near_branch_target()).or_default(), state.clone());
    }
}

struct Pass {
    found: Handed,
    factory: InstructionInfoFactory,
    /// RBP is the frame's.
    has_frame: bool,
}

impl Pass {
    fn give(&mut self, state: &State, callee: usize) {
        for origin in ARGUMENTS.iter().filter_map(|r| state.get(&Place::Register(*r))).flatten() {
            if let Origin::Member(offset) = origin {
                self.found.given.entry(*offset).or_default().insert(callee);
            }
        }
    }

    fn call(&mut self, state: &mut State, callee: Option<usize>) {
        if let Some(callee) = callee {
            self.give(state, callee);
        }
        state.retain(|place, _| !matches!(place, Place::Register(r) if !KEPT.contains(r)));
        if let Some(callee) = callee {
            state.insert(Place::Register(Register::RAX), BTreeSet::from([Origin::Result(callee)]));
        }
    }

    fn step(&mut self, insn: &Instruction, state: &mut State) {
        let whole = insn.mnemonic() == Mnemonic::Mov && insn.op_count() == 2;
        let chosen = insn.condition_code() != ConditionCode::None && insn.op_count() == 2;
        if whole && insn.op0_register() == Register::RBP && insn.op1_register() == Register::RSP {
            self.has_frame = true;
        }
        let source = if whole || chosen { self.value(insn, state) } else { None };
        if insn.op0_kind() == OpKind::Memory {
            let Some((base, offset)) = plain(insn) else { return };
            if !writes(insn) {
                return;
            }
            if self.is_stack(base) {
                set(state, Place::Stack(base, offset), source);
            } else if let Some(origins) = source {
                for origin in origins {
                    if let Origin::Result(callee) = origin {
                        self.found.made.entry(offset).or_default().insert(callee);
                    }
                }
            }
            return;
        }
        let before = match insn.op0_kind() {
            OpKind::Register if chosen => state.get(&Place::Register(insn.op0_register())).cloned(),
            _ => None,
        };
        for used in self.factory.info(insn).used_registers() {
            if matches!(used.access(), OpAccess::Write | OpAccess::ReadWrite | OpAccess::CondWrite) {
                state.remove(&Place::Register(used.register().full_register()));
            }
        }
        if (whole || chosen) && insn.op0_kind() == OpKind::Register && insn.op0_register().is_gpr64() {
            let mut origins = source.unwrap_or_default();
            origins.extend(before.unwrap_or_default());
            set(state, Place::Register(insn.op0_register()), Some(origins));
        }
    }

    /// What is known of the second operand.
    fn value(&self, insn: &Instruction, state: &State) -> Option<BTreeSet<Origin>> {
        match insn.op1_kind() {
            OpKind::Register => state.get(&Place::Register(insn.op1_register())).cloned(),
            OpKind::Memory if insn.memory_size().size() == 8 => {
                let (base, offset) = plain(insn)?;
                if self.is_stack(base) {
                    state.get(&Place::Stack(base, offset)).cloned()
                } else {
                    Some(BTreeSet::from([Origin::Member(offset)]))
                }
            }
            _ => None,
        }
    }

    fn is_stack(&self, base: Register) -> bool {
        base == Register::RSP || base == Register::RBP && self.has_frame
    }
}

fn set(state: &mut State, place: Place, origins: Option<BTreeSet<Origin>>) {
    match origins {
        Some(origins) if !origins.is_empty() => state.insert(place, origins),
        _ => state.remove(&place),
    };
}

fn writes(insn: &Instruction) -> bool {
    !matches!(insn.mnemonic(), Mnemonic::Cmp | Mnemonic::Test | Mnemonic::Push | Mnemonic::Nop)
}

/// Base and offset of a memory operand without an index.
fn plain(insn: &Instruction) -> Option<(Register, i64)> {
    let base = insn.memory_base();
    let plain = base.is_gpr64() && insn.memory_index() == Register::None;
    plain.then(|| (base, insn.memory_displacement64().cast_signed()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handed(code: &[u8], calls: &[(u64, usize)]) -> Handed {
        follow(code, &calls.iter().copied().collect())
    }

    fn members(of: &[(i64, usize)]) -> Members {
        let mut members = Members::new();
        for (offset, function) in of {
            members.entry(*offset).or_default().insert(*function);
        }
        members
    }

    #[test]
    fn what_a_call_returns_is_seen_in_a_member() {
        // call; mov %rax,16(%rbx)
        assert_eq!(handed(&[0xe8, 0, 0, 0, 0, 0x48, 0x89, 0x43, 16], &[(1, 7)]).made, members(&[(16, 7)]));
        // call; add $1,%rax; mov %rax,16(%rbx): another value
        let computed = [0xe8, 0, 0, 0, 0, 0x48, 0x83, 0xc0, 1, 0x48, 0x89, 0x43, 16];
        assert_eq!(handed(&computed, &[(1, 7)]).made, members(&[]));
        // call; mov %rax,16(%rsp): no object
        assert_eq!(handed(&[0xe8, 0, 0, 0, 0, 0x48, 0x89, 0x44, 0x24, 16], &[(1, 7)]).made, members(&[]));
    }

    #[test]
    fn both_ways_count_where_they_meet() {
        // test %edi,%edi; je +7; call 7; jmp +5; call 8; mov %rax,16(%rbx)
        let code = [0x85, 0xff, 0x74, 7, 0xe8, 0, 0, 0, 0, 0xeb, 5, 0xe8, 0, 0, 0, 0, 0x48, 0x89, 0x43, 16];
        assert_eq!(handed(&code, &[(5, 7), (12, 8)]).made, members(&[(16, 7), (16, 8)]));
    }

    #[test]
    fn what_is_handed_on_is_seen() {
        // mov 24(%rbx),%rsi; mov %rbp,%rdi; call 7
        let code = [0x48, 0x8b, 0x73, 24, 0x48, 0x89, 0xef, 0xe8, 0, 0, 0, 0];
        assert_eq!(handed(&code, &[(8, 7)]).given, members(&[(24, 7)]));
        // mov 24(%rdi),%rdi; jmp 7: the last thing that a function does
        assert_eq!(handed(&[0x48, 0x8b, 0x7f, 24, 0xe9, 0, 0, 0, 0], &[(5, 7)]).given, members(&[(24, 7)]));
        // mov 24(%rbx),%rdi; call; call 7: gone with the first call
        let twice = [0x48, 0x8b, 0x7b, 24, 0xe8, 0, 0, 0, 0, 0xe8, 0, 0, 0, 0];
        assert_eq!(handed(&twice, &[(10, 7)]).given, members(&[]));
        // mov 24(%rbx),%edi; call 7: half of it
        assert_eq!(handed(&[0x8b, 0x7b, 24, 0xe8, 0, 0, 0, 0], &[(4, 7)]).given, members(&[]));
    }
}
