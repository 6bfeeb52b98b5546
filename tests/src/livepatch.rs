//! Live patches written by hand, for testing what applies them without what makes them: a C file with the new
//! function and a line that names the old one, built by the kernel's own build system.

use crate::kernels;
use crate::paths::{program, testdata};
use crate::run::Cmd;
use anyhow::{Context, Result};
use patchfile::kernel::Kernel;
use patchfile::manifest::{Elf, FORMAT_KERNEL, Kind, Package};
use patchfile::{Arch, BuildId, Digest, Manifest, Uuid, identity, paths};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A live patch to be made.
#[derive(Clone, Copy, Debug)]
pub struct Livepatch<'a> {
    /// A file of `testdata/livepatch`, without `.c`.
    pub source: &'a str,
    /// Name of the patch.
    pub name: &'a str,
    /// Its version.
    pub version: u32,
    /// `vmlinux`, or the module that is patched.
    pub object: &'a str,
    /// The function that is replaced.
    pub function: &'a str,
}

/// The newest fetched kernel of a series (`6.1`). `None`, loudly, where there is none, or no machine to run
/// it on: then what needs one is left out.
///
/// # Errors
/// When its image cannot be unpacked.
pub fn kernel(series: &str) -> Result<Option<PathBuf>> {
    if let Some(why) = crate::vm::missing() {
        eprintln!("SKIPPED: {why}");
        return Ok(None);
    }
    let found = kernels::fetched(series)?;
    if found.is_none() {
        eprintln!(
            "SKIPPED: no kernel {series} in {}: run scripts/kernel {series}",
            kernels::folder().display()
        );
    }
    Ok(found.map(|k| k.dir))
}

/// The prepared source tree of a kernel: that of the store of `upatch-build`, which prepares it where it is
/// not there yet.
///
/// # Errors
/// When the kernel was not fetched whole, or its tree cannot be prepared.
pub fn tree(kernel: &Path) -> Result<PathBuf> {
    tree_in(kernel, None)
}

/// The same, of another store.
///
/// # Errors
/// The same.
pub fn tree_in(kernel: &Path, store: Option<&Path>) -> Result<PathBuf> {
    let release = kernel.file_name().context("kernel")?.to_string_lossy().into_owned();
    let output = tempfile::tempdir()?;
    let mut build = Cmd::new(program("upatch-build")?).args(["--kernel", &release, "--tree-only", "--quiet"]);
    if let Some(store) = store {
        build = build.arg("--cache").arg(store);
    }
    let said = build
        .arg("--source")
        .arg(kernels::source(kernel)?.context("no archive of the kernel's source")?)
        .arg("--kernel-devel")
        .arg(kernel)
        .arg("--output")
        .arg(output.path())
        .limit(Duration::from_secs(1800))
        .run()?
        .ok()?;
    Ok(PathBuf::from(said.stdout.trim()))
}

impl Livepatch<'_> {
    fn module(&self, uuid: Uuid) -> String {
        Kernel::module_name(self.name, (self.version > 1).then_some(uuid))
    }

    /// Makes the patch directory `to` for `kernel`.
    ///
    /// # Errors
    /// It does not build.
    pub fn make(&self, kernel: &Path, to: &Path) -> Result<Manifest> {
        let release = kernel.file_name().context("kernel")?.to_string_lossy().into_owned();
        let source = fs::read(testdata("livepatch").join(format!("{}.c", self.source)))?;
        let said = format!("{self:?}{release}");
        let uuid = Uuid::from_digest(&Digest::of_concatenated([source.as_slice(), said.as_bytes()]));
        let module = self.module(uuid);
        let build = tempfile::tempdir()?;
        fs::write(build.path().join(format!("{module}.c")), &source)?;
        fs::copy(testdata("livepatch").join("livepatch.h"), build.path().join("livepatch.h"))?;
        let flags = format!("ccflags-y := -DPATCH_UUID='\"{uuid}\"' -DPATCH_VERSION={}\n", self.version);
        fs::write(build.path().join("Kbuild"), format!("obj-m := {module}.o\n{flags}"))?;
        Cmd::new("make")
            .args(["-s", "-C"])
            .arg(tree(kernel)?)
            .args(["CC=gcc-12", &format!("KERNELRELEASE={release}"), "KBUILD_MODPOST_WARN=1"])
            .arg(format!("M={}", build.path().display()))
            .arg("modules")
            .run()?
            .ok()?;
        let file = format!("{module}.ko");
        fs::create_dir_all(to)?;
        Cmd::new("objcopy")
            .arg("--strip-debug")
            .arg(build.path().join(&file))
            .arg(to.join(&file))
            .run()?
            .ok()?;
        let bytes = fs::read(to.join(&file))?;
        let image = build_id_of(&kernel.join("vmlinux"))?;
        let elf = Elf {
            name: if self.object == "vmlinux" { "vmlinux".into() } else { format!("{}.ko", self.object) },
            path: String::new(),
            also: vec![],
            build_id: (self.object == "vmlinux").then(|| image.clone()),
            code: Digest::of(self.object.as_bytes()),
            patch: file,
            sha256: Digest::of(&bytes),
            changed: vec![self.function.into()],
            new: vec![],
        };
        let mut manifest = Manifest {
            format: FORMAT_KERNEL,
            uuid,
            name: self.name.into(),
            version: self.version,
            release: 1,
            arch: Arch::X86_64,
            kind: Kind::Kernel,
            package: Package {
                name: "kernel".into(),
                epoch: None,
                version: release.clone(),
                release: String::new(),
            },
            kernel: Some(Kernel {
                release,
                build_id: image,
                vermagic: String::new(),
                module,
                objects: vec![self.object.into()],
                compiler: "gcc-12".into(),
            }),
            cve: vec![],
            license: "GPL-2.0".into(),
            description: "by hand".into(),
            sources: vec![],
            elfs: vec![elf],
            digest: None,
        };
        manifest.seal()?;
        fs::write(to.join(paths::MANIFEST), manifest.text()?)?;
        Ok(manifest)
    }
}

