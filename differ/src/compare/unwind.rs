//! Unwind information and exception tables of one function. A `catch` of another type may change nothing else.

use super::{Comparer, Reasons};
use crate::atoms::{Atoms, Ref};
use crate::eh_frame::{Entry, Frames};

impl Comparer<'_> {
    pub(super) fn unwind(&mut self, old: usize, new: usize) -> Reasons {
        let (old_frames, new_frames) = (self.old_frames, self.new_frames);
        let (a, b) = (&old_frames.of_atom[old], &new_frames.of_atom[new]);
        if a.len() != b.len() {
            return vec![format!("{} unwind entries -> {}", a.len(), b.len())];
        }
        for (&x, &y) in a.iter().zip(b) {
            let pair = (entry(old_frames, x), entry(new_frames, y));
            if !self.same_entry(pair.0, pair.1) {
                let lsda = pair.0.refs.len() > 1 || pair.1.refs.len() > 1;
                let what = if lsda { "exception table or unwind information" } else { "unwind information" };
                return vec![format!("{what} differs")];
            }
            if let (Some(x), Some(y)) = (pair.0.cie, pair.1.cie)
                && !self.same_entry(entry(old_frames, x), entry(new_frames, y))
            {
                return vec!["common unwind information (CIE) differs".into()];
            }
        }
        Vec::new()
    }

    fn same_entry(&mut self, x: &Entry, y: &Entry) -> bool {
        same_content(self.old, x, self.new, y)
            && x.refs.len() == y.refs.len()
            && x.refs.iter().zip(&y.refs).all(|(r, s): (&Ref, &Ref)| r.at == s.at && self.same_ref(r, s))
    }
}

fn entry(frames: &Frames, index: usize) -> &Entry {
    &frames.entries[index]
}

/// Whether the content is the same without the length and the pointer to the CIE, without relocated fields, and without padding: the assembler
/// fills up the last entry of the section further than the others (`DW_CFA_nop`, zero).
fn same_content(old: &Atoms, x: &Entry, new: &Atoms, y: &Entry) -> bool {
    fn content<'a>(all: &'a Atoms<'_>, entry: &Entry) -> &'a [u8] {
        all.unit.sections[entry.section].data.get(entry.start..entry.end).unwrap_or(&[])
    }
    let blanked = |bytes: &[u8], entry: &Entry, at: usize| {
        let relocated = |r: &Ref| (r.at..r.at.saturating_add(u64::from(r.width))).contains(&(at as u64));
        let head = if entry.cie.is_some() { 8 } else { 4 };
        let left_out = at < head || entry.refs.iter().any(relocated);
        if left_out { 0 } else { bytes.get(at).copied().unwrap_or(0) }
    };
    let (a, b) = (content(old, x), content(new, y));
    (0..a.len().max(b.len())).all(|at| blanked(a, x, at) == blanked(b, y, at))
}
