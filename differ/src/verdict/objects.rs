//! Data objects: live data must stay what it is, constants are shipped anew.

use super::{Cause, Verdict, place};
use crate::atoms::AtomKind;
use crate::compare::Comparer;
use crate::model::Options;
use crate::unit::SHF_TLS;

pub(super) fn judge(cmp: &mut Comparer<'_>, opts: &Options, verdict: &mut Verdict, source_file: &str) {
    for new in 0..cmp.new.atoms.len() {
        if cmp.new.atom(new).kind != AtomKind::Object || cmp.new.section(new).is_ctor_list() {
            continue;
        }
        let at = place(cmp.new.name(new), source_file);
        match cmp.pairs.old_of[new] {
            Some(old) => existing(cmp, opts, verdict, (old, new), at),
            None => added(cmp, verdict, new, at),
        }
    }
    for (old, partner) in cmp.pairs.new_of.iter().enumerate() {
        let section = cmp.old.section(old);
        if partner.is_none() && cmp.old.atom(old).kind == AtomKind::Object && !section.is_standard() {
            refuse_list(verdict, place(cmp.old.name(old), source_file), &section.name, "removed from");
        }
    }
}

fn refuse_list(verdict: &mut Verdict, place: String, section: &str, what: &str) {
    verdict.refuse(
        "special section changed",
        place,
        &format!("an object was {what} {section}, which programs read as one list between two symbols"),
        "leave the section as it is, and reach the new object another way",
    );
}

fn added(cmp: &Comparer<'_>, verdict: &mut Verdict, new: usize, at: String) {
    let section = cmp.new.section(new);
    if section.has(SHF_TLS) {
        verdict.refuse(
            "new thread-local variable",
            at,
            "threads that run already have no room for it",
            "keep the value in memory of its own, found by thread id, or in a structure that exists per thread",
        );
        return;
    }
    if !section.is_standard() {
        let name = section.name.clone();
        refuse_list(verdict, at, &name, "added to");
        return;
    }
    if let Some(rivals) = cmp.pairs.ambiguous.get(&new) {
        let names: Vec<&str> = rivals.iter().map(|&o| cmp.old.name(o)).collect();
        verdict.refuse(
            "static local variable cannot be identified",
            at,
            &format!("it may be {} of the original, or a new one of the same name", names.join(" or ")),
            "give the new variable a name of its own, and build with debug information (-g)",
        );
        return;
    }
    verdict.new.push(new);
}

fn existing(
    cmp: &mut Comparer<'_>,
    opts: &Options,
    verdict: &mut Verdict,
    (old, new): (usize, usize),
    at: String,
) {
    let (was, is) = (cmp.old.section(old), cmp.new.section(new));
    if was.has(SHF_TLS) != is.has(SHF_TLS) {
        verdict.refuse(
            "storage of a variable changed",
            at,
            "it became, or is no longer, thread-local",
            "keep the old variable as it is and add one with another name",
        );
        return;
    }
    let (was_ro, is_ro) = (was.is_read_only(), is.is_read_only());
    if was_ro != is_ro {
        verdict.refuse(
            "storage of a variable changed",
            at,
            if is_ro {
                "it became constant, while a running process may have changed it"
            } else {
                "it was constant, and now is written to"
            },
            "keep the old variable as it is and add one with another name",
        );
        return;
    }
    let reasons = cmp.objects(old, new);
    let Some(reason) = reasons.first() else { return };
    if was.has(SHF_TLS) {
        verdict.refuse(
            "thread-local variable changed",
            at,
            &format!("{reason}; every running thread has its own copy already"),
            "keep the old variable as it is and add one with another name",
        );
    } else if is_ro {
        if shippable(cmp, opts, verdict, new, at, reason) {
            verdict.changed.insert(new, Cause { content: true, reasons });
        }
    } else if cmp.old.atom(old).size() != cmp.new.atom(new).size() {
        verdict.refuse(
            "size of live data changed",
            at,
            &format!("{reason}; the running process keeps the old object"),
            "keep the old object as it is and add a new one with another name for what is added",
        );
    } else {
        verdict.refuse(
            "initial value of live data changed",
            at,
            &format!(
                "{reason}; the running process keeps its value, which the program may have changed since"
            ),
            "leave the initial value, and set the new value where it is used",
        );
    }
}

/// Whether a changed read-only object may be shipped as a copy; refuses otherwise.
pub(super) fn shippable(
    cmp: &Comparer<'_>,
    opts: &Options,
    verdict: &mut Verdict,
    new: usize,
    at: String,
    reason: &str,
) -> bool {
    let name = cmp.new.name(new).to_owned();
    if ["_ZTV", "_ZTT", "_ZTC", "_ZTI"].iter().any(|p| name.starts_with(p)) {
        verdict.refuse(
            "virtual table or type information changed",
            at,
            &format!("{reason}; objects that live already point to the old one"),
            "keep the virtual functions and bases of the class as they are, and change only the functions' bodies",
        );
        return false;
    }
    if cmp.new.is_global(new) {
        verdict.global_rodata.push(name);
        if !opts.allow_global_rodata {
            verdict.refuse(
                "constant that other units can see changed",
                at,
                &format!("{reason}; code of other units, and pointers in live data, refer to the old one"),
                "make it static, or leave it as it is and add a new one with another name",
            );
            return false;
        }
    }
    true
}
