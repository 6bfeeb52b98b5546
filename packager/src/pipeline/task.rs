//! What a run is to do: the source, the fix, the targets, and what the patch is called.

use super::builds::{Builds, Source};
use super::name::name;
use crate::cli::Request;
use crate::error::Result;
use crate::naming::Naming;
use crate::output::{PatchPackage, is_free};
use crate::scratch::Work;
use crate::target::{TargetFile, check_targets, from_files};
use patchfile::manifest::Package;
use std::path::PathBuf;

/// The task of a run.
#[derive(Debug)]
pub(super) struct Task<'a> {
    pub(super) request: &'a Request,
    pub(super) work: &'a Work,
    pub(super) source: Source,
    /// The fix as files: those given, or git's diff.
    pub(super) patches: Vec<PathBuf>,
    pub(super) naming: Naming,
    /// What is patched; of `--target` its version.
    pub(super) package: Package,
    /// Name of the package that a patch package requires.
    requires: String,
    /// What `--target` names.
    pub(super) targets: Option<Vec<TargetFile>>,
}

impl<'a> Task<'a> {
    /// Reads source, fix and targets.
    ///
    /// # Errors
    /// When one of them cannot be read.
    pub(super) fn read(request: &'a Request, work: &'a Work) -> Result<Self> {
        let source = Source::open(request, work)?;
        let patches = patches(request, &source, work)?;
        let messages = match &source {
            Source::Tree(_, Some(git)) => Some(git.messages()),
            _ => None,
        };
        let naming = name(&request.args, &patches, messages.as_deref())?;
        let mut package = source.package();
        let is_spec = matches!(source, Source::Spec(_));
        check_targets(&request.args.target, is_spec.then_some(&package))?;
        let (targets, requires) = targets(request, work, &mut package)?;
        is_free(&request.args.output, &naming.name, &package)?;
        Ok(Self { request, work, source, patches, naming, package, requires, targets })
    }

    /// What both builds need to know of the task.
    pub(super) fn builds(&self) -> Builds<'_> {
        let Self { request, work, source, patches, .. } = self;
        Builds { request, work, source, patches, numbered: true }
    }

    /// The packages of a patch that says this of itself.
    pub(super) fn packages<'p>(&'p self, naming: &'p Naming) -> PatchPackage<'p> {
        PatchPackage {
            args: &self.request.args,
            work: self.work,
            naming,
            package: &self.package,
            source: self.source.spec(),
            requires: &self.requires,
            kernel: None,
            patches: &self.patches,
        }
    }

    /// File name of one of the patches.
    pub(super) fn patch_name(&self, number: usize) -> String {
        let name = self.patches.get(number).and_then(|path| path.file_name());
        name.unwrap_or_default().to_string_lossy().into_owned()
    }
}

fn targets(
    request: &Request,
    work: &Work,
    package: &mut Package,
) -> Result<(Option<Vec<TargetFile>>, String)> {
    let own = package.name.clone();
    if request.args.target.is_empty() {
        return Ok((None, own));
    }
    let (files, found) = from_files(&request.args.target, &request.args.debuginfo, &work.path("target"))?;
    let mut requires = own;
    if let Some(found) = found {
        // A sub-package may have another name; what the patch belongs to is the source package's version.
        package.epoch = found.epoch;
        package.version = found.version;
        package.release = found.release;
        requires = found.name;
    }
    Ok((Some(files), requires))
}

fn patches(request: &Request, source: &Source, work: &Work) -> Result<Vec<PathBuf>> {
    let Source::Tree(_, Some(git)) = source else { return Ok(request.patches.clone()) };
    let path = work.root().join(format!("{}.patch", git.name()));
    git.write_diff(&path)?;
    Ok(vec![path])
}
