//! Lays out, builds and unpacks the packages of `testdata/`.

use crate::paths;
use crate::run::Cmd;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A package laid out for rpmbuild in a temporary directory.
#[derive(Debug)]
pub struct Layout {
    /// Keeps the directory.
    pub top: TempDir,
    /// The spec file, in `SPECS`.
    pub spec: PathBuf,
    /// Package name.
    pub name: String,
}

/// A package built by plain rpmbuild, and unpacked.
#[derive(Debug)]
pub struct Built {
    /// Where it was built.
    pub layout: Layout,
    /// The main RPM.
    pub rpm: PathBuf,
    /// The debuginfo RPM.
    pub debuginfo: PathBuf,
    /// The unpacked main RPM.
    pub root: PathBuf,
}

impl Layout {
    /// Lays out a package of `testdata/` as it is shipped.
    ///
    /// # Errors
    /// Files are missing, or tar fails.
    pub fn new(name: &str) -> Result<Self> {
        let data = paths::testdata(name);
        let top = tempfile::Builder::new().prefix("upatch-test-").tempdir()?;
        let sources = top.path().join("SOURCES");
        let specs = top.path().join("SPECS");
        fs::create_dir(&sources)?;
        fs::create_dir(&specs)?;
        for entry in fs::read_dir(&data).with_context(|| format!("{}", data.display()))? {
            let path = entry?.path();
            if path.extension().is_some_and(|e| e == "patch") {
                fs::copy(&path, sources.join(path.file_name().unwrap_or_default()))?;
            }
        }
        // Fixed times and owners, so that two layouts of one package are one source package.
        Cmd::new("tar")
            .args(["--sort=name", "--mtime=@1767225600", "--owner=0", "--group=0"])
            .arg(format!("--transform=s,^src,{name}-1.0,"))
            .arg("-czf")
            .arg(sources.join(format!("{name}-1.0.tar.gz")))
            .arg("-C")
            .arg(&data)
            .arg("src")
            .run()?
            .ok()?;
        let spec = specs.join(format!("{name}.spec"));
        fs::copy(data.join(format!("{name}.spec")), &spec)?;
        Ok(Self { top, spec, name: name.to_owned() })
    }

    /// Puts another text into `%prep`: a file of `testdata/NAME/prep/`.
    ///
    /// # Errors
    /// The spec has no `%prep` and `%build`, or there is no such style.
    pub fn with_prep(self, style: &str) -> Result<Self> {
        let prep = fs::read_to_string(paths::testdata(&self.name).join("prep").join(style))?;
        let name = self.name.clone();
        self.edit(|spec| {
            let (head, rest) = spec.split_once("%prep\n").context("no %prep")?;
            let (_, tail) = rest.split_once("\n%build\n").context("no %build")?;
            let mut spec = format!("{head}%prep\n{prep}\n%build\n{tail}");
            if !prep.contains("%setup") && !prep.contains("%autosetup") {
                // rpm knows no build directory then: each part of such a spec goes there by itself.
                for part in ["%build", "%install"] {
                    spec = spec.replace(&format!("\n{part}\n"), &format!("\n{part}\ncd {name}-1.0\n"));
                }
            }
            Ok(spec)
        })
    }

    /// Adds a patch at the end of `%prep`: the package as a cold fix would ship it.
    ///
    /// # Errors
    /// The patch cannot be read, or the spec has no `%build`.
    pub fn with_patch(self, patch: &Path) -> Result<Self> {
        fs::copy(patch, self.top.path().join("SOURCES/cold.patch"))?;
        self.edit(|spec| {
            let (head, tail) = spec.split_once("\n%build\n").context("no %build")?;
            let head = head.replacen("Patch0:", "Source99: cold.patch\nPatch0:", 1);
            Ok(format!("{head}\npatch -p1 < %{{SOURCE99}}\n\n%build\n{tail}"))
        })
    }

    /// Edits the spec.
    ///
    /// # Errors
    /// Those of the edit, and of writing.
    pub fn edit(self, edit: impl FnOnce(&str) -> Result<String>) -> Result<Self> {
        let text = fs::read_to_string(&self.spec)?;
        let edited = edit(&text)?;
        if edited == text {
            bail!("the edit did not change {}", self.spec.display());
        }
        fs::write(&self.spec, edited)?;
        Ok(self)
    }

    /// A patch of `testdata/NAME/patches/`.
    pub fn patch(&self, patch: &str) -> PathBuf {
        paths::testdata(&self.name).join("patches").join(format!("{patch}.patch"))
    }

    /// Runs plain rpmbuild with these arguments.
    ///
    /// # Errors
    /// The build fails.
    pub fn rpmbuild(&self, args: &[&str]) -> Result<()> {
        Cmd::new("rpmbuild")
            .arg("--define")
            .arg(format!("_topdir {}", self.top.path().display()))
            .args(args)
            .arg(&self.spec)
            .run()?
            .ok()?;
        Ok(())
    }

    /// Builds it with plain rpmbuild and unpacks the result.
    ///
    /// # Errors
    /// The build fails, or gives no RPM.
    pub fn build(self, args: &[&str]) -> Result<Built> {
        self.rpmbuild(&[&["-bb"], args].concat())?;
        let mut rpm = None;
        let mut debuginfo = None;
        for path in files_below(&self.top.path().join("RPMS"))? {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.contains("-debuginfo-") {
                debuginfo = Some(path);
            } else if name.starts_with(&self.name) {
                rpm = Some(path);
            }
        }
        let root = self.top.path().join("unpacked");
        let rpm = rpm.context("no RPM")?;
        unpack(&rpm, &root)?;
        Ok(Built { rpm, debuginfo: debuginfo.context("no debuginfo RPM")?, root, layout: self })
    }
}

/// Unpacks an RPM.
///
/// # Errors
/// rpm2cpio or cpio fails.
pub fn unpack(rpm: &Path, into: &Path) -> Result<()> {
    fs::create_dir_all(into)?;
    let script = r#"set -o pipefail; rpm2cpio "$1" | cpio -idm --quiet"#;
    Cmd::new("bash").args(["-c", script, "unpack"]).arg(rpm).dir(into).run()?.ok()?;
    Ok(())
}

/// All regular files below a folder, sorted; none if there is no such folder.
///
/// # Errors
/// A folder cannot be read.
pub fn files_below(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![dir.to_path_buf()];
    while let Some(folder) = folders.pop() {
        if !folder.is_dir() {
            continue;
        }
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    Ok(files)
}
