//! Compares code, instruction by instruction.

use super::{Comparer, Reasons};
use crate::arch::{Code, Field, Instruction};
use crate::atoms::{Atoms, Ref};

/// More differences than these are not listed.
const LISTED: usize = 4;

impl Comparer<'_> {
    pub(crate) fn code(&mut self, old: usize, new: usize) -> Reasons {
        let (old_atoms, new_atoms) = (self.old, self.new);
        let (a, b) = (old_atoms.atom(old), new_atoms.atom(new));
        let (Some(code_a), Some(code_b)) = (&a.code, &b.code) else { return self.objects(old, new) };
        if !code_a.valid || !code_b.valid {
            // There is data among the code. Only the bytes are known.
            return self.objects(old, new);
        }
        if self.is_copy(old, new) {
            return Vec::new();
        }
        let mut reasons = Vec::new();
        // Where instructions were added or removed, every jump across them has another distance. Such jumps
        // are listed only if nothing else differs.
        let mut jumps = Vec::new();
        let mut left = code_a.instructions.iter().filter(|i| !i.is_padding);
        let mut right = code_b.instructions.iter().filter(|i| !i.is_padding);
        loop {
            let (x, y) = match (left.next(), right.next()) {
                (None, None) => break,
                (Some(x), Some(y)) => (x, y),
                (x, y) => {
                    if reasons.len() < LISTED {
                        reasons.push(match (x, y) {
                            (Some(x), _) => {
                                format!("no longer at +{:#x}: `{}`", x.at, text(old_atoms, old, x))
                            }
                            (_, Some(y)) => format!("added at +{:#x}: `{}`", y.at, text(new_atoms, new, y)),
                            _ => String::new(),
                        });
                    }
                    break;
                }
            };
            if let Some(reason) = self.instruction((old, code_a, x), (new, code_b, y)) {
                let inside = x.branch.is_some()
                    && x.branch_kind == y.branch_kind
                    && refs_in(old_atoms, old, x).is_empty();
                if inside && refs_in(new_atoms, new, y).is_empty() {
                    jumps.truncate(LISTED - 1);
                    jumps.push(reason);
                    continue;
                }
                reasons.push(reason);
                if reasons.len() >= LISTED {
                    break;
                }
            }
        }
        if reasons.is_empty() { jumps } else { reasons }
    }

    /// Whether both functions have the same bytes and the same references. Most functions have, and their
    /// instructions need not be compared one by one.
    fn is_copy(&mut self, old: usize, new: usize) -> bool {
        let (old_atoms, new_atoms) = (self.old, self.new);
        let (a, b) = (&old_atoms.atom(old).refs, &new_atoms.atom(new).refs);
        old_atoms.bytes(old) == new_atoms.bytes(new)
            && a.len() == b.len()
            && a.iter().zip(b).all(|(r, s)| r.at == s.at && self.same_ref(r, s))
    }

    fn instruction(
        &mut self,
        (old, code_a, x): (usize, &Code, &Instruction),
        (new, code_b, y): (usize, &Code, &Instruction),
    ) -> Option<String> {
        let (old_atoms, new_atoms) = (self.old, self.new);
        let refs_a = refs_in(old_atoms, old, x);
        let refs_b = refs_in(new_atoms, new, y);
        let shown = || {
            format!(
                "instruction at +{:#x}: `{}` -> `{}`",
                x.at,
                text(old_atoms, old, x),
                text(new_atoms, new, y)
            )
        };
        if refs_a.len() != refs_b.len() {
            return Some(shown());
        }
        if x.branch.is_some() && y.branch.is_some() && refs_a.is_empty() {
            // A jump inside of the function is the same if it leads to the same instruction, however far that
            // is.
            let same = x.branch_kind == y.branch_kind
                && match (x.target.map(|t| code_a.ordinal(t)), y.target.map(|t| code_b.ordinal(t))) {
                    (Some(Some(t)), Some(Some(u))) => t == u,
                    _ => x.target == y.target,
                };
            return (!same).then(shown);
        }
        if let (Some(field), true) = (x.address, x.address == y.address && refs_a.is_empty())
            && let (Some(t), Some(u)) = (own_place(code_a, x), own_place(code_b, y))
        {
            // An address inside of the function is the same if it is that of the same instruction, however
            // far that is.
            let same = t == u && same_but_field(raw(old_atoms, old, x), raw(new_atoms, new, y), field);
            return (!same).then(shown);
        }
        let short_or_near = x.branch.is_some() && y.branch.is_some();
        if (short_or_near && x.branch_kind != y.branch_kind)
            || (!short_or_near && !same_bytes(self.old, old, x, self.new, new, y))
        {
            return Some(shown());
        }
        for (r, s) in refs_a.iter().zip(refs_b) {
            let same_field = short_or_near || r.at - u64::from(x.at) == s.at - u64::from(y.at);
            if !same_field || !self.same_ref(r, s) {
                let (was, is) = (Self::describe(old_atoms, r.target), Self::describe(new_atoms, s.target));
                if was == is {
                    return Some(format!(
                        "`{}` at +{:#x} refers to {was}, which differs",
                        text(old_atoms, old, x),
                        x.at
                    ));
                }
                return Some(format!(
                    "instruction at +{:#x} (`{}`): {was} -> {is}",
                    x.at,
                    text(new_atoms, new, y)
                ));
            }
        }
        None
    }
}

