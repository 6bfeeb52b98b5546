//! Records in other sections that belong to functions.

use std::ops::Range;

use crate::atoms::{Atoms, Ref, Target};
use crate::error::Error;
use crate::kernel;
use crate::model::SymbolType;
use crate::profile::Profile;
use crate::record_kind::RecordKind;
use crate::unit::{DefinedIn, Reloc};

use super::{call_frames, table};

/// The records of a unit.
#[derive(Debug, Default)]
pub(crate) struct Records {
    /// All records, and what several have in common, in the order of the file.
    pub(crate) all: Vec<Record>,
    /// Per atom the records that belong to it, by index.
    pub(crate) of_atom: Vec<Vec<usize>>,
}

/// One record.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) kind: RecordKind,
    pub(crate) section: usize,
    /// Offsets in the section.
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// Bytes of it that are no content: its length, where another record is, line numbers.
    pub(crate) passed_over: Range<usize>,
    /// Index of the record that this one needs and that others need too.
    pub(crate) common: Option<usize>,
    /// Relocated fields; offsets count from `start`.
    pub(crate) refs: Vec<Ref>,
}

impl Records {
    /// The records of one kind that belong to an atom.
    pub(crate) fn of(&self, atom: usize, kind: RecordKind) -> impl Iterator<Item = &Record> {
        let records = self.of_atom.get(atom).into_iter().flatten().filter_map(|&index| self.all.get(index));
        records.filter(move |record| record.kind == kind)
    }

    /// All references of an atom's records, also those of records that they share with other atoms.
    pub(crate) fn refs(&self, atom: usize) -> impl Iterator<Item = &Ref> {
        let records = self.of_atom.get(atom).into_iter().flatten().filter_map(|&index| self.all.get(index));
        records.flat_map(|record| {
            record.refs.iter().chain(self.common(record).into_iter().flat_map(|c| &c.refs))
        })
    }

    /// What a record has in common with others.
    pub(crate) fn common(&self, record: &Record) -> Option<&Record> {
        self.all.get(record.common?)
    }
}

impl Record {
    /// Its bytes.
    pub(crate) fn content<'a>(&self, all: &'a Atoms<'_>) -> &'a [u8] {
        all.unit.sections[self.section].data.get(self.start..self.end).unwrap_or(&[])
    }
}

/// Reads all sections of records.
pub(crate) fn read(all: &Atoms) -> Result<Records, Error> {
    let by_objtool = all.unit.sections.iter().find(|s| kernel::made_by_objtool(&s.name));
    if let Some(section) = by_objtool.filter(|_| all.profile == Profile::Kernel) {
        return Err(Error::Unsupported {
            what: "an object that objtool has run over".into(),
            place: format!("{} of the {} object", section.name, all.unit.side),
        });
    }
    let mut records = Records { all: Vec::new(), of_atom: vec![Vec::new(); all.atoms.len()] };
    for section in 0..all.unit.sections.len() {
        match all.records_in(section) {
            Some(RecordKind::CallFrames) => call_frames::read(all, section, &mut records)?,
            Some(RecordKind::Table(kind)) => table::read(all, section, kind, &mut records)?,
            None => {}
        }
    }
    Ok(records)
}

/// What a relocation of a record that begins at `start` of its section refers to.
pub(super) fn reference(all: &Atoms, section: usize, r: &Reloc, start: u64) -> Result<Ref, Error> {
    let place =
        || format!("{}+{:#x} of the {} object", all.unit.sections[section].name, r.offset, all.unit.side);
    let kind = all.arch.relocation(r.r_type).ok_or_else(|| Error::Unsupported {
        what: format!("relocation type {}", r.r_type),
        place: place(),
    })?;
    let symbol = all.symbol(r.symbol);
    let target = match symbol.home {
        DefinedIn::Section(home) => {
            let offset = symbol.value.cast_signed() + r.addend;
            let probe = if symbol.stype == SymbolType::Section { offset } else { symbol.value.cast_signed() };
            let atom = all.find(home, probe).ok_or_else(|| Error::Unsupported {
                what: format!("reference to {}{offset:+#x}, outside of every symbol", symbol.name),
                place: place(),
            })?;
            Target::Atom { atom, offset: offset - all.atom(atom).start.cast_signed() }
        }
        DefinedIn::Undefined | DefinedIn::Absolute => Target::Symbol { symbol: r.symbol, offset: r.addend },
    };
    Ok(Ref {
        at: r.offset - start,
        r_type: r.r_type,
        width: kind.width,
        target,
        is_branch: false,
        bias: 0,
        resolved: false,
    })
}
