//! Compares the records that belong to a function, as unwind information and exception tables. A `catch` of
//! another type may change nothing but these.

use super::{Comparer, Reasons};
use crate::atoms::{Atoms, Ref};
use crate::attached::Record;
use crate::record_kind::RecordKind;

impl Comparer<'_> {
    /// Why the records of two paired functions differ; empty when they do not.
    pub(super) fn attached(&mut self, old: usize, new: usize) -> Reasons {
        let reasons = RecordKind::all().find_map(|kind| self.records(kind, old, new));
        reasons.into_iter().collect()
    }

    fn records(&mut self, kind: RecordKind, old: usize, new: usize) -> Option<String> {
        let (old_records, new_records) = (self.old_records, self.new_records);
        let a: Vec<&Record> = old_records.of(old, kind).collect();
        let b: Vec<&Record> = new_records.of(new, kind).collect();
        if a.len() != b.len() {
            return Some(format!("{} {} -> {}", a.len(), Words::of(kind).records, b.len()));
        }
        for (x, y) in a.into_iter().zip(b) {
            if !self.same_record(x, y) {
                let more = x.refs.len() > 1 || y.refs.len() > 1;
                let words = Words::of(kind);
                let what = if more { words.with_references } else { words.content };
                let verb = if what == words.records { "differ" } else { "differs" };
                return Some(format!("{what} {verb}"));
            }
            if let (Some(x), Some(y)) = (old_records.common(x), new_records.common(y))
                && !self.same_record(x, y)
            {
                return Some(format!("{} differs", Words::of(kind).common));
            }
        }
        None
    }

    fn same_record(&mut self, x: &Record, y: &Record) -> bool {
        same_content(self.old, x, self.new, y)
            && x.refs.len() == y.refs.len()
            && x.refs.iter().zip(&y.refs).all(|(r, s): (&Ref, &Ref)| r.at == s.at && self.same_ref(r, s))
    }
}

/// What the records of a kind are called.
struct Words {
    records: &'static str,
    content: &'static str,
    /// The content, where a record refers to more than its function.
    with_references: &'static str,
    common: &'static str,
}

impl Words {
    fn of(kind: RecordKind) -> Self {
        match kind {
            RecordKind::CallFrames => Self {
                records: "unwind entries",
                content: "unwind information",
                with_references: "exception table or unwind information",
                common: "common unwind information (CIE)",
            },
            RecordKind::Table(table) => Self {
                records: table.entries,
                content: table.entries,
                with_references: table.entries,
                common: table.entries,
            },
        }
    }
}

/// Whether two records have the same content. Headers, relocated fields and padding do not count: the
/// assembler fills up the last entry of a section further than the others (`DW_CFA_nop`, zero).
fn same_content(old: &Atoms, x: &Record, new: &Atoms, y: &Record) -> bool {
    let blanked = |bytes: &[u8], record: &Record, at: usize| {
        let relocated = |r: &Ref| (r.at..r.at.saturating_add(u64::from(r.width))).contains(&(at as u64));
        let left_out = record.passed_over.contains(&at) || record.refs.iter().any(relocated);
        if left_out { 0 } else { bytes.get(at).copied().unwrap_or(0) }
    };
    let (a, b) = (x.content(old), y.content(new));
    (0..a.len().max(b.len())).all(|at| blanked(a, x, at) == blanked(b, y, at))
}
