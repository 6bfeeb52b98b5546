//! Code that runs only when the kernel or a module begins or ends.

use super::super::{Verdict, place};
use super::included;
use crate::atoms::AtomKind;
use crate::compare::Comparer;
use crate::kernel;
use crate::model::Options;

/// Refuses changes in such code. What the kernel's own image leaves out is passed over.
pub(super) fn judge(cmp: &Comparer<'_>, opts: &Options, verdict: &mut Verdict, source_file: &str) {
    let is_nowhere = |id: &usize| kernel::is_for_end(&cmp.new.section(*id).name) && !opts.kernel.module;
    let is_old =
        |id: &usize| cmp.pairs.old_of[*id].is_none_or(|old| kernel::is_for_end(&cmp.old.section(old).name));
    verdict.changed.retain(|id, _| !is_nowhere(id) || !is_old(id));
    verdict.new.retain(|id| !is_nowhere(id));
    for new in included(verdict) {
        if cmp.new.atom(new).kind != AtomKind::Function || verdict.parent.contains_key(&new) {
            continue;
        }
        let old = cmp.pairs.old_of[new];
        let section = old.map_or(cmp.new.section(new), |old| cmp.old.section(old));
        let why = kernel::is_passing(section).or_else(|| kernel::is_passing(cmp.new.section(new)));
        let Some(why) = why else { continue };
        let word = if old.is_some() { "it changed" } else { "it is new" };
        verdict.refuse(
            "function of the beginning or the end",
            place(cmp.new.name(new), source_file),
            &format!("{word} (`__init`, `__exit`): {why}"),
            "do the work where it is first needed, or in a hook of the patch",
        );
    }
}
