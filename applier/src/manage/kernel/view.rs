//! What `list`, `status` and `info` show of patches of the kernel.

use crate::{
    kernel::{Kernel, LivePatch},
    manage::ProcessView,
    state::ProcessKey,
};
use patchfile::{Manifest, state::ProcessState};

/// Per object: its name, whether it is patched, and that in words.
pub(crate) fn object_lines(
    kernel: &Kernel<'_>,
    live: Option<&LivePatch>,
    manifest: Option<&Manifest>,
) -> Vec<(String, bool, &'static str)> {
    let Some(live) = live else {
        let named = manifest.and_then(|m| m.kernel.as_ref()).map_or(&[][..], |k| k.objects.as_slice());
        return named.iter().map(|o| (o.clone(), false, "not patched")).collect();
    };
    let line = |o: &crate::kernel::LivePatchObject| {
        let words = match (o.patched, kernel.has(&o.name)) {
            (true, _) if live.moving => "in transition",
            (true, _) => "patched",
            (false, false) => "waits for the module to be loaded",
            (false, true) => "not patched",
        };
        (o.name.clone(), o.patched, words)
    };
    live.objects.iter().map(line).collect()
}

/// A line for each task that holds up a transition.
pub(crate) fn task_lines(kernel: &Kernel<'_>, live: &LivePatch) -> Vec<ProcessView> {
    if !live.moving {
        return Vec::new();
    }
    let functions: Vec<_> = live.objects.iter().flat_map(|o| &o.functions).cloned().collect();
    let way = if live.enabled { "not on the new code yet" } else { "not back on the old code yet" };
    let view = |h: crate::kernel::Holder| ProcessView {
        key: ProcessKey { pid: h.tid, start: 0 },
        comm: h.comm,
        state: ProcessState::Pending { why: h.why.map_or(way.into(), |why| format!("{way}: {why}")) },
        note: None,
    };
    kernel.holders(live.enabled, &functions).into_iter().map(view).collect()
}

/// Live patches that are not ours.
pub(crate) fn foreign(kernel: &Kernel<'_>) -> Vec<LivePatch> {
    kernel.live().into_iter().filter(|live| live.uuid.is_none()).collect()
}
