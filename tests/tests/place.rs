//! Programs that hold the path of their build: the rebuild has it too, in a view of the file system of its
//! own.

use anyhow::{Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use tests::package::files_below;
use tests::programs::upatch_build;
use tests::run::{Cmd, Ended};

const SOURCE: &str = r#"#include <stdio.h>
static int more(int n) { return n + 1; }
int work(int n) { printf("%s: %d\n", __FILE__, more(n)); return n; }
int main(int argc, char **argv) { (void)argv; return work(argc) - argc; }
"#;
const FIX: &str = "--- a/src/main.c\n+++ b/src/main.c\n@@ -2 +2 @@\n-static int more(int n) { return n + 1; \
 }\n\
                   +static int more(int n) { return n + 2; }\n";
/// Names the source by its whole path, as cmake does, and leaves a file beside the tree, as dpkg-buildpackage
/// does.
const BUILD: &str = "cc -O2 -g -o prog \"$PWD/src/main.c\"; echo made > ../beside";

/// A source tree, a fix, and a folder for the rest.
struct Bench(TempDir);

impl Bench {
    fn new() -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("upatch-place-").tempdir()?;
        fs::create_dir_all(dir.path().join("tree/src"))?;
        fs::write(dir.path().join("tree/src/main.c"), SOURCE)?;
        fs::write(dir.path().join("fix.patch"), FIX)?;
        Ok(Self(dir))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Builds a copy of the tree at `place`, as somebody else once did.
    fn ship(&self, place: &Path) -> Result<()> {
        fs::create_dir_all(place.parent().unwrap_or(place))?;
        Cmd::new("cp").arg("-a").args([&self.path("tree"), place]).run()?.ok()?;
        Cmd::new("sh").args(["-ec", BUILD]).dir(place).run()?.ok()?;
        Ok(())
    }

    fn make(&self, source: &Path, target: &Path, output: &Path) -> Result<Ended> {
        upatch_build()?
            .args(["--build", BUILD, "--no-cache", "--name", "P", "--patch"])
            .arg(self.path("fix.patch"))
            .arg("--source")
            .args([source, Path::new("--target"), target, Path::new("--output"), output])
            .run()
    }
}

/// Was all of it the same, built at `place`?
fn identical(output: &Path, place: &Path) -> Result<()> {
    let report = fs::read_to_string(output.join("report.yaml"))?;
    ensure!(report.contains("\nfidelity: identical\n"), "{report}");
    ensure!(report.contains(&format!("\nbuilt_at: {}\n", place.display())), "{report}");
    ensure!(output.join("P/manifest.yaml").is_file(), "no patch in {}", output.display());
    Ok(())
}

#[test]
fn a_program_from_another_path_is_built_at_that_path_and_nothing_is_left_there() -> Result<()> {
    let bench = Bench::new()?;
    let (top, shipped, out) = (bench.path("some"), bench.path("shipped"), bench.path("out"));
    let place = top.join("odd/path");
    bench.ship(&place)?;
    fs::rename(place.join("prog"), &shipped)?;
    fs::remove_dir_all(&top)?;
    bench.make(&bench.path("tree"), &shipped, &out)?.ok()?;
    identical(&out, &place)?;
    ensure!(!top.exists(), "{:?}", files_below(&top));
    // From a folder right below the root, of which nothing is there either.
    let place = Path::new("/upatch-no-such-folder/x/y");
    Cmd::new("cc")
        .args(["-O2", "-g", "-o"])
        .arg(&shipped)
        .arg(format!("-ffile-prefix-map={}={}", bench.path("tree").display(), place.display()))
        .arg(bench.path("tree/src/main.c"))
        .run()?
        .ok()?;
    fs::remove_dir_all(&out)?;
    bench.make(&bench.path("tree"), &shipped, &out)?.ok()?;
    identical(&out, place)?;
    ensure!(!Path::new("/upatch-no-such-folder").exists(), "a folder was left in /");
    Ok(())
}

#[test]
fn what_is_at_the_path_stays_as_it_is_and_can_be_read_and_written() -> Result<()> {
    let bench = Bench::new()?;
    let place = bench.path("some/odd/path");
    bench.ship(&place)?;
    fs::write(bench.path("some/odd/beside"), "of the first build")?;
    let before = fs::read(place.join("prog"))?;
    // The tree itself, with the target in it and the results to go there.
    let out = place.join("results");
    bench.make(&place, &place.join("prog"), &out)?.ok()?;
    identical(&out, &place)?;
    ensure!(fs::read(place.join("prog"))? == before, "the shipped program was built over");
    ensure!(
        fs::read_to_string(bench.path("some/odd/beside"))? == "of the first build",
        "the build has written beside the path"
    );
    let names: Vec<_> = fs::read_dir(bench.path("some/odd"))?.flatten().map(|e| e.file_name()).collect();
    ensure!(names.len() == 2, "{names:?}");
    Ok(())
}

#[test]
fn rpms_build_directory_is_where_it_was() -> Result<()> {
    let bench = Bench::new()?;
    let spec = bench.path("foo.spec");
    let text = "Name: foo\nVersion: 1\nRelease: 1\nSummary: x\nLicense: MIT\nSource0: \
     foo-1.tar\n%description\nx\n%prep\n%setup -q\n\
                %build\ncc -O2 -g -o prog \"$PWD/src/main.c\"\n%install\ninstall -D prog \
                %{buildroot}/usr/bin/prog\n%files\n/usr/bin/prog\n";
    fs::write(&spec, text)?;
    Cmd::new("tar")
        .args(["--transform", "s,^tree,foo-1,", "-cf", "foo-1.tar", "tree"])
        .dir(bench.0.path())
        .run()?
        .ok()?;
    let top = bench.path("mock/build");
    let build = |define: &str| format!("{define} {}", top.display());
    Cmd::new("rpmbuild")
        .args(["-bb", "--nodeps", "--define", &build("_topdir"), "--define"])
        .arg(format!("_sourcedir {}", bench.0.path().display()))
        .arg(&spec)
        .run()?
        .ok()?;
    let rpms = files_below(&top.join("RPMS"))?;
    let rpm = rpms.iter().find(|p| !p.to_string_lossy().contains("debug")).cloned().unwrap_or_default();
    let shipped = bench.path("shipped.rpm");
    fs::rename(rpm, &shipped)?;
    fs::remove_dir_all(bench.path("mock"))?;
    let out = bench.path("out");
    upatch_build()?
        .args(["--nodeps", "--no-rpm", "--no-cache", "--name", "P", "--spec"])
        .arg(&spec)
        .arg("--patch")
        .arg(bench.path("fix.patch"))
        .arg("--target")
        .args([&shipped, Path::new("--output"), &out])
        .run()?
        .ok()?;
    identical(&out, &top.join("BUILD"))?;
    ensure!(!bench.path("mock").exists(), "a folder was left");
    Ok(())
}