fn refs_in<'a>(all: &'a Atoms, id: usize, insn: &Instruction) -> &'a [Ref] {
    let refs = &all.atom(id).refs;
    let from = refs.partition_point(|r| r.at < u64::from(insn.at));
    let to = refs.partition_point(|r| r.at < u64::from(insn.end()));
    refs.get(from..to).unwrap_or(&[])
}

fn raw<'a>(all: &'a Atoms, id: usize, insn: &Instruction) -> &'a [u8] {
    all.bytes(id).get(insn.at as usize..insn.end() as usize).unwrap_or(&[])
}

/// The instruction of its own function whose address an instruction forms.
fn own_place(code: &Code, insn: &Instruction) -> Option<u32> {
    code.ordinal(insn.target?)
}

/// Two instructions that differ at most in the bytes of a field.
fn same_but_field(a: &[u8], b: &[u8], field: Field) -> bool {
    let field = usize::from(field.at)..usize::from(field.at) + usize::from(field.width);
    a.len() == b.len() && a.iter().zip(b).enumerate().all(|(i, (p, q))| p == q || field.contains(&i))
}

fn same_bytes(old: &Atoms, o: usize, x: &Instruction, new: &Atoms, n: usize, y: &Instruction) -> bool {
    // A relocated field holds nothing of its own.
    let blanked = |all: &Atoms, id: usize, insn: &Instruction, (at, &byte): (u64, &u8)| {
        let at = u64::from(insn.at) + at;
        let relocated = |r: &Ref| (r.at..r.at.saturating_add(u64::from(r.width))).contains(&at);
        if refs_in(all, id, insn).iter().any(relocated) { 0 } else { byte }
    };
    let (a, b) = (raw(old, o, x), raw(new, n, y));
    a == b
        || a.len() == b.len()
            && (0..).zip(a).zip((0..).zip(b)).all(|(p, q)| blanked(old, o, x, p) == blanked(new, n, y, q))
}

/// The instruction in words, with what it refers to by name.
fn text(all: &Atoms, id: usize, insn: &Instruction) -> String {
    let first = refs_in(all, id, insn).first();
    let name = first.map(|r| (Comparer::describe(all, r.target), r.is_branch));
    let name = name.as_ref().map(|(name, by_branch)| (name.as_str(), *by_branch));
    all.arch.show(raw(all, id, insn), insn.at, name)
}
