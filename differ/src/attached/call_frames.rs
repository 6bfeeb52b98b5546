//! `.eh_frame` of an object, entry by entry (LSB, "Exception Frames"; the instructions inside are DWARF's
//! call frame instructions).
//!
//! An FDE is the record of a function. Its CIE is what it has in common with others.

use std::collections::HashMap;

use super::records::{Record, Records, reference};
use crate::atoms::{Atoms, Target};
use crate::error::Error;
use crate::record_kind::RecordKind;

/// Bytes of the length field that an entry begins with.
const LENGTH: usize = 4;
/// Bytes of the pointer to the CIE, which follows in an FDE.
const POINTER: usize = 4;
/// Offset in an FDE of the address of the code that it is for (`pc_begin`).
pub(crate) const BEGIN: u64 = (LENGTH + POINTER) as u64;

pub(super) fn read(all: &Atoms, index: usize, records: &mut Records) -> Result<(), Error> {
    let section = &all.unit.sections[index];
    let data = &section.data;
    let bad = |at: usize, what: &str| Error::Malformed {
        side: all.unit.side,
        detail: format!("{what} at {}+{at:#x}", section.name),
    };
    let word = |at: usize| -> Option<u32> {
        data.get(at..at.checked_add(4)?).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes)
    };
    let mut cies = HashMap::new();
    let mut at = 0;
    while at < data.len() {
        let length = word(at).ok_or_else(|| bad(at, "truncated entry"))?;
        if length == 0 {
            at += 4;
            continue;
        }
        if length == u32::MAX {
            return Err(Error::Unsupported {
                what: "64-bit call frame entry".into(),
                place: format!("{}+{at:#x}", section.name),
            });
        }
        let end = at + 4 + length as usize;
        if end > data.len() || length < 4 {
            return Err(bad(at, "truncated entry"));
        }
        let back = word(at + 4).ok_or_else(|| bad(at, "truncated entry"))? as usize;
        let cie = if back == 0 {
            None
        } else {
            let start = (at + 4).checked_sub(back).ok_or_else(|| bad(at, "FDE without CIE"))?;
            Some(*cies.get(&start).ok_or_else(|| bad(at, "FDE without CIE"))?)
        };
        let from = section.relocs.partition_point(|r| r.offset < at as u64);
        let to = section.relocs.partition_point(|r| r.offset < end as u64);
        let mut refs = Vec::new();
        for r in section.relocs.get(from..to).unwrap_or(&[]) {
            refs.push(reference(all, index, r, at as u64)?);
        }
        if cie.is_some() {
            // `pc_begin` is the first field after the pointer to the CIE.
            let begin = refs.iter().find(|r| r.at == BEGIN).map(|r| r.target);
            if let Some(Target::Atom { atom, .. }) = begin {
                records.of_atom[atom].push(records.all.len());
            }
        }
        if cie.is_none() {
            cies.insert(at, records.all.len());
        }
        let header = if cie.is_some() { LENGTH + POINTER } else { LENGTH };
        records.all.push(Record {
            kind: RecordKind::CallFrames,
            section: index,
            start: at,
            end,
            passed_over: 0..header,
            common: cie,
            refs,
        });
        at = end;
    }
    Ok(())
}
