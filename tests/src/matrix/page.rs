//! `docs/explain/what-can-be-live-patched.md`: its table is made from the cases.

use super::case::{Case, Verdict};
use crate::paths;
use anyhow::{Context, Result, ensure};
use std::fmt::Write;

const BEGIN: &str = "<!-- table: made from testdata/matrix, see tests/src/matrix/page.rs -->\n";
const END: &str = "<!-- end of table -->\n";
const PARTS: [&str; 4] = ["Data", "Code", "Symbols", "C++"];

/// Compares the page with the cases; `UPATCH_WRITE_PAGE=1` writes it instead.
///
/// # Errors
/// They disagree.
pub fn check(cases: &[Case]) -> Result<()> {
    for case in cases {
        ensure!(PARTS.contains(&case.part()), "{}: unknown part {:?}", case.name, case.part());
    }
    let path = paths::repository().join("docs/explain/what-can-be-live-patched.md");
    let text = std::fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
    let (head, rest) = text.split_once(BEGIN).context("no begin mark")?;
    let (found, tail) = rest.split_once(END).context("no end mark")?;
    let expected = table(cases);
    if std::env::var_os("UPATCH_WRITE_PAGE").is_some() {
        std::fs::write(&path, format!("{head}{BEGIN}{expected}{END}{tail}"))?;
        return Ok(());
    }
    ensure!(
        found == expected,
        "{} does not say what the cases say: run `UPATCH_WRITE_PAGE=1 cargo test -p tests --test matrix \
         page`",
        path.display()
    );
    Ok(())
}

/// The table of all cases by part.
fn table(cases: &[Case]) -> String {
    let mut out = String::new();
    for part in PARTS {
        let _ = writeln!(out, "\n### {part}\n\n| change | what comes of it | case |\n|---|---|---|");
        for case in cases.iter().filter(|c| c.part() == part) {
            let (shows, note) = case.shows();
            let mut says = word(&case.usual_verdict());
            for (variant, verdict) in case.exceptions() {
                let _ = write!(says, "; built as `{variant}`: {}", word(&verdict));
            }
            if !note.is_empty() {
                let _ = write!(says, ". {note}");
            }
            let _ = writeln!(out, "| {shows} | {says} | `{}` |", case.name);
        }
    }
    out.push('\n');
    out
}

fn word(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Works => "works".to_owned(),
        Verdict::Warning(text) => format!("works, with a warning: *{text}*"),
        Verdict::Nothing => "changes nothing (exit code 3)".to_owned(),
        Verdict::Refused(text) => format!("refused: *{text}*"),
    }
}
