//! What is to be known of a finished patch of a kernel.

use crate::output::Warned;
use linker::{KernelImage, KernelObject, Parts, ReplacedFunction, Way};
use std::collections::BTreeSet;

/// Functions that run at each switch from one task to another: what redirects them costs time at each, and a
/// fault in them ends the machine.
const AT_EACH_SWITCH: [&str; 14] = [
    "__schedule",
    "schedule",
    "finish_task_switch",
    "pick_next_task_fair",
    "put_prev_task_fair",
    "set_next_entity",
    "put_prev_entity",
    "dequeue_task_fair",
    "enqueue_task_fair",
    "update_curr",
    "try_to_wake_up",
    "ttwu_do_activate",
    "switch_mm_irqs_off",
    "psi_task_switch",
];

/// The warnings of `parts` for this kernel.
pub(super) fn of(parts: &Parts, image: &KernelImage<'_>) -> Vec<Warned> {
    let mut all: Vec<Warned> = modules_once(parts, image).into_iter().collect();
    let hot = parts.functions.iter().filter(|f| runs_at_each_switch(f));
    all.extend(hot.map(|f| {
        Warned {
            what: "function that runs at each switch of tasks".into(),
            place: f.old_name.clone(),
            why: "the kernel redirects it by ftrace, which costs some time at each switch while the \
              patch is active"
                .into(),
        }
    }));
    all
}

fn runs_at_each_switch(function: &ReplacedFunction) -> bool {
    // gcc names parts of a function after it: finish_task_switch.isra.0
    let name = function.old_name.split('.').next().unwrap_or_default();
    function.object == KernelObject::Kernel && AT_EACH_SWITCH.contains(&name)
}

/// Before Linux 6.3 the kernel does not clear the references to a module that goes. The function that does so
/// tells, whatever the version says.
fn modules_once(parts: &Parts, image: &KernelImage<'_>) -> Option<Warned> {
    if image.named("clear_relocate_add").next().is_some() {
        return None;
    }
    let modules: BTreeSet<&str> = parts
        .references
        .iter()
        .filter_map(|r| match &r.way {
            Way::Livepatch(KernelObject::Module(name)) => Some(name.as_str()),
            _ => None,
        })
        .collect();
    if modules.is_empty() {
        return None;
    }
    let alone = parts
        .functions
        .iter()
        .all(|f| matches!(&f.object, KernelObject::Module(m) if modules.contains(m.as_str())));
    let way = if alone && modules.len() == 1 {
        "the service of upatch loads the patch anew when the module has gone"
    } else {
        "take the patch out, load the module, and put the patch in again"
    };
    Some(Warned {
        what: "module that cannot be loaded again".into(),
        place: modules.into_iter().collect::<Vec<_>>().join(", "),
        why: format!(
            "this kernel (before Linux 6.3) refuses a patched module that was unloaded, while the patch is \
             active: {way}"
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_of_the_scheduler_are_told() {
        let hot = |object: KernelObject, name: &str| {
            let (old_name, new_symbol) = (name.to_owned(), name.to_owned());
            runs_at_each_switch(&ReplacedFunction { object, old_name, sympos: 0, new_symbol })
        };
        assert!(hot(KernelObject::Kernel, "finish_task_switch.isra.0"));
        assert!(!hot(KernelObject::Kernel, "version_proc_show"));
        assert!(!hot(KernelObject::Module("m".into()), "update_curr"));
    }
}
