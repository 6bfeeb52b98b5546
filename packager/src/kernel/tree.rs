//! The prepared tree: the source with the shipped configuration, in which Kbuild compiles single objects as
//! it compiled the shipped ones.

use super::compiler::Compiler;
use super::config::Config;
use super::devel::Devel;
use super::source::{Source, run};
use super::store::Slot;
use crate::cli::KernelRequest;
use crate::error::{Context, KernelError, Result};
use crate::process::{Log, Tool, check_stopped};
use crate::progress::Progress;
use crate::scratch::Work;
use patchfile::Digest;
use patchfile::exit::BuildExit;
use std::path::{Path, PathBuf};

/// Changes when trees are prepared in another way.
const RECIPE: u32 = 2;
/// Generated headers that objects depend on, and that the headers package has too.
const GENERATED: [&str; 5] = ["asm-offsets.h", "bounds.h", "package.h", "timeconst.h", "utsrelease.h"];

/// A prepared tree.
#[derive(Debug)]
pub(super) struct PreparedTree {
    /// Its root.
    pub(super) dir: PathBuf,
    /// Its configuration.
    pub(super) config: Config,
    /// The folder of the machine below `arch/`.
    pub(super) srcarch: &'static str,
    /// The compiler.
    pub(super) compiler: Compiler,
    /// The release.
    pub(super) release: String,
    /// The package that the shipped kernel says it is of.
    named: Option<Named>,
    slot: Slot,
}

impl PreparedTree {
    /// Takes it out of the store, or makes it.
    ///
    /// # Errors
    /// Exit code 5 when it cannot be prepared, 7 when it is not that of the shipped kernel.
    pub(super) fn take(
        request: &KernelRequest,
        source: &Source,
        devel: &Devel,
        compiler: Compiler,
        work: &Work,
        progress: &Progress,
    ) -> Result<Self> {
        let store = request.args.store().unwrap_or_else(|| work.path("store"));
        let all = [
            &format!("{RECIPE}\n{}\n{}", request.release, compiler.version),
            &source.identity()?,
            &devel.config_text,
            &devel.symvers,
        ];
        let key = Digest::of(all.map(String::as_str).join("\0").as_bytes()).to_string();
        let key = format!("{}-{:.16}", request.release, key);
        let waiting = || progress.info("another run prepares the same tree: waiting for it");
        let mut slot = Slot::take(&store, &key, waiting)?;
        let srcarch = devel.srcarch();
        if !slot.is_ready() {
            progress.info("preparing the kernel's tree, once for this kernel and compiler");
            if let Err(failure) = prepare(&slot, request, source, devel, &compiler, work, progress) {
                // Half a tree is of no use to anybody, and takes a gigabyte.
                let _ = std::fs::remove_dir_all(slot.tree());
                return Err(failure);
            }
        }
        slot.ready()?;
        slot.prune();
        let dir = slot.tree();
        let text = std::fs::read_to_string(dir.join(".config")).what("configuration of the prepared tree")?;
        let config = Config::read(&text);
        let named = Named::of(devel);
        Ok(Self { dir, config, srcarch, compiler, release: request.release.clone(), named, slot })
    }

    /// `make` in it, as the shipped kernel was made.
    pub(super) fn make(&self) -> Tool {
        make(&self.dir, &self.compiler, &self.release, self.named.as_ref())
    }

    /// Its place in the store, for locks and what lies beside the tree.
    pub(super) fn slot(&self) -> &Slot {
        &self.slot
    }
}

/// What Debian's kernels call themselves in warnings (`LINUX_PACKAGE_ID`): a distributor and a version, which
/// the build gets in variables.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Named {
    distributor: String,
    version: String,
}

impl Named {
    fn of(devel: &Devel) -> Option<Self> {
        Self::read(&std::fs::read_to_string(devel.dir.join("include/generated/package.h")).ok()?)
    }

    fn read(header: &str) -> Option<Self> {
        let (distributor, version) = header.split('"').nth(1)?.trim().split_once(' ')?;
        Some(Self { distributor: distributor.to_owned(), version: version.to_owned() })
    }
}

fn make(dir: &Path, compiler: &Compiler, release: &str, named: Option<&Named>) -> Tool {
    let mut tool = Tool::new("make");
    if let Some(named) = named {
        tool = tool.env("DISTRIBUTION_OFFICIAL_BUILD", "1");
        tool = tool.env("DISTRIBUTOR", &named.distributor).env("DISTRIBUTION_VERSION", &named.version);
    }
    tool.args(["-s", "--no-print-directory"])
        .arg(format!("CC={}", compiler.program))
        .arg(format!("KERNELRELEASE={release}"))
        .env("LC_ALL", "C")
        .env("MAKEFLAGS", "")
        .env("KBUILD_BUILD_TIMESTAMP", "1970-01-01")
        .env("KBUILD_BUILD_USER", "upatch")
        .env("KBUILD_BUILD_HOST", "upatch")
        .dir(dir)
}

