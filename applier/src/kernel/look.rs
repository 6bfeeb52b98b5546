//! Reads which kernel runs, and which live patches it has
//! (`Documentation/ABI/testing/sysfs-kernel-livepatch`).

use super::KernelOps;
use patchfile::{BuildId, Uuid, identity, kernel::VMLINUX};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The kernel, below a root where `/sys` and `/proc` are.
#[derive(Clone, Copy)]
pub(crate) struct Kernel<'a> {
    /// Where `/sys` and `/proc` are.
    pub root: &'a Path,
    /// What changes it.
    pub ops: &'a dyn KernelOps,
}

/// A live patch that the kernel has, whoever made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LivePatch {
    /// Its module.
    pub module: String,
    /// The patch that this module belongs to, if we made it.
    pub uuid: Option<Uuid>,
    /// In force, or on its way there; otherwise on its way out.
    pub enabled: bool,
    /// Are there tasks that have not gone over yet?
    pub moving: bool,
    /// What it patches.
    pub objects: Vec<LivePatchObject>,
}

/// The kernel or a module, as patched by one live patch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LivePatchObject {
    /// `vmlinux`, or a module's name.
    pub name: String,
    /// Is it patched? A module that is not loaded is not.
    pub patched: bool,
    /// Names of the functions that are replaced.
    pub functions: Vec<String>,
}

impl std::fmt::Debug for Kernel<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kernel").field("root", &self.root).finish_non_exhaustive()
    }
}

impl Kernel<'_> {
    /// The first line of a file of `/sys` or `/proc`.
    pub(crate) fn line(&self, path: &str) -> Option<String> {
        let bytes = fs::read(self.root.join(path)).ok()?;
        Some(String::from_utf8_lossy(&bytes).lines().next().unwrap_or_default().trim().to_owned())
    }

    /// `uname -r`.
    pub(crate) fn release(&self) -> String {
        self.line("proc/sys/kernel/osrelease").unwrap_or_default()
    }

    /// The build-id of the kernel.
    pub(crate) fn build_id(&self) -> Option<BuildId> {
        identity::build_id(&fs::read(self.root.join("sys/kernel/notes")).ok()?)
    }

    /// The build-id of an object, if it is there and has one.
    pub(crate) fn object_build_id(&self, object: &str) -> Option<BuildId> {
        if object == VMLINUX {
            return self.build_id();
        }
        let path = Path::new("sys/module").join(object).join("notes/.note.gnu.build-id");
        identity::build_id(&fs::read(self.root.join(path)).ok()?)
    }

    /// Is this object there? Of a module: is it loaded?
    pub(crate) fn has(&self, object: &str) -> bool {
        object == VMLINUX || self.root.join("sys/module").join(object).join("initstate").exists()
    }

    /// The patch that a loaded module is of.
    pub(crate) fn owner(&self, module: &str) -> Option<Uuid> {
        self.line(&format!("sys/module/{module}/version"))?.parse().ok()
    }

    /// The module of the patch `uuid`, if it is loaded: be it in force, or left there by whoever was killed.
    pub(crate) fn module_of(&self, uuid: Uuid) -> Option<String> {
        names(&self.root.join("sys/module")).into_iter().find(|module| self.owner(module) == Some(uuid))
    }

    fn patches(&self) -> PathBuf {
        self.root.join("sys/kernel/livepatch")
    }

    /// Can this kernel be patched at all (`CONFIG_LIVEPATCH`)?
    pub(crate) fn is_patchable(&self) -> bool {
        self.patches().is_dir()
    }

    /// Is ftrace at work, by which functions are replaced? A fault of it, after which it stays off, shows
    /// only when a live patch is loaded.
    pub(crate) fn has_ftrace(&self) -> bool {
        self.line("proc/sys/kernel/ftrace_enabled").as_deref() != Some("0")
    }

    /// Every live patch, in order of their names.
    pub(crate) fn live(&self) -> Vec<LivePatch> {
        names(&self.patches()).into_iter().filter_map(|module| self.live_of(&module)).collect()
    }

    /// The live patch of this module.
    pub(crate) fn live_of(&self, module: &str) -> Option<LivePatch> {
        let below = format!("sys/kernel/livepatch/{module}");
        let is = |name: &str| Some(self.line(&format!("{below}/{name}"))? == "1");
        let (enabled, moving) = (is("enabled")?, is("transition").unwrap_or(false));
        let object = |name: String| {
            let functions = names(&self.patches().join(module).join(&name));
            let functions = functions.iter().map(|f| plain(f).to_owned()).collect();
            // Before Linux 6.1 there is no such file.
            let patched = is(&format!("{name}/patched")).unwrap_or_else(|| enabled && self.has(&name));
            LivePatchObject { name, patched, functions }
        };
        let objects = names(&self.patches().join(module)).into_iter().map(object).collect();
        Some(LivePatch { module: module.into(), uuid: self.owner(module), enabled, moving, objects })
    }

    /// The live patch of `uuid`.
    pub(crate) fn find(&self, uuid: Uuid) -> Option<LivePatch> {
        self.live().into_iter().find(|live| live.uuid == Some(uuid))
    }

    /// Puts a live patch in force or out of it. See [`KernelOps::enable`].
    ///
    /// # Errors
    /// What the kernel says.
    pub(crate) fn enable(&self, module: &str, on: bool) -> io::Result<()> {
        self.ops.enable(self.root, module, on)
    }
}

/// The folders in `path`, sorted.
fn names(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let folders = entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir()));
    let mut names: Vec<_> = folders.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// The name of a function without its number among those of its name (`f,1`).
fn plain(function: &str) -> &str {
    function.split(',').next().unwrap_or(function)
}
