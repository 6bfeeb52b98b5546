//! Follows the values of members of objects: which functions made the values that code puts into members,
//! which functions the code hands the values to, and what it counts behind them.
//!
//! One pass in the order of the bytes. Jumps forward carry along what is known, and where ways meet, the
//! knowledge of both counts. Jumps back, and through tables, carry nothing. Only whole pointers are followed:
//! moved, kept on the stack, chosen between, two of them in one vector register. What is computed from a
//! pointer is another value. So the pass misses some uses and invents none, except where a register still
//! holds a value by chance at a call.

use std::collections::{BTreeSet, HashMap};

use iced_x86::{
    ConditionCode, Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, Mnemonic,
    OpAccess, OpKind, Register,
};

use super::escape::{ARGUMENTS, CALLEE_SAVED};
use super::operands::immediate;
use crate::arch::flow::{Actor, Amount, FirstArguments, MemberUse, ValueOrigin};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Value {
    Whole(ValueOrigin),
    Computed(Amount),
}

impl Value {
    fn constant(value: i64) -> Self {
        Self::Computed(Amount { of: None, plus: value })
    }

    fn amount(self) -> Amount {
        match self {
            Self::Whole(origin) => Amount { of: Some(origin), plus: 0 },
            Self::Computed(amount) => amount,
        }
    }
}

/// Where a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Location {
    Register(Register),
    /// Half of a vector register; `true`: the second half.
    Half(Register, bool),
    Stack(Register, i64),
}

type Values = BTreeSet<Value>;
type State = HashMap<Location, Values>;

