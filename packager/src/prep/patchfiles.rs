//! Which files a unified diff names, and which of their lines it changes.
//!
//! patch(1) applies the diff; this only looks at it, and takes what patch(1) takes. diffy 0.5 was tried and
//! is not used: it reads git's renames only in a mode in which it passes over parts without `diff --git`, and
//! of a diff with a hunk that is shorter than its header says it gives nothing at all, while patch(1) makes
//! up for blank lines that a mail has lost at the end.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

/// Files named in a diff, after stripping.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PatchFiles {
    /// Files that may be there before.
    pub old: BTreeSet<PathBuf>,
    /// Files that may be there afterwards.
    pub new: BTreeSet<PathBuf>,
    /// The names that a part of the diff has for a file that exists before: patch(1) takes the one that is
    /// there.
    pub either: Vec<Vec<PathBuf>>,
}

/// One part of a diff, as it stands there.
enum Part<'d> {
    /// The names behind `---` and `+++`.
    Names(&'d [u8], &'d [u8]),
    /// The name behind `rename from` or `copy from`.
    From(&'d [u8]),
    /// The name behind `rename to` or `copy to`.
    To(&'d [u8]),
    /// Changed lines of a hunk, counted in the original: those that are removed, and those that something is
    /// put in front of.
    Changed(Vec<u64>),
}

/// Takes a diff apart. Lines inside hunks are told by the hunk's counts, so that a removed line that begins
/// with `-- ` is not taken for a file name.
fn parts(diff: &[u8]) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut lines = diff.split(|b| *b == b'\n').peekable();
    while let Some(line) = lines.next() {
        if let Some((old, new)) = hunk_counts(line) {
            parts.push(Part::Changed(hunk(&mut lines, hunk_start(line), old, new)));
        } else if let Some(from) = line.strip_prefix(b"--- ") {
            if let Some(to) = lines.peek().and_then(|l| l.strip_prefix(b"+++ ")) {
                parts.push(Part::Names(from, to));
                lines.next();
            }
        } else if let Some(name) = strip_any(line, &[b"rename from ", b"copy from "]) {
            parts.push(Part::From(name));
        } else if let Some(name) = strip_any(line, &[b"rename to ", b"copy to "]) {
            parts.push(Part::To(name));
        }
    }
    parts
}

/// The changed lines of a hunk that begins at line `at`, with as many lines left as its header says.
fn hunk<'d>(lines: &mut impl Iterator<Item = &'d [u8]>, mut at: u64, mut old: u64, mut new: u64) -> Vec<u64> {
    let mut changed = Vec::new();
    while old > 0 || new > 0 {
        let Some(line) = lines.next() else { break };
        let mark = line.first();
        if matches!(mark, Some(b'-' | b'+')) && changed.last() != Some(&at) {
            changed.push(at);
        }
        match mark {
            Some(b'+') => new = new.saturating_sub(1),
            Some(b'\\') => {}
            _ => {
                old = old.saturating_sub(1);
                new = new.saturating_sub(u64::from(mark != Some(&b'-')));
                at += 1;
            }
        }
    }
    changed
}

/// The files that a diff names, with `strip` folders stripped from their names.
pub(crate) fn touched_files(diff: &[u8], strip: u32) -> PatchFiles {
    let mut files = PatchFiles::default();
    for part in parts(diff) {
        match part {
            Part::Names(from, to) => {
                let (old, new) = (file_name(from, strip), file_name(to, strip));
                if !is_nothing(from) {
                    let names = old.iter().chain(&new).cloned().collect::<Vec<_>>();
                    files.either.extend((!names.is_empty()).then_some(names));
                }
                files.old.extend(old);
                files.new.extend(new);
            }
            Part::From(name) => {
                let name = file_name(name, strip.saturating_sub(1));
                files.either.extend(name.iter().map(|name| vec![name.clone()]));
                files.old.extend(name);
            }
            Part::To(name) => files.new.extend(file_name(name, strip.saturating_sub(1))),
            Part::Changed(_) => {}
        }
    }
    files
}

/// Changed lines of one file of a diff, counted in the original.
pub(super) struct Span {
    /// The files, by the names that the diff has for them.
    pub(super) files: Vec<PathBuf>,
    pub(super) lines: Vec<u64>,
}

/// The changed lines of each file that is there before.
pub(super) fn spans(diff: &[u8], strip: u32) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    let mut is_there = false;
    for part in parts(diff) {
        match part {
            Part::Names(from, to) => {
                is_there = !is_nothing(from);
                let files = [from, to].into_iter().filter_map(|name| file_name(name, strip)).collect();
                spans.extend(is_there.then_some(Span { files, lines: Vec::new() }));
            }
            Part::Changed(lines) if is_there => {
                let Some(span) = spans.last_mut() else { continue };
                let again = span.lines.last() == lines.first();
                span.lines.extend(lines.into_iter().skip(usize::from(again)));
            }
            _ => {}
        }
    }
    spans
}

/// First line of `@@ -a,b +c,d @@` in the original.
fn hunk_start(line: &[u8]) -> u64 {
    let digits = line.get(4..).unwrap_or_default().iter().take_while(|b| b.is_ascii_digit());
    digits.fold(0u64, |n, b| n.saturating_mul(10).saturating_add(u64::from(b - b'0')))
}

fn strip_any<'a>(line: &'a [u8], prefixes: &[&[u8]]) -> Option<&'a [u8]> {
    prefixes.iter().find_map(|p| line.strip_prefix(*p))
}

