//! Is a target of the package that is built, as far as it says itself? Told before anything is built.

use super::collect::{is_linked, is_rpm};
use crate::elf::foreign;
use crate::error::{Context, Result, TargetError};
use crate::files;
use crate::process::Tool;
use patchfile::manifest::Package;
use std::path::{Path, PathBuf};

/// Looks at what `--target` names. `source` is the package that is built, if there is one.
///
/// # Errors Exit code 7 for a package of another name or version, or for another machine. Another release
/// alone is none: a rebuild may have another `%{dist}`, and the files are compared anyway.
pub(crate) fn check_targets(targets: &[PathBuf], source: Option<&Package>) -> Result<()> {
    targets.iter().try_for_each(|path| if is_rpm(path) { check_rpm(path, source) } else { check_file(path) })
}

fn check_rpm(path: &Path, source: Option<&Package>) -> Result<()> {
    let format = "%{ARCH}\\n%{SOURCERPM}\\n";
    let out =
        Tool::new("rpm").args(["-qp", "--nosignature", "--nodigest", "--qf", format]).arg(path).output()?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let mut lines = text.lines();
    let (arch, made_of) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    // A source RPM is made of none.
    let Some((name, version, release)) = name_version_release(made_of) else { return Ok(()) };
    let same = |source: &Package| source.name == name && source.version == version;
    if let Some(source) = source.filter(|s| !same(s)) {
        let (is, wanted) = (format!("{name}-{version}-{release}"), source.nvr());
        return Err(TargetError::OtherPackage { path: path.to_path_buf(), is, wanted }.into());
    }
    if arch != "noarch" && arch != std::env::consts::ARCH {
        return Err(TargetError::OtherMachine { path: path.to_path_buf(), is: format!("for {arch}") }.into());
    }
    Ok(())
}

fn check_file(path: &Path) -> Result<()> {
    if !is_linked(path) {
        return Err(TargetError::NotLinked(path.to_path_buf()).into());
    }
    let data = files::read(path, files::BINARY_LIMIT).option("--target", path)?;
    match foreign(&data) {
        Some(is) => Err(TargetError::OtherMachine { path: path.to_path_buf(), is }.into()),
        None => Ok(()),
    }
}

/// The parts of the file name of a source RPM.
fn name_version_release(file: &str) -> Option<(&str, &str, &str)> {
    let stem = file.strip_suffix(".src.rpm").or_else(|| file.strip_suffix(".nosrc.rpm"))?;
    let (rest, release) = stem.rsplit_once('-')?;
    let (name, version) = rest.rsplit_once('-')?;
    Some((name, version, release))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_name() {
        let parts = name_version_release("lib-x-1.0~rc1-2.fc40.src.rpm");
        assert_eq!(parts, Some(("lib-x", "1.0~rc1", "2.fc40")));
        assert_eq!(name_version_release("(none)"), None);
    }
}
