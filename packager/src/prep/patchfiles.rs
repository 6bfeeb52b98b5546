//! Which files a unified diff names.

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
    /// The names that one part of the diff has for a file that is there before: patch(1) takes the one that is.
    pub either: Vec<Vec<PathBuf>>,
}

/// Reads the `---`/`+++` pairs of a unified diff and git's rename and copy lines. Lines inside hunks are skipped by
/// count, so that a removed line that begins with `-- ` is not taken for a file name.
pub(crate) fn touched_files(diff: &[u8], strip: u32) -> PatchFiles {
    let mut files = PatchFiles::default();
    let mut lines = diff.split(|b| *b == b'\n').peekable();
    let (mut old_left, mut new_left) = (0u64, 0u64);
    while let Some(line) = lines.next() {
        if old_left > 0 || new_left > 0 {
            match line.first() {
                Some(b'-') => old_left = old_left.saturating_sub(1),
                Some(b'+') => new_left = new_left.saturating_sub(1),
                Some(b'\\') => {}
                _ => {
                    old_left = old_left.saturating_sub(1);
                    new_left = new_left.saturating_sub(1);
                }
            }
            continue;
        }
        if let Some(counts) = hunk_counts(line) {
            (old_left, new_left) = counts;
        } else if let Some(from) = line.strip_prefix(b"--- ") {
            let to = lines.peek().and_then(|l| l.strip_prefix(b"+++ "));
            if let Some(to) = to {
                let (old, new) = (file_name(from, strip), file_name(to, strip));
                if !is_nothing(from) {
                    let names = old.iter().chain(&new).cloned().collect::<Vec<_>>();
                    files.either.extend((!names.is_empty()).then_some(names));
                }
                files.old.extend(old);
                files.new.extend(new);
                lines.next();
            }
        } else if let Some(name) = strip_any(line, &[b"rename from ", b"copy from "]) {
            let name = file_name(name, strip.saturating_sub(1));
            files.either.extend(name.iter().map(|name| vec![name.clone()]));
            files.old.extend(name);
        } else if let Some(name) = strip_any(line, &[b"rename to ", b"copy to "]) {
            files.new.extend(file_name(name, strip.saturating_sub(1)));
        }
    }
    files
}

/// Changed lines of one file of a diff, counted in the original.
pub(super) struct Span {
    /// By the names that the diff has for it.
    pub(super) files: Vec<PathBuf>,
    pub(super) lines: Vec<u64>,
}

/// The changed lines of each file that is there before: removed lines, and the lines in front of which something is added.
pub(super) fn spans(diff: &[u8], strip: u32) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    let mut lines = diff.split(|b| *b == b'\n').peekable();
    let (mut old_left, mut new_left, mut at) = (0u64, 0u64, 0u64);
    let mut known = false;
    while let Some(line) = lines.next() {
        if old_left > 0 || new_left > 0 {
            let mark = line.first();
            if let (Some(b'-' | b'+'), true, Some(span)) = (mark, known, spans.last_mut())
                && span.lines.last() != Some(&at)
            {
                span.lines.push(at);
            }
            match mark {
                Some(b'+') => new_left = new_left.saturating_sub(1),
                Some(b'\\') => {}
                _ => {
                    old_left = old_left.saturating_sub(1);
                    new_left = new_left.saturating_sub(u64::from(mark != Some(&b'-')));
                    at += 1;
                }
            }
        } else if let Some(counts) = hunk_counts(line) {
            (old_left, new_left) = counts;
            at = hunk_start(line);
        } else if let Some(from) = line.strip_prefix(b"--- ")
            && let Some(to) = lines.next_if(|l| l.starts_with(b"+++ "))
        {
            known = !is_nothing(from);
            let to = to.strip_prefix(b"+++ ").unwrap_or_default();
            let files = [from, to].into_iter().filter_map(|name| file_name(name, strip)).collect();
            spans.extend(known.then_some(Span { files, lines: Vec::new() }));
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

/// What follows the shortest beginning with this many slashes, of which several in a row are one; nothing if there are not as many
/// (patch(1), `--strip`).
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
        let diff = b"--- a/x.c\t2020\n+++ b/x.c\n@@ -1,2 +1,1 @@\n--- no file\n y\n--- /dev/null\n+++ b/new.c\n@@ -0,0 +1 @@\n+++ z\n";
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
    fn quoted_names_are_read() {
        let files = touched_files(b"--- \"a/\\303\\244 b.c\"\n+++ \"b/\\303\\244 b.c\"\n", 1);
        assert_eq!(names(&files.new), ["ä b.c"]);
    }
}
