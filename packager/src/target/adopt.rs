//! The package as it was shipped, where this host has it: installed, or among the RPMs beside the spec file.
//!
//! Without `--target` the patch is for what the rebuild produced. Some packages put the time of the build
//! into their programs, so no rebuild has the build-id of what was shipped. Where this host has the very
//! version, and its code is the same at the same addresses, that file is taken instead of the rebuilt one: it
//! is what runs.

use super::fidelity::{Fidelity, judge};
use super::{TargetFile, from_root};
use crate::process::Tool;
use crate::source::extract;
use patchfile::manifest::Package;
use std::path::{Path, PathBuf};

/// Puts shipped files in the place of rebuilt ones; gives where they were found, one line per file.
pub(crate) fn adopt_shipped(
    files: &mut [TargetFile],
    package: &Package,
    spec: &Path,
    scratch: &Path,
) -> Vec<String> {
    let mut taken = Vec::new();
    let mut places: Vec<(String, Vec<TargetFile>)> = Vec::new();
    if let Some(found) = installed(files, package) {
        places.push(("installed".to_owned(), found));
    }
    for (number, rpm) in beside(spec, package).into_iter().enumerate() {
        let root = scratch.join(format!("shipped-{number}"));
        // A damaged RPM that nobody asked for is no reason to fail.
        if extract(&rpm, &root).is_ok()
            && let Ok(found) = from_root(&root)
        {
            places.push((rpm.display().to_string(), found));
        }
    }
    for file in files {
        for (place, shipped) in &places {
            let Some(same) = shipped.iter().find(|s| s.paths().any(|p| p == file.path)) else { continue };
            if judge(same, &file.elf).0 != Fidelity::Mismatch {
                if same.elf.build_id != file.elf.build_id {
                    taken.push(format!("{}: the file of the shipped package is taken ({place})", file.name));
                }
                file.set_contents(same.clone());
                break;
            }
        }
    }
    taken
}

/// The files of the package as they are installed on this host, if rpm says that this version is installed
/// and owns them.
fn installed(files: &[TargetFile], package: &Package) -> Option<Vec<TargetFile>> {
    let nvr = format!("{}-{}", package.version, package.release);
    let mut found = Vec::new();
    for file in files {
        let format = "%{VERSION}-%{RELEASE}\\n";
        let Ok(out) = Tool::new("rpm").args(["-qf", "--qf", format, &file.path]).output() else { continue };
        let text = String::from_utf8_lossy(&out.stdout);
        if out.status.success() && text.lines().any(|l| l == nvr) {
            found.extend(TargetFile::read(Path::new(&file.path), file.path.clone()).ok());
        }
    }
    (!found.is_empty()).then_some(found)
}

/// RPMs of this very version in the `RPMS` of the rpmbuild tree that the spec file lies in.
fn beside(spec: &Path, package: &Package) -> Vec<PathBuf> {
    let rpms = spec
        .parent()
        .filter(|p| p.file_name().is_some_and(|n| n == "SPECS"))
        .and_then(Path::parent)
        .map(|t| t.join("RPMS"));
    let Some(rpms) = rpms.filter(|r| r.is_dir()) else { return Vec::new() };
    let part = format!("-{}-{}.", package.version, package.release);
    let fits = |path: &Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.ends_with(".rpm")
            && name.contains(&part)
            && !name.contains("-debuginfo-")
            && !name.contains("-debugsource-")
    };
    let walk = walkdir::WalkDir::new(rpms).max_depth(2).sort_by_file_name();
    walk.into_iter().flatten().map(walkdir::DirEntry::into_path).filter(|p| fits(p)).collect()
}
