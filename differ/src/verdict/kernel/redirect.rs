//! A function of the kernel is redirected at its call of `__fentry__`. Those without one cannot be; their
//! callers may be replaced in their place, see `verdict::too_short`.

use super::super::{Verdict, place};
use crate::atoms::AtomKind;
use crate::compare::Comparer;
use crate::kernel::{self, FENTRY, Table};
use crate::profile::Profile;
use crate::record_kind::RecordKind;

/// Has a function of the original unit no call of `__fentry__`?
pub(in super::super) fn is_fentry_missing(cmp: &Comparer<'_>, old: usize) -> bool {
    let Some(table) = Table::of(FENTRY) else { return false };
    cmp.old.profile == Profile::Kernel && cmp.old_records.of(old, RecordKind::Table(table)).next().is_none()
}

/// Why a function cannot be redirected, as the reason for which its callers are replaced.
pub(in super::super) fn cannot_be_redirected(cmp: &Comparer<'_>, old: usize) -> &'static str {
    if is_fentry_missing(cmp, old) {
        "which has no call of `__fentry__` and so cannot be redirected"
    } else {
        "whose entry has no room for a jump"
    }
}

pub(super) fn judge(cmp: &Comparer<'_>, verdict: &mut Verdict, source_file: &str) {
    let changed: Vec<usize> = verdict.changed.keys().copied().collect();
    for new in changed {
        let Some(old) = cmp.pairs.old_of[new] else { continue };
        let is_function = cmp.new.atom(new).kind == AtomKind::Function;
        if !is_function
            || verdict.parent.contains_key(&new)
            || verdict.entryless.contains(&new)
            || kernel::is_passing(cmp.old.section(old)).is_some()
            || !is_fentry_missing(cmp, old)
        {
            continue;
        }
        verdict.refuse(
            "a function that cannot be redirected",
            place(cmp.new.name(new), source_file),
            &format!(
                "it has no call of `__fentry__`, at which the kernel redirects functions: {}; and others \
                 than functions of this file that can be replaced may call it",
                why(cmp, old)
            ),
            "change the functions that call it",
        );
    }
}

fn why(cmp: &Comparer<'_>, old: usize) -> &'static str {
    let section = &cmp.old.section(old).name;
    let is_traced = |id: usize| cmp.old.atom(id).kind == AtomKind::Function && !is_fentry_missing(cmp, id);
    if section.starts_with(".noinstr.") || section.starts_with(".cpuidle.") {
        "it runs where tracing is not allowed (`noinstr`)"
    } else if section.starts_with(".entry.") || section.starts_with(".irqentry.") {
        "it is code by which the kernel is entered"
    } else if section.starts_with(".static_call.") {
        "it is a trampoline that the kernel writes to"
    } else if !(0..cmp.old.atoms.len()).any(is_traced) {
        "its file is compiled without them, as those of lib/ are"
    } else {
        "it is marked `notrace` or `inline`"
    }
}
