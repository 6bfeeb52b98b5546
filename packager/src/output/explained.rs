//! What `--explain` prints: each change and each refusal with all its reasons, and what the guide to refusals
//! says of them.

use super::report::Report;
use crate::error::anchor;
use crate::names::readable;
use differ::ChangeKind;

/// The guide, which the message of each refusal names.
const GUIDE: &str = include_str!("../../../docs/guide/when-refused.md");

/// All of it, in lines.
pub(crate) fn explained(report: &Report) -> String {
    let mut out = String::new();
    for elf in &report.elfs {
        for detail in &elf.details {
            let change = match detail.change {
                ChangeKind::Changed => "changed",
                ChangeKind::New => "new",
                ChangeKind::Removed => "removed",
            };
            let line = format!("{}: {change} {} {} ({})", elf.name, detail.kind, detail.name, detail.unit);
            out.push_str(&format!("\n{}\n", readable(&line)));
            let inlined = detail.inlines.iter().map(|name| format!("inlines {name}, which the fix changes"));
            for reason in inlined.chain(detail.reasons.iter().cloned()) {
                out.push_str(&format!("    {}\n", readable(&reason)));
            }
        }
        for refused in &elf.refused {
            let at = refused.at.as_ref().map_or(String::new(), |at| format!(" at {at}"));
            let line = format!("{}: refused: {}: {}{at}", elf.name, refused.what, refused.place);
            out.push_str(&format!("\n{}\n    {}\n", readable(&line), readable(&refused.why)));
            out.extend(
                refused.follows.as_ref().map(|from| format!("    follows from: {}\n", readable(from))),
            );
        }
    }
    let mut told = Vec::new();
    for refused in report.elfs.iter().flat_map(|elf| &elf.refused).filter(|r| r.follows.is_none()) {
        if let Some(entry) = entry(&refused.what)
            && !told.contains(&entry)
        {
            out.push_str(&format!("\n{entry}\n"));
            told.push(entry);
        }
    }
    out
}

/// What the guide says of a reason, without the marks of its links.
fn entry(what: &str) -> Option<String> {
    let mark = format!("<a id=\"{}\"></a>", anchor(what).trim_start_matches('#'));
    let text = &GUIDE[GUIDE.find(&mark)?..];
    // Several reasons may share one entry: their anchors and names stand above its text.
    let is_name = |line: &str| line.is_empty() || line.starts_with("<a id=") || line.starts_with("**");
    let body = text.lines().skip_while(|line| is_name(line));
    let body = body.take_while(|line| !line.starts_with("<a id=") && !line.starts_with('#'));
    let text = body.collect::<Vec<_>>().join("\n");
    Some(format!("{what}\n\n{}", without_links(text.trim())))
}

/// `[hooks](../explain/hooks.md)` as `hooks`.
fn without_links(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('[') {
        out.push_str(before);
        let link = after.split_once("](").and_then(|(name, tail)| Some((name, tail.split_once(')')?.1)));
        match link.filter(|(name, _)| !name.contains(['[', ']'])) {
            Some((name, tail)) => {
                out.push_str(name);
                rest = tail;
            }
            None => {
                out.push('[');
                rest = after;
            }
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{ElfReport, Refused};

    #[test]
    fn a_refusal_is_explained_by_the_guide() {
        let refused = Refused {
            what: "initial value of live data changed".into(),
            place: "limit (a.c)".into(),
            why: "byte at +0x0: 0x1 -> 0x2".into(),
            at: Some("a.c:3".into()),
            ..Refused::default()
        };
        let elf = ElfReport { name: "prog".into(), refused: vec![refused], ..ElfReport::default() };
        let text = explained(&Report { elfs: vec![elf], ..Report::default() });
        let begin = "\nprog: refused: initial value of live data changed: limit (a.c) at a.c:3\n    byte at";
        assert!(text.starts_with(begin), "{text}");
        assert!(text.contains("*Not safe because*") && text.contains("*Do*"), "{text}");
        assert!(!text.contains("<a id") && text.matches("*Shown by*").count() == 1, "{text}");
    }

    #[test]
    fn links_become_text() {
        assert_eq!(
            without_links("see [hooks](../explain/hooks.md), a[3] and [b]"),
            "see hooks, a[3] and [b]"
        );
    }
}
