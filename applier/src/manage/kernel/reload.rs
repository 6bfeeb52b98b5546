//! Modules that are unloaded and loaded again while a patch of them is in the kernel.
//!
//! When a module comes, the kernel fills in the patch's references to it. Before Linux 6.3 (commit
//! 0c05e7bd2d01) it does not clear them when the module goes, finds them filled in when it comes again, and
//! refuses the module. Only loading the patch anew helps. Its new code is out of the kernel for a moment
//! then, so this is done by itself only where none of it is in force.

use crate::kernel::{Kernel, LivePatch};
use patchfile::{
    Manifest,
    kernel::{Kernel as Wanted, VMLINUX},
};
use std::{collections::BTreeSet, fs};

/// What the sections of a patch that hold its references to a module are called: this, the module's name, a
/// point, and the section that the references are in (`Documentation/livepatch/module-elf-format.rst`).
const REFERENCES: &[u8] = b".klp.rela.";

/// The function that clears them.
const CLEARS: &str = "clear_relocate_add";

/// The modules that the kernel refuses to load for the second time while this patch is active. `module`: the
/// patch's own; without it, all that it patches are taken to be such.
pub(crate) fn once_only(kernel: &Kernel<'_>, manifest: &Manifest, module: Option<&[u8]>) -> Vec<String> {
    let Some(wanted) = &manifest.kernel else { return Vec::new() };
    let mut modules: Vec<String> = wanted.objects.iter().filter(|o| *o != VMLINUX).cloned().collect();
    if let Some(module) = module {
        let named = referred_to(module);
        modules.retain(|m| named.contains(m));
    }
    if modules.is_empty() || clears(kernel, wanted) { Vec::new() } else { modules }
}

/// A sentence about them.
pub(crate) fn note_on_modules(
    kernel: &Kernel<'_>,
    manifest: &Manifest,
    module: Option<&[u8]>,
) -> Option<String> {
    let modules = once_only(kernel, manifest, module);
    (!modules.is_empty()).then(|| {
        let modules = modules.join(", ");
        let alone = manifest.kernel.as_ref().is_some_and(|k| k.objects.len() == 1);
        let way = if alone {
            "the service loads the patch anew when the module has gone; so does `upatch apply`"
        } else {
            "before that: upatch deactive, load the module, upatch active"
        };
        format!(
            "on this kernel {modules}, once unloaded, cannot be loaded again while the patch is active: {way}"
        )
    })
}

/// Is nothing of this patch in force, so that loading it anew takes no fix away for a moment?
pub(crate) fn is_idle(kernel: &Kernel<'_>, live: &LivePatch) -> bool {
    live.enabled && !live.moving && live.objects.iter().all(|o| !o.patched && !kernel.has(&o.name))
}

/// The modules whose references the patch has sections for.
fn referred_to(module: &[u8]) -> BTreeSet<String> {
    let starts = module.windows(REFERENCES.len()).enumerate().filter(|(_, w)| *w == REFERENCES);
    let name = |(at, _): (usize, &[u8])| {
        let rest = &module[at + REFERENCES.len()..];
        let length = rest.iter().position(|b| *b == b'.' || *b == 0)?;
        Some(String::from_utf8_lossy(&rest[..length]).into_owned())
    };
    starts.filter_map(name).collect()
}

/// Does the kernel of a patch clear references? The running one is looked at, since distributions carry
/// changes back; of another, its version tells.
fn clears(kernel: &Kernel<'_>, wanted: &Wanted) -> bool {
    if kernel.release() == wanted.release
        && let Ok(symbols) = fs::read(kernel.root.join("proc/kallsyms"))
        && !symbols.is_empty()
    {
        let symbols = String::from_utf8_lossy(&symbols);
        return symbols.lines().any(|line| line.split_whitespace().nth(2) == Some(CLEARS));
    }
    let mut numbers = wanted.release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= (6, 3),
        _ => true,
    }
}
