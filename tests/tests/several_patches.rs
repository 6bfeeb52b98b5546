//! A fix of several `--patch` files: one that contributes nothing is named, and its CVE is not advertised.

use anyhow::{Context, Result, ensure};
use std::path::Path;
use tests::package::files_below;
use tests::programs::upatch_build;
use tests::run::{Cmd, Ended};

const BUILD: &str = "sh flags.sh && gcc -O2 -g $(cat flags) -c case.c && gcc -o prog case.o";

/// `other.c` is not compiled, and of `case.c` not the part under `EXTRA`; `flags.sh` gives the flags.
const TREE: [(&str, &str); 3] = [
    (
        "case.c",
        "#include <stdio.h>
#ifdef EXTRA
int extra(int n) { return n; }
#endif
__attribute__((noinline)) static int used(int n) { return n + 1 + STEP; }
int main(void) { for (;;) printf(\"%d\\n\", used(getchar())); }
",
    ),
    ("other.c", "int other(int n) { return n; }\n"),
    ("flags.sh", "echo -DSTEP=1 > flags\n"),
];

/// The patch that replaces line `number` of a file, and is for this CVE.
fn patch(cve: &str, file: &str, number: usize, new: &str) -> Result<String> {
    let text = TREE.iter().find(|(name, _)| *name == file).context("no such file")?.1;
    let old = text.lines().nth(number - 1).context("no such line")?;
    Ok(format!(
        "Subject: fix {cve}\n\n--- a/{file}\n+++ b/{file}\n@@ -{number} +{number} @@\n-{old}\n+{new}\n"
    ))
}

fn used() -> Result<String> {
    patch("CVE-2026-0001", "case.c", 5, "static int used(int n) { return n + 2 + STEP; }")
}

fn other() -> Result<String> {
    patch("CVE-2026-0002", "other.c", 1, "int other(int n) { return n + 1; }")
}

/// Makes a patch of these in `dir/out`.
fn make(dir: &Path, patches: &[String]) -> Result<Ended> {
    let tree = dir.join("tree");
    std::fs::create_dir(&tree)?;
    for (name, text) in TREE {
        std::fs::write(tree.join(name), text)?;
    }
    let mut command = upatch_build()?.arg("--source").arg(&tree).args(["--rpm", "--build", BUILD]);
    for (number, text) in patches.iter().enumerate() {
        let file = dir.join(format!("{number}.patch"));
        std::fs::write(&file, text)?;
        command = command.arg("--patch").arg(&file);
    }
    command.args(["--name", "FIX", "--output"]).arg(dir.join("out")).run()
}

fn yaml(path: &Path) -> Result<serde_yaml::Value> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    Ok(serde_yaml::from_str(&text)?)
}

/// The CVE ids in the manifest, in the report, and in what the RPM provides; all agree.
fn advertised(out: &Path) -> Result<Vec<String>> {
    let list = |value: &serde_yaml::Value| -> Vec<String> {
        let ids = value.as_sequence().into_iter().flatten();
        ids.filter_map(|id| id.as_str().map(str::to_owned)).collect()
    };
    let manifest = list(&yaml(&out.join("FIX/manifest.yaml"))?["cve"]);
    let report = list(&yaml(&out.join("report.yaml"))?["patch"]["cve"]);
    let rpm = files_below(out)?.into_iter().find(|f| f.extension().is_some_and(|e| e == "rpm"));
    let said = Cmd::new("rpm").args(["-qp", "--provides"]).arg(rpm.context("no RPM")?).run()?.ok()?;
    let provided = said.stdout.lines().filter(|line| line.starts_with("CVE-"));
    let provided: Vec<String> = provided.map(|line| line.trim().to_owned()).collect();
    ensure!(manifest == report && manifest == provided, "{manifest:?} {report:?} {provided:?}");
    Ok(manifest)
}

#[test]
fn what_is_not_compiled_is_named_and_not_advertised() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let ended = make(dir.path(), &[used()?, other()?])?.ok()?;
    let out = dir.path().join("out");
    ended.clone().says("warning: patch contributes nothing: 1.patch: ")?.says("CVE-2026-0002")?;
    ensure!(advertised(&out)? == ["CVE-2026-0001"], "{}", ended.account());
    let report = yaml(&out.join("report.yaml"))?;
    let idle = &report["patch"]["without_effect"];
    ensure!(idle[0]["file"].as_str() == Some("1.patch"), "{idle:?}");
    ensure!(idle[0]["cve"][0].as_str() == Some("CVE-2026-0002"), "{idle:?}");
    let warned = &report["warnings"][0];
    ensure!(warned["where"].as_str() == Some("1.patch"), "{warned:?}");
    Ok(())
}

#[test]
fn all_are_advertised_that_may_contribute() -> Result<()> {
    let flags = patch("CVE-2026-0003", "flags.sh", 1, "echo -DSTEP=2 > flags")?;
    // It cannot be told from the file that both patches change what each of them does.
    let extra = patch("CVE-2026-0004", "case.c", 3, "int extra(int n) { return n + 1; }")?;
    let dir = tempfile::tempdir()?;
    let ended = make(dir.path(), &[extra, used()?, flags])?.ok()?;
    ensure!(!ended.stderr.contains("contributes nothing"), "{}", ended.account());
    let all = advertised(&dir.path().join("out"))?;
    ensure!(all == ["CVE-2026-0001", "CVE-2026-0003", "CVE-2026-0004"], "{all:?}");
    Ok(())
}

#[test]
fn where_none_contributes_nothing_is_written() -> Result<()> {
    let extra = patch("CVE-2026-0004", "case.c", 3, "int extra(int n) { return n + 1; }")?;
    let dir = tempfile::tempdir()?;
    make(dir.path(), &[other()?, extra])?.expect_code(&[3])?;
    ensure!(!dir.path().join("out/FIX").exists(), "something was written");
    Ok(())
}
