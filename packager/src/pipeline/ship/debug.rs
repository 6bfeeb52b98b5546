//! Debug information for the files that lie beside the patch ELF files.

use crate::pipeline::compare::Joined;
use crate::scratch::Work;
use differ::{DebugUnit, debug_sections};
use patchfile::control;
use patchfile::manifest::Package;
use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// What a debugger gets for one patch ELF.
pub(super) struct Debug {
    /// Sections by name.
    pub(super) sections: Vec<(&'static str, Vec<u8>)>,
    /// Units without debug information, and why.
    pub(super) left_out: Vec<String>,
}

/// Collects it from the patched objects. It never fails: a patch without is as good.
pub(super) fn collect(joined: &Joined, sources: &Sources) -> Debug {
    let mut left_out = Vec::new();
    let mut read = Vec::new();
    for ((name, object), places) in joined.objects.iter().zip(&joined.output.places) {
        match object.as_ref().map(std::fs::read) {
            Some(Ok(data)) => read.push((name, data, places)),
            Some(Err(e)) => left_out.push(format!("{name}: {e}")),
            None => left_out.push(format!("{name}: the patched object is no file")),
        }
    }
    let units: Vec<DebugUnit<'_>> =
        read.iter().map(|(_, object, places)| DebugUnit { object, placements: places }).collect();
    let made = debug_sections(&units, control::BIAS, &|path| sources.renamed(path));
    left_out.extend(made.left_out.iter().filter_map(|(i, why)| Some(format!("{}: {why}", read.get(*i)?.0))));
    Debug { sections: made.sections, left_out }
}

/// Where sources are said to be: not in the scratch directory, which is gone by then and is another one each
/// time.
#[derive(Debug)]
pub(super) struct Sources {
    build: PathBuf,
    root: PathBuf,
    to: PathBuf,
}

impl Sources {
    /// As rpm names them in debug information: `/usr/src/debug/<name>-<version>-<release>.<arch>/`, followed
    /// by the path in the unpacked tree (find-debuginfo(1), `--unique-debug-src-base`).
    pub(super) fn new(work: &Work, package: &Package, arch: &str) -> Self {
        let folder = match package.version.is_empty() {
            true => package.name.clone(),
            false => format!("{}.{arch}", package.nvr()),
        };
        let to = Path::new("/usr/src/debug").join(folder);
        Self { build: work.above_tree(), root: work.root().to_owned(), to }
    }

    /// The name to write for a path, if that is another one.
    fn renamed(&self, path: &[u8]) -> Option<Vec<u8>> {
        let path = Path::new(OsStr::from_bytes(path));
        let rest = match path.strip_prefix(&self.build) {
            // The first one is the tree's own folder.
            Ok(below) => below.components().skip(1).collect::<PathBuf>(),
            Err(_) => path.strip_prefix(&self.root).ok()?.to_owned(),
        };
        // No slash at the end where nothing follows.
        let renamed = if rest.as_os_str().is_empty() { self.to.clone() } else { self.to.join(rest) };
        Some(renamed.into_os_string().into_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_the_scratch_directory_become_those_of_a_source_package() {
        let to = PathBuf::from("/usr/src/debug/foo-1.0-1.x86_64");
        let sources = Sources { build: "/w/7/BUILD".into(), root: "/w/7".into(), to };
        let cases = [
            ("/w/7/BUILD/foo-1.0/src/a.c", Some("/usr/src/debug/foo-1.0-1.x86_64/src/a.c")),
            ("/w/7/BUILD/foo-1.0", Some("/usr/src/debug/foo-1.0-1.x86_64")),
            ("/w/7/tmp/x.c", Some("/usr/src/debug/foo-1.0-1.x86_64/tmp/x.c")),
            ("/w/77/BUILD/foo-1.0/a.c", None),
            ("/usr/include/stdio.h", None),
            ("a.c", None),
        ];
        for (path, wanted) in cases {
            let renamed = sources.renamed(path.as_bytes()).map(|p| String::from_utf8(p).unwrap());
            assert_eq!(renamed.as_deref(), wanted, "{path}");
        }
    }
}
