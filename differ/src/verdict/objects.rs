//! Judges data objects: live data must stay what it is, changed constants are shipped as copies.

use super::{Cause, Verdict, place};
use crate::atoms::{AtomKind, Atoms, Ref, Target};
use crate::compare::Comparer;
use crate::kernel;
use crate::model::Options;
use crate::profile::Profile;
use crate::unit::SHF_TLS;

pub(super) fn judge(cmp: &mut Comparer<'_>, opts: &Options, verdict: &mut Verdict, source_file: &str) {
    for new in 0..cmp.new.atoms.len() {
        let section = cmp.new.section(new);
        if cmp.new.atom(new).kind != AtomKind::Object || section.is_ctor_list() || section.is_for_tools() {
            continue;
        }
        let at = place(cmp.new.name(new), source_file);
        match cmp.pairs.old_of[new] {
            Some(old) => {
                let by_meaning = has_meaning(cmp.new, new) && !cmp.objects(old, new).is_empty();
                if !by_meaning || !refuse_by_meaning(cmp, verdict, &section.name, source_file) {
                    existing(cmp, opts, verdict, (old, new), at);
                }
            }
            None if refuse_by_meaning(cmp, verdict, &section.name, source_file) => {}
            None => added(cmp, verdict, new, at),
        }
    }
    for (old, partner) in cmp.pairs.new_of.iter().enumerate() {
        let section = cmp.old.section(old);
        let in_list = !section.is_standard() && !section.is_for_tools();
        if partner.is_none()
            && cmp.old.atom(old).kind == AtomKind::Object
            && in_list
            && !refuse_by_meaning(cmp, verdict, &section.name, source_file)
        {
            refuse_list(verdict, place(cmp.old.name(old), source_file), &section.name, "removed from");
        }
    }
}

fn has_meaning(all: &Atoms, id: usize) -> bool {
    all.profile == Profile::Kernel && kernel::meaning_of(&all.section(id).name).is_some()
}

/// Refuses a change in a list of the kernel that is known, with its own reason. Gives whether the list is
/// known. What the kernel's own image leaves out may change.
pub(super) fn refuse_by_meaning(
    cmp: &Comparer<'_>,
    verdict: &mut Verdict,
    section: &str,
    source_file: &str,
) -> bool {
    let known = kernel::meaning_of(section).filter(|_| cmp.new.profile == Profile::Kernel);
    let is_nowhere = kernel::is_for_end(section) && !cmp.new.kernel.module;
    if let Some((what, why, remedy)) = known.filter(|_| !is_nowhere) {
        verdict.refuse(what, place(section, source_file), why, remedy);
    }
    known.is_some()
}

fn refuse_list(verdict: &mut Verdict, place: String, section: &str, what: &str) {
    verdict.refuse(
        "special section changed",
        place,
        &format!("an object was {what} {section}, which programs read as one list between two symbols"),
        "leave the section as it is, and reach the new object another way",
    );
}

/// Whether the object is in a section that can be walked from `__start_…` to `__stop_…`, or that nothing in
/// the unit refers to.
fn is_listed(all: &Atoms, id: usize) -> bool {
    let section = all.section(id);
    let is_name = section.name.bytes().all(|b| b == b'_' || b.is_ascii_alphanumeric());
    !section.is_standard() && (is_name || all.users(id).iter().all(|&user| user == id))
}

