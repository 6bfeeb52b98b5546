//! Cases of `testdata/kernel/cases.yaml`: patches of stock kernels are made, those that must work are loaded
//! one after the other in one virtual machine, looked at and taken out again.

#![expect(clippy::print_stdout, reason = "a transcript is what these functions are for")]

use crate::kernel_inputs::Inputs;
use crate::kernels::Kernel;
use crate::livepatch;
use crate::paths::{program, testdata};
use crate::run::{Cmd, Ended, children_cpu_seconds};
use crate::vm::Vm;
use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cases {
    /// The cases.
    pub cases: Vec<Case>,
}

/// One patch.
#[derive(Clone, Debug, Default, Deserialize)]
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
    /// Options in place of those that say where the kernel is; words in capitals stand for inputs that are
    /// wrong in one thing, see [`crate::kernel_inputs`].
    #[serde(default)]
    pub options: Vec<String>,
    /// A word in the patch, and what is put in its place.
    #[serde(default)]
    pub spoil: Vec<String>,
    /// Only kernels of these series.
    #[serde(default)]
    pub only: Vec<String>,
    /// Is the patch loaded? One that would never come into force is not.
    #[serde(default = "yes")]
    pub load: bool,
    /// Is it one of those that `make check` makes?
    #[serde(default)]
    pub quick: bool,
}

/// One change of a file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edit {
    /// Relative to the tree.
    pub file: PathBuf,
    /// A text in it; empty where the file is new.
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

fn yes() -> bool {
    true
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
    /// What it patches: `vmlinux`, modules.
    pub objects: Vec<String>,
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
    /// For a kernel; the source files that the cases change are those of its prepared tree.
    ///
    /// # Errors
    /// When the tree cannot be prepared.
    pub fn new(kernel: &'k Kernel, other: Option<&'k Kernel>, work: &Path) -> Result<Self> {
        let sources = livepatch::tree(&kernel.dir)?;
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
        self.make_of(case, &patch)
    }

    /// The same, of a patch that is there.
    ///
    /// # Errors
    /// When something else than expected comes of it.
    pub fn make_of(&self, case: &Case, patch: &Path) -> Result<Option<Made>> {
        let dir = self.work.join(&case.name);
        std::fs::create_dir_all(&dir)?;
        let output = dir.join("out");
        let Some(inputs) = Inputs::of(self.kernel, self.other, &case.options, &dir)? else { return Ok(None) };
        let mut build = Cmd::new(program("upatch-build")?)
            .args(["--kernel", &self.kernel.release, "--name", &case.name, "--progress", "never", "-v"])
            .arg("--patch")
            .arg(patch)
            .arg("--output")
            .arg(&output)
            .limit(Duration::from_secs(1800));
        let usual = [
            ("--source", &self.kernel.source),
            ("--kernel-devel", &self.kernel.dir),
            ("--target", &self.kernel.dir),
        ];
        for (option, value) in usual.into_iter().filter(|(name, _)| !case.options.iter().any(|o| o == name)) {
            build = build.arg(option).arg(value);
        }
        build = build.args(&inputs.options);
        let ended = build.run()?.expect_code(&[case.exit])?;
        for text in &case.says {
            ensure!(ended.stderr.contains(text), "does not say {text:?}: {}", ended.account());
        }
        inputs.check()?;
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
        let kernel = manifest.kernel.context("no kernel in the manifest")?;
        let module = dir.join(kernel.file());
        Ok(case.load.then(|| Made { case: case.clone(), module, objects: kernel.objects }))
    }

    fn patch(&self, case: &Case, dir: &Path) -> Result<PathBuf> {
        for edit in &case.edits {
            for side in ["a", "b"] {
                let to = dir.join(side).join(&edit.file);
                std::fs::create_dir_all(to.parent().unwrap_or(dir))?;
                if !to.is_file() && !edit.replace.is_empty() {
                    std::fs::copy(self.sources.join(&edit.file), &to)?;
                }
            }
            let path = dir.join("b").join(&edit.file);
            if edit.replace.is_empty() {
                std::fs::write(&path, &edit.with)?;
                continue;
            }
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
        "answer() {{ echo \"@@{number} $1\"; {look}; }}\nanswer before\n\
         if insmod {name}.ko; then p=/sys/kernel/livepatch/{name}; i=0\n\
         while [ \"$(cat $p/transition)\" != 0 ] && [ $i -lt 600 ]; do usleep 100000; i=$((i+1)); done\n\
         answer after\necho 0 > $p/enabled\n\
         while [ -e $p ] && [ $i -lt 1200 ]; do usleep 100000; i=$((i+1)); done\n\
         rmmod {name} || echo '@@failed rmmod'; else echo '@@failed insmod'; dmesg | tail -3; fi\n\
         answer back\necho @@end\n"
    )
}

/// Loads all of them in one machine, one after the other, and says which did not do as they should.
///
/// # Errors
/// When the machine cannot be run or dies.
pub fn load(kernel: &Kernel, all: &[Made]) -> Result<Vec<String>> {
    let dir = tempfile::tempdir()?;
    let look = dir.path().join("look");
    Cmd::new("gcc")
        .args(["-O1", "-static", "-o"])
        .arg(&look)
        .arg(testdata("kernel").join("look.c"))
        .run()?
        .ok()?;
    let mut vm = Vm::new(&kernel.dir).file(look, "/bin/look").limit(Duration::from_secs(900));
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
    text.push_str(
        "dmesg >> /tmp/dmesg; cat /tmp/dmesg | grep -E 'WARNING|BUG:|ftrace bug|Oops' && exit 3\nexit 0\n",
    );
    let ran = vm.run(&text)?;
    if ran.output.is_empty() {
        bail!("the machine does not start:\n{}", last_lines(&ran.console));
    }
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
        wrong.push(format!("the machine ended with {:?}:\n{}", ran.code, last_lines(&ran.console)));
    }
    Ok(wrong)
}

fn last_lines(console: &str) -> String {
    let lines: Vec<&str> = console.lines().collect();
    lines[lines.len().saturating_sub(80)..].join("\n")
}

/// Makes and loads all of them, and prints a line for each; how many passed and failed.
///
/// # Errors
/// When nothing can be made or run at all.
pub fn run(kernel: &Kernel, other: Option<&Kernel>, cases: &[Case]) -> Result<(usize, usize)> {
    println!("\n## {}", kernel.release);
    let work = tempfile::tempdir()?;
    let bench = Bench::new(kernel, other, work.path())?;
    let (mut made, mut wrong) = (Vec::new(), 0);
    for case in cases {
        let (began, used) = (Instant::now(), children_cpu_seconds()?);
        let result = bench.make(case);
        let cpu = children_cpu_seconds()? - used;
        let took = began.elapsed().as_secs_f64();
        match result {
            Ok(module) => {
                println!("{:22} {took:6.1} s, {cpu:5.1} s CPU: {}", case.name, case.shows);
                made.extend(module);
            }
            Err(error) => {
                wrong += 1;
                println!("{:22} FAILED: {error:#}", case.name);
            }
        }
    }
    if !made.is_empty() {
        let (began, used) = (Instant::now(), children_cpu_seconds()?);
        let problems = load(kernel, &made)?;
        let cpu = children_cpu_seconds()? - used;
        println!(
            "{} modules in a machine: {:.1} s, {cpu:.1} s CPU",
            made.len(),
            began.elapsed().as_secs_f64()
        );
        for problem in &problems {
            println!("FAILED: {problem}");
        }
        wrong += problems.len();
    }
    Ok((cases.len().saturating_sub(wrong), wrong))
}
