//! A program before or after the fix: its pieces and the objects that they were made from.

use std::path::{Path, PathBuf};

use rayon::prelude::*;
use wrapper::{LinkRecord, Pass, Records, UnitRecord};

use crate::units::linked_objects::{Optimised, PartialLink};

/// What link-time optimisation made of a program before and after the fix.
#[derive(Clone, Debug)]
pub(crate) struct Programs<'r> {
    /// As shipped.
    pub(crate) original: Program<'r>,
    /// With the fix.
    pub(crate) patched: Program<'r>,
}

impl Programs<'_> {
    /// Are they what a `-r` link has joined, with nothing optimised?
    pub(crate) fn joined(&self) -> bool {
        self.original.joined.is_some() || self.patched.joined.is_some()
    }

    /// Is part of them from C++?
    pub(crate) fn cplusplus(&self) -> bool {
        self.original.cplusplus || self.patched.cplusplus
    }
}

/// One of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Program<'r> {
    /// How each piece was made, in the order of the link.
    pub(crate) pieces: Vec<&'r UnitRecord>,
    /// The recorder's copies of the objects with bytecode.
    pub(crate) sources: Vec<PathBuf>,
    /// Is one of them from C++?
    pub(crate) cplusplus: bool,
    /// Hash of the object that was made of the pieces before the link, if one was.
    pub(crate) joined: Option<String>,
    /// What objcopy has hidden from the other files of the program, once the pieces were joined.
    pub(crate) passes: Vec<Pass>,
}

/// The pieces, compiled once more with a section for each function and datum; or why they could not be.
pub(crate) type Compiled = Result<Vec<PathBuf>, String>;

impl<'r> Program<'r> {
    pub(crate) fn new(records: &'r Records, link: &LinkRecord, found: &Optimised) -> Self {
        let unit = |hash: &String| records.unit_by_object(hash);
        Self {
            pieces: found.pieces.iter().filter_map(unit).collect(),
            sources: found.sources.iter().map(|hash| link.kept_object(hash)).collect(),
            cplusplus: found.sources.iter().filter_map(unit).any(|u| u.language.contains("c++")),
            joined: None,
            passes: Vec::new(),
        }
    }

    /// The objects of which a `-r` link has made one. It has no pieces if how one of them was made was not
    /// recorded.
    pub(crate) fn of_joined(records: &'r Records, joined: &PartialLink) -> Self {
        let units = joined.objects.iter().map(|hash| records.unit_by_object(hash));
        let pieces: Vec<&UnitRecord> = units.collect::<Option<_>>().unwrap_or_default();
        let cplusplus = pieces.iter().any(|u| u.language.contains("c++"));
        let whole = Some(joined.sha256.clone());
        Self { pieces, sources: Vec::new(), cplusplus, joined: whole, passes: joined.passes.clone() }
    }

    /// Compiles the pieces into files of `dir`.
    pub(crate) fn compile(
        &self,
        dir: &Path,
        flags: impl Fn(&UnitRecord) -> Vec<&'static str> + Sync,
    ) -> Compiled {
        std::fs::create_dir_all(dir).map_err(|e| e.to_string())?;
        let one = |(index, unit): (usize, &&UnitRecord)| {
            if unit.language == wrapper::LLVM {
                // It has a section for each function as it is.
                return Ok(unit.stored.as_path().to_path_buf());
            }
            let output = dir.join(format!("{index}.o"));
            wrapper::recompile(unit, &flags(unit), &output, None).map(|done| done.object)
        };
        let compiled: Result<Vec<PathBuf>, _> = self.pieces.par_iter().enumerate().map(one).collect();
        compiled.map_err(|e| e.to_string())
    }
}
