//! Each way to write a spec file in `testdata/specs/cases.yaml`: a patch is made of the little package, and
//! it changes the one function that the fix changes. `UPATCH_SPECS=all` tries all of them.

use anyhow::{Context, Result, ensure};
use libtest_mimic::{Arguments, Failed, Trial};
use serde::Deserialize;
use std::path::Path;
use std::process::ExitCode;
use tests::package::files_below;
use tests::paths;
use tests::programs::{Made, upatch_build};
use tests::run::Cmd;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Case {
    #[serde(rename = "name")]
    case: String,
    quick: bool,
    head: String,
    #[serde(rename = "package")]
    name: String,
    version: String,
    release: String,
    tags: String,
    source: String,
    prep: String,
    no_prep: bool,
    build: String,
    install: String,
    check: String,
    files: String,
    after: String,
    options: String,
    fix: String,
}

impl Default for Case {
    fn default() -> Self {
        Self {
            case: String::new(),
            quick: false,
            head: String::new(),
            name: "tiny".into(),
            version: "1.0".into(),
            release: "1".into(),
            tags: String::new(),
            source: "Source0: tiny-1.0.tar.gz".into(),
            prep: "%setup -q".into(),
            no_prep: false,
            build: "make %{?_smp_mflags}".into(),
            install: "make install DESTDIR=%{buildroot}".into(),
            check: String::new(),
            files: "/usr/bin/tiny".into(),
            after: String::new(),
            options: String::new(),
            fix: "fix.patch".into(),
        }
    }
}

impl Case {
    fn spec(&self) -> String {
        let prep = if self.no_prep { String::new() } else { format!("%prep\n{}\n\n", self.prep) };
        let files = if self.files.is_empty() { String::new() } else { format!("%files\n{}\n\n", self.files) };
        format!(
            "{}\nName: {}\nVersion: {}\nRelease: {}\nSummary: A tiny daemon\nLicense: MIT\n{}\n\
             BuildRequires: gcc\n{}\n\n%description\nIt is tiny.\n\n{prep}%build\n{}\n\n\
             %install\n{}\n\n{}\n\n{files}{}\n",
            self.head,
            self.name,
            self.version,
            self.release,
            self.tags,
            self.source,
            self.build,
            self.install,
            self.check,
            self.after,
        )
    }

    fn run(&self) -> Result<()> {
        let sources = tempfile::tempdir()?;
        lay_out(sources.path())?;
        let spec = sources.path().join(format!("{}.spec", self.name));
        std::fs::write(&spec, self.spec())?;
        let output = tempfile::tempdir()?;
        let fix = paths::testdata("specs").join(&self.fix);
        let mut command = upatch_build()?
            .arg("--spec")
            .arg(&spec)
            .arg("--sourcedir")
            .arg(sources.path())
            .arg("--patch")
            .arg(fix)
            .arg("--output")
            .arg(output.path())
            .arg("--no-rpm")
            .dir(sources.path());
        for word in words(&self.options) {
            command = command.arg(word);
        }
        let made = Made { output, name: "CVE-2099-0001".into(), ended: command.run()? };
        made.ended.clone().ok()?;
        let changed = made.reported("changed")?;
        ensure!(changed == ["limit"], "changed: {changed:?}");
        ensure!(!made.elfs()?.is_empty(), "no patch for an ELF file");
        Ok(())
    }
}

/// The words of a line of options; double quotes hold one together.
fn words(line: &str) -> Vec<String> {
    let quoted = line.split('"').enumerate();
    let words = quoted.flat_map(|(i, part)| match i % 2 {
        1 => vec![part.to_owned()],
        _ => part.split_whitespace().map(str::to_owned).collect(),
    });
    words.collect()
}

/// The sources of the package: its files, and archives of them.
fn lay_out(dir: &Path) -> Result<()> {
    let data = paths::testdata("specs");
    let tree = dir.join("tiny-1.0");
    std::fs::create_dir_all(tree.join("sub"))?;
    std::fs::write(tree.join("sub/keep"), "")?;
    std::fs::create_dir(dir.join("data"))?;
    std::fs::write(dir.join("data/x"), "x\n")?;
    for file in files_below(&data.join("src"))? {
        let name = file.file_name().context("a name")?;
        std::fs::copy(&file, dir.join(name))?;
        std::fs::copy(&file, tree.join(name))?;
    }
    for file in std::fs::read_dir(&data)? {
        let file = file?;
        if file.file_type()?.is_file() {
            std::fs::copy(file.path(), dir.join(file.file_name()))?;
        }
    }
    for (archive, folder) in [("tiny-1.0.tar.gz", "tiny-1.0"), ("data.tar.gz", "data")] {
        Cmd::new("tar").args(["-czf", archive, folder]).dir(dir).run()?.ok()?;
        std::fs::remove_dir_all(dir.join(folder))?;
    }
    Ok(())
}

fn main() -> ExitCode {
    let mut args = Arguments::from_args();
    args.test_threads.get_or_insert(2);
    let all = std::env::var_os("UPATCH_SPECS").is_some_and(|v| v == "all");
    let text = std::fs::read_to_string(paths::testdata("specs").join("cases.yaml"));
    let cases = match text
        .map_err(|e| e.to_string())
        .and_then(|text| serde_yaml::from_str::<Vec<Case>>(&text).map_err(|e| e.to_string()))
    {
        Ok(cases) => cases,
        Err(why) => {
            let trial = Trial::test("cases.yaml", move || Err(Failed::from(why)));
            return libtest_mimic::run(&args, vec![trial]).exit_code();
        }
    };
    let trials = cases
        .into_iter()
        .filter(|case| all || case.quick)
        .map(|case| {
            Trial::test(case.case.clone(), move || case.run().map_err(|e| Failed::from(format!("{e:#}"))))
        })
        .collect();
    libtest_mimic::run(&args, trials).exit_code()
}
