//! Real fixes: the difference between the sources of two stock kernels of one series, file by file, made into
//! patches for the older one and loaded there. `testdata/kernel/fixes.yaml` names the files.

#![expect(clippy::print_stdout, reason = "a transcript is what this is for")]

use crate::kernel_cases::{Bench, Case, load};
use crate::kernels::{Kernel, at, folder};
use crate::paths::testdata;
use crate::run::{Cmd, children_cpu_seconds};
use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// The file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fixes {
    /// Release of the kernel that is patched.
    pub from: String,
    /// Release of the kernel that has the fixes.
    pub to: String,
    /// The fixes.
    pub fixes: Vec<Fix>,
}

/// All changes of one file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fix {
    /// Relative to the tree.
    pub file: PathBuf,
    /// The changelog's words for it, or the function that it changes.
    pub what: String,
    /// Identifiers of vulnerabilities.
    #[serde(default)]
    pub cve: String,
    /// Exit code of `upatch-build`.
    #[serde(default)]
    pub exit: i32,
    /// Texts on standard error: why it is refused.
    #[serde(default)]
    pub says: Vec<String>,
}

impl Fix {
    fn case(&self) -> Case {
        let name = self.file.with_extension("").display().to_string().replace('/', "-");
        Case {
            name,
            shows: self.what.clone(),
            exit: self.exit,
            says: self.says.clone(),
            look: "true".into(),
            load: true,
            ..Case::default()
        }
    }

    /// The difference between the two sources.
    fn patch(&self, from: &Path, to: &Path, dir: &Path) -> Result<PathBuf> {
        for (side, source) in [("a", from), ("b", to)] {
            let copy = dir.join(side).join(&self.file);
            std::fs::create_dir_all(copy.parent().unwrap_or(dir))?;
            std::fs::copy(source.join(&self.file), &copy)?;
        }
        let diff = Cmd::new("diff").args(["-urN", "a", "b"]).dir(dir).run()?.expect_code(&[1])?;
        let path = dir.join("fix.patch");
        std::fs::write(&path, diff.stdout)?;
        Ok(path)
    }
}

/// Makes and loads those whose file is in `names`, or all; how many passed and failed.
///
/// # Errors
/// When nothing can be made or run at all.
pub fn run(names: &[String]) -> Result<(usize, usize)> {
    let text = std::fs::read_to_string(testdata("kernel").join("fixes.yaml"))?;
    let all: Fixes = serde_yaml::from_str(&text).context("testdata/kernel/fixes.yaml")?;
    let kernel = |release: &str| {
        let found = at(release)?;
        if found.is_none() {
            println!("SKIPPED: no kernel {release} in {}: run scripts/kernel {release}", folder().display());
        }
        Ok::<Option<Kernel>, anyhow::Error>(found)
    };
    let (Some(from), Some(to)) = (kernel(&all.from)?, kernel(&all.to)?) else { return Ok((0, 0)) };
    let is_chosen = |f: &&Fix| names.is_empty() || names.iter().any(|n| f.file.ends_with(n));
    let chosen: Vec<&Fix> = all.fixes.iter().filter(is_chosen).collect();
    let files = || chosen.iter().map(|f| f.file.clone());
    let (old, new) = (from.files(files())?, to.files(files())?);
    let work = tempfile::tempdir()?;
    let bench = Bench::new(&from, None, work.path())?;
    let (mut made, mut wrong) = (Vec::new(), 0);
    println!("\n## {} to {}", all.from, all.to);
    for fix in &chosen {
        let case = fix.case();
        let dir = work.path().join("diffs").join(&case.name);
        let used = children_cpu_seconds()?;
        let result = fix.patch(&old, &new, &dir).and_then(|patch| bench.make_of(&case, &patch));
        let cpu = children_cpu_seconds()? - used;
        let name = format!("{:36} {:16} {cpu:5.1} s CPU", fix.file.display(), fix.cve);
        match result {
            Ok(Some(module)) => {
                println!("{name}: made: {}", fix.what);
                made.push(module);
            }
            Ok(None) => println!("{name}: exit code {}: {}", fix.exit, fix.says.join(", ")),
            Err(error) => {
                wrong += 1;
                println!("{name}: FAILED: {error:#}");
            }
        }
    }
    for module in &mut made {
        let modules = module.objects.iter().filter(|o| *o != "vmlinux");
        module.case.modules = modules.cloned().collect();
    }
    ensure!(!made.is_empty(), "no patch was made");
    let problems = load(&from, &made)?;
    println!("{} of them loaded and taken out again, {} wrong", made.len(), problems.len());
    for problem in &problems {
        println!("FAILED: {problem}");
    }
    wrong += problems.len();
    Ok((chosen.len().saturating_sub(wrong), wrong))
}
