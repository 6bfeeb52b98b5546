//! `testdata/builds/cases.yaml`: one small program built in many ways, each patched while it runs.

use crate::cases::Keep;
use crate::daemon::Daemon;
use crate::package::files_below;
use crate::paths;
use crate::programs::{upatch, upatch_build};
use crate::run::{Cmd, Ended};
use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const BEGIN: &str = "<!-- builds: made from testdata/builds, see tests/src/builds.rs -->\n";
const END: &str = "<!-- end of builds -->\n";

/// The file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Builds {
    /// What is said to the program for each patch: answers before, while it is active, and after it was taken
    /// back.
    pub talks: BTreeMap<String, Vec<Keep>>,
    /// The ways to build.
    pub cases: Vec<Build>,
}

/// One way to build, and one patch.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Build {
    /// Name of the test.
    pub name: String,
    /// What it shows, for `docs/explain/what-can-be-live-patched.md`.
    pub shows: String,
    /// Folders of `testdata/builds/` that are laid over its `src/`, in order.
    #[serde(default)]
    pub overlay: Vec<String>,
    /// `--prepare`.
    pub prepare: Option<String>,
    /// `--build`.
    pub build: String,
    /// The program, relative to the tree.
    #[serde(default = "matrix")]
    pub program: String,
    /// `--target`; a file that is not there is an error.
    #[serde(default = "matrix_alone")]
    pub target: Vec<String>,
    /// File stem in `patches/`.
    pub patch: String,
    /// More options for `upatch-build`; `{built}` is the tree that is built without it.
    #[serde(default)]
    pub options: Vec<String>,
    /// Exit codes of `upatch-build` that are right.
    #[serde(default = "done")]
    pub exit: Vec<i32>,
    /// Texts on standard error.
    #[serde(default)]
    pub says: Vec<String>,
    /// ELF files of the patch.
    #[serde(default = "matrix_alone")]
    pub elf: Vec<String>,
    /// Key of the talk, if it is not the patch's name.
    pub talk: Option<String>,
    /// Variables for `upatch-build`.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// `upatch apply` must fail, and say this; the process stays as it is.
    pub refuses: Option<String>,
    /// The first `upatch deactive` must fail, and say this.
    pub keeps: Option<String>,
}

fn matrix() -> String {
    "matrix".to_owned()
}

fn matrix_alone() -> Vec<String> {
    vec![matrix()]
}

fn done() -> Vec<i32> {
    vec![0]
}

impl Builds {
    /// Reads the file.
    ///
    /// # Errors
    /// It cannot be read or has another shape.
    pub fn read() -> Result<Self> {
        let path = paths::testdata("builds").join("cases.yaml");
        let text = std::fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
        serde_yaml::from_str(&text).with_context(|| format!("{}", path.display()))
    }

    /// Compares the table of builds in the documentation with the cases; `UPATCH_WRITE_PAGE=1` writes it
    /// instead.
    ///
    /// # Errors
    /// They disagree.
    pub fn check_page(&self) -> Result<()> {
        let path = paths::repository().join("docs/explain/what-can-be-live-patched.md");
        let text = std::fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
        let (head, rest) = text.split_once(BEGIN).context("no begin mark")?;
        let (found, tail) = rest.split_once(END).context("no end mark")?;
        let mut table = "\n| build | what comes of it | case |\n|---|---|---|\n".to_owned();
        for case in &self.cases {
            table += &format!("| {} | {} | `{}` |\n", case.shows, case.outcome(), case.name);
        }
        table.push('\n');
        if std::env::var_os("UPATCH_WRITE_PAGE").is_some() {
            std::fs::write(&path, format!("{head}{BEGIN}{table}{END}{tail}"))?;
            return Ok(());
        }
        ensure!(
            found == table,
            "{} does not say what the cases say: run `UPATCH_WRITE_PAGE=1 cargo test -p tests --test builds \
             page`",
            path.display()
        );
        Ok(())
    }

    /// Builds the program without upatch, makes the patch, applies it to the running program, takes it back.
    ///
    /// # Errors
    /// Anything is not as it should be.
    pub fn check(&self, build: &Build) -> Result<()> {
        let tree = Tree::new(build)?;
        let ended = tree.make_patch(build)?.expect_code(&build.exit)?;
        for text in &build.says {
            ended.clone().says(text)?;
        }
        if ended.code != 0 {
            ended.is_plain_error()?;
            ensure!(!tree.patch().exists(), "something was written");
            return Ok(());
        }
        ensure!(tree.elfs()? == build.elf, "patched ELF files {:?} instead of {:?}", tree.elfs()?, build.elf);
        let talk = build.talk.as_ref().unwrap_or(&build.patch);
        let talk = self.talks.get(talk).with_context(|| format!("no talk {talk}"))?;
        tree.talk(build, talk).with_context(|| ended.account())
    }
}

