//! The touched units: both sides compiled, and compared.

use super::callbacks::headers;
use super::kbuild::Part;
use super::objects::Line;
use super::overlay::Overlay;
use super::touched::Touched;
use super::tree::PreparedTree;
use crate::elf;
use crate::error::{Context, KernelError, Result};
use crate::output::Refused;
use crate::process::check_stopped;
use crate::scratch::Work;
use differ::{KernelOptions, Options, Profile, UnitDiff};
use linker::{KernelImage, KernelObject};
use patchfile::exit::BuildExit;
use rayon::prelude::*;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Tables, and the structures of their entries.
const ENTRIES: [(&str, &str); 5] = [
    (".altinstructions", "alt_instr"),
    ("__bug_table", "bug_entry"),
    ("__ex_table", "exception_table_entry"),
    ("__jump_table", "jump_entry"),
    (".parainstructions", "paravirt_patch_site"),
];

/// One unit, compiled.
#[derive(Clone, Debug)]
pub(super) struct Unit {
    /// Its source file, for messages.
    pub(super) name: String,
    /// What it is linked into.
    pub(super) object: KernelObject,
    /// The module's file as Kbuild calls it, if it is one.
    pub(super) modfile: Option<String>,
    /// How Kbuild compiles it.
    pub(super) line: Line,
    /// The object of the shipped source.
    pub(super) original: Vec<u8>,
    /// The object of the patched source.
    pub(super) patched: Vec<u8>,
    /// What differs.
    pub(super) diff: UnitDiff,
    /// Functions that cannot be redirected, whose callers were replaced instead.
    too_short: Vec<String>,
}

/// The kernel's code that puts live patches in force.
const LIVE_PATCHING: &str = "kernel/livepatch";

/// The module of a unit, or why it cannot be patched.
fn object(touched: &Touched) -> std::result::Result<(KernelObject, Option<String>), Box<Refused>> {
    if touched.source.starts_with(LIVE_PATCHING) {
        return Err(Box::new(Refused {
            what: "code of live patching itself".into(),
            place: touched.source.display().to_string(),
            why: "the kernel runs it while it puts a live patch in force and takes it out, so that old and \
                  new code would work on one and the same patch"
                .into(),
            remedy: "leave it out of the fix, or boot a new kernel".into(),
            ..Refused::default()
        }));
    }
    match &touched.part {
        Part::Kernel => Ok((KernelObject::Kernel, None)),
        Part::Modules(names) if names.len() == 1 => {
            Ok((KernelObject::of_path(&names[0]), Some(names[0].clone())))
        }
        Part::Modules(names) => Err(Box::new(Refused {
            what: "unit of several modules".into(),
            place: touched.source.display().to_string(),
            why: format!("its object is linked into {}", names.join(", ")),
            remedy: "make the change in a file of one module".into(),
            ..Refused::default()
        })),
        Part::NotBuilt => Err(Box::new(Refused {
            what: "file that is not built".into(),
            place: touched.source.display().to_string(),
            why: "nothing in this configuration is built from it".into(),
            remedy: "leave it out of the fix".into(),
            ..Refused::default()
        })),
    }
}

/// What the differ is to know of the kernel: sizes of table entries, and functions that lost the mark of
/// indirect calls.
pub(super) fn kernel_options(image: &KernelImage<'_>) -> KernelOptions {
    let size =
        |(section, structure): &(&str, &str)| Some(((*section).to_owned(), image.structure_size(structure)?));
    let sealed = image.symbols().iter().filter(|s| image.is_sealed(s.address)).map(|s| s.name.clone());
    KernelOptions {
        module: false,
        entry_sizes: ENTRIES.iter().filter_map(size).collect(),
        sealed: sealed.collect(),
    }
}

