//! Compares data: every bit that is not of a reference is equal, every reference leads to the same thing.

use differ::arch::Computes;

use super::loaded::{Content, LoadedFile, Meaning};
use super::matcher::{Kind, Matcher};
use super::recorded::{Atom, Base, Field};
use super::strings::is_text;

impl Matcher<'_, '_> {
    pub(super) fn data(&mut self, atom: &Atom, there: u64) {
        let known = self.known;
        let end = atom.end();
        let mut at = atom.start;
        let fields: Vec<Field> = known.fields_in(atom.start, end).cloned().collect();
        for field in &fields {
            let (start, stop) = (field.at.max(at), field.end.min(end));
            self.plain(atom, there, at, start.max(at));
            self.field(atom, there, field);
            at = at.max(stop);
        }
        self.plain(atom, there, at, end);
    }

    /// Bytes between references: equal, but for what the dynamic loader fills in where the object is not
    /// known.
    fn plain(&mut self, atom: &Atom, there: u64, start: u64, end: u64) {
        let to = |at: u64| there.wrapping_add(at - atom.start);
        let mut at = start;
        while at < end {
            if (self.known.loaded.is_filled(at) || self.other.is_filled(to(at))) && end - at >= 8 {
                let meanings = (self.known.loaded.held(at), self.other.held(to(at)));
                self.same_meaning(atom, Base::Unknown, meanings);
                at += 8;
                continue;
            }
            let next = (at + 1..end)
                .find(|next| self.known.loaded.is_filled(*next) || self.other.is_filled(to(*next)))
                .unwrap_or(end);
            if !self.same_bytes(at, to(at), next - at) {
                let name =
                    if atom.name.is_empty() { "unnamed data".to_owned() } else { format!("`{}`", atom.name) };
                // Of the whole: a part of a number may look like a text.
                let whole = |side: &LoadedFile<'_>, at: u64| match side.content(at, atom.size) {
                    Some(Content::Bytes(bytes)) if is_text(bytes) => Some(bytes.to_vec()),
                    _ => None,
                };
                let texts = (whole(&self.known.loaded, atom.start), whole(self.other, there));
                if let (Some(ours), Some(theirs)) = texts {
                    return self.texts(atom, &ours, &theirs);
                }
                return self.differs(Kind::Content, atom, format!("the content of {name} differs"));
            }
            at = next;
        }
    }

    fn field(&mut self, atom: &Atom, there: u64, field: &Field) {
        let at_other = there.wrapping_add(field.at.wrapping_sub(atom.start));
        let width = field.end - field.at;
        let kind = field.kind.map(|t| (t.computes, t.is_pc_relative(), t.width));
        match kind {
            Some((Computes::Address, false, 8)) => {
                let meanings = (self.known.loaded.held(field.at), self.other.held(at_other));
                self.same_meaning(atom, field.base, meanings);
            }
            Some((Computes::Address, false, 4)) => {
                let values = (self.known.loaded.word(field.at, 4), self.other.word(at_other, 4));
                if let (Some(a), Some(b)) = values {
                    self.reference(atom, field.base, a, b);
                }
            }
            Some((Computes::Address | Computes::Call, true, 4 | 8)) => {
                let value = |v: u64| if width == 4 { i64::from(v as u32 as i32) } else { v.cast_signed() };
                let words = (self.known.loaded.word(field.at, width), self.other.word(at_other, width));
                let (Some(ours), Some(theirs)) = words else {
                    return self.differs(Kind::Content, atom, "it reaches beyond its section".to_owned());
                };
                self.relative(atom, there, field, (value(ours), value(theirs)));
            }
            _ => {
                if !self.same_bytes(field.at, at_other, width) {
                    let name = self.known.loaded.machine.relocation_name(field.number);
                    self.differs(Kind::Code, atom, format!("{name} differs in `{}`", atom.name));
                }
            }
        }
    }

    /// An entry of a jump table is relative to the table, other data to itself (gcc and clang, `-fPIC` jump
    /// tables).
    fn relative(&mut self, atom: &Atom, there: u64, field: &Field, (ours, theirs): (i64, i64)) {
        let table = atom.start.wrapping_add_signed(ours);
        let from_table = field.base != Base::Unknown
            && !matches!(field.base, Base::Symbol(_) | Base::InSlot(_))
            && atom.name.is_empty()
            && self.known.atom(table).is_some_and(|p| p.code);
        if from_table {
            // The place in the function is what counts, and the function is who uses the table.
            self.reference(atom, Base::Unknown, table, there.wrapping_add_signed(theirs));
            return;
        }
        let itself = field.at.wrapping_add_signed(ours);
        let other = there.wrapping_add(field.at.wrapping_sub(atom.start)).wrapping_add_signed(theirs);
        if self.known.loaded.section(itself).is_none() && ours == theirs {
            return;
        }
        let meanings = (self.known.loaded.meaning(itself), self.other.meaning(other));
        let base = if matches!(meanings.0, Meaning::Own(_)) { field.base } else { Base::Unknown };
        self.same_meaning(atom, base, meanings);
    }
}