impl Build {
    /// What the case says comes of it.
    fn outcome(&self) -> String {
        let said = self.says.join("*, *");
        match (&self.refuses, self.exit.as_slice()) {
            (Some(why), _) => format!("not applied: *{why}*"),
            (None, [0]) if self.says.is_empty() || self.options.iter().any(|o| o == "-v") => {
                "works".to_owned()
            }
            (None, [0]) => format!("works, with a warning: *{said}*"),
            (None, [3]) => "changes nothing (exit code 3)".to_owned(),
            (None, _) => format!("refused: *{said}*"),
        }
    }
}

/// The sources, and a copy of them built as a packager would have shipped them.
#[derive(Debug)]
pub struct Tree {
    dir: TempDir,
}

impl Tree {
    /// Lays out and builds.
    ///
    /// # Errors
    /// The build fails.
    pub fn new(build: &Build) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("upatch-build-").tempdir()?;
        let tree = Self { dir };
        let data = paths::testdata("builds");
        for layer in std::iter::once("src").chain(build.overlay.iter().map(String::as_str)) {
            let from = data.join(layer).join(".");
            Cmd::new("cp").arg("-r").arg(&from).arg(tree.source()).run()?.ok()?;
        }
        Cmd::new("cp").arg("-r").arg(tree.source()).arg(tree.built()).run()?.ok()?;
        for command in build.prepare.iter().chain([&build.build]) {
            Cmd::new("/bin/sh").args(["-e", "-c", command]).dir(tree.built()).run()?.ok()?;
        }
        Ok(tree)
    }

    fn source(&self) -> PathBuf {
        self.dir.path().join("matrix")
    }

    fn built(&self) -> PathBuf {
        self.dir.path().join("built")
    }

    fn output(&self) -> PathBuf {
        self.dir.path().join("out")
    }

    fn patch(&self) -> PathBuf {
        self.output().join("FIX")
    }

    /// Runs `upatch-build`; any exit code is fine.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn make_patch(&self, build: &Build) -> Result<Ended> {
        let mut command = upatch_build()?
            .arg("--source")
            .arg(self.source())
            .args(["--build", &build.build, "--name", "FIX", "--output"])
            .arg(self.output())
            .args(build.options.iter().map(|o| o.replace("{built}", &self.built().to_string_lossy())))
            .arg("--patch")
            .arg(paths::testdata("builds").join("patches").join(format!("{}.patch", build.patch)));
        if let Some(prepare) = &build.prepare {
            command = command.args(["--prepare", prepare]);
        }
        for target in &build.target {
            command = command.arg("--target").arg(self.built().join(target));
        }
        for (name, value) in &build.env {
            command = command.env(name, value);
        }
        command.run()
    }

    /// Names of the ELF files in the patch.
    fn elfs(&self) -> Result<Vec<String>> {
        let files = files_below(&self.patch())?;
        let name = |path: &PathBuf| Some(path.file_name()?.to_str()?.strip_suffix(".upatch")?.to_owned());
        Ok(files.iter().filter_map(name).collect())
    }

    /// The three phases of a patch's life.
    fn talk(&self, build: &Build, talk: &[Keep]) -> Result<()> {
        let state = tempfile::tempdir()?;
        let program = self.built().join(&build.program);
        let libraries = libraries(&self.built())?;
        let mut daemon = Daemon::start_program(&program, &libraries)?;
        let pid = daemon.pid().to_string();
        let patch = self.patch();
        for (phase, when) in ["before", "patched", "taken back"].into_iter().enumerate() {
            let run = |verb: &str| {
                upatch()?.arg("--root").arg(state.path()).args([verb, "--pid", &pid]).arg(&patch).run()
            };
            match (phase, &build.refuses, &build.keeps) {
                (0, ..) | (2.., Some(_), _) => {}
                (1, Some(why), _) => drop(run("apply")?.expect_code(&[1, 3])?.says(why)?),
                (1, None, _) => drop(run("apply")?.ok()?),
                (_, None, keeps) => {
                    if let Some(why) = keeps {
                        run("deactive")?.expect_code(&[1, 3])?.says(why)?;
                    }
                    run("deactive")?.ok()?;
                }
            }
            daemon.is_well().context(when)?;
            let mut client = daemon.connect()?;
            for line in talk {
                client.expect(&line.ask, &line.answers[phase], when)?;
            }
        }
        daemon.is_well()
    }
}

/// The folders below a tree that hold shared libraries.
fn libraries(tree: &Path) -> Result<Vec<PathBuf>> {
    let mut folders: Vec<PathBuf> = files_below(tree)?
        .into_iter()
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().contains(".so")))
        .filter_map(|path| path.parent().map(Path::to_path_buf))
        .collect();
    folders.dedup();
    Ok(folders)
}
