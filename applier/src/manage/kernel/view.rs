//! What `list`, `status` and `info` show of patches of the kernel.

use crate::{
    kernel::{Kernel, LivePatch},
    manage::ProcessView,
    state::ProcessKey,
};
use patchfile::{Manifest, kernel::VMLINUX, state::ProcessState};

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

/// What is to be known of a patch for modules on older kernels: before Linux 6.3 (commit 0c05e7bd2d01) the
/// kernel cannot undo a module's relocations in the patch, so that it refuses the module the second time.
pub(crate) fn note_on_modules(manifest: &Manifest) -> Option<String> {
    let kernel = manifest.kernel.as_ref()?;
    let mut numbers = kernel.release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    let version = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    let modules: Vec<_> = kernel.objects.iter().filter(|o| *o != VMLINUX).cloned().collect();
    (version < (6, 3) && !modules.is_empty()).then(|| {
        let modules = modules.join(", ");
        format!("on this kernel {modules}, once unloaded, cannot be loaded again while the patch is active")
    })
}
