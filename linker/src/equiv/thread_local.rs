//! Thread-local variables: references to them are offsets, which mean nothing without their symbols.

use crate::elf::{PT_TLS, SHF_TLS, STB_LOCAL, STT_TLS, Symbol};

use super::loaded::{Content, LoadedFile};

/// A variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ThreadLocal {
    /// Offset in the TLS segment.
    pub(super) offset: u64,
    pub(super) size: u64,
    /// Its name, with the source file of a local one.
    pub(super) name: String,
}

/// The variables of one file, in ascending order of their offsets.
#[derive(Clone, Debug, Default)]
pub(super) struct ThreadLocals(pub(super) Vec<ThreadLocal>);

impl ThreadLocals {
    pub(super) fn of(symbols: &[Symbol]) -> Self {
        let is_one = |s: &&Symbol| s.kind == STT_TLS && s.is_defined();
        let mut all: Vec<ThreadLocal> = symbols
            .iter()
            .filter(is_one)
            .map(|s| {
                let file = s.file.filter(|_| s.binding == STB_LOCAL).and_then(|i| symbols.get(i));
                let name = s.name.split('@').next().unwrap_or_default();
                let name = file.map_or_else(|| name.to_owned(), |f| format!("{name} of {}", f.name));
                ThreadLocal { offset: s.value, size: s.size.max(1), name }
            })
            .collect();
        all.sort_by(|a, b| (a.offset, &a.name).cmp(&(b.offset, &b.name)));
        Self(all)
    }

    /// The variable that holds this offset in the TLS segment, and how far from its start.
    pub(super) fn at(&self, offset: u64) -> Option<(String, u64)> {
        let holds = |v: &&ThreadLocal| offset >= v.offset && offset - v.offset < v.size;
        self.0.iter().find(holds).map(|v| (v.name.clone(), offset - v.offset))
    }

    /// Offsets of the variable in both files, if each has just one of its name, and the least size.
    pub(super) fn in_both<'s>(
        &'s self,
        other: &'s Self,
    ) -> impl Iterator<Item = (&'s ThreadLocal, &'s ThreadLocal)> + 's {
        let only = |all: &'s [ThreadLocal], name: &str| {
            let mut of_name = all.iter().filter(|v| v.name == name);
            of_name.next().filter(|_| of_name.next().is_none())
        };
        self.0.iter().filter_map(move |v| Some((only(&self.0, &v.name)?, only(&other.0, &v.name)?)))
    }
}

/// Do the references `here` and `there`, offsets from the thread pointer (negative) or in the TLS segment,
/// lead to one variable?
pub(super) fn same(known: &LoadedFile<'_>, other: &LoadedFile<'_>, here: u64, there: u64) -> bool {
    let variable = |side: &LoadedFile<'_>, value: u64| {
        let offset = match value.cast_signed() {
            signed if signed < 0 => side.tls_offset(signed)?,
            _ => value,
        };
        side.thread_locals.at(offset)
    };
    match (variable(known, here), variable(other, there)) {
        (Some(ours), Some(theirs)) => ours == theirs,
        _ => here == there,
    }
}

/// Variables with other initial values in the other file.
pub(super) fn other_values(known: &LoadedFile<'_>, other: &LoadedFile<'_>) -> Vec<String> {
    let bytes = |side: &LoadedFile<'_>, v: &ThreadLocal, size: u64| -> Option<Vec<u8>> {
        let segment = side.elf.segments.iter().find(|s| s.kind == PT_TLS)?;
        let at = segment.address.checked_add(v.offset)?;
        match side.section(at).filter(|s| s.flags & SHF_TLS != 0).and_then(|_| side.content(at, size)) {
            Some(Content::Bytes(bytes)) => Some(bytes.to_vec()),
            // What the file holds no content of begins with zeros.
            _ => Some(vec![0; usize::try_from(size).ok()?]),
        }
    };
    let differs = |(ours, theirs): &(&ThreadLocal, &ThreadLocal)| {
        // An address in it may be another one.
        let relocated = |side: &LoadedFile<'_>, v: &ThreadLocal| {
            let segment = side.elf.segments.iter().find(|s| s.kind == PT_TLS);
            segment.is_some_and(|s| {
                (0..v.size.div_ceil(8))
                    .any(|word| side.is_filled(s.address.wrapping_add(v.offset + 8 * word)))
            })
        };
        let (a, b) = (bytes(known, ours, ours.size), bytes(other, theirs, theirs.size));
        !relocated(known, ours) && !relocated(other, theirs) && a != b
    };
    known.thread_locals.in_both(&other.thread_locals).filter(differs).map(|(v, _)| v.name.clone()).collect()
}