/// Compiles both sides of all units, in parallel. Units that come out the same are left out. How many
/// originals Kbuild had to compile is the second answer.
///
/// # Errors
/// Exit code 5 when an original does not compile, 6 when a patched one does not.
pub(super) fn compile(
    touched: &[Touched],
    tree: &PreparedTree,
    overlay: &mut Overlay,
    changed: &BTreeSet<PathBuf>,
    work: &Work,
    refused: &mut Vec<Refused>,
) -> Result<(Vec<Unit>, usize)> {
    let sources: Vec<PathBuf> = touched.iter().map(|t| t.source.clone()).collect();
    let (lines, compiled) = tree.lines(&sources, &work.path("log").join("kernel-objects.log"))?;
    for line in &lines {
        // Names with .. in a source are relative to its folder, which must be the overlay's for that.
        overlay.open(line.source.parent().unwrap_or(Path::new("")))?;
    }
    let root = overlay.root();
    let include = headers(&work.path("include"))?;
    let made: Vec<Result<Option<Unit>>> = touched
        .par_iter()
        .zip(lines)
        .enumerate()
        .map(|(number, (touched, line))| {
            check_stopped()?;
            // What does not include a changed file comes out the same.
            if !line.inputs.iter().any(|input| changed.contains(input)) {
                return Ok(None);
            }
            let (object, modfile) = match object(touched) {
                Ok(found) => found,
                Err(_) => (KernelObject::Kernel, None),
            };
            let original = tree.original(&line)?;
            let patched_at = work.path("objects").join(format!("{number}-patched.o"));
            let inputs = tree.compile(&line, root, &patched_at, BuildExit::PatchedBuild, Some(&include))?;
            missed(&inputs, &tree.dir, changed, &line.source)?;
            let patched = std::fs::read(&patched_at).at(&patched_at)?;
            if elf::runtime_content(&original).ok() == elf::runtime_content(&patched).ok() {
                return Ok(None);
            }
            let name = line.source.display().to_string();
            let diff = UnitDiff::default();
            let too_short = Vec::new();
            Ok(Some(Unit { name, object, modfile, line, original, patched, diff, too_short }))
        })
        .collect();
    let mut units = Vec::new();
    for (unit, touched) in made.into_iter().zip(touched) {
        let Some(unit) = unit? else { continue };
        match object(touched) {
            Ok(_) => units.push(unit),
            Err(refusal) => refused.push(*refusal),
        }
    }
    Ok((units, compiled))
}

/// Was a changed file read from the prepared tree, past the copy with the fix?
fn missed(inputs: &BTreeSet<PathBuf>, base: &Path, changed: &BTreeSet<PathBuf>, source: &Path) -> Result<()> {
    let real = |input: &PathBuf| input.canonicalize().ok();
    let is_missed = |input: &&PathBuf| {
        input.is_absolute()
            && real(input).and_then(|p| p.strip_prefix(base).map(|p| changed.contains(p)).ok()) == Some(true)
    };
    match inputs.iter().find(is_missed) {
        None => Ok(()),
        Some(input) => {
            Err(KernelError::Missed { source_file: source.to_path_buf(), input: input.clone() }.into())
        }
    }
}

impl Unit {
    /// Compares both sides.
    ///
    /// # Errors
    /// When an object cannot be read.
    pub(super) fn compare(&mut self, kernel: &KernelOptions) -> Result<()> {
        let options = Options {
            profile: Profile::Kernel,
            kernel: KernelOptions { module: self.modfile.is_some(), ..kernel.clone() },
            unit: self.name.clone(),
            too_short: self.too_short.clone(),
            ..Options::default()
        };
        match differ::diff(&self.original, &self.patched, &options) {
            Ok(diff) => self.diff = diff,
            Err(e) => {
                self.diff = UnitDiff { source_file: self.name.clone(), ..UnitDiff::default() };
                self.diff.refused.push(differ::Refusal {
                    what: "comparison failed".into(),
                    place: self.name.clone(),
                    why: e.to_string(),
                    remedy: "this construct is not supported yet".into(),
                });
            }
        }
        Ok(())
    }

    /// Compares once more, so that the callers of these functions are replaced. Whether that gave something
    /// else.
    ///
    /// # Errors
    /// As [`Unit::compare`].
    pub(super) fn with_callers(&mut self, functions: &[String], kernel: &KernelOptions) -> Result<bool> {
        let before = self.too_short.len();
        for function in functions {
            if !self.too_short.contains(function) {
                self.too_short.push(function.clone());
            }
        }
        if self.too_short.len() == before {
            return Ok(false);
        }
        self.compare(kernel)?;
        Ok(self.diff.patch.is_some())
    }
}
