//! Rules of the kernel: what its loader, its tracer and its own tables can do for new code.

mod data;
mod lists;
mod passing;
mod redirect;
mod sealed;
mod threads;

pub(super) use redirect::{cannot_be_redirected, is_fentry_missing};

use std::collections::BTreeSet;

use super::Verdict;
use crate::compare::Comparer;
use crate::model::Options;
use crate::profile::Profile;

/// Judges what only concerns the kernel. It is decided by now what is changed, new and promoted.
pub(super) fn judge(cmp: &Comparer<'_>, opts: &Options, verdict: &mut Verdict, source_file: &str) {
    if opts.profile != Profile::Kernel {
        return;
    }
    lists::judge(cmp, verdict, source_file);
    passing::judge(cmp, opts, verdict, source_file);
    redirect::judge(cmp, verdict, source_file);
    data::judge(cmp, opts, verdict, source_file);
    sealed::judge(cmp, opts, verdict, source_file);
    threads::judge(cmp, verdict, source_file);
}

/// What the patch brings: changed and new atoms, and the cold parts of functions.
fn included(verdict: &Verdict) -> BTreeSet<usize> {
    let mut all: BTreeSet<usize> = verdict.changed.keys().chain(&verdict.new).copied().collect();
    let parts: Vec<usize> =
        verdict.parent.iter().filter(|(_, parent)| all.contains(parent)).map(|(part, _)| *part).collect();
    all.extend(parts);
    all
}
