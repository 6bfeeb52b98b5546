//! Compares data: whole objects, and the anonymous pieces (strings, constants, jump tables) that code refers
//! to.

use super::{Comparer, Reasons};
use crate::atoms::{Atoms, Ref};
use crate::unit::{SHF_MERGE, Section};

impl Comparer<'_> {
    /// Why two paired data objects differ; empty when they do not.
    pub(crate) fn objects(&mut self, old: usize, new: usize) -> Reasons {
        let (a, b) = (self.old.atom(old), self.new.atom(new));
        if a.size() != b.size() {
            return vec![format!("size {} -> {}", a.size(), b.size())];
        }
        let mut reasons = Vec::new();
        let (x, y) = (self.old.bytes(old), self.new.bytes(new));
        if let Some(at) = first_difference(x, y, &a.refs, &b.refs) {
            let byte = |v: &[u8]| v.get(at).copied().unwrap_or(0);
            reasons.push(format!("byte at +{at:#x}: {:#04x} -> {:#04x}", byte(x), byte(y)));
        }
        let (refs_a, refs_b) = (a.refs.as_slice(), b.refs.as_slice());
        if let Some(reason) = self.refs(refs_a, refs_b, 0, 0) {
            reasons.push(reason);
        }
        reasons
    }

    fn refs(&mut self, a: &[Ref], b: &[Ref], from_a: u64, from_b: u64) -> Option<String> {
        for (r, s) in a.iter().zip(b) {
            if r.at - from_a != s.at - from_b {
                return Some(format!("a pointer at +{:#x} instead of +{:#x}", s.at - from_b, r.at - from_a));
            }
            if !self.same_ref(r, s) {
                return Some(format!(
                    "pointer at +{:#x}: {} -> {}",
                    r.at - from_a,
                    Self::describe(self.old, r.target),
                    Self::describe(self.new, s.target)
                ));
            }
        }
        (a.len() != b.len()).then(|| format!("{} pointers -> {}", a.len(), b.len()))
    }

    /// Whether the anonymous pieces at two places have the same content.
    pub(super) fn same_piece(&mut self, o: usize, i: i64, n: usize, j: i64) -> bool {
        let key = (o, i, n, j);
        if let Some(&known) = self.pieces.get(&key) {
            return known;
        }
        self.pieces.insert(key, true);
        let same = self.compare_pieces(o, i, n, j);
        self.pieces.insert(key, same);
        same
    }

    fn compare_pieces(&mut self, o: usize, i: i64, n: usize, j: i64) -> bool {
        let (s, t) = (self.old.section(o), self.new.section(n));
        if (s.flags ^ t.flags) & !SHF_MERGE & 7 != 0 {
            return false;
        }
        let (Some((mut from_a, mut to_a)), Some((mut from_b, mut to_b))) =
            (piece(self.old, o, i), piece(self.new, n, j))
        else {
            return false;
        };
        if i - from_a.cast_signed() != j - from_b.cast_signed() {
            return false;
        }
        if self.by_place {
            // In the plain object the constants of other functions follow in the same section. References to
            // those (`table[i - 1]`) may lie in this piece.
            let all = (from_a + (to_b - from_b)).min(self.old.atom(o).size());
            to_a = to_a.min(all);
            return self.same_range(o, (from_a, to_a), n, (from_b, to_b))
                || self.same_range(o, (from_a, all), n, (from_b, to_b));
        }
        if s.is_text() || is_object(s) && is_object(t) || self.old.is_copied(o) {
            // Where a table of assembly ends that a function refers to is not known.
            if i != j {
                return false;
            }
            (from_a, to_a, from_b, to_b) = (0, self.old.atom(o).size(), 0, self.new.atom(n).size());
        }
        self.same_range(o, (from_a, to_a), n, (from_b, to_b))
    }

    /// Whether the anonymous piece of the patched side holds zeros, and so do the bytes beside the named atom
    /// of the original side. A zeroed object without a symbol (Clang's `.Lconstinit` in `.bss`) that lies
    /// among named data looks like padding, so it is no atom.
    pub(super) fn is_zeroed_gap(&self, o: usize, i: i64, n: usize, j: i64) -> bool {
        let (s, t) = (self.old.section(o), self.new.section(n));
        let atom = self.old.atom(o);
        let Some((from, to)) = piece(self.new, n, j).filter(|&(from, _)| from.cast_signed() == j) else {
            return false;
        };
        let begin = atom.start.cast_signed() + i;
        let end = begin + (to - from).cast_signed();
        let outside = |&id: &usize| {
            let other = self.old.atom(id);
            other.end.cast_signed() <= begin || end <= other.start.cast_signed()
        };
        let zero = |section: &Section<'_>, (from, to): (u64, u64)| {
            let (Ok(from), Ok(to)) = (usize::try_from(from), usize::try_from(to)) else { return false };
            let bytes = section.data.get(from..to);
            bytes.map_or(section.is_nobits(), |bytes| bytes.iter().all(|&b| b == 0))
                && section.relocs.iter().all(|r| r.offset < from as u64 || to as u64 <= r.offset)
        };
        let (Ok(begin), Ok(end)) = (u64::try_from(begin), u64::try_from(end)) else { return false };
        let start = self.new.atom(n).start;
        (s.flags ^ t.flags) & 7 == 0
            && end <= s.size
            && self.old.by_section[atom.section].iter().all(outside)
            && zero(s, (begin, end))
            && zero(t, (start + from, start + to))
    }

    fn same_range(
        &mut self,
        o: usize,
        (from_a, to_a): (u64, u64),
        n: usize,
        (from_b, to_b): (u64, u64),
    ) -> bool {
        let refs = |all: &Atoms, id: usize, from: u64, to: u64| -> Vec<Ref> {
            // The references are sorted by offset, so only those inside are visited: a section of constants
            // may hold the constants of thousands of functions.
            let refs = &all.atom(id).refs;
            let first = refs.partition_point(|r| r.at < from);
            let inside = refs.iter().skip(first).take_while(|r| r.at < to);
            inside.map(|r| Ref { at: r.at - from, ..*r }).collect()
        };
        let (a, b) = (refs(self.old, o, from_a, to_a), refs(self.new, n, from_b, to_b));
        let (x, y) = (slice(self.old, o, from_a, to_a), slice(self.new, n, from_b, to_b));
        // Padding before the next datum is no content. Only zeros may be left out, and fewer than one
        // alignment.
        let common = x.len().min(y.len());
        let (masked_a, masked_b) = if self.old.section(o).is_text() && !self.by_place {
            // A field of an instruction may be part of a table.
            (
                a.iter().filter(|r| !r.resolved).copied().collect(),
                b.iter().filter(|r| !r.resolved).copied().collect(),
            )
        } else {
            (a.clone(), b.clone())
        };
        let rest = [x.get(common..), y.get(common..)].into_iter().flatten().flatten();
        if x.len().abs_diff(y.len()) >= 32 || rest.clone().any(|&v| v != 0) {
            return false;
        }
        let (x, y) = (x.get(..common).unwrap_or(&[]), y.get(..common).unwrap_or(&[]));
        if first_difference(x, y, &masked_a, &masked_b).is_some() {
            return false;
        }
        self.refs(&a, &b, 0, 0).is_none()
    }
}

