//! Functions that can no longer be called through a pointer: the build of the kernel took their `ENDBR`
//! instruction away, since nothing took their address.

use super::super::{Verdict, place};
use super::included;
use crate::atoms::{AtomKind, Atoms, Ref, Target};
use crate::compare::Comparer;
use crate::model::Options;

pub(super) fn judge(cmp: &Comparer<'_>, opts: &Options, verdict: &mut Verdict, source_file: &str) {
    if opts.kernel.sealed.is_empty() {
        return;
    }
    for id in included(verdict) {
        for r in cmp.new.atom(id).refs.iter().filter(|r| !r.is_branch) {
            let Some(name) = function(cmp.new, r, &|atom| cmp.pairs.old_of[atom].is_some()) else { continue };
            if !opts.kernel.sealed.contains(name) {
                continue;
            }
            verdict.refuse(
                "a new reference to a sealed function",
                place(cmp.new.name(id), source_file),
                &format!(
                    "it takes the address of `{name}`; nothing did so when the kernel was built, so the \
                     instruction that such calls need (ENDBR) is gone, and a call would end in a fault"
                ),
                "make a new function that calls it, and take the address of that one",
            );
        }
    }
}

/// The function whose address a reference takes, if the running kernel has it.
fn function<'a>(all: &'a Atoms<'_>, r: &Ref, exists: &dyn Fn(usize) -> bool) -> Option<&'a str> {
    match r.target {
        Target::Symbol { symbol, .. } => Some(all.symbol(symbol).name),
        Target::Atom { atom, offset: 0 } if all.atom(atom).kind == AtomKind::Function && exists(atom) => {
            Some(all.name(atom))
        }
        Target::Atom { .. } => None,
    }
}