fn added(cmp: &Comparer<'_>, verdict: &mut Verdict, new: usize, at: String) {
    let section = cmp.new.section(new);
    if section.has(SHF_TLS) && is_constructed(cmp.new, new) {
        verdict.refuse(
            "new thread-local variable",
            at,
            "it is initialised by code that runs once in each thread, or has a destructor; threads that run \
             already may be past that",
            "give it a constant initial value and a type without destructor, and fill it in where it is used",
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
        let local = cmp.new.name(new).contains('.') || cmp.new.name(new).starts_with("_ZZ");
        verdict.refuse(
            if local {
                "static local variable cannot be identified"
            } else {
                "numbered variable cannot be identified"
            },
            at,
            &format!("it may be {} of the original, or a new one of the same name", names.join(" or ")),
            "give the new variable a name of its own, and build with debug information (-g)",
        );
        return;
    }
    verdict.new.push(new);
}

/// Whether code initialises or destroys the variable, or it is the guard of such a variable (Itanium C++ ABI,
/// 3.3.2 and 3.3.3).
fn is_constructed(all: &Atoms, id: usize) -> bool {
    const ALL: &str = "__tls_guard";
    let is_guard = |name: &str| name == ALL || name.starts_with("_ZGV");
    let name = all.name(id);
    let initialiser = match name.strip_prefix("_Z") {
        Some(rest) => format!("_ZTH{rest}"),
        None => format!("_ZTH{}{name}", name.len()),
    };
    let constructs = |user: &usize| {
        all.atom(*user).refs.iter().any(|r| match r.target {
            Target::Atom { atom, .. } => is_guard(all.name(atom)) && all.section(atom).has(SHF_TLS),
            Target::Symbol { symbol, .. } => all.symbol(symbol).name == "__cxa_thread_atexit",
        })
    };
    is_guard(name) || all.by_name.contains_key(initialiser.as_str()) || all.users(id).iter().any(constructs)
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
        if is_listed(cmp.new, new) {
            verdict.refuse(
                "special section changed",
                at,
                &format!(
                    "{reason}; programs read {} as one list between two symbols, and would find the old \
                     object there",
                    is.name
                ),
                "leave the object as it is, and change what reads the list",
            );
            return;
        }
        if held(cmp, (old, new), verdict, &at, reason) {
            return;
        }
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

/// Whether this is a virtual table or type information (Itanium C++ ABI, 5.1.4.1): every object of the class
/// points to it.
fn is_of_class(name: &str) -> bool {
    ["_ZTV", "_ZTT", "_ZTC", "_ZTI"].iter().any(|p| name.starts_with(p))
}

/// Judges a changed constant whose address live data may hold: whoever goes through that address goes on with
/// the old constant. Gives `true` if that was refused, which it is where a table names other functions.
/// Otherwise there is a warning.
fn held(
    cmp: &Comparer<'_>,
    (old, new): (usize, usize),
    verdict: &mut Verdict,
    at: &str,
    reason: &str,
) -> bool {
    if is_of_class(cmp.new.name(new)) || !gets_out(cmp.old, old) {
        return false;
    }
    if functions_of(cmp.old, old).any(|(offset, was)| {
        functions_of(cmp.new, new)
            .find(|(o, _)| *o == offset)
            .is_none_or(|(_, is)| cmp.pairs.old_of[is] != Some(was))
    }) {
        verdict.refuse(
            "table of functions that live data may hold",
            at.to_owned(),
            &format!(
                "{reason}; its address is stored or passed on, and objects that live would go on with the \
                 old table"
            ),
            "leave the table as it is, and change the functions that it names",
        );
        return true;
    }
    verdict.warn(
        "constant whose address may be held",
        at.to_owned(),
        &format!("{reason}; its address is stored or passed on, and what holds it goes on with the old one"),
    );
    false
}

/// Functions of the unit that a table points to, by offset.
fn functions_of(all: &Atoms, id: usize) -> impl Iterator<Item = (u64, usize)> {
    all.atom(id).refs.iter().filter_map(|r| match r.target {
        Target::Atom { atom, offset: 0 } if r.width == 8 && all.atom(atom).kind == AtomKind::Function => {
            Some((r.at, atom))
        }
        _ => None,
    })
}

/// Whether code lets the address of an object out of its hands, or another constant holds it.
fn gets_out(all: &Atoms, id: usize) -> bool {
    let is_it = |r: &&Ref| matches!(r.target, Target::Atom { atom, .. } if atom == id);
    all.atoms.iter().enumerate().any(|(user, atom)| {
        let fields: Vec<u64> = atom.refs.iter().filter(is_it).map(|r| r.at).collect();
        match atom.kind {
            _ if fields.is_empty() || user == id => false,
            AtomKind::Function => all.arch.lets_address_out(all.bytes(user), &fields),
            AtomKind::Object | AtomKind::Anonymous => true,
        }
    })
}

/// Whether a changed read-only object may be shipped as a copy. If not, this refuses.
pub(super) fn shippable(
    cmp: &Comparer<'_>,
    opts: &Options,
    verdict: &mut Verdict,
    new: usize,
    at: String,
    reason: &str,
) -> bool {
    let name = cmp.new.name(new).to_owned();
    if is_of_class(&name) {
        verdict.refuse(
            "virtual table or type information changed",
            at,
            &format!("{reason}; objects that live already point to the old one"),
            "keep the virtual functions and bases of the class as they are, and change only the functions' \
             bodies",
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
