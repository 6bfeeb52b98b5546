//! A kernel that is a folder: what `/sys` and `/proc` of a real one would hold, changed as it would change
//! them.

use crate::kernel::{Kernel, KernelOps};
use patchfile::{
    Arch, BuildId, Digest, Manifest, Uuid,
    kernel::Kernel as TargetIndex,
    manifest::{Elf, FORMAT_KERNEL, Kind, Package},
    paths,
};
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Mutex,
};

/// How it behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    Willing,
    /// It does not take modules, for this reason.
    Refuses(i32),
    /// A task sleeps in what is replaced.
    Held,
}

#[derive(Debug)]
pub(super) struct FakeKernel {
    pub(super) root: tempfile::TempDir,
    pub(super) mood: Mutex<Mood>,
}

pub(super) const RELEASE: &str = "6.1.0-57-amd64";
const BUILD: u8 = 1;

impl Default for FakeKernel {
    fn default() -> Self {
        let kernel = Self { root: tempfile::tempdir().unwrap(), mood: Mutex::new(Mood::Willing) };
        kernel.write("proc/sys/kernel/osrelease", RELEASE);
        kernel.write("proc/sys/kernel/ftrace_enabled", "1");
        kernel.notes("sys/kernel/notes", BUILD);
        fs::create_dir_all(kernel.path("sys/kernel/livepatch")).unwrap();
        kernel
    }
}

impl FakeKernel {
    pub(super) fn seen(&self) -> Kernel<'_> {
        Kernel { root: self.root.path(), ops: self }
    }

    pub(super) fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.root.path().join(path)
    }

    pub(super) fn write(&self, path: impl AsRef<Path>, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// A note with a build-id.
    pub(super) fn notes(&self, path: &str, build: u8) {
        let mut note: Vec<u8> = [4u32, 20, 3].into_iter().flat_map(u32::to_le_bytes).collect();
        note.extend_from_slice(b"GNU\0");
        note.extend_from_slice(&[build; 20]);
        self.write(path, "");
        fs::write(self.path(path), note).unwrap();
    }

    pub(super) fn is(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
        if mood != Mood::Held {
            fs::remove_dir_all(self.path("proc/77")).ok();
        }
    }

    /// A live patch, as its module has made it.
    pub(super) fn begin(
        &self,
        module: &str,
        version: Option<&str>,
        object: &str,
        function: &str,
        moving: bool,
    ) {
        let at = format!("sys/kernel/livepatch/{module}");
        self.write(format!("sys/module/{module}/initstate"), "live\n");
        if let Some(version) = version {
            self.write(format!("sys/module/{module}/version"), version);
        }
        self.write(format!("{at}/enabled"), "1\n");
        self.write(format!("{at}/transition"), if moving { "1\n" } else { "0\n" });
        fs::create_dir_all(self.path(format!("{at}/{object}/{function},1"))).unwrap();
        let there = object == "vmlinux" || self.path(format!("sys/module/{object}/initstate")).exists();
        self.write(format!("{at}/{object}/patched"), if there { "1\n" } else { "0\n" });
    }

    fn task(&self, state: &str) {
        self.write("proc/77/task/78/patch_state", state);
        self.write("proc/77/task/78/comm", "sleeper\n");
        self.write("proc/77/task/78/stack", "[<0>] schedule+0x1/0x2\n[<0>] f+0x10/0x80\n");
    }

    pub(super) fn modules(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path("sys/module")).into_iter().flatten().flatten();
        let names = entries.map(|e| e.file_name().to_string_lossy().into_owned());
        names.filter(|name| name.starts_with("upatch_")).collect()
    }
}

