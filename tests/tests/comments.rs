//! A comment at the top of every file of a package is no change.

use anyhow::{Context, Result, ensure};
use tests::comments::everywhere;
use tests::corpus::{self, Case};
use tests::package::Layout;
use tests::programs::make_patch;

#[test]
fn of_a_small_package() -> Result<()> {
    let built = Layout::new("hello-daemon")?.build(&[])?;
    let patch = built.layout.top.path().join("comments.patch");
    let count = everywhere(built.layout.top.path(), &built.layout.spec, &patch)?;
    ensure!(count > 10, "only {count} files");
    let made = make_patch(&built, &patch, "NOTES", &[])?;
    made.ended.clone().expect_code(&[3])?.is_plain_error()?;
    made.nothing_written()
}

/// `UPATCH_COMMENTED` names another case of the corpus.
#[test]
fn of_a_real_package() -> Result<()> {
    let id = std::env::var("UPATCH_COMMENTED").unwrap_or_else(|_| "cjson-CVE-2023-50471".into());
    let Some(folder) = corpus::folder() else {
        let note = "LEFT OUT: comments in a real package need the corpus: ../shared/corpus beside the \
         checkout, or UPATCH_CORPUS\n";
        std::io::Write::write_all(&mut std::io::stderr(), note.as_bytes())?;
        return Ok(());
    };
    let case = Case::build(&folder, &id)?;
    let count = everywhere(case.top.path(), &case.spec, &case.top.path().join("hotpatch.patch"))?;
    let made = case.make_patch(&["--no-rpm"])?;
    made.ended.clone().expect_code(&[3]).with_context(|| format!("{id}: {count} files with a comment"))?;
    made.nothing_written()
}
