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
        blanked(self.old, x) == blanked(self.new, y)
            && x.refs.len() == y.refs.len()
            && x.refs.iter().zip(&y.refs).all(|(r, s): (&Ref, &Ref)| r.at == s.at && self.same_ref(r, s))
    }
}

fn entry(frames: &Frames, index: usize) -> &Entry {
    &frames.entries[index]
}

/// The entry without its length and its pointer to the CIE, without relocated fields, and without padding: the assembler fills up the last
/// entry of the section further than the others (`DW_CFA_nop`, zero).
fn blanked(all: &Atoms, entry: &Entry) -> Vec<u8> {
    let mut bytes = all.unit.sections[entry.section].data.get(entry.start..entry.end).unwrap_or(&[]).to_vec();
    if let Some(length) = bytes.get_mut(..4) {
        length.fill(0);
    }
    if let (true, Some(pointer)) = (entry.cie.is_some(), bytes.get_mut(4..8)) {
        pointer.fill(0);
    }
    for r in &entry.refs {
        let from = usize::try_from(r.at).unwrap_or(usize::MAX);
        if let Some(field) = bytes.get_mut(from..from.saturating_add(usize::from(r.width))) {
            field.fill(0);
        }
    }
    let end = bytes.iter().rposition(|&b| b != 0).map_or(0, |last| last + 1);
    bytes.truncate(end);
    bytes
}
