//! Cases of `testdata/kernel/cases.yaml`: patches of stock kernels are made, those that must work are loaded
//! one after the other in one virtual machine, looked at and taken out again.

use crate::kernels::Kernel;
use crate::paths::{program, testdata};
use crate::run::{Cmd, Ended};
use crate::vm::Vm;
use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cases {
    /// The cases.
    pub cases: Vec<Case>,
}

/// One patch.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub shows: String,
    /// What the patch changes.
    pub edits: Vec<Edit>,
    /// Exit code of `upatch-build`.
    #[serde(default)]
    pub exit: i32,
    /// Texts on standard error.
    #[serde(default)]
    pub says: Vec<String>,
    /// Changed functions, exactly; not checked if empty.
    #[serde(default)]
    pub changed: Vec<String>,
    /// Modules that are loaded before.
    #[serde(default)]
    pub modules: Vec<String>,
    /// A command of the machine's shell.
    #[serde(default)]
    pub look: String,
    /// What it prints before the patch is loaded,
    #[serde(default)]
    pub before: String,
    /// while it is in force,
    #[serde(default)]
    pub after: String,
    /// and when it is out again, where that is not as before.
    pub back: Option<String>,
    /// Options in place of `--target` and `--kernel-devel` of the kernel; `KERNEL` and `OTHER` stand for the
    /// folders of this kernel and of another one.
    #[serde(default)]
    pub options: Vec<String>,
    /// A word in the patch, and what is put in its place.
    #[serde(default)]
    pub spoil: Vec<String>,
    /// Only kernels of these series.
    #[serde(default)]
    pub only: Vec<String>,
}

/// One change of a file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edit {
    /// Relative to the tree.
    pub file: PathBuf,
    /// A text in it.
    pub replace: String,
    /// What takes its place.
    pub with: String,
    /// How often the text is there.
    #[serde(default = "once")]
    pub count: usize,
}

fn once() -> usize {
    1
}

/// All cases.
///
/// # Errors
/// When the file cannot be read.
pub fn cases() -> Result<Vec<Case>> {
    let path = testdata("kernel").join("cases.yaml");
    let text = std::fs::read_to_string(&path)?;
    let all: Cases = serde_yaml::from_str(&text).context("testdata/kernel/cases.yaml")?;
    Ok(all.cases)
}

/// A patch that was made, to be loaded.
#[derive(Clone, Debug)]
pub struct Made {
    /// The case.
    pub case: Case,
    /// The module.
    pub module: PathBuf,
}

/// Where cases are made.
#[derive(Debug)]
pub struct Bench<'k> {
    kernel: &'k Kernel,
    other: Option<&'k Kernel>,
    sources: PathBuf,
    work: PathBuf,
}

impl<'k> Bench<'k> {
    /// For a kernel; the source files that the cases change are unpacked once, beside the kernel.
    ///
    /// # Errors
    /// When the source cannot be unpacked.
    pub fn new(kernel: &'k Kernel, other: Option<&'k Kernel>, cases: &[Case], work: &Path) -> Result<Self> {
        let sources = kernel.dir.join("touched");
        let files = cases.iter().flat_map(|c| &c.edits).map(|e| e.file.display().to_string());
        let missing: std::collections::BTreeSet<String> =
            files.filter(|f| !sources.join(f).is_file()).collect();
        if !missing.is_empty() {
            std::fs::create_dir_all(&sources)?;
            let top = kernel.source.file_name().unwrap_or_default().to_string_lossy().replace(".tar.xz", "");
            let mut tar = Cmd::new("tar").arg("-xf").arg(&kernel.source).arg("-C").arg(&sources);
            tar = tar.arg("--strip-components=1");
            for file in &missing {
                tar = tar.arg(format!("{top}/{file}"));
            }
            tar.run()?.ok().context("source of the kernel")?;
        }
        Ok(Self { kernel, other, sources, work: work.to_path_buf() })
    }

    /// Makes a case's patch; the module, if it is one that must work.
    ///
    /// # Errors
    /// When something else than expected comes of it.
    pub fn make(&self, case: &Case) -> Result<Option<Made>> {
        let dir = self.work.join(&case.name);
        std::fs::create_dir_all(&dir)?;
        let patch = self.patch(case, &dir)?;
        let output = dir.join("out");
        let (kernel, other) =
            (self.kernel.dir.display().to_string(), self.other.map(|k| k.dir.display().to_string()));
        if other.is_none() && case.options.iter().any(|o| o.contains("OTHER")) {
            return Ok(None);
        }
        let mut build = Cmd::new(program("upatch-build")?)
            .args(["--kernel", &self.kernel.release, "--name", &case.name, "--progress", "never", "-v"])
            .arg("--source")
            .arg(&self.kernel.source)
            .arg("--patch")
            .arg(&patch)
            .arg("--output")
            .arg(&output)
            .limit(Duration::from_secs(1800));
        let given = |option: &str| case.options.iter().any(|o| o == option);
        for option in ["--kernel-devel", "--target"].into_iter().filter(|o| !given(o)) {
            build = build.arg(option).arg(&self.kernel.dir);
        }
        for option in &case.options {
            build = build.arg(
                option.replace("KERNEL", &kernel).replace("OTHER", other.as_deref().unwrap_or_default()),
            );
        }
        let ended = build.run()?.expect_code(&[case.exit])?;
        for text in &case.says {
            ensure!(ended.stderr.contains(text), "does not say {text:?}: {}", ended.account());
        }
        if case.exit != 0 {
            let written = std::fs::read_dir(&output).into_iter().flatten().flatten().map(|e| e.path());
            let left: Vec<PathBuf> = written.filter(|p| p.is_dir()).collect();
            ensure!(left.is_empty(), "left in the output: {left:?}");
            return Ok(None);
        }
        self.check(case, &output, &ended)
    }

