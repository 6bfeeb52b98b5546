//! What the fix touches: which of its files are compiled into what.

use super::kbuild::{Kbuild, Part};
use super::tree::PreparedTree;
use crate::error::Result;
use crate::output::{Refused, Warned};
use std::path::{Path, PathBuf};

/// Folders of code that does not run in the kernel as it was started, with what runs there.
const APART: [(&str, &str); 6] = [
    ("arch/x86/boot", "code that runs before the kernel"),
    ("arch/x86/realmode/rm", "code that runs before the kernel on each processor"),
    ("arch/x86/purgatory", "code that runs between two kernels"),
    ("arch/x86/entry/vdso", "code that the kernel shows to programs (vdso)"),
    ("arch/arm64/kernel/vdso", "code that the kernel shows to programs (vdso)"),
    ("drivers/firmware/efi/libstub", "code that runs before the kernel"),
];
/// Top folders of which nothing is a part of a kernel.
const NO_CODE: [&str; 6] = ["Documentation", "LICENSES", "tools", "samples", "scripts", "usr"];

/// Endings of the names of lists that code is generated from (the system calls), and of linker scripts.
const LISTS: [&str; 4] = [".tbl", ".lds", ".lds.S", ".lds.h"];

/// A unit to compile.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Touched {
    /// The source file, relative to the tree.
    pub(super) source: PathBuf,
    /// What its object is linked into.
    pub(super) part: Part,
}

/// All that the fix touches.
#[derive(Debug, Default)]
pub(super) struct Reach {
    /// Units whose own source changes.
    pub(super) units: Vec<Touched>,
    /// Changed files that units include.
    pub(super) included: Vec<PathBuf>,
    /// What cannot be patched live.
    pub(super) refused: Vec<Refused>,
    /// Files that nothing in this configuration is made from.
    pub(super) unused: Vec<PathBuf>,
}

impl Reach {
    /// Asks Kbuild about each file.
    ///
    /// # Errors
    /// When a Makefile cannot be asked.
    pub(super) fn of(files: &[PathBuf], tree: &PreparedTree, kbuild: &mut Kbuild<'_>) -> Result<Self> {
        let mut reach = Self::default();
        for file in files {
            reach.sort(file, tree, kbuild)?;
        }
        Ok(reach)
    }

    fn sort(&mut self, file: &Path, tree: &PreparedTree, kbuild: &mut Kbuild<'_>) -> Result<()> {
        let place = file.display().to_string();
        let mut refuse = |what: &str, why: String, remedy: &str| {
            self.refused.push(Refused {
                what: what.into(),
                place: place.clone(),
                why,
                remedy: remedy.into(),
                ..Refused::default()
            });
        };
        let foreign = file.strip_prefix("arch").ok().and_then(|f| f.iter().next());
        if NO_CODE.iter().any(|dir| file.starts_with(dir)) || foreign.is_some_and(|a| a != tree.srcarch) {
            self.unused.push(file.to_path_buf());
            return Ok(());
        }
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let is_new = !tree.dir.join(file).exists();
        if name == "Kbuild" || name.starts_with("Makefile") || name.starts_with("Kconfig") {
            refuse(
                "change of how the kernel is built",
                "flags and configuration decide about each object, and the shipped ones were built with \
                 the old"
                    .into(),
                "leave it out of the fix; put new code into a file that is built already",
            );
            return Ok(());
        }
        if LISTS.iter().any(|ending| name.ends_with(ending)) {
            refuse(
                "change of what the kernel's build reads",
                "code and tables are generated from it, or the kernel is laid out by it, when it is built"
                    .into(),
                "leave it out of the fix, or boot a new kernel",
            );
            return Ok(());
        }
        let extension = file.extension().and_then(|e| e.to_str()).unwrap_or_default();
        let apart = APART.iter().find(|(dir, _)| file.starts_with(dir));
        match extension {
            "c" | "S" => match kbuild.part_of(file)? {
                Part::NotBuilt if apart.is_some() => refuse(
                    "code outside of the running kernel",
                    apart.map_or_else(String::new, |(_, what)| {
                        format!("it is {what}, which livepatch does not reach")
                    }),
                    "leave it out of the fix, or boot a new kernel",
                ),
                Part::NotBuilt if is_new => refuse(
                    "new source file",
                    "nothing in the kernel's Makefiles builds it".into(),
                    "put the new code into a file that is built already",
                ),
                Part::NotBuilt if extension == "c" => self.included.push(file.to_path_buf()),
                Part::NotBuilt => self.unused.push(file.to_path_buf()),
                _ if extension == "S" => refuse(
                    "assembly",
                    "code that is written in assembly cannot be told apart function by function".into(),
                    "leave it out of the fix, or boot a new kernel",
                ),
                part => self.units.push(Touched { source: file.to_path_buf(), part }),
            },
            "h" | "inc" | "def" => self.included.push(file.to_path_buf()),
            _ => self.unused.push(file.to_path_buf()),
        }
        Ok(())
    }

    /// Says which files are not built.
    pub(super) fn warnings(&self, tree: &PreparedTree) -> Vec<Warned> {
        let why = format!("nothing in the configuration of {} is built from it", tree.release);
        let warned = |f: &PathBuf| Warned {
            what: "file that is not built".into(),
            place: f.display().to_string(),
            why: why.clone(),
        };
        self.unused.iter().map(warned).collect()
    }
}
