//! Tells whether the unit as built holds the same code as the unit compiled with a section per function.

use std::collections::HashMap;

use crate::atoms::{self, AtomKind, Atoms};
use crate::attached::Records;
use crate::compare::Comparer;
use crate::correlate::Pairs;
use crate::error::Error;
use crate::model::{Mismatch, Options};

/// Compares the plain object (as built) with the sectioned object, function by function: the instructions,
/// and what they refer to. A reference that the assembler resolved inside one section counts as symbol +
/// offset. A short jump equals a near jump.
///
/// # Errors
/// As [`crate::diff`].
pub fn same_code(plain: &[u8], sectioned: &[u8]) -> Result<Vec<Mismatch>, Error> {
    let old = atoms::load_by_place(plain, "plain", &Options::default())?;
    let new = atoms::load(sectioned, "sectioned", &Options::default())?;
    let pairs = by_name(&old, &new);
    // Records are not compared: one compiler made them for the same code.
    let records = Records::default();
    let mut cmp = Comparer::new(&old, &new, &records, &records, &pairs);
    cmp.by_place = true;

    let mut out = Vec::new();
    for (id, atom) in new.atoms.iter().enumerate() {
        if atom.kind == AtomKind::Anonymous {
            continue;
        }
        let name = new.name(id).to_owned();
        let Some(partner) = pairs.old_of[id] else {
            out.push(Mismatch { function: name, detail: "only in the sectioned object".into() });
            continue;
        };
        let reasons =
            if atom.kind == AtomKind::Function { cmp.code(partner, id) } else { cmp.objects(partner, id) };
        if let Some(detail) = reasons.into_iter().next() {
            out.push(Mismatch { function: name, detail });
        }
    }
    for (id, atom) in old.atoms.iter().enumerate() {
        if atom.kind != AtomKind::Anonymous && pairs.new_of[id].is_none() {
            let detail = "only in the plain object".into();
            out.push(Mismatch { function: old.name(id).to_owned(), detail });
        }
    }
    Ok(out)
}

fn by_name(old: &Atoms, new: &Atoms) -> Pairs {
    let mut pairs = Pairs {
        old_of: vec![None; new.atoms.len()],
        new_of: vec![None; old.atoms.len()],
        ambiguous: HashMap::new(),
    };
    for id in 0..new.atoms.len() {
        if new.atom(id).kind != AtomKind::Anonymous
            && let Some(&partner) = old.by_name.get(new.name(id))
        {
            pairs.join(partner, id);
        }
    }
    pairs
}
