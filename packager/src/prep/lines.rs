//! Keeps the line numbers of unchanged lines: a fix that adds a line would else shift `__LINE__` in every
//! later assertion, and each of those functions would count as changed.
//!
//! `#line N` (C17 6.10.4) is put in front of the first unchanged line after each hunk where a directive may
//! stand; only where the numbering is off by then. Lines that a hunk has more than before are numbered past
//! the end of the file, so that no two lines share a number. The file name stays, so debug information and
//! dependencies do too.

use super::scan::DirectivePositions;
use crate::source::C_EXTENSIONS;
use similar::{Algorithm, DiffOp, capture_diff_slices};
use std::path::Path;

/// The patched text with `#line` directives, or `None` if it needs none (or is no C or C++).
pub(crate) fn keep_line_numbers(path: &Path, old: &[u8], new: &[u8]) -> Option<Vec<u8>> {
    let extension = path.extension()?.to_str()?;
    if !C_EXTENSIONS.contains(&extension) {
        return None;
    }
    let old_lines: Vec<&[u8]> = old.split_inclusive(|b| *b == b'\n').collect();
    let new_lines: Vec<&[u8]> = new.split_inclusive(|b| *b == b'\n').collect();
    let mut out = Numbered::new(&new_lines, DirectivePositions::of(new), old_lines.len());
    for op in capture_diff_slices(Algorithm::Myers, &old_lines, &new_lines) {
        match op {
            DiffOp::Equal { old_index, new_index, len } => out.kept(old_index, new_index, len),
            DiffOp::Insert { new_index, new_len, .. } => out.added(new_index, new_len),
            DiffOp::Replace { old_index, old_len, new_index, new_len } => {
                // As many of the new lines as there were before have the numbers of those that they replace.
                let replaced = old_len.min(new_len);
                out.kept(old_index, new_index, replaced);
                out.added(new_index + replaced, new_len - replaced);
            }
            DiffOp::Delete { .. } => {}
        }
    }
    out.finish()
}

/// The patched text as it is put together.
struct Numbered<'t> {
    lines: &'t [&'t [u8]],
    places: DirectivePositions,
    /// What the compiler may count from here on, minus the place in the new text (both from 0): by the branch
    /// of a conditional with the directive that says so. Only the first is certain; the branches of the
    /// others may be left out.
    shifts: Vec<(usize, isize)>,
    /// The first number that no line has so far, neither of the original nor a new one.
    fresh: isize,
    out: Vec<u8>,
    /// Lines that are in `out`.
    written: usize,
    inserted: bool,
}

impl<'t> Numbered<'t> {
    fn new(lines: &'t [&'t [u8]], places: DirectivePositions, old_lines: usize) -> Self {
        let fresh = isize::try_from(old_lines).unwrap_or(isize::MAX);
        Self { lines, places, shifts: vec![(0, 0)], fresh, out: Vec::new(), written: 0, inserted: false }
    }

    /// Lines of the original keep their numbers. Where no directive is legal among them they stay shifted,
    /// and what uses their numbers counts as changed.
    fn kept(&mut self, old: usize, new: usize, len: usize) {
        let Some(shift) = offset(old, new) else { return };
        for place in new..new + len {
            self.line(place, shift);
        }
    }

    /// Lines that the fix adds go by numbers that no other line has: some programs make names of them.
    fn added(&mut self, new: usize, len: usize) {
        let Some(first) = (new..new + len).find(|place| self.places.legal(*place)) else {
            (new..new + len).for_each(|place| self.count(place));
            return;
        };
        (new..first).for_each(|place| self.count(place));
        let Some(shift) = isize::try_from(first).ok().and_then(|first| self.fresh.checked_sub(first)) else {
            return;
        };
        for place in first..new + len {
            self.line(place, shift);
        }
    }

    /// From this place on lines are to count with this shift.
    fn line(&mut self, place: usize, shift: isize) {
        if self.places.legal(place) {
            let branch = self.places.branch(place);
            // A directive hides the earlier ones if it is compiled wherever this line is.
            let certain = self.shifts.iter().rposition(|(of, _)| self.places.encloses(*of, branch));
            self.shifts.drain(..certain.unwrap_or(0));
            if self.shifts.iter().any(|(_, is)| *is != shift)
                && let Some(number) = isize::try_from(place).ok().and_then(|place| place.checked_add(shift))
            {
                self.copy_to(place);
                self.out.extend_from_slice(format!("#line {}\n", number + 1).as_bytes());
                self.inserted = true;
                self.shifts.push((branch, shift));
            }
        }
        self.count(place);
    }

    fn count(&mut self, place: usize) {
        let after = |shift: isize| isize::try_from(place + 1).ok()?.checked_add(shift);
        let last = self.shifts.iter().filter_map(|(_, shift)| after(*shift)).max();
        self.fresh = self.fresh.max(last.unwrap_or(0));
    }

    fn copy_to(&mut self, place: usize) {
        self.out.extend(self.lines[self.written..place].iter().copied().flatten());
        self.written = place;
    }

    fn finish(mut self) -> Option<Vec<u8>> {
        self.copy_to(self.lines.len());
        self.inserted.then_some(self.out)
    }
}

fn offset(number: usize, place: usize) -> Option<isize> {
    isize::try_from(number).ok()?.checked_sub(isize::try_from(place).ok()?)
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
    fn no_two_lines_share_a_number() {
        let check_all = |old: &str, new: &str| {
            let kept = keep_line_numbers(Path::new("x.c"), old.as_bytes(), new.as_bytes());
            let mut after = numbers(&kept.unwrap_or_else(|| new.into()));
            after.iter_mut().for_each(|tag| *tag = tag.split(' ').nth(1).unwrap().to_owned());
            let all = after.len();
            after.sort();
            after.dedup();
            assert_eq!(after.len(), all, "{after:?}");
        };
        check_all("L(a)\nL(b)\nL(c)\n", "L(a)\nL(n)\nL(b)\nL(m)\nL(o)\nL(c)\nL(p)\n");
        check_all("L(a)\nL(x)\nL(b)\nL(c)\n", "L(a)\nL(y)\nL(z)\nL(b)\nL(d)\nL(c)\n");
        check_all("L(a)\nL(x)\nL(y)\nL(b)\n", "L(n)\nL(a)\nL(z)\nL(b)\n");
    }

    #[test]
    fn a_directive_that_is_left_out_with_its_branch_is_made_up_for() {
        check("#ifdef X\nx\n#endif\nL(a)\n", "#ifdef X\nx\ny\n#endif\nL(a)\n");
        check("#ifdef X\nx\n#else\nL(b)\n#endif\nL(a)\n", "#ifdef X\ny\nx\n#else\nL(b)\n#endif\nL(a)\n");
        check("#ifndef X\n#define X\nL(b)\n#endif\nL(a)\n", "#ifndef X\n#define X\ny\nL(b)\n#endif\nL(a)\n");
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