/// A section that holds one object without a symbol (Clang's `.rodata..Lswitch.table.f`). The whole section
/// counts, wherever in it or near it a reference points, since that may have the index already subtracted.
fn is_object(section: &Section<'_>) -> bool {
    !section.has(SHF_MERGE) && section.name.starts_with(".rodata.")
}

/// The extent, in the atom, of the anonymous piece at `offset`.
pub(crate) fn piece(all: &Atoms, id: usize, offset: i64) -> Option<(u64, u64)> {
    let atom = all.atom(id);
    let section = all.section(id);
    let size = atom.size();
    let at = u64::try_from(offset.max(0)).ok()?;
    if section.is_strings() {
        let width = section.entsize.max(1);
        let bytes = all.bytes(id);
        let step = usize::try_from(width).ok()?;
        let at = usize::try_from(at - at % width).ok()?;
        let zero = |i: usize| bytes.get(i..i + step).is_none_or(|c| c.iter().all(|&b| b == 0));
        // A reference may point into a string that the assembler merged. The rest of the string, from there
        // on, is a string too.
        let mut end = at;
        while end < bytes.len() && !zero(end) {
            end += step;
        }
        let end = (end + step).min(bytes.len());
        return Some((u64::try_from(at).ok()?, u64::try_from(end).ok()?));
    }
    if section.has(SHF_MERGE) && section.entsize > 0 {
        let from = at - at % section.entsize;
        return Some((from.min(size), (from + section.entsize).min(size)));
    }
    let marks = &all.marks[atom.section];
    let index = marks.partition_point(|&m| m <= atom.start + at);
    let from = if offset < 0 { 0 } else { at };
    let to = marks.get(index).map_or(size, |&m| (m - atom.start).min(size));
    Some((from.min(size), to))
}

fn slice<'a>(all: &'a Atoms<'_>, id: usize, from: u64, to: u64) -> &'a [u8] {
    let (Ok(from), Ok(to)) = (usize::try_from(from), usize::try_from(to)) else { return &[] };
    all.bytes(id).get(from..to).unwrap_or(&[])
}

/// The first byte that differs outside of relocated fields. Zeroed memory has no bytes in the file and equals
/// zeros.
fn first_difference(a: &[u8], b: &[u8], refs_a: &[Ref], refs_b: &[Ref]) -> Option<usize> {
    if a == b {
        return None;
    }
    let covered = |refs: &[Ref], at: usize| {
        let at = at as u64;
        let index = refs.partition_point(|r| r.at <= at);
        index.checked_sub(1).and_then(|i| refs.get(i)).is_some_and(|r| at < r.at + u64::from(r.width))
    };
    (0..a.len().max(b.len())).find(|&i| {
        a.get(i).copied().unwrap_or(0) != b.get(i).copied().unwrap_or(0)
            && !(covered(refs_a, i) && covered(refs_b, i))
    })
}

/// A string in quotes, or the section and offset.
pub(crate) fn describe(all: &Atoms, id: usize, offset: i64) -> String {
    let section = all.section(id);
    if section.is_strings()
        && section.entsize <= 1
        && let Some((from, to)) = piece(all, id, offset)
    {
        let bytes = slice(all, id, from, to.saturating_sub(1));
        let text: String = String::from_utf8_lossy(bytes).chars().take(60).collect();
        return format!("{text:?}");
    }
    if section.is_text() {
        return format!("unnamed code in {}", section.name);
    }
    let range = piece(all, id, offset);
    if let Some((from, to)) = range
        && let [text @ .., 0] = slice(all, id, from, to)
        && !text.is_empty()
        && text.iter().all(|b| (b' '..=b'~').contains(b) || b.is_ascii_whitespace())
    {
        let text: String = String::from_utf8_lossy(text).chars().take(60).collect();
        return format!("{text:?}");
    }
    match range {
        Some((from, to)) if to - from <= 16 => {
            let hex: Vec<String> = slice(all, id, from, to).iter().map(|b| format!("{b:02x}")).collect();
            format!("constant {}", hex.join(" "))
        }
        _ => format!("{}{offset:+#x}", section.name),
    }
}