/// Line counts of `@@ -a,b +c,d @@`.
fn hunk_counts(line: &[u8]) -> Option<(u64, u64)> {
    let text = std::str::from_utf8(line.get(..line.len().min(80))?).ok().or(Some(""))?;
    let mut words = text.strip_prefix("@@ -")?.split(' ');
    let count = |range: &str| range.split_once(',').map_or(Some(1), |(_, n)| n.parse().ok());
    let old = count(words.next()?)?;
    let new = count(words.next()?.strip_prefix('+')?)?;
    Some((old, new))
}

fn file_name(field: &[u8], strip: u32) -> Option<PathBuf> {
    let name = whole_name(field);
    if name == b"/dev/null" || name.is_empty() {
        return None;
    }
    let rest = stripped(&name, strip)?;
    let path: PathBuf = PathBuf::from(OsString::from_vec(rest.to_vec()))
        .components()
        .filter(|c| !matches!(c, Component::CurDir))
        .collect();
    let safe = path.components().all(|c| matches!(c, Component::Normal(_)));
    (safe && path != Path::new("")).then_some(path)
}

/// Does the header say that there is no file?
fn is_nothing(field: &[u8]) -> bool {
    whole_name(field) == b"/dev/null"
}

/// The name in a header. A tab separates it from a time stamp; git quotes odd names as C strings.
fn whole_name(field: &[u8]) -> Vec<u8> {
    let field = field.split(|b| *b == b'\t').next().unwrap_or(field);
    let field = field.strip_suffix(b"\r").unwrap_or(field);
    match field.strip_prefix(b"\"").and_then(|f| f.strip_suffix(b"\"")) {
        Some(quoted) => unquote(quoted),
        None => field.to_vec(),
    }
}

/// What follows the shortest beginning with this many slashes, of which several in a row are one; nothing if
/// there are not as many (patch(1), `--strip`).
fn stripped(name: &[u8], strip: u32) -> Option<&[u8]> {
    let mut rest = name;
    for _ in 0..strip {
        let slash = rest.iter().position(|b| *b == b'/')?;
        rest = &rest[slash..];
        rest = &rest[rest.iter().take_while(|b| **b == b'/').count()..];
    }
    Some(rest)
}

/// Undoes git's C-style quoting.
fn unquote(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        if text[at] != b'\\' || at + 1 >= text.len() {
            out.push(text[at]);
            at += 1;
            continue;
        }
        let next = text[at + 1];
        let octal = text.get(at + 1..at + 4).filter(|d| d.iter().all(|b| (b'0'..=b'7').contains(b)));
        if let Some(digits) = octal {
            out.push(digits.iter().fold(0u8, |n, d| n.wrapping_mul(8).wrapping_add(d - b'0')));
            at += 4;
            continue;
        }
        out.push(match next {
            b'n' => b'\n',
            b't' => b'\t',
            b'r' => b'\r',
            other => other,
        });
        at += 2;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(set: &BTreeSet<PathBuf>) -> Vec<&str> {
        set.iter().filter_map(|p| p.to_str()).collect()
    }

    #[test]
    fn names_are_read_outside_hunks_only() {
        let diff = b"--- a/x.c\t2020\n+++ b/x.c\n@@ -1,2 +1,1 @@\n--- no file\n y\n--- /dev/null\n+++ \
         b/new.c\n@@ -0,0 +1 @@\n+++ z\n";
        let files = touched_files(diff, 1);
        assert_eq!(names(&files.old), ["x.c"]);
        assert_eq!(names(&files.new), ["new.c", "x.c"]);
    }

    #[test]
    fn names_that_leave_the_tree_are_dropped() {
        assert_eq!(touched_files(b"--- a/../../etc/x\n+++ b/../../etc/x\n", 1), PatchFiles::default());
    }

    #[test]
    fn directories_are_stripped_as_patch_does() {
        for (name, strip, is) in [
            ("a/sub/x.c", 1, "sub/x.c"),
            ("./sub/x.c", 1, "sub/x.c"),
            ("./a/sub/x.c", 2, "sub/x.c"),
            ("a/./sub/x.c", 1, "sub/x.c"),
            ("a//sub/x.c", 1, "sub/x.c"),
            ("/sub/x.c", 1, "sub/x.c"),
            ("./x.c", 1, "x.c"),
            ("./sub/x.c", 0, "sub/x.c"),
        ] {
            assert_eq!(file_name(name.as_bytes(), strip), Some(is.into()), "{name} -p{strip}");
        }
        assert_eq!(file_name(b"x.c", 1), None);
    }

    #[test]
    fn one_of_two_names_is_that_of_the_file() {
        let files =
            touched_files(b"--- x.c.orig\n+++ x.c\n@@ -1 +1 @@\n-a\n+b\n--- /dev/null\n+++ new.c\n", 0);
        assert_eq!(files.either, [["x.c.orig", "x.c"].map(PathBuf::from)]);
        let spans = spans(b"--- x.c.orig\n+++ x.c\n@@ -1 +1 @@\n-a\n+b\n", 0);
        assert_eq!(spans[0].files, ["x.c.orig", "x.c"].map(PathBuf::from));
    }

    #[test]
    fn renames_and_a_hunk_without_its_last_blank_line_are_read() {
        let diff = b"diff --git a/x.c b/y.c\nrename from x.c\nrename to y.c\n--- a/z.c\n+++ b/z.c\n@@ -1,3 \
         +1,3 @@\n-a\n+c\n b\n";
        let files = touched_files(diff, 1);
        assert_eq!((names(&files.old), names(&files.new)), (vec!["x.c", "z.c"], vec!["y.c", "z.c"]));
        assert_eq!(spans(diff, 1)[0].lines, [1, 2]);
    }

    #[test]
    fn quoted_names_are_read() {
        let files = touched_files(b"--- \"a/\\303\\244 b.c\"\n+++ \"b/\\303\\244 b.c\"\n", 1);
        assert_eq!(names(&files.new), ["ä b.c"]);
    }
}
