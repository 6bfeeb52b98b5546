//! Judges functions that others call back with an object that they were given beforehand.
//!
//! A fix may hand a callback another object than before, for example a context of its own instead of the
//! connection. Whoever registered the callback before the patch still hands it the old object: the address of
//! the function stays the same, and leads to the new code.

use std::collections::{HashMap, HashSet};

use super::{Verdict, place};
use crate::atoms::{AtomKind, Atoms, Target};
use crate::compare::Comparer;
use crate::debug::{Arguments, Info, InitialPlace, Types, Variable};
use crate::symbol_names;

/// What functions take, by their names, in the original and in the patched unit.
pub(crate) type Both = [HashMap<String, Arguments>; 2];

/// `was`, `is`: debug information of the original and of the patched unit. `read` reads what the functions of
/// some names take.
pub(crate) fn judge(
    cmp: &Comparer<'_>,
    [was, is]: [&Info; 2],
    read: impl FnOnce(&HashSet<String>) -> Option<Both>,
    verdict: &mut Verdict,
    source_file: &str,
) {
    let mut called_back: Vec<(String, String)> = Vec::new();
    for (&new, cause) in &verdict.changed {
        let Some(old) = cmp.pairs.old_of[new] else { continue };
        let function = cmp.new.atom(new).kind == AtomKind::Function && !verdict.parent.contains_key(&new);
        if function && cause.content && has_its_address_taken(cmp.old, old) {
            let base = |all: &Atoms<'_>, id: usize| symbol_names::parse(all.name(id)).base.clone();
            called_back.push((base(cmp.old, old), base(cmp.new, new)));
        }
    }
    if called_back.is_empty() {
        return;
    }
    let wanted = called_back.iter().flat_map(|(old, new)| [old.clone(), new.clone()]).collect();
    let Some([old, new]) = read(&wanted) else { return };
    for (old_name, new_name) in &called_back {
        let (Some(before), Some(after)) = (old.get(old_name), new.get(new_name)) else { continue };
        for (number, (a, b)) in before.parameters.iter().zip(&after.parameters).enumerate() {
            let (Some(a), Some(b)) = (object(&was.types, before, a), object(&is.types, after, b)) else {
                continue;
            };
            let Some((a, b)) = was.types.disagreement(a.type_id, &is.types, b.type_id) else { continue };
            verdict.refuse(
                "callback takes another object",
                place(new_name, source_file),
                &format!(
                    "its address is kept by others, and its argument {} is {b} instead of {a}; those who \
                     got it before the patch call it with what they have",
                    number + 1
                ),
                "give the new function another name: what was registered before then runs the old one",
            );
        }
    }
}

/// Does something refer to it other than by a call?
fn has_its_address_taken(all: &Atoms<'_>, id: usize) -> bool {
    let mut refs = all.users(id).iter().flat_map(|&user| &all.atom(user).refs);
    refs.any(|r| !r.is_branch && matches!(r.target, Target::Atom { atom, offset: 0 } if atom == id))
}

/// The variable that tells which object a parameter points to: the parameter itself, or, if that may point to
/// anything, the variable that its value is put into first.
fn object<'a>(types: &Types, function: &'a Arguments, parameter: &'a Variable) -> Option<&'a Variable> {
    let points = |v: &&Variable| types.pointee(v.type_id).is_some();
    if !types.is_any_pointer(parameter.type_id) {
        return Some(parameter).filter(points);
    }
    let may_be_it = |v: &&Variable| match v.begins {
        InitialPlace::Unknown => true,
        InitialPlace::Register(_) => v.begins == parameter.begins,
        InitialPlace::Elsewhere => false,
    };
    function.variables.iter().filter(may_be_it).find(points)
}
