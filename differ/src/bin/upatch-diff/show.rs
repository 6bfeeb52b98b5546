//! The listing for people.

use std::io::{self, Write};

use differ::{Change, ChangeKind, UnitDiff};

pub(crate) fn show(out: &mut impl Write, diff: &UnitDiff, explain: bool, color: bool) -> io::Result<()> {
    let paint = |code: &str, text: &str| {
        if color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    };
    if diff.is_unchanged() {
        writeln!(out, "no change in code or data")?;
    }
    for (what, changes) in [("function", &diff.functions), ("object", &diff.objects)] {
        for change in changes {
            let (code, word) = match change.kind {
                ChangeKind::Changed => ("33", "changed"),
                ChangeKind::New => ("32", "new"),
                ChangeKind::Removed => ("31", "removed"),
            };
            writeln!(out, "{} {what} {}{}", paint(code, &format!("{word:<8}")), change.name, note(change))?;
            if explain {
                for reason in &change.reasons {
                    writeln!(out, "           {reason}")?;
                }
            }
        }
    }
    for refusal in &diff.refused {
        writeln!(out, "{} {}: {}", paint("1;31", "refused "), refusal.place, refusal.what)?;
        writeln!(out, "           why: {}", refusal.why)?;
        writeln!(out, "           do:  {}", refusal.remedy)?;
    }
    for warning in &diff.warnings {
        writeln!(out, "{} {}: {}: {}", paint("1;33", "warning "), warning.place, warning.what, warning.why)?;
    }
    Ok(())
}

fn note(change: &Change) -> String {
    let mut notes = Vec::new();
    if let Some(orig) = &change.orig_name {
        notes.push(format!("was {orig}"));
    }
    if change.kind == ChangeKind::Changed && !change.content {
        notes.push("drawn in".to_owned());
    }
    if notes.is_empty() { String::new() } else { format!(" ({})", notes.join(", ")) }
}