impl KernelOps for FakeKernel {
    fn load(&self, image: &[u8]) -> io::Result<()> {
        let mood = *self.mood.lock().unwrap();
        if let Mood::Refuses(error) = mood {
            return Err(io::Error::from_raw_os_error(error));
        }
        let text = String::from_utf8_lossy(image).into_owned();
        let [module, uuid, object, function, _] = *text.split(' ').collect::<Vec<_>>() else {
            return Err(io::Error::from_raw_os_error(libc::ENOEXEC));
        };
        self.begin(module, Some(uuid), object, function, mood == Mood::Held);
        if mood == Mood::Held {
            self.task("0\n");
        }
        Ok(())
    }

    fn unload(&self, module: &str) -> io::Result<()> {
        if self.path("sys/kernel/livepatch").join(module).exists() {
            return Err(io::Error::from_raw_os_error(libc::EAGAIN));
        }
        fs::remove_dir_all(self.path("sys/module").join(module))
    }

    fn enable(&self, _: &Path, module: &str, on: bool) -> io::Result<()> {
        let live = self.seen().live_of(module).ok_or(io::ErrorKind::NotFound)?;
        let at = self.path("sys/kernel/livepatch").join(module);
        match (live.enabled, on, live.moving || *self.mood.lock().unwrap() != Mood::Held) {
            (a, b, _) if a == b => return Err(io::Error::from_raw_os_error(libc::EINVAL)),
            // Turned round, or nothing is in the way.
            (true, _, true) => fs::remove_dir_all(&at)?,
            (true, _, false) => {
                fs::write(at.join("enabled"), "0\n")?;
                fs::write(at.join("transition"), "1\n")?;
                self.task("1\n");
            }
            (false, _, true) => {
                fs::write(at.join("enabled"), "1\n")?;
                fs::write(at.join("transition"), "0\n")?;
            }
            // Nothing that is out can be put in again.
            (false, ..) => return Err(io::Error::from_raw_os_error(libc::EINVAL)),
        }
        Ok(())
    }
}

/// Writes the directory of a patch that replaces `function` of `object`.
pub(super) fn write_patch(dir: &Path, name: &str, version: u32, object: &str, function: &str) -> Manifest {
    write_patch_as(dir, name, version, object, function, version > 1)
}

/// The same; `own`: its module has a name that no other version's has.
pub(super) fn write_patch_as(
    dir: &Path,
    name: &str,
    version: u32,
    object: &str,
    function: &str,
    own: bool,
) -> Manifest {
    fs::create_dir_all(dir).unwrap();
    let uuid = Uuid::from_digest(&Digest::of(format!("{name}{version}{object}{function}").as_bytes()));
    let module = TargetIndex::module_name(name, own.then_some(uuid));
    // With a section of references to the object.
    let image = format!("{module} {uuid} {object} {function} .klp.rela.{object}..text");
    fs::write(dir.join(format!("{module}.ko")), &image).unwrap();
    let mut manifest = Manifest {
        format: FORMAT_KERNEL,
        uuid,
        name: name.into(),
        version,
        release: 1,
        arch: Arch::native().unwrap(),
        kind: Kind::Kernel,
        package: Package { name: "linux".into(), epoch: None, version: "6.1".into(), release: "1".into() },
        kernel: Some(TargetIndex {
            release: RELEASE.into(),
            build_id: BuildId::new([BUILD; 20]).unwrap(),
            vermagic: String::new(),
            module: module.clone(),
            objects: vec![object.into()],
            compiler: "gcc".into(),
        }),
        cve: vec![],
        license: String::new(),
        description: String::new(),
        sources: vec![],
        elfs: vec![Elf {
            name: if object == "vmlinux" { "vmlinux".into() } else { format!("{object}.ko") },
            path: "/boot/vmlinuz".into(),
            also: vec![],
            build_id: BuildId::new([if object == "vmlinux" { BUILD } else { 2 }; 20]),
            code: Digest::of(object.as_bytes()),
            patch: format!("{module}.ko"),
            sha256: Digest::of(image.as_bytes()),
            changed: vec![function.into()],
            new: vec![],
        }],
        digest: None,
    };
    manifest.seal().unwrap();
    fs::write(dir.join(paths::MANIFEST), manifest.text().unwrap()).unwrap();
    manifest
}
