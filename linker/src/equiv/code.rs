//! Compares code instruction by instruction: every bit that is not of a reference is equal, every reference
//! leads to the same thing.

use differ::arch::{Computes, Relaxation, Tls};

use super::loaded::Content;
use super::matcher::{Kind, Matcher};
use super::recorded::{Atom, Base, Field};
use super::thread_local;
use crate::arch::{Instruction, Operand, Value};

impl Matcher<'_, '_> {
    pub(super) fn code(&mut self, atom: &Atom, there: u64) {
        let known = self.known;
        let contents =
            (self.known.loaded.content(atom.start, atom.size), self.other.content(there, atom.size));
        let (Some(Content::Bytes(ours)), Some(Content::Bytes(theirs))) = contents else {
            return self.differs(Kind::Code, atom, "it reaches beyond its section".to_owned());
        };
        let tables = [self.known.loaded.exceptions.get(&atom.start), self.other.exceptions.get(&there)];
        match tables.map(|t| t.copied()) {
            [None, None] => {}
            [Some(here), Some(there)] => self.reference(atom, Base::Unknown, here, there),
            _ => self.differs(Kind::Code, atom, "it handles exceptions on one side only".to_owned()),
        }
        let machine = known.loaded.machine;
        let mut here = machine.instructions(ours, atom.start);
        let mut other = machine.instructions(theirs, there);
        loop {
            let (x, y) = match (here.next(), other.next()) {
                (Some(x), Some(y)) => (x, y),
                (None, None) => return,
                _ => return self.differs(Kind::Code, atom, "its code ends elsewhere there".to_owned()),
            };
            let detail = || {
                let (here, there) = (machine.text(&x), machine.text(&y));
                format!("at +{:#x}: `{here}` here, `{there}` there", x.at - atom.start)
            };
            if x.bytes.len() != y.bytes.len() || x.opcode != y.opcode {
                return self.differs(Kind::Code, atom, detail());
            }
            match self.instruction(atom, there, &x, &y) {
                None => {}
                Some(Kind::Code) => return self.differs(Kind::Code, atom, detail()),
                Some(Kind::Number) => {
                    let number = |(a, b): (&Option<Operand>, &Option<Operand>)| match (
                        a.as_ref()?.value,
                        b.as_ref()?.value,
                    ) {
                        (Value::Immediate(a), Value::Immediate(b)) => Some((a, b)),
                        _ => None,
                    };
                    let numbers = x.operands.iter().zip(&y.operands).filter_map(number).find(|(a, b)| a != b);
                    self.other_number(atom, numbers, detail());
                }
                Some(kind) => self.differs(kind, atom, detail()),
            }
        }
    }

    /// Compares the bytes that are no reference, and follows the references. `None`: nothing differs.
    fn instruction(
        &mut self,
        atom: &Atom,
        there: u64,
        x: &Instruction<'_>,
        y: &Instruction<'_>,
    ) -> Option<Kind> {
        let mut differs = None;
        let known = self.known;
        let fields: Vec<&Field> = known.fields_in(x.at, x.end()).collect();
        let certain = known.regions.get(&atom.region).is_some_and(|r| r.known);
        for (a, b) in x.operands.iter().zip(&y.operands) {
            let (a, b) = match (a, b) {
                (None, None) => continue,
                (Some(a), Some(b)) => (a, b),
                _ => return Some(Kind::Code),
            };
            let (start, end) = (x.at + a.offset as u64, x.at + (a.offset + a.size) as u64);
            let holds = |f: &&&Field| f.at < end && f.at + 4 > start;
            // An instruction may have two references: to a place in memory, and the address that it writes
            // there.
            let base = || fields.iter().find(holds).map_or(Base::Unknown, |f| f.base);
            match (a.value, b.value) {
                (Value::Branch(here), Value::Branch(to)) => {
                    if here.wrapping_sub(atom.start) >= atom.size {
                        self.reference(atom, base(), here, to);
                    } else if here.wrapping_sub(atom.start) != to.wrapping_sub(there) {
                        return Some(Kind::Code);
                    }
                }
                (Value::Data(here), Value::Data(to)) => {
                    // The reference only names the module. The variable is counted from there.
                    let whose = |f: &&Field| tls(f) == Some(Tls::LocalDynamic);
                    if !fields.iter().any(whose) {
                        self.reference(atom, base(), here, to);
                    }
                }
                // Other numbers in the instruction are references only where the object says so.
                (Value::Displacement { .. }, Value::Displacement { .. })
                | (Value::Immediate(_), Value::Immediate(_)) => {
                    // Only for thread-local variables does the linker move the field; otherwise all that it
                    // rewrites besides is opcodes, and what is counted to them may be the last byte of the
                    // instruction before.
                    let holds = |f: &&&Field| match tls(f) {
                        Some(_) => f.start < end && f.end > start,
                        None => holds(f),
                    };
                    let field = fields.iter().find(holds);
                    let (here, to) = (a.bits, b.bits);
                    let same = match field {
                        // The thread pointer itself, where the linker has made a sequence into another one.
                        Some(f) if tls(f).is_some() && x.loads_thread_pointer && y.loads_thread_pointer => {
                            true
                        }
                        Some(f) if tls(f).is_some() => {
                            thread_local::same(&known.loaded, self.other, here, to)
                        }
                        Some(f) if is_absolute(f) => {
                            self.reference(atom, f.base, here, to);
                            true
                        }
                        // Code of an unknown object of a program that is linked to a fixed place.
                        None if !certain
                            && here != to
                            && self.known.loaded.is_address(here)
                            && self.other.is_address(to) =>
                        {
                            self.reference(atom, Base::Unknown, here, to);
                            true
                        }
                        _ => here == to,
                    };
                    if !same {
                        let offset = matches!(a.value, Value::Displacement { stack: false, .. });
                        differs = differs.max(Some(if offset { Kind::Offset } else { Kind::Number }));
                    }
                }
                _ => return Some(Kind::Code),
            }
        }
        let operands = || x.operands.iter().flatten();
        if x.without(operands()) == y.without(operands()) { differs } else { Some(Kind::Code) }
    }
}

/// Which part of a reference to a thread-local variable the field is.
fn tls(field: &Field) -> Option<Tls> {
    match field.kind?.computes {
        Computes::Tls(part) => Some(part),
        _ => None,
    }
}

/// Is the value an absolute address, also where the linker has made a load from a slot into a constant?
fn is_absolute(field: &Field) -> bool {
    field.kind.is_some_and(|t| match t.computes {
        Computes::Address => !t.is_pc_relative() && matches!(t.width, 4 | 8),
        Computes::GotSlot => t.relaxations.contains(&Relaxation::SlotToConstant),
        _ => false,
    })
}
