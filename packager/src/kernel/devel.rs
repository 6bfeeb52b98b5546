//! What the kernel's package for building modules says of the shipped kernel: configuration, exported
//! symbols, generated headers.

use super::config::Config;
use super::packages::{Given, open};
use crate::cli::KernelRequest;
use crate::error::{Context, KernelError, Result};
use crate::output::Refused;
use std::path::{Path, PathBuf};

/// The headers package, installed or unpacked.
#[derive(Clone, Debug)]
pub(super) struct Devel {
    /// Its directory, which holds `.config`, `Module.symvers` and `include/generated`.
    pub(super) dir: PathBuf,
    /// The configuration as text.
    pub(super) config_text: String,
    /// The configuration.
    pub(super) config: Config,
    /// `Module.symvers`.
    pub(super) symvers: String,
}

/// Options without which the kernel takes no live patch.
const NEEDED: [(&str, &str); 3] = [
    ("LIVEPATCH", "it is off: the kernel has no live patches"),
    ("KALLSYMS_ALL", "it is off: the kernel does not know its own variables by name"),
    ("MODULES", "it is off: the kernel loads no modules"),
];
/// Options with which objects that are compiled again are not those of the kernel, or are made in another
/// way.
const UNKNOWN: [(&str, &str); 6] = [
    ("RANDSTRUCT", "it is on: structures are laid out by a secret of the kernel's own build"),
    ("GCC_PLUGIN_RANDSTRUCT", "it is on: structures are laid out by a secret of the kernel's own build"),
    ("GCC_PLUGIN_LATENT_ENTROPY", "it is on: each compilation has other constants"),
    ("LTO", "it is on: functions are made when the whole kernel is linked"),
    ("LTO_CLANG", "it is on: functions are made when the whole kernel is linked"),
    ("CFI_CLANG", "it is on: calls are checked by the types of a whole kernel"),
];

/// Where it lies below the root of a file system, in this order.
fn places(root: &Path, release: &str) -> [PathBuf; 5] {
    [
        root.to_path_buf(),
        root.join("usr/src/linux-headers-".to_owned() + release),
        root.join("usr/src/kernels").join(release),
        root.join("lib/modules").join(release).join("build"),
        root.join("usr/lib/modules").join(release).join("build"),
    ]
}

impl Devel {
    /// Finds it.
    ///
    /// # Errors
    /// When it is not there, or is that of another kernel.
    pub(super) fn find(request: &KernelRequest, dir: &Path) -> Result<Self> {
        let release = &request.release;
        let (root, named) = match &request.args.kernel_devel {
            None => (PathBuf::from("/"), format!("headers of kernel {release}")),
            Some(given) => {
                let named = format!("--kernel-devel {}", given.display());
                match open(given, dir)? {
                    Given::Root(root) => (root, named),
                    Given::File(_) => {
                        let why = "is neither a directory nor an RPM or Debian package";
                        return Err(KernelError::File { what: named, why }.into());
                    }
                }
            }
        };
        let is_one = |dir: &PathBuf| dir.join("Module.symvers").is_file() && dir.join(".config").is_file();
        let Some(found) = places(&root, release).into_iter().find(is_one) else {
            return Err(KernelError::NoDevel { named, release: release.clone() }.into());
        };
        let read = |name: &str| {
            let path = found.join(name);
            std::fs::read_to_string(&path).at(&path)
        };
        let config_text = read(".config")?;
        let devel = Self {
            config: Config::read(&config_text),
            config_text,
            symvers: read("Module.symvers")?,
            dir: found,
        };
        devel.check(release)?;
        Ok(devel)
    }

    /// Is it of this release, and of a kernel that can be patched?
    fn check(&self, release: &str) -> Result<()> {
        let header =
            std::fs::read_to_string(self.dir.join("include/generated/utsrelease.h")).unwrap_or_default();
        let of = header.split('"').nth(1).unwrap_or_default();
        if !of.is_empty() && of != release {
            let (dir, of, release) = (self.dir.clone(), of.to_owned(), release.to_owned());
            return Err(KernelError::OtherDevel { dir, of, release }.into());
        }
        Ok(())
    }

    /// Why the kernel cannot be patched live, if its configuration says so.
    pub(super) fn refused(&self) -> Vec<Refused> {
        let reasons = |name: &&str, why: &str| (format!("CONFIG_{name}"), why.to_owned());
        let off = NEEDED.iter().filter(|(name, _)| !self.config.is_on(name)).map(|(n, why)| reasons(n, why));
        let on = UNKNOWN.iter().filter(|(name, _)| self.config.is_on(name)).map(|(n, why)| reasons(n, why));
        let refused = |(place, why)| Refused {
            what: "kernel that cannot be patched".into(),
            place,
            why,
            remedy: "boot a new kernel".into(),
            ..Refused::default()
        };
        off.chain(on).map(refused).collect()
    }

    /// The folder of the machine below `arch/`.
    pub(super) fn srcarch(&self) -> &'static str {
        if self.config.is_on("ARM64") { "arm64" } else { "x86" }
    }
}