    fn check(&self, case: &Case, output: &Path, ended: &Ended) -> Result<Option<Made>> {
        let dir = output.join(&case.name);
        let text = std::fs::read_to_string(dir.join("manifest.yaml"))?;
        let manifest = patchfile::Manifest::parse(&text).context("manifest")?;
        let changed: Vec<&String> = manifest.elfs.iter().flat_map(|e| &e.changed).collect();
        let wanted: Vec<&String> = case.changed.iter().collect();
        ensure!(wanted.is_empty() || changed == wanted, "changed {changed:?}: {}", ended.account());
        let module = manifest.kernel.context("no kernel in the manifest")?.file();
        Ok(Some(Made { case: case.clone(), module: dir.join(module) }))
    }

    fn patch(&self, case: &Case, dir: &Path) -> Result<PathBuf> {
        for edit in &case.edits {
            for side in ["a", "b"] {
                let to = dir.join(side).join(&edit.file);
                std::fs::create_dir_all(to.parent().unwrap_or(dir))?;
                if !to.is_file() {
                    std::fs::copy(self.sources.join(&edit.file), &to)?;
                }
            }
            let path = dir.join("b").join(&edit.file);
            let text = std::fs::read_to_string(&path)?;
            let found = text.matches(&edit.replace).count();
            if found < edit.count {
                bail!("{}: {:?} is not in {}", case.name, edit.replace, edit.file.display());
            }
            std::fs::write(&path, text.replacen(&edit.replace, &edit.with, edit.count))?;
        }
        let diff = Cmd::new("diff").args(["-urN", "a", "b"]).dir(dir).run()?.expect_code(&[1])?;
        let text = match case.spoil.as_slice() {
            [word, other] => diff.stdout.replace(word, other),
            _ => diff.stdout,
        };
        let path = dir.join("fix.patch");
        std::fs::write(&path, text)?;
        Ok(path)
    }
}

/// The part of the script for one patch. Each answer follows a line of its own.
fn script(number: usize, made: &Made) -> String {
    let name = made.module.file_stem().unwrap_or_default().to_string_lossy();
    let look = &made.case.look;
    format!(
        "look() {{ echo \"@@{number} $1\"; {look}; }}\nlook before\n\
         if insmod {name}.ko; then p=/sys/kernel/livepatch/{name}; i=0\n\
         while [ \"$(cat $p/transition)\" != 0 ] && [ $i -lt 600 ]; do usleep 100000; i=$((i+1)); done\n\
         look after\necho 0 > $p/enabled\n\
         while [ -e $p ] && [ $i -lt 1200 ]; do usleep 100000; i=$((i+1)); done\n\
         rmmod {name} || echo '@@failed rmmod'; else echo '@@failed insmod'; dmesg | tail -3; fi\n\
         look back\necho @@end\n"
    )
}

/// Loads all of them in one machine, one after the other, and says which did not do as they should.
///
/// # Errors
/// When the machine cannot be run or dies.
pub fn load(kernel: &Kernel, all: &[Made]) -> Result<Vec<String>> {
    let mut vm = Vm::new(&kernel.dir).limit(Duration::from_secs(900));
    let mut modules: Vec<&String> = all.iter().flat_map(|m| &m.case.modules).collect();
    modules.sort();
    modules.dedup();
    for module in modules {
        vm = vm.load(module);
    }
    let mut text = String::new();
    for (number, made) in all.iter().enumerate() {
        let name = made.module.file_name().unwrap_or_default().to_string_lossy().into_owned();
        vm = vm.file(&made.module, &name);
        text.push_str(&script(number, made));
    }
    text.push_str("dmesg | grep -E 'WARNING|BUG:|ftrace bug|Oops' && exit 3\nexit 0\n");
    let ran = vm.run(&text)?;
    let mut wrong = Vec::new();
    for (number, made) in all.iter().enumerate() {
        let case = &made.case;
        let back = case.back.as_ref().unwrap_or(&case.before);
        for (when, wanted) in [("before", &case.before), ("after", &case.after), ("back", back)] {
            let start = format!("@@{number} {when}\n");
            let said = ran
                .output
                .split_once(&start)
                .map(|(_, rest)| rest.split("@@").next().unwrap_or_default().trim());
            if said != Some(wanted.trim()) {
                wrong.push(format!("{}: {when}: {said:?}, not {wanted:?}", case.name));
            }
        }
    }
    if ran.code != Some(0) || ran.output.contains("@@failed") {
        let lines: Vec<&str> = ran.console.lines().collect();
        wrong.push(format!(
            "the machine ended with {:?}:\n{}",
            ran.code,
            lines[lines.len().saturating_sub(80)..].join("\n")
        ));
    }
    Ok(wrong)
}
