//! Keeps the line numbers of unchanged lines: a fix that adds a line would else shift `__LINE__` in every later assertion,
//! and each of those functions would count as changed.
//!
//! `#line N` (C17 6.10.4) is put in front of the first unchanged line after each hunk where a directive may stand; only where
//! the numbering is off by then. The file name stays, so debug information and dependencies do too.

use super::scan::legal_lines;
use similar::{Algorithm, DiffOp, capture_diff_slices};
use std::path::Path;

/// File name extensions of C and C++ sources and headers (gcc(1), "Options Controlling the Kind of Output"), and those that
/// projects use for template bodies. Assembly is left alone.
const EXTENSIONS: &[&str] = &[
    "c", "h", "cc", "cp", "cxx", "cpp", "CPP", "c++", "C", "hh", "hp", "hxx", "hpp", "HPP", "h++", "H",
    "tcc", "ipp", "inl",
];

/// The patched text with `#line` directives, or `None` if it needs none (or is no C or C++).
pub fn keep_line_numbers(path: &Path, old: &[u8], new: &[u8]) -> Option<Vec<u8>> {
    let extension = path.extension()?.to_str()?;
    if !EXTENSIONS.contains(&extension) {
        return None;
    }
    let old_lines: Vec<&[u8]> = old.split_inclusive(|b| *b == b'\n').collect();
    let new_lines: Vec<&[u8]> = new.split_inclusive(|b| *b == b'\n').collect();
    let legal = legal_lines(new);
    // What the compiler will count a line as, minus its place in the new text.
    let mut shift: i64 = 0;
    let mut out = Vec::with_capacity(new.len() + 256);
    let mut written = 0;
    let mut inserted = false;
    for op in capture_diff_slices(Algorithm::Myers, &old_lines, &new_lines) {
        let DiffOp::Equal { old_index, new_index, len } = op else { continue };
        let wanted = i64::try_from(old_index).ok()? - i64::try_from(new_index).ok()?;
        if wanted == shift {
            continue;
        }
        // Not legal anywhere among these lines: their numbers stay shifted, and what uses them counts as changed.
        let Some(place) = (new_index..new_index + len).find(|i| legal[*i]) else { continue };
        out.extend(new_lines[written..place].iter().copied().flatten());
        out.extend_from_slice(format!("#line {}\n", old_index + (place - new_index) + 1).as_bytes());
        written = place;
        shift = wanted;
        inserted = true;
    }
    out.extend(new_lines[written..].iter().copied().flatten());
    inserted.then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::process::{Command, Stdio};

    /// What gcc makes of the `L(tag)` in a text: each tag with its line number.
    fn numbers(text: &[u8]) -> Vec<String> {
        let mut child = Command::new("gcc")
            .args(["-E", "-P", "-pedantic-errors", "-Werror", "-DL(t)=@t __LINE__@", "-x", "c", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(text).unwrap();
        let out = child.wait_with_output().unwrap();
        assert!(out.status.success());
        let text = String::from_utf8(out.stdout).unwrap();
        text.split('@').skip(1).step_by(2).map(str::to_owned).collect()
    }

    fn check(old: &str, new: &str) -> Vec<u8> {
        let kept =
            keep_line_numbers(Path::new("x.c"), old.as_bytes(), new.as_bytes()).unwrap_or_else(|| new.into());
        let before = numbers(old.as_bytes());
        let after = numbers(&kept);
        for number in before {
            assert!(after.contains(&number), "{number} in {after:?} of\n{}", String::from_utf8_lossy(&kept));
        }
        kept
    }

    #[test]
    fn a_comment_at_the_top_shifts_nothing() {
        check("L(a)\nL(b)\n", "/* one\n two */\nL(a)\nL(b)\n");
    }

    #[test]
    fn added_and_removed_lines_are_made_up_for() {
        check("L(a)\nx\ny\nL(b)\nz\nL(c)\n", "L(a)\nnew\nx\ny\nmore\nL(b)\nL(c)\n");
        check("L(a)\nx\ny\nz\nL(b)\n", "L(a)\nL(b)\n");
    }

    #[test]
    fn the_directive_waits_for_the_end_of_comment_continuation_and_arguments() {
        check("/* a\n b */\nL(a)\n", "/* a\n new\n b */\nL(a)\n");
        check("#define X 1 \\\n + 2\nL(a)\n", "#define X 1 \\\n + 3 \\\n + 2\nL(a)\n");
        check("f(a,\n b,\n c);\nL(a)\n", "f(a,\n a2,\n b,\n c);\nL(a)\n");
    }

    #[test]
    fn equal_counts_need_no_directive() {
        assert_eq!(keep_line_numbers(Path::new("x.c"), b"a\nb\nc\n", b"a\nB\nc\n"), None);
    }

    #[test]
    fn a_file_of_another_kind_is_left_alone() {
        assert_eq!(keep_line_numbers(Path::new("x.py"), b"a\nb\n", b"z\na\nb\n"), None);
    }

    #[test]
    fn a_last_line_without_newline_is_kept() {
        let kept = check("L(a)\nL(b)", "x\nL(a)\nL(b)");
        assert!(kept.ends_with(b"L(b)"));
    }
}