/// Turns the references of the sections that are called `.klp.rela.OBJECT.…` into ones that the kernel fills
/// in when that object comes (`Documentation/livepatch/module-elf-format.rst`). Their symbols have such names
/// already.
///
/// # Errors
/// When the file cannot be read or written, or has no such reference.
pub fn refer(module: &Path) -> Result<()> {
    const ALLOC_LIVEPATCH: u64 = 0x10_0002;
    const RELA: u32 = 4;
    const SYMTAB: u32 = 2;
    const LIVEPATCH: u16 = 0xff20;
    let mut file = fs::read(module)?;
    let u16_at = |f: &[u8], at: usize| u16::from_le_bytes([f[at], f[at + 1]]);
    let u32_at = |f: &[u8], at: usize| u32::from_le_bytes([f[at], f[at + 1], f[at + 2], f[at + 3]]);
    let u64_at = |f: &[u8], at: usize| u64::from(u32_at(f, at)) | u64::from(u32_at(f, at + 4)) << 32;
    let (headers, count) = (u64_at(&file, 0x28) as usize, u16_at(&file, 0x3c) as usize);
    let section = |number: usize| headers + 64 * number;
    let start = |f: &[u8], number: usize| u64_at(f, section(number) + 0x18) as usize;
    let names = start(&file, u16_at(&file, 0x3e) as usize);
    let begins = |f: &[u8], at: usize, text: &str| f[at..].starts_with(text.as_bytes());
    let mut changed = 0;
    for number in 0..count {
        let at = section(number);
        let (name, kind) = (u32_at(&file, at), u32_at(&file, at + 4));
        if kind == RELA && begins(&file, names + name as usize, ".rela.klp.rela.") {
            // The rest of the name is the one that is wanted.
            file[at..at + 4].copy_from_slice(&(name + 5).to_le_bytes());
            let flags = u64_at(&file, at + 8) | ALLOC_LIVEPATCH;
            file[at + 8..at + 16].copy_from_slice(&flags.to_le_bytes());
            changed += 1;
        }
        if kind == SYMTAB {
            let strings = start(&file, u32_at(&file, at + 0x28) as usize);
            let (begin, size) = (start(&file, number), u64_at(&file, at + 0x20) as usize);
            for symbol in (begin..begin + size).step_by(24) {
                let name = strings + u32_at(&file, symbol) as usize;
                if begins(&file, name, ".klp.sym.") {
                    file[symbol + 6..symbol + 8].copy_from_slice(&LIVEPATCH.to_le_bytes());
                    changed += 1;
                }
            }
        }
    }
    anyhow::ensure!(changed >= 2, "{} refers to nothing", module.display());
    Ok(fs::write(module, file)?)
}

/// The build-id of an image, out of its section of notes.
///
/// # Errors
/// It has none.
pub fn build_id_of(image: &Path) -> Result<BuildId> {
    let scratch = tempfile::tempdir()?;
    let notes = scratch.path().join("notes");
    let dump = format!(".notes={}", notes.display());
    Cmd::new("objcopy")
        .args(["-O", "binary", "--dump-section", &dump])
        .arg(image)
        .arg("/dev/null")
        .run()?
        .ok()?;
    identity::build_id(&fs::read(notes)?).with_context(|| format!("{} has no build-id", image.display()))
}
