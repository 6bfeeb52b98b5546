//! Which lines of the original sources a fix changes.

use super::patchfiles::{Span, spans};
use std::path::{Path, PathBuf};

/// Changed places of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Changed {
    /// Names in the diff, stripped.
    files: Vec<PathBuf>,
    /// Line numbers in the original; of an insertion the line that it goes in front of.
    lines: Vec<u64>,
}

/// Changed lines of all files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes(Vec<Changed>);

impl Changes {
    /// Reads unified diffs, `strip` directories stripped from their names.
    pub(crate) fn read<'d>(diffs: impl Iterator<Item = &'d [u8]>, strip: u32) -> Self {
        let mut all: Vec<Changed> = Vec::new();
        for Span { files, lines } in diffs.flat_map(|diff| spans(diff, strip)) {
            match all.iter_mut().find(|c| c.files == files) {
                Some(known) => known.lines.extend(lines),
                None => all.push(Changed { files, lines }),
            }
        }
        Self(all)
    }

    /// Does the fix change one of the lines `first..=last` of this file?
    pub(crate) fn within(&self, file: &Path, first: u64, last: u64) -> bool {
        let of_file =
            self.0.iter().filter(|c| c.files.iter().any(|name| file.ends_with(name) || name.ends_with(file)));
        of_file.flat_map(|c| &c.lines).any(|line| (first..=last).contains(line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIFF: &[u8] =
        b"--- a/d/x.c\n+++ b/d/x.c\n@@ -10,4 +10,5 @@ f\n a\n-b\n+B\n c\n+new\n d\n@@ -30 +31 @@\n-x\n+y\n";

    #[test]
    fn removed_lines_and_places_of_insertions_are_changed() {
        let changes = Changes::read([DIFF].into_iter(), 1);
        assert_eq!(
            changes,
            Changes(vec![Changed { files: vec!["d/x.c".into(); 2], lines: vec![11, 12, 13, 30, 31] }])
        );
        let file = Path::new("/build/d/x.c");
        assert!(changes.within(file, 11, 11) && changes.within(file, 1, 40) && changes.within(file, 30, 30));
        assert!(!changes.within(file, 14, 29) && !changes.within(file, 1, 10));
        assert!(
            !changes.within(Path::new("/build/e/x.c"), 1, 40) && changes.within(Path::new("x.c"), 11, 11)
        );
    }
}
