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
const GENERATED: [&str; 4] = ["asm-offsets.h", "bounds.h", "timeconst.h", "utsrelease.h"];

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
            prepare(&slot, request, source, devel, &compiler, work, progress)?;
        }
        slot.ready()?;
        slot.prune();
        let dir = slot.tree();
        let text = std::fs::read_to_string(dir.join(".config")).what("configuration of the prepared tree")?;
        let config = Config::read(&text);
        Ok(Self { dir, config, srcarch, compiler, release: request.release.clone(), slot })
    }

    /// `make` in it, as the shipped kernel was made.
    pub(super) fn make(&self) -> Tool {
        make(&self.dir, &self.compiler, &self.release)
    }

    /// Its place in the store, for locks and what lies beside the tree.
    pub(super) fn slot(&self) -> &Slot {
        &self.slot
    }
}

fn make(dir: &Path, compiler: &Compiler, release: &str) -> Tool {
    Tool::new("make")
        .args(["-s", "--no-print-directory"])
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
    let make = |target: &str, log: &mut Log| {
        check_stopped()?;
        progress.detail(&format!("make {target}"));
        let tool = make(&dir, compiler, &request.release).arg(format!("-j{jobs}")).arg(target);
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
