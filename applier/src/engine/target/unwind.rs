//! Strict stack unwinding: every frame is known, or the answer is "unsure". There is no guess by frame
//! pointer.

use super::{
    frames::{Cfa, Row, Rule, Tables},
    memory::Memory,
};
use crate::arch::{
    Registers,
    no_unwind::{self, Leads},
    unwind::{CALL_PUSHES, COUNT, RETURN, SP, code_address},
};
use gimli::{Encoding, EndianSlice, EvaluationResult, Expression, Format, LittleEndian, Location, Value};

/// A place in code that a thread is at or will return to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// The address.
    pub pc: u64,
    /// Is it an interrupted instruction (the innermost frame, or one below a signal handler)? Else it is a
    /// return address.
    pub exact: bool,
    /// Its stack pointer there.
    pub sp: u64,
}

/// Unwinding did not reach the end of the stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unsure {
    /// The frame it got stuck at.
    pub pc: u64,
    /// Why.
    pub why: &'static str,
}

/// A part of a thread's stack that was read ahead, and the rest of the memory.
#[derive(Debug)]
pub(crate) struct Stack<'a> {
    /// Address of the part.
    pub start: u64,
    /// Its content.
    pub bytes: &'a [u8],
    /// Everything else.
    pub memory: &'a Memory,
}

impl Stack<'_> {
    fn word(&self, address: u64) -> Option<u64> {
        let offset = address.checked_sub(self.start).and_then(|o| usize::try_from(o).ok());
        match offset.and_then(|o| self.bytes.get(o..o.checked_add(8)?)) {
            Some(bytes) => bytes.try_into().ok().map(u64::from_le_bytes),
            None => self.memory.word(address).ok(),
        }
    }
}

/// Deepest stack followed.
const DEEPEST: usize = 1 << 16;

/// The registers of one frame; `None` where a value is lost.
type Values = [Option<u64>; COUNT];

/// Appends all frames of a stopped thread to `frames`, innermost first, up to where it is unsure.
pub(crate) fn walk(
    tables: &mut Tables,
    registers: &Registers,
    stack: &Stack<'_>,
    frames: &mut Vec<Frame>,
) -> Result<(), Unsure> {
    let mut regs = registers.values().map(Some);
    let (mut pc, mut exact) = (registers.pc(), true);
    if tables.row(pc).is_none() && !tables.is_start(pc) {
        match lead(tables, registers, stack, frames) {
            Some(Leads::To(address)) => pc = address,
            Some(Leads::Back) => {
                if let Some((caller, sp)) = no_unwind::caller(registers, |at| stack.word(at)) {
                    (pc, exact) = (code_address(caller), false);
                    regs[SP] = Some(sp);
                }
            }
            None => {}
        }
    }
    while frames.len() < DEEPEST {
        let Some(sp) = regs[SP] else {
            return Err(Unsure { pc, why: "unwind information that leaves the caller unknown" });
        };
        frames.push(Frame { pc, exact, sp });
        // A return address may be the first of the next function, when the call was the last instruction of
        // its own.
        let lookup = if exact { pc } else { pc - 1 };
        let Some(row) = tables.row(lookup) else {
            return if tables.is_start(pc) {
                Ok(())
            } else {
                Err(Unsure { pc, why: "no unwind information" })
            };
        };
        if row.rules[RETURN] == Rule::Undefined {
            return Ok(());
        }
        let signal = row.signal;
        let Some(caller) = step(row, &regs, stack) else {
            return Err(Unsure { pc, why: "unwind information that cannot be followed" });
        };
        let (Some(next), Some(next_sp)) = (caller[RETURN].map(code_address), caller[SP]) else {
            return Err(Unsure { pc, why: "unwind information that leaves the caller unknown" });
        };
        if next == 0 {
            return Ok(());
        }
        if (next_sp < sp || (CALL_PUSHES && next_sp == sp)) && !signal {
            return Err(Unsure { pc, why: "a stack that does not grow downwards" });
        }
        (regs, exact, pc) = (caller, signal, next);
    }
    Err(Unsure { pc, why: "a stack too deep to follow" })
}

/// Where the innermost frame leads that has no unwind information. The addresses on the way count as places
/// where it is.
fn lead(
    tables: &mut Tables,
    registers: &Registers,
    stack: &Stack<'_>,
    frames: &mut Vec<Frame>,
) -> Option<Leads> {
    let read = |pc| {
        let mut bytes = [0; no_unwind::LONGEST];
        stack.memory.read_into(pc, &mut bytes).ok().map(|()| bytes)
    };
    no_unwind::follow(registers.into(), read, |pc| {
        frames.push(Frame { pc, exact: true, sp: registers.sp() });
        tables.row(pc).is_some()
    })
}

fn step(row: &Row, regs: &Values, stack: &Stack<'_>) -> Option<Values> {
    let cfa = match &row.cfa {
        Cfa::Register(register, offset) => (*regs.get(*register)?)?.wrapping_add_signed(*offset),
        Cfa::Expression(code) => evaluate(code, None, regs, stack)?,
    };
    let mut caller = [None; COUNT];
    for (register, rule) in row.rules.iter().enumerate() {
        caller[register] = match rule {
            Rule::Unknown | Rule::Undefined => None,
            Rule::Same => regs[register],
            Rule::At(offset) => stack.word(cfa.wrapping_add_signed(*offset)),
            Rule::Value(offset) => Some(cfa.wrapping_add_signed(*offset)),
            Rule::Register(other) => *regs.get(*other)?,
            Rule::AtExpression(code) => stack.word(evaluate(code, Some(cfa), regs, stack)?),
            Rule::Expression(code) => evaluate(code, Some(cfa), regs, stack),
        };
    }
    Some(caller)
}

/// Result of a DWARF expression (DWARF 5 §2.5) in a frame.
fn evaluate(code: &[u8], cfa: Option<u64>, regs: &Values, stack: &Stack<'_>) -> Option<u64> {
    let encoding = Encoding { format: Format::Dwarf32, version: 5, address_size: 8 };
    let mut evaluation = Expression(EndianSlice::new(code, LittleEndian)).evaluation(encoding);
    evaluation.set_max_iterations(1000);
    if let Some(cfa) = cfa {
        evaluation.set_initial_value(cfa);
    }
    let mut state = evaluation.evaluate().ok()?;
    loop {
        state = match state {
            EvaluationResult::Complete => break,
            EvaluationResult::RequiresMemory { address, size, space: None, .. } => {
                let kept = 64u32.checked_sub(8 * u32::from(size))?;
                let word = stack.word(address)?;
                evaluation.resume_with_memory(Value::Generic(word << kept >> kept)).ok()?
            }
            EvaluationResult::RequiresRegister { register, .. } => {
                let value = (*regs.get(usize::from(register.0))?)?;
                evaluation.resume_with_register(Value::Generic(value)).ok()?
            }
            _ => return None,
        };
    }
    match evaluation.as_result() {
        [gimli::Piece { size_in_bits: None, location: Location::Address { address }, .. }] => Some(*address),
        _ => None,
    }
}