/// Follows the values through the code of a function. `calls`: the offset of the operand of each call, or
/// jump, out of the function, with the number of the function that it leads to.
pub(super) fn follow(bytes: &[u8], calls: &HashMap<u64, usize>) -> MemberUse {
    let mut pass = Pass {
        found: MemberUse::default(),
        touched: HashMap::new(),
        homes: HashMap::new(),
        given: HashMap::new(),
        factory: InstructionInfoFactory::new(),
        has_frame: false,
    };
    let argument = |(number, register): (usize, &Register)| {
        (Location::Register(*register), BTreeSet::from([Value::Whole(ValueOrigin::Argument(number))]))
    };
    let mut state: State = ARGUMENTS.iter().enumerate().map(argument).collect();
    let mut ahead: HashMap<u64, State> = HashMap::new();
    let mut decoder = Decoder::with_ip(64, bytes, 0, DecoderOptions::NONE);
    while decoder.can_decode() {
        let insn = decoder.decode();
        if let Some(other) = ahead.remove(&insn.ip()) {
            join(&mut state, other);
        }
        let callee = (insn.ip()..insn.next_ip()).find_map(|at| calls.get(&at)).map(|n| Actor::Call(*n));
        match insn.flow_control() {
            FlowControl::Call | FlowControl::IndirectCall => pass.call(insn.ip(), &mut state, callee),
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
    for (place, values) in other {
        state.entry(place).or_default().extend(values);
    }
}

fn carry(insn: &Instruction, state: &State, ahead: &mut HashMap<u64, State>) {
    let near = matches!(insn.op0_kind(), OpKind::NearBranch64 | OpKind::NearBranch32 | OpKind::NearBranch16);
    if near && insn.near_branch_target() > insn.ip() {
        join(ahead.entry(insn.near_branch_target()).or_default(), state.clone());
    }
}

struct Pass {
    found: MemberUse,
    /// What has dealt with a value so far, and the members that hold the value.
    touched: HashMap<ValueOrigin, BTreeSet<Actor>>,
    homes: HashMap<ValueOrigin, BTreeSet<i64>>,
    /// The first two arguments of calls, by the offsets of the calls.
    given: HashMap<u64, FirstArguments>,
    factory: InstructionInfoFactory,
    /// RBP points to the stack frame.
    has_frame: bool,
}

impl Pass {
    fn give(&mut self, state: &State, callee: Actor) {
        for origin in ARGUMENTS.iter().filter_map(|r| state.get(&Location::Register(*r))).flatten() {
            self.touch(*origin, callee);
        }
    }

    fn touch(&mut self, value: Value, by: Actor) {
        match value {
            Value::Computed(_) => {}
            Value::Whole(ValueOrigin::Member(offset)) => {
                self.found.given.entry(offset).or_default().insert(by);
            }
            Value::Whole(base) => {
                self.touched.entry(base).or_default().insert(by);
                for offset in self.homes.get(&base).into_iter().flatten() {
                    self.found.kept.entry(*offset).or_default().insert(by);
                }
            }
        }
    }

    fn call(&mut self, at: u64, state: &mut State, callee: Option<Actor>) {
        if let Some(callee) = callee {
            self.give(state, callee);
            let amount = |register: Register| match state.get(&Location::Register(register)) {
                Some(values) if values.len() == 1 => values.first().map(|o| o.amount()),
                _ => None,
            };
            self.given.insert(at, [amount(Register::RDI), amount(Register::RSI)]);
        }
        state.retain(|place, _| match place {
            Location::Register(register) => CALLEE_SAVED.contains(register),
            Location::Half(..) => false,
            Location::Stack(..) => true,
        });
        if let Some(callee) = callee {
            let result = Value::Whole(ValueOrigin::Result(callee, at));
            state.insert(Location::Register(Register::RAX), BTreeSet::from([result]));
        }
    }

    fn step(&mut self, insn: &Instruction, state: &mut State) {
        self.count(insn, state);
        if self.vector(insn, state) {
            return;
        }
        let whole = insn.mnemonic() == Mnemonic::Mov && insn.op_count() == 2;
        let chosen = insn.condition_code() != ConditionCode::None && insn.op_count() == 2;
        if whole && insn.op0_register() == Register::RBP && insn.op1_register() == Register::RSP {
            self.has_frame = true;
        }
        let source = if whole || chosen { self.value(insn, state) } else { computed(insn, state) };
        self.read(insn);
        if insn.op0_kind() == OpKind::Memory {
            if let Some((base, offset)) = plain(insn)
                && writes(insn)
            {
                let is_pointer =
                    whole && insn.op1_kind() == OpKind::Register && insn.memory_size().size() == 8;
                self.store(base, offset, source, is_pointer, state);
            }
            return;
        }
        let before = match insn.op0_kind() {
            OpKind::Register if chosen => state.get(&Location::Register(insn.op0_register())).cloned(),
            _ => None,
        };
        for used in self.factory.info(insn).used_registers() {
            if matches!(used.access(), OpAccess::Write | OpAccess::ReadWrite | OpAccess::CondWrite) {
                let register = used.register().full_register();
                state.remove(&Location::Register(register));
                state.remove(&Location::Half(register, false));
                state.remove(&Location::Half(register, true));
            }
        }
        // An instruction that only looks at a register, as `test` does, does not change it.
        let gets = whole || chosen || source.is_some();
        if gets && insn.op0_kind() == OpKind::Register && insn.op0_register().is_gpr() {
            let mut values = source.unwrap_or_default();
            values.extend(before.unwrap_or_default());
            set(state, Location::Register(insn.op0_register().full_register()), Some(values));
        }
    }

    /// Code stores a whole register, or half of one, in memory.
    fn store(
        &mut self,
        base: Register,
        offset: i64,
        value: Option<Values>,
        is_pointer: bool,
        state: &mut State,
    ) {
        if self.is_stack(base) {
            set(state, Location::Stack(base, offset), value);
            return;
        }
        let is_constant = |values: &Values| values.iter().all(|o| o.amount().of.is_none());
        if is_pointer && !value.as_ref().is_some_and(is_constant) {
            self.found.stored.insert(offset);
        }
        for origin in value.into_iter().flatten() {
            let Value::Whole(base) = origin else { continue };
            if let ValueOrigin::Result(callee, at) = base {
                self.found.made.entry(offset).or_default().insert(callee);
                let given = self.given.get(&at).copied().unwrap_or_default();
                self.found.sized.entry(offset).or_default().insert((callee, given));
            }
            if !matches!(base, ValueOrigin::Member(_)) {
                self.homes.entry(base).or_default().insert(offset);
                if let Some(touched) = self.touched.get(&base) {
                    self.found.kept.entry(offset).or_default().extend(touched);
                }
            }
        }
    }

    fn read(&mut self, insn: &Instruction) {
        let loads = insn.mnemonic() != Mnemonic::Lea
            && (0..insn.op_count()).any(|i| insn.op_kind(i) == OpKind::Memory);
        let stores = insn.mnemonic() == Mnemonic::Mov && insn.op0_kind() == OpKind::Memory;
        if let Some((base, offset)) =
            plain(insn).filter(|_| loads && !stores && insn.memory_size().size() == 8)
            && !self.is_stack(base)
        {
            let is_first = !self.found.stored.contains(&offset);
            *self.found.read.entry(offset).or_default() |= is_first;
        }
    }

    /// Handles `add $1,(%rdi)` and the like.
    fn count(&mut self, insn: &Instruction, state: &State) {
        let by_one = |up: Actor, down: Actor| match immediate(insn) {
            Some(1) => Some(up),
            Some(-1) => Some(down),
            _ => None,
        };
        let by = match insn.mnemonic() {
            _ if insn.op0_kind() != OpKind::Memory => None,
            Mnemonic::Inc => Some(Actor::Raise),
            Mnemonic::Dec => Some(Actor::Lower),
            Mnemonic::Add => by_one(Actor::Raise, Actor::Lower),
            Mnemonic::Sub => by_one(Actor::Lower, Actor::Raise),
            Mnemonic::Xadd => {
                let place = Location::Register(insn.op1_register().full_register());
                let added = state.get(&place).and_then(|values| values.first()).map(|o| o.amount());
                match added {
                    Some(Amount { of: None, plus: 1 }) => Some(Actor::Raise),
                    Some(Amount { of: None, plus: -1 }) => Some(Actor::Lower),
                    _ => None,
                }
            }
            _ => None,
        };
        let (Some(by), Some((base, _))) = (by, plain(insn)) else { return };
        for origin in state.get(&Location::Register(base)).cloned().unwrap_or_default() {
            self.touch(origin, by);
        }
    }

    /// Handles two pointers that are stored at once. `false`: the instruction does something else.
    fn vector(&mut self, insn: &Instruction, state: &mut State) -> bool {
        let (to, from) = (insn.op0_register().full_register(), insn.op1_register().full_register());
        let into = insn.op0_kind() == OpKind::Register && insn.op0_register().is_xmm();
        let out_of = insn.op1_kind() == OpKind::Register && insn.op1_register().is_xmm();
        match insn.mnemonic() {
            Mnemonic::Movq if into && !out_of => {
                let value = self.value(insn, state);
                set(state, Location::Half(to, false), value);
                state.remove(&Location::Half(to, true));
            }
            Mnemonic::Movhps if into => {
                let value = self.value(insn, state);
                set(state, Location::Half(to, true), value);
            }
            Mnemonic::Punpcklqdq if into && out_of => {
                let value = state.get(&Location::Half(from, false)).cloned();
                set(state, Location::Half(to, true), value);
            }
            Mnemonic::Movups | Mnemonic::Movaps | Mnemonic::Movdqu | Mnemonic::Movdqa => {
                for second in [false, true] {
                    let ahead = 8 * i64::from(second);
                    if into {
                        let value = if out_of {
                            state.get(&Location::Half(from, second)).cloned()
                        } else {
                            plain(insn).and_then(|(base, offset)| self.load(base, offset + ahead, state))
                        };
                        set(state, Location::Half(to, second), value);
                    } else if let Some((base, offset)) = plain(insn) {
                        let value = state.get(&Location::Half(from, second)).cloned();
                        // If nothing is known of the value, it need not be two pointers.
                        let is_pointer = value.is_some();
                        self.store(base, offset + ahead, value, is_pointer, state);
                    }
                }
            }
            _ => return false,
        }
        true
    }

    /// The value of the second operand, as far as it is known.
    fn value(&self, insn: &Instruction, state: &State) -> Option<Values> {
        match insn.op1_kind() {
            OpKind::Register => state.get(&Location::Register(insn.op1_register())).cloned(),
            OpKind::Memory if insn.memory_size().size() == 8 || insn.mnemonic() == Mnemonic::Movhps => {
                let (base, offset) = plain(insn)?;
                self.load(base, offset, state)
            }
            _ => computed(insn, state),
        }
    }

    fn load(&self, base: Register, offset: i64, state: &State) -> Option<Values> {
        if self.is_stack(base) {
            return state.get(&Location::Stack(base, offset)).cloned();
        }
        Some(BTreeSet::from([Value::Whole(ValueOrigin::Member(offset))]))
    }

    fn is_stack(&self, base: Register) -> bool {
        base == Register::RSP || base == Register::RBP && self.has_frame
    }
}

fn set(state: &mut State, place: Location, values: Option<Values>) {
    match values {
        Some(values) if !values.is_empty() => state.insert(place, values),
        _ => state.remove(&place),
    };
}

/// The value that the instruction gives to its first operand, if that is a constant, or a constant more than
/// something known.
fn computed(insn: &Instruction, state: &State) -> Option<Values> {
    let same = insn.op0_kind() == OpKind::Register && insn.op0_register() == insn.op1_register();
    let more = |register: Register, plus: i64| {
        let of = state.get(&Location::Register(register.full_register()))?;
        let added = of.iter().map(|o| {
            let Amount { of, plus: already } = o.amount();
            Value::Computed(Amount { of, plus: already.wrapping_add(plus) })
        });
        Some(added.collect())
    };
    let value = match insn.mnemonic() {
        Mnemonic::Xor if same => 0,
        Mnemonic::Mov => immediate(insn)?,
        Mnemonic::Or if immediate(insn) == Some(-1) => -1,
        Mnemonic::Add if insn.op0_kind() == OpKind::Register => {
            return more(insn.op0_register(), immediate(insn)?);
        }
        Mnemonic::Sub if insn.op0_kind() == OpKind::Register => {
            return more(insn.op0_register(), immediate(insn)?.checked_neg()?);
        }
        Mnemonic::Lea => return plain(insn).and_then(|(base, offset)| more(base, offset)),
        _ => return None,
    };
    Some(BTreeSet::from([Value::constant(value)]))
}

fn writes(insn: &Instruction) -> bool {
    !matches!(insn.mnemonic(), Mnemonic::Cmp | Mnemonic::Test | Mnemonic::Push | Mnemonic::Nop)
}

/// Base register and offset of a memory operand without an index.
fn plain(insn: &Instruction) -> Option<(Register, i64)> {
    let base = insn.memory_base();
    let plain = base.is_gpr64() && insn.memory_index() == Register::None;
    plain.then(|| (base, insn.memory_displacement64().cast_signed()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::flow::ActorsByMember;

    fn handed(code: &[u8], calls: &[(u64, usize)]) -> MemberUse {
        follow(code, &calls.iter().copied().collect())
    }

    fn members(of: &[(i64, usize)]) -> ActorsByMember {
        let mut members = ActorsByMember::new();
        for (offset, function) in of {
            members.entry(*offset).or_default().insert(Actor::Call(*function));
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

    #[test]
    fn a_look_at_a_value_leaves_it() {
        // mov 24(%rdi),%rdi; test %rdi,%rdi; je +5; call 7
        let code = [0x48, 0x8b, 0x7f, 24, 0x48, 0x85, 0xff, 0x74, 5, 0xe8, 0, 0, 0, 0];
        assert_eq!(handed(&code, &[(10, 7)]).given, members(&[(24, 7)]));
    }

    #[test]
    fn what_is_kept_is_seen_with_what_else_gets_it() {
        // mov %rsi,16(%rdi); add $1,(%rsi): kept, then counted
        let counted = handed(&[0x48, 0x89, 0x77, 16, 0x83, 0x06, 1], &[]);
        assert_eq!(counted.kept, ActorsByMember::from([(16, BTreeSet::from([Actor::Raise]))]));
        assert_eq!(counted.stored, BTreeSet::from([16]));
        // push %rbx; mov %rdi,%rbx; mov %rsi,%rbp; mov %rsi,%rdi; call 7; mov %rbp,16(%rbx): handed on, then
        // kept
        let code = [
            0x53, 0x48, 0x89, 0xfb, 0x48, 0x89, 0xf5, 0x48, 0x89, 0xf7, 0xe8, 0, 0, 0, 0, 0x48, 0x89, 0x6b,
            16,
        ];
        assert_eq!(handed(&code, &[(11, 7)]).kept, members(&[(16, 7)]));
        // mov 8(%rdi),%rdi; mov $-1,%eax; lock xadd %eax,(%rdi)
        let taken_back = [0x48, 0x8b, 0x7f, 8, 0xb8, 0xff, 0xff, 0xff, 0xff, 0xf0, 0x0f, 0xc1, 0x07];
        assert_eq!(
            handed(&taken_back, &[]).given,
            ActorsByMember::from([(8, BTreeSet::from([Actor::Lower]))])
        );
        // xor %eax,%eax; mov %rax,16(%rdi): no pointer
        assert_eq!(handed(&[0x31, 0xc0, 0x48, 0x89, 0x47, 16], &[]), MemberUse::default());
    }

    #[test]
    fn two_pointers_may_be_stored_at_once() {
        // call 7; movq %rax,%xmm0; movq %rbx,%xmm1; punpcklqdq %xmm1,%xmm0; movups %xmm0,8(%rbp)
        let code = [
            0xe8, 0, 0, 0, 0, 0x66, 0x48, 0x0f, 0x6e, 0xc0, 0x66, 0x48, 0x0f, 0x6e, 0xcb, 0x66, 0x0f, 0x6c,
            0xc1, 0x0f, 0x11, 0x45, 8,
        ];
        assert_eq!(handed(&code, &[(1, 7)]).made, members(&[(8, 7)]));
    }
}
