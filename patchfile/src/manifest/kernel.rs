//! The part of the manifest that only patches of the kernel have: the kernel that they are for, and the
//! module that holds them.

use super::{Kind, Manifest};
use crate::{BuildId, Uuid};
use serde::{Deserialize, Serialize};

/// What the names of our modules begin with.
pub(crate) const MODULE_PREFIX: &str = "upatch_";
/// Longest name of a module in bytes: `MODULE_NAME_LEN` of `linux/module.h` on a 64-bit machine, less the
/// ending zero.
pub(crate) const MODULE_NAME_MAX: usize = 55;
/// How the object of functions that are in no module is called, as by the kernel itself.
pub const VMLINUX: &str = "vmlinux";

/// The kernel that a patch fits, and the module that holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kernel {
    /// `uname -r` of the kernel.
    pub release: String,
    /// Its build-id, as in `/sys/kernel/notes`.
    pub build_id: BuildId,
    /// The module's `vermagic`, as `modinfo` shows it.
    pub vermagic: String,
    /// Name of the module. Its file in the patch directory is this name with `.ko`; its `MODULE_VERSION` is
    /// the uuid of the patch.
    pub module: String,
    /// The objects patched, as the kernel calls them: [`VMLINUX`], or a module's name with `_` for `-`.
    pub objects: Vec<String>,
    /// The compiler that made the code.
    pub compiler: String,
}

impl Kernel {
    /// File name of the module in the patch directory.
    pub fn file(&self) -> String {
        format!("{}.ko", self.module)
    }

    /// A module's name for a patch: no other patch's, as far as names go, if `uuid` is given. A later version
    /// needs that, since it is loaded while the one before is still there.
    pub fn module_name(patch: &str, uuid: Option<Uuid>) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
        let mut name: String = MODULE_PREFIX.chars().chain(patch.chars().map(plain)).collect();
        let suffix = uuid.map(|uuid| format!("_{:.6}", uuid.to_string())).unwrap_or_default();
        name.truncate(MODULE_NAME_MAX - suffix.len());
        name + &suffix
    }
}

/// The object of a target's file name, as the kernel calls it: `nf-tables.ko` is `nf_tables`.
pub fn object_of(file: &str) -> String {
    file.strip_suffix(".ko").unwrap_or(file).replace('-', "_")
}

/// Is this a name that a module of ours can have?
fn is_module_name(name: &str) -> bool {
    name.len() <= MODULE_NAME_MAX
        && name.len() > MODULE_PREFIX.len()
        && name.starts_with(MODULE_PREFIX)
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Is this a name that an object can have? It is made part of paths in `/sys`.
fn is_object_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// What is wrong with the kernel's part of a manifest: which field, and why.
pub(crate) fn check(manifest: &Manifest) -> Result<(), (&'static str, &'static str)> {
    let kernel = match (&manifest.kernel, manifest.kind) {
        (None, Kind::User) if manifest.format == crate::manifest::FORMAT_KERNEL => {
            return Err(("format", "version 3 is that of patches for the kernel"));
        }
        (None, Kind::User) => return Ok(()),
        (None, Kind::Kernel) => return Err(("kernel", "is missing, and the patch is for the kernel")),
        (Some(_), Kind::User) => return Err(("kernel", "is there, and the patch is not for the kernel")),
        (Some(kernel), Kind::Kernel) => kernel,
    };
    if manifest.format != crate::manifest::FORMAT_KERNEL {
        return Err(("format", "a patch for the kernel has version 3"));
    }
    if !crate::manifest::is_safe_name(&kernel.release) {
        return Err(("kernel.release", "is not what `uname -r` can say"));
    }
    if !is_module_name(&kernel.module) {
        return Err(("kernel.module", "must be upatch_ and letters, digits and _, at most 55 characters"));
    }
    if !kernel.objects.iter().all(|o| is_object_name(o)) {
        return Err(("kernel.objects", "must be vmlinux or names of modules, with _ for -"));
    }
    let mut objects: Vec<_> = manifest.elfs.iter().map(|e| object_of(&e.name)).collect();
    let mut named = kernel.objects.clone();
    objects.sort();
    named.sort();
    named.dedup();
    if objects != named {
        return Err(("kernel.objects", "must be those of the ELF files, each once"));
    }
    let file = kernel.file();
    if manifest.elfs.iter().any(|e| e.patch != file || e.sha256 != manifest.elfs[0].sha256) {
        return Err(("elfs.patch", "must be the module's file, for all ELF files the same"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_modules() {
        assert_eq!(Kernel::module_name("CVE-2026-52930", None), "upatch_CVE_2026_52930");
        let uuid = Uuid::from_bytes([0xab; 16]);
        assert_eq!(Kernel::module_name("HP+1.2~x", Some(uuid)), "upatch_HP_1_2_x_ababab");
        let long = Kernel::module_name(&"x".repeat(80), Some(uuid));
        assert!(long.len() == MODULE_NAME_MAX && long.ends_with("x_ababab") && is_module_name(&long));
        for bad in ["upatch_", "livepatch_x", "upatch_a-b", "upatch_a/b", &"upatch_x".repeat(8)] {
            assert!(!is_module_name(bad), "{bad}");
        }
        assert_eq!(object_of("nf-tables.ko"), "nf_tables");
        assert_eq!(object_of("vmlinux"), VMLINUX);
    }
}
