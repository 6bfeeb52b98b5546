//! The manifest of a patch for the kernel.
//!
//! The module has the patch's uuid as its version, so the uuid cannot be made from the module. It is made
//! from all that the module is made of: the manifest with the digest of the parts where the module's will be.

use super::target::{Shipped, ShippedModule};
use super::units::Unit;
use crate::cli::KernelRequest;
use crate::error::{Context, Result};
use crate::naming::Naming;
use differ::ChangeKind;
use linker::{KernelObject, Parts};
use patchfile::kernel::Kernel;
use patchfile::manifest::{self, Kind};
use patchfile::{Arch, Digest, Manifest, Uuid};
use std::collections::BTreeSet;

/// What the manifest is made from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ingredients<'a> {
    pub(super) request: &'a KernelRequest,
    pub(super) naming: &'a Naming,
    pub(super) shipped: &'a Shipped,
    pub(super) modules: &'a [ShippedModule],
    pub(super) units: &'a [Unit],
    pub(super) compiler: &'a str,
    pub(super) vermagic: &'a str,
    pub(super) arch: Arch,
}

/// The manifest with its uuid. The digest of the module is not in it yet, see [`seal`].
///
/// # Errors
/// When a patch file cannot be read.
pub(super) fn manifest(from: &Ingredients<'_>, parts: &Parts) -> Result<Manifest> {
    let Ingredients { request, naming, shipped, modules, units, compiler, vermagic, arch } = *from;
    let content = Digest::of_concatenated(parts.objects.iter().map(|p| p.bytes.as_slice()));
    let module = Kernel::module_name(&naming.name, None);
    let mut objects: Vec<&KernelObject> = parts.functions.iter().map(|f| &f.object).collect();
    objects.sort();
    objects.dedup();
    let file = format!("{module}.ko");
    let mut elfs = Vec::new();
    for object in &objects {
        let of = |kind: ChangeKind| -> Vec<String> {
            let of_object = units.iter().filter(|u| u.object == **object);
            let names = of_object.flat_map(|u| &u.diff.functions).filter(|c| c.kind == kind);
            names.map(|c| c.name.clone()).collect::<BTreeSet<_>>().into_iter().collect()
        };
        let found = modules.iter().find(|m| KernelObject::of_path(&m.name) == **object);
        let (name, path, build_id, code) = match found {
            Some(m) => (m.name.clone(), m.path.clone(), m.build_id.clone(), m.digest()),
            None => (
                "vmlinux".to_owned(),
                format!("/boot/vmlinuz-{}", request.release),
                Some(shipped.build_id.clone()),
                Digest::of(&shipped.image),
            ),
        };
        let (changed, new) = (of(ChangeKind::Changed), of(ChangeKind::New));
        let (also, patch) = (Vec::new(), file.clone());
        elfs.push(manifest::Elf { name, path, also, build_id, code, patch, sha256: content, changed, new });
    }
    let mut sources = Vec::new();
    for patch in &request.patches {
        let data = std::fs::read(patch).at(patch)?;
        let file = patch.file_name().unwrap_or_default().to_string_lossy().into_owned();
        sources.push(manifest::Source { file, sha256: Digest::of(&data) });
    }
    let mut manifest = Manifest {
        format: manifest::FORMAT_KERNEL,
        uuid: Uuid::from_bytes([0; 16]),
        name: naming.name.clone(),
        version: request.args.patch_version,
        release: request.args.patch_release,
        arch,
        kind: Kind::Kernel,
        package: request.package.clone(),
        kernel: Some(Kernel {
            release: request.release.clone(),
            build_id: shipped.build_id.clone(),
            vermagic: vermagic.to_owned(),
            module,
            objects: objects.iter().map(|o| o.name().to_owned()).collect(),
            compiler: compiler.to_owned(),
        }),
        cve: naming.cve.clone(),
        license: "GPL-2.0".into(),
        description: naming.description.clone(),
        sources,
        elfs,
        digest: None,
    };
    manifest.uuid = Uuid::from_digest(&Digest::of(manifest.text().what("manifest")?.as_bytes()));
    // A later version is loaded while the one before is still there, so it needs a name of its own.
    let is_first = (manifest.version, manifest.release) == (1, 1);
    if let Some(kernel) = manifest.kernel.as_mut().filter(|_| !is_first) {
        kernel.module = Kernel::module_name(&naming.name, Some(manifest.uuid));
        let file = kernel.file();
        manifest.elfs.iter_mut().for_each(|elf| elf.patch.clone_from(&file));
    }
    Ok(manifest)
}

/// Puts the module's digest in, and seals the manifest.
///
/// # Errors
/// When its content is not acceptable.
pub(super) fn seal(manifest: &mut Manifest, module: &[u8]) -> Result<()> {
    let digest = Digest::of(module);
    manifest.elfs.iter_mut().for_each(|elf| elf.sha256 = digest);
    manifest.seal().what("manifest")
}
