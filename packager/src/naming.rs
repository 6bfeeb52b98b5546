//! What a patch is called and says about itself, from its text where the user does not say.

use std::collections::BTreeSet;
use std::path::Path;

/// Name, CVE ids and description of a patch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Naming {
    /// RPM-safe name.
    pub name: String,
    /// CVE ids, sorted.
    pub cve: Vec<String>,
    /// One line for people.
    pub description: String,
    /// The CVE ids that each patch file names, in the order of the files.
    pub by_patch: Vec<Vec<String>>,
}

impl Naming {
    /// Without the CVE ids that only these patch files (by number) name.
    #[must_use]
    pub(crate) fn without(&self, patches: &[usize]) -> Self {
        let named = |idle: bool| {
            let files = self.by_patch.iter().enumerate().filter(move |(i, _)| patches.contains(i) == idle);
            files.flat_map(|(_, ids)| ids).cloned().collect::<BTreeSet<String>>()
        };
        let (idle, others) = (named(true), named(false));
        let mut naming = self.clone();
        naming.cve.retain(|id| {
            let id = id.to_ascii_uppercase();
            others.contains(&id) || !idle.contains(&id)
        });
        naming
    }
}

/// Derives them: `texts` are file name and content of each patch in order.
pub(crate) fn derive(texts: &[(String, String)]) -> Naming {
    let first = texts.first();
    let ids = |(name, text): &(String, String)| {
        let mut found = cve_ids(name);
        found.extend(cve_ids(header(text)));
        found
    };
    let by_patch: Vec<Vec<String>> = texts.iter().map(ids).collect();
    let all: BTreeSet<String> = by_patch.iter().flatten().cloned().collect();
    let name = match first {
        Some((file, text)) => {
            // The file name is what its author called it; the text may mention other fixes.
            let own = cve_ids(file).into_iter().next().or_else(|| cve_ids(header(text)).into_iter().next());
            own.unwrap_or_else(|| safe(&stem(file)))
        }
        None => "patch".to_owned(),
    };
    let description = first.map(|(_, text)| subject(text)).unwrap_or_default();
    Naming { name, cve: all.into_iter().collect(), description, by_patch }
}

/// Everything before the first hunk: what a changed source line says is not about the fix.
fn header(text: &str) -> &str {
    let end = ["\n--- a/", "\ndiff --git ", "\nIndex: ", "\n@@ -", "\n--- "]
        .iter()
        .filter_map(|m| text.find(m))
        .min();
    end.map_or(text, |at| &text[..at])
}

/// CVE ids (`CVE-YYYY-NNNN…`) in the order in which they appear.
pub(crate) fn cve_ids(text: &str) -> Vec<String> {
    let upper = text.to_ascii_uppercase();
    let mut found = Vec::new();
    for (at, _) in upper.match_indices("CVE-") {
        let digits = |s: &str| s.bytes().take_while(u8::is_ascii_digit).count();
        let rest = &upper[at + 4..];
        if digits(rest) != 4 || rest.as_bytes().get(4) != Some(&b'-') {
            continue;
        }
        let number = digits(&rest[5..]);
        if (4..=9).contains(&number) {
            let id = format!("CVE-{}", &rest[..5 + number]);
            if !found.contains(&id) {
                found.push(id);
            }
        }
    }
    found
}

fn stem(file: &str) -> String {
    Path::new(file).file_stem().map_or_else(|| file.to_owned(), |s| s.to_string_lossy().into_owned())
}

/// A name made of a line of text: its words with dashes between them, not more than about 60 characters.
pub(crate) fn title(text: &str) -> String {
    let mut name = String::new();
    for word in text.split(|c: char| !c.is_ascii_alphanumeric() && !"._+".contains(c)) {
        let word = word.trim_matches('.');
        if word.is_empty() || name.len() + word.len() > 60 {
            continue;
        }
        if !name.is_empty() {
            name.push('-');
        }
        name.push_str(word);
    }
    safe(&name)
}

/// Only characters that an RPM name and a path component may have.
fn safe(name: &str) -> String {
    let text: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || "._+-".contains(c) { c } else { '-' }).collect();
    let text = text.trim_matches(['.', '-']).to_owned();
    if text.is_empty() { "patch".to_owned() } else { text }
}

/// Subject of a mail or a git patch, with its continuation lines and without the `[PATCH n/m]`; else DEP-3's
/// description.
fn subject(text: &str) -> String {
    let mut lines = header(text).lines();
    while let Some(line) = lines.next() {
        let Some(rest) = line.strip_prefix("Subject:").or_else(|| line.strip_prefix("Description:")) else {
            continue;
        };
        let mut subject = rest.trim().to_owned();
        for next in lines
            .take_while(|l| l.starts_with([' ', '\t']) && !l.trim().is_empty() && line.starts_with("Subject"))
        {
            subject.push(' ');
            subject.push_str(next.trim());
        }
        let bare = match (subject.starts_with('['), subject.find(']')) {
            (true, Some(end)) => subject[end + 1..].trim().to_owned(),
            _ => subject,
        };
        return bare.chars().filter(|c| !c.is_control()).take(200).collect();
    }
    String::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_and_ids_come_from_the_patch() {
        let text = "From: a\nSubject: [PATCH 1/2] Fix write\n  (CVE-2025-32023)\n\n--- a/x\n+++ b/x\n+CVE-1999-0001\n";
        let naming = derive(&[("fix.patch".into(), text.into())]);
        assert_eq!(naming.name, "CVE-2025-32023");
        assert_eq!(naming.cve, ["CVE-2025-32023"]);
        assert_eq!(naming.description, "Fix write (CVE-2025-32023)");
    }

    #[test]
    fn the_file_name_stands_in() {
        assert_eq!(derive(&[("my fix.patch".into(), "--- a\n".into())]).name, "my-fix");
        assert_eq!(derive(&[("0001-cve-2024-12345-x.patch".into(), String::new())]).name, "CVE-2024-12345");
    }

    #[test]
    fn a_title_is_short_and_safe() {
        assert_eq!(title("area: multiply, don't add (v2.1)"), "area-multiply-don-t-add-v2.1");
        assert_eq!(title("fix/ask-once"), "fix-ask-once");
        assert!(title(&"word ".repeat(40)).len() <= 64);
        assert_eq!(title("..."), "patch");
    }

    #[test]
    fn ids_that_only_idle_patches_name_are_left_out() {
        let text = |ids: &str| format!("Subject: {ids}\n--- a/x\n");
        let texts = [text("CVE-2026-0001 CVE-2026-0002"), text("CVE-2026-0002 CVE-2026-0003")];
        let texts: Vec<_> = texts.into_iter().map(|text| ("fix.patch".to_owned(), text)).collect();
        let mut naming = derive(&texts);
        assert_eq!(naming.without(&[]), naming);
        assert_eq!(naming.without(&[1]).cve, ["CVE-2026-0001", "CVE-2026-0002"]);
        // What the user says besides is not for us to judge.
        naming.cve = vec!["CVE-2026-0003".into(), "CVE-2026-0009".into()];
        assert_eq!(naming.without(&[1]).cve, ["CVE-2026-0009"]);
    }

    #[test]
    fn what_is_no_id_is_none() {
        assert!(cve_ids("CVE-20-1234 CVE-2024-12 XCVE-abcd").is_empty());
    }
}
