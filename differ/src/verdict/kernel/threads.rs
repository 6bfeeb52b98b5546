//! Threads of the kernel: a function that one never leaves keeps a patch from coming into force.

use super::super::{Verdict, place};
use crate::atoms::{AtomKind, Target};
use crate::compare::Comparer;

/// Functions that make a thread, or hand its function on.
const MAKERS: [&str; 4] =
    ["kthread_create_on_node", "kthread_create_on_cpu", "kthread_create_worker", "kernel_thread"];

/// Warns of changed functions whose address is taken where a thread is made.
pub(super) fn judge(cmp: &Comparer<'_>, verdict: &mut Verdict, source_file: &str) {
    let all = cmp.new;
    let calls = |id: usize, name: &str| {
        all.atom(id).refs.iter().any(|r| match r.target {
            Target::Symbol { symbol, .. } => r.is_branch && all.symbol(symbol).name == name,
            Target::Atom { atom, .. } => r.is_branch && all.name(atom) == name,
        })
    };
    let changed: Vec<usize> = verdict.changed.keys().copied().collect();
    for id in changed.into_iter().filter(|&id| all.atom(id).kind == AtomKind::Function) {
        let takes = |user: &usize| {
            all.atom(*user)
                .refs
                .iter()
                .any(|r| !r.is_branch && matches!(r.target, Target::Atom { atom, offset: 0 } if atom == id))
        };
        let makers = all.users(id).iter().filter(|user| takes(user));
        if makers.copied().any(|user| MAKERS.iter().any(|maker| calls(user, maker))) {
            verdict.warn(
                "function of a thread of the kernel",
                place(all.name(id), source_file),
                "a thread may stay in it as long as it lives, and the patch is not in force before the \
                 thread has left it",
            );
        }
    }
}
