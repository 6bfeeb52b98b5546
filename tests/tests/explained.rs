//! What `upatch-build` tells the author of a fix: which instruction or datum differs, what draws a caller in,
//! what to write instead.

use anyhow::{Result, ensure};
use tests::programs::upatch_build;
use tests::run::Ended;

const SOURCE: &str = "#include <stdio.h>
int limit = 3;
static int check(long n)
{
	return n > limit + 1;
}
__attribute__((noinline)) static const char *first(long n) { return check(n) ? \"yes\" : \"no\"; }
__attribute__((noinline)) static const char *second(long n) { return check(n - 1) ? \"good\" : \"bad\"; }
int main(void)
{
	for (;;)
		printf(\"%s %s\\n\", first(getchar()), second(getchar()));
}
";

/// Line `number` of the source becomes `new`. Gives what was said, and the report.
fn told(number: usize, new: &str, code: i32) -> Result<(Ended, String)> {
    let dir = tempfile::tempdir()?;
    let (tree, out, patch) = (dir.path().join("tree"), dir.path().join("out"), dir.path().join("fix.patch"));
    std::fs::create_dir(&tree)?;
    std::fs::write(tree.join("case.c"), SOURCE)?;
    let old = SOURCE.lines().nth(number - 1).unwrap_or_default();
    std::fs::write(
        &patch,
        format!("--- a/case.c\n+++ b/case.c\n@@ -{number} +{number} @@\n-{old}\n+{new}\n"),
    )?;
    let ended = upatch_build()?
        .arg("--source")
        .arg(&tree)
        .args(["--verbose", "--no-rpm", "--name", "FIX", "--build"])
        .arg("gcc -O2 -g -c case.c && gcc -o prog case.o")
        .arg("--patch")
        .arg(&patch)
        .arg("--output")
        .arg(&out)
        .run()?
        .expect_code(&[code])?;
    Ok((ended, std::fs::read_to_string(out.join("report.yaml"))?))
}

#[test]
fn callers_that_inlining_draws_in_are_told_with_what_differs() -> Result<()> {
    let (ended, report) = told(5, "\treturn n >= limit && n < 50;", 0)?;
    for caller in ["first", "second"] {
        let line = format!(
            "changed function {caller} (case.c): inlines check (case.c:3), which the fix changes; \
             instruction at "
        );
        ensure!(ended.stderr.contains(&line), "no `{line}`: {}", ended.account());
    }
    ensure!(report.contains("inlines:\n"), "{report}");
    Ok(())
}

#[test]
fn a_refusal_names_the_datum_and_says_what_to_write_instead() -> Result<()> {
    let (ended, report) = told(2, "int limit = 5;", 4)?;
    for part in [
        "initial value of live data changed: limit (case.c)",
        "--> case.c:2",
        "why:  byte at +0x0: 0x03 -> 0x05",
        "do:   leave the initial value",
        "see:  docs/guide/when-refused.md#initial-value-of-live-data-changed",
    ] {
        ensure!(ended.stderr.contains(part), "no `{part}`: {}", ended.account());
    }
    ensure!(report.contains("remedy:"), "{report}");
    Ok(())
}
