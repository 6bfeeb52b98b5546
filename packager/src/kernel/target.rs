//! The kernel as it is shipped: its image and its modules.

use super::packages::{Given, open};
use super::unpack::read_elf;
use crate::cli::KernelRequest;
use crate::elf::Elf;
use crate::error::{KernelError, Result};
use patchfile::{BuildId, Digest};
use std::path::{Path, PathBuf};

/// How names of modules' files end.
const MODULE_ENDINGS: [&str; 4] = [".ko", ".ko.xz", ".ko.zst", ".ko.gz"];

/// The shipped kernel.
#[derive(Debug)]
pub(super) struct Shipped {
    /// The unpacked image.
    pub(super) image: Vec<u8>,
    /// Where it was.
    pub(super) path: PathBuf,
    /// Its build-id.
    pub(super) build_id: BuildId,
    /// Folders of modules.
    roots: Vec<PathBuf>,
    /// Files of modules that were named.
    modules: Vec<PathBuf>,
    /// All that was looked at, for messages.
    named: String,
}

/// A shipped module.
#[derive(Clone, Debug)]
pub(super) struct ShippedModule {
    /// File name without compression: `nf_tables.ko`.
    pub(super) name: String,
    /// Where the package installs it.
    pub(super) path: String,
    /// The ELF file.
    pub(super) data: Vec<u8>,
    /// Its build-id.
    pub(super) build_id: Option<BuildId>,
}

impl ShippedModule {
    /// Digest of the whole file, unpacked.
    pub(super) fn digest(&self) -> Digest {
        Digest::of(&self.data)
    }
}

impl Shipped {
    /// Finds image and modules.
    ///
    /// # Errors
    /// When there is no image, it is that of another kernel (exit code 7), or cannot be unpacked.
    pub(super) fn find(request: &KernelRequest, dir: &Path) -> Result<Self> {
        let release = &request.release;
        let (mut images, mut roots, mut modules) = (Vec::new(), Vec::new(), Vec::new());
        for (number, target) in request.args.target.iter().enumerate() {
            match open(target, &dir.join(number.to_string()))? {
                Given::Root(root) => {
                    images.extend(image_in(&root, release));
                    roots.extend(modules_in(&root, release));
                }
                Given::File(file) if is_module(&file) => modules.push(file),
                Given::File(file) => images.push(file),
            }
        }
        let named = match request.args.target.is_empty() {
            true => "the shipped kernel".to_owned(),
            false => {
                let all: Vec<_> = request.args.target.iter().map(|t| t.display().to_string()).collect();
                format!("--target {}", all.join(" "))
            }
        };
        images.extend(image_in(Path::new("/"), release).filter(|_| images.is_empty()));
        if roots.is_empty() {
            roots.extend(modules_in(Path::new("/"), release));
        }
        let Some(path) = images.into_iter().next() else {
            return Err(KernelError::NoImage { named, release: release.clone() }.into());
        };
        let image = read_elf(&path)?;
        let Some(build_id) = Elf::parse(&image).ok().and_then(|elf| elf.build_id) else {
            let why = "is no kernel: it has no build-id";
            return Err(KernelError::File { what: path.display().to_string(), why }.into());
        };
        let shipped = Self { image, path, build_id, roots, modules, named };
        shipped.check(release)?;
        Ok(shipped)
    }

    /// Is it the image of this release?
    fn check(&self, release: &str) -> Result<()> {
        let of = self.banner().and_then(|b| b.split(' ').nth(2).map(str::to_owned)).unwrap_or_default();
        if of == release {
            return Ok(());
        }
        Err(KernelError::OtherImage { path: self.path.clone(), of, release: release.to_owned() }.into())
    }

    /// `Linux version …`, as /proc/version has it.
    pub(super) fn banner(&self) -> Option<String> {
        let start = b"Linux version ";
        let banners = memchr::memmem::find_iter(&self.image, start).filter_map(|at| {
            let text = self.image.get(at..at + 512)?;
            let text = String::from_utf8_lossy(text.split(|b| matches!(b, 0 | b'\n')).next()?).into_owned();
            // A format string that makes the banner is there too.
            (!text.contains("%s")).then_some(text)
        });
        banners.max_by_key(String::len)
    }

    /// The shipped file of a module that Kbuild makes as `modfile` (`fs/xfs/xfs`).
    ///
    /// # Errors
    /// When it is not there, or cannot be read.
    pub(super) fn module(&self, modfile: &str) -> Result<ShippedModule> {
        let base = modfile.rsplit('/').next().unwrap_or(modfile);
        let named =
            |file: &&PathBuf| stem(file).is_some_and(|s| s.replace('-', "_") == base.replace('-', "_"));
        let path = self.modules.iter().find(named).cloned().or_else(|| self.installed(modfile));
        let Some(path) = path else {
            let (modfile, named) = (modfile.to_owned(), self.named.clone());
            return Err(KernelError::NoModule { modfile, named }.into());
        };
        let data = read_elf(&path)?;
        let name = format!("{}.ko", stem(&path).unwrap_or_else(|| base.to_owned()));
        let build_id = Elf::parse(&data).ok().and_then(|elf| elf.build_id);
        let text = path.to_string_lossy();
        let path = text.find("/lib/modules/").map_or(text.as_ref(), |at| &text[at..]).to_owned();
        Ok(ShippedModule { name, path, data, build_id })
    }

    fn installed(&self, modfile: &str) -> Option<PathBuf> {
        let base = modfile.rsplit('/').next()?;
        for root in &self.roots {
            for ending in MODULE_ENDINGS {
                let path = root.join("kernel").join(format!("{modfile}{ending}"));
                if path.is_file() {
                    return Some(path);
                }
            }
        }
        // A distribution may have put it elsewhere (extra/, updates/).
        let files = self.roots.iter().flat_map(|r| walkdir::WalkDir::new(r).sort_by_file_name()).flatten();
        let named = |p: &Path| stem(p).is_some_and(|s| s.replace('-', "_") == base.replace('-', "_"));
        files.map(walkdir::DirEntry::into_path).find(|p| is_module(p) && named(p))
    }
}

/// Where the image lies below a root.
fn image_in(root: &Path, release: &str) -> Option<PathBuf> {
    let names = [
        "vmlinux".to_owned(),
        "vmlinuz".to_owned(),
        format!("boot/vmlinuz-{release}"),
        format!("boot/vmlinux-{release}"),
        format!("lib/modules/{release}/vmlinuz"),
        format!("usr/lib/modules/{release}/vmlinuz"),
        format!("vmlinuz-{release}"),
        format!("usr/lib/debug/boot/vmlinux-{release}"),
        format!("usr/lib/debug/lib/modules/{release}/vmlinux"),
    ];
    // In the root of a machine `vmlinuz` may be the link to another kernel's.
    let skip = if root == Path::new("/") { 2 } else { 0 };
    names.iter().skip(skip).map(|name| root.join(name)).find(|path| path.is_file())
}

/// Where modules lie below a root.
fn modules_in(root: &Path, release: &str) -> Option<PathBuf> {
    let places = [
        root.join("lib/modules").join(release),
        root.join("usr/lib/modules").join(release),
        root.join(release),
        root.to_path_buf(),
    ];
    places.into_iter().find(|dir| dir.join("kernel").is_dir() && dir != Path::new("/"))
}

fn is_module(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    MODULE_ENDINGS.iter().any(|ending| name.ends_with(ending))
}

/// `nf_tables` of `…/nf_tables.ko.xz`.
fn stem(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    Some(name.split_once(".ko")?.0.to_owned())
}
