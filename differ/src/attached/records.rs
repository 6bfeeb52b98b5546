//! Records in other sections that belong to functions.

use crate::atoms::{Atoms, Ref};
use crate::error::Error;
use crate::profile::RecordKind;

use super::call_frames;

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
    /// So many bytes at its beginning say how long it is and where another record is. They are no content.
    pub(crate) header: usize,
    /// Index of the record that it needs and that others need too.
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

    /// Everything that the records of an atom refer to, also through what they have in common with others.
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
    let mut records = Records { all: Vec::new(), of_atom: vec![Vec::new(); all.atoms.len()] };
    for section in 0..all.unit.sections.len() {
        match all.records_in(section) {
            Some(RecordKind::CallFrames) => call_frames::read(all, section, &mut records)?,
            None => {}
        }
    }
    Ok(records)
}
