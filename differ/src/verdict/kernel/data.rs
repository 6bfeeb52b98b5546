//! What new code refers to in a module, and per-CPU variables.

use super::super::{Verdict, place};
use super::included;
use crate::atoms::{AtomKind, Ref, Target};
use crate::compare::Comparer;
use crate::kernel::{ALTERNATIVES, JUMP_LABELS, Table};
use crate::model::Options;
use crate::record_kind::RecordKind;

/// Trampolines of static calls.
const TRAMPOLINES: &str = ".static_call.text";

pub(super) fn judge(cmp: &Comparer<'_>, opts: &Options, verdict: &mut Verdict, source_file: &str) {
    // In the kernel's own image all of this is there when the patch is loaded.
    if !opts.kernel.module {
        return;
    }
    let all = cmp.new;
    let included = included(verdict);
    let stays = |r: &Ref| match r.target {
        Target::Atom { atom, .. } => {
            let is_there = all.atom(atom).kind != AtomKind::Anonymous && cmp.pairs.old_of[atom].is_some();
            (is_there && !included.contains(&atom)).then_some(atom)
        }
        Target::Symbol { .. } => None,
    };
    for &id in &included {
        let at = place(all.name(id), source_file);
        if cmp.pairs.old_of[id].is_none() && all.section(id).name.starts_with(".data..percpu") {
            verdict.refuse(
                "new per-CPU data in a patch of a module",
                at.clone(),
                "per-CPU variables of modules come out of one small reserve, and the patch of a module may \
                 be loaded long before its module: this version does not do that",
                "use an array with one element for each CPU, allocated where it is first needed",
            );
        }
        for key in table_refs(cmp, id, JUMP_LABELS).filter(|r| r.at == 8).filter_map(|r| stays(&r)) {
            refuse_late(verdict, &at, "a list refers into a module", all.name(key));
        }
        for r in table_refs(cmp, id, ALTERNATIVES).filter(|r| r.at == 4) {
            let Target::Atom { atom: replacement, .. } = r.target else { continue };
            for target in all.atom(replacement).refs.iter().filter_map(stays) {
                refuse_late(verdict, &at, "a list refers into a module", all.name(target));
            }
        }
        let calls = all.atom(id).refs.iter().filter_map(stays);
        for trampoline in calls.filter(|&t| all.section(t).name == TRAMPOLINES) {
            refuse_late(verdict, &at, "a static call of a module", all.name(trampoline));
        }
    }
}

/// What the entries of an atom in a table refer to.
fn table_refs(cmp: &Comparer<'_>, id: usize, table: &str) -> impl Iterator<Item = Ref> {
    let table = Table::of(table).map(RecordKind::Table);
    table.into_iter().flat_map(move |kind| cmp.new_records.of(id, kind)).flat_map(|r| r.refs.clone())
}

fn refuse_late(verdict: &mut Verdict, at: &str, what: &str, target: &str) {
    verdict.refuse(
        what,
        at.to_owned(),
        &format!(
            "it refers to `{target}` of the module; when the kernel loads the patch, it reads its tables of \
             such places before it knows where the module is"
        ),
        "write the function without it (`static_key_enabled` and an ordinary `if`, an ordinary call)",
    );
}