fn prepare(
    slot: &Slot,
    request: &KernelRequest,
    source: &Source,
    devel: &Devel,
    compiler: &Compiler,
    work: &Work,
    progress: &Progress,
) -> Result<()> {
    let dir = slot.tree();
    // What a run left that was killed.
    if dir.exists() {
        std::fs::remove_dir_all(&dir).at(&dir)?;
    }
    let mut log = Log::create(&work.path("log").join("kernel-tree.log"))?;
    progress.detail("unpacking the source");
    source.put(&dir, request, work, &mut log)?;
    std::fs::write(dir.join(".config"), for_us(&devel.config_text)).what("configuration of the tree")?;
    let jobs = request
        .args
        .jobs
        .map_or_else(|| std::thread::available_parallelism().map_or(1, usize::from), |j| j as usize);
    let named = Named::of(devel);
    let make = |target: &str, log: &mut Log| {
        check_stopped()?;
        progress.detail(&format!("make {target}"));
        let tool =
            make(&dir, compiler, &request.release, named.as_ref()).arg(format!("-j{jobs}")).arg(target);
        run(tool, log, ("the kernel's tree cannot be prepared", BuildExit::OriginalBuild))
    };
    make("olddefconfig", &mut log)?;
    compare_config(&dir, devel)?;
    make("prepare", &mut log)?;
    std::fs::write(dir.join("Module.symvers"), &devel.symvers).what("Module.symvers of the tree")?;
    make("modules_prepare", &mut log)?;
    compare_generated(&dir, devel)
}

/// Keys that only the distribution has are left out; they change no object.
fn for_us(config: &str) -> String {
    let keys = ["CONFIG_MODULE_SIG_KEY=", "CONFIG_SYSTEM_TRUSTED_KEYS=", "CONFIG_SYSTEM_REVOCATION_KEYS="];
    let line = |line: &str| match keys.iter().find(|k| line.starts_with(**k)) {
        Some(key) => format!("{key}\"\"\n"),
        None => format!("{line}\n"),
    };
    config.lines().map(line).collect()
}

fn compare_config(dir: &Path, devel: &Devel) -> Result<()> {
    let text = std::fs::read_to_string(dir.join(".config")).what("configuration of the tree")?;
    let mut differs = Config::read(&text).differences(&devel.config);
    if differs.is_empty() {
        return Ok(());
    }
    let count = differs.len();
    differs.truncate(5);
    Err(KernelError::Configuration { count, some: differs }.into())
}

fn compare_generated(dir: &Path, devel: &Devel) -> Result<()> {
    let there = devel.dir.join("include/generated");
    let mut differs: Vec<String> = Vec::new();
    for name in GENERATED {
        let (ours, theirs) =
            (std::fs::read(dir.join("include/generated").join(name)), std::fs::read(there.join(name)));
        if let (Ok(ours), Ok(theirs)) = (ours, theirs)
            && ours != theirs
        {
            differs.push(format!("include/generated/{name}"));
        }
    }
    let arch = Path::new("arch").join(devel.srcarch()).join("include/generated");
    for entry in walkdir::WalkDir::new(devel.dir.join(&arch)).sort_by_file_name().into_iter().flatten() {
        let is_header = entry.file_type().is_file() && entry.path().extension().is_some_and(|e| e == "h");
        let Ok(below) = entry.path().strip_prefix(&devel.dir) else { continue };
        if is_header && std::fs::read(entry.path()).ok() != std::fs::read(dir.join(below)).ok() {
            differs.push(below.display().to_string());
        }
    }
    if differs.is_empty() {
        return Ok(());
    }
    Err(KernelError::Generated(differs).into())
}

#[cfg(test)]
mod tests {
    use super::Named;

    #[test]
    fn the_name_of_the_package_is_read() {
        let named = Named::read("#define LINUX_PACKAGE_ID \" Debian 6.1.192-3\"\n").unwrap();
        assert_eq!((named.distributor.as_str(), named.version.as_str()), ("Debian", "6.1.192-3"));
        assert_eq!(Named::read("#define LINUX_PACKAGE_ID \"\"\n"), None);
    }
}
