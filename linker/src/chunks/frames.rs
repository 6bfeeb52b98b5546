//! Makes `.eh_frame` for code that was made here, so that an unwinder need not guess (LSB core, 10.6; DWARF
//! 5, 6.4).

use std::num::TryFromIntError;

use differ::SectionKind;
use patchfile::image::RelocationKind;

use super::chunk::{Chunk, Fixup, Place, Role};

/// The stack pointer has moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// Offset in the code from which this holds.
    pub(crate) at: u64,
    /// Canonical frame address minus stack pointer, in bytes.
    pub(crate) depth: i64,
    /// Register saved in the lowest word, by DWARF number.
    pub(crate) saved: Option<u8>,
}

/// A rule that changes somewhere in the code. Registers are DWARF numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// The frame address is this far above the register that it counts from, in bytes.
    Depth(i64),
    /// The frame address counts from this register, in bytes.
    Cfa(u8, i64),
    /// A register is saved this many words below the frame address.
    Saved(u8, i64),
    /// A register has the caller's value.
    Same(u8),
}

/// What an unwind table says first, of all code of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameRules {
    /// Stack pointer, by DWARF number.
    pub(crate) stack_pointer: u8,
    /// Column of the return address.
    pub(crate) return_column: u8,
    /// Canonical frame address minus stack pointer at a function's entry, in bytes.
    pub(crate) depth_at_entry: u8,
    /// The return address is saved so many words below the frame address at a function's entry.
    pub(crate) return_saved: Option<u8>,
}

const DW_CFA_ADVANCE_LOC4: u8 = 0x04;
const DW_CFA_DEF_CFA: u8 = 0x0c;
const DW_CFA_DEF_CFA_OFFSET: u8 = 0x0e;
const DW_CFA_OFFSET: u8 = 0x80;
const DW_CFA_RESTORE: u8 = 0xc0;
const DW_EH_PE_PCREL_SDATA4: u8 = 0x1b;

fn uleb(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Closes a record: pads it with `DW_CFA_nop` and writes its length.
fn close(mut record: Vec<u8>) -> Result<Vec<u8>, TryFromIntError> {
    while record.len() % 8 != 4 {
        record.push(0);
    }
    let mut out = u32::try_from(record.len())?.to_le_bytes().to_vec();
    out.append(&mut record);
    Ok(out)
}

/// The instructions of an FDE: rules by the offset in the code from which on they hold.
pub(crate) fn program(changes: &[(u64, Change)]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut at = 0;
    for (from, change) in changes {
        if *from > at {
            out.push(DW_CFA_ADVANCE_LOC4);
            // Code has never 4 GiB; a rule at its end would hold for nothing.
            out.extend_from_slice(&u32::try_from(from - at).unwrap_or(u32::MAX).to_le_bytes());
            at = *from;
        }
        match *change {
            Change::Depth(depth) => {
                out.push(DW_CFA_DEF_CFA_OFFSET);
                uleb(&mut out, depth.cast_unsigned());
            }
            Change::Cfa(register, depth) => {
                out.extend_from_slice(&[DW_CFA_DEF_CFA, register]);
                uleb(&mut out, depth.cast_unsigned());
            }
            Change::Saved(register, words) => {
                out.push(DW_CFA_OFFSET | register);
                uleb(&mut out, words.cast_unsigned());
            }
            Change::Same(register) => out.push(DW_CFA_RESTORE | register),
        }
    }
    out
}

/// Rules for code that only moves the stack pointer.
pub(crate) fn steps(steps: &[Step]) -> Vec<u8> {
    let changes = steps.iter().flat_map(|step| {
        let saved = step.saved.map(|register| (step.at, Change::Saved(register, step.depth / 8)));
        std::iter::once((step.at, Change::Depth(step.depth))).chain(saved)
    });
    program(&changes.collect::<Vec<_>>())
}

/// Code with its unwind rules.
#[derive(Clone, Debug)]
pub(crate) struct Described {
    /// Index of the chunk.
    pub(crate) chunk: usize,
    /// Bytes.
    pub(crate) size: u64,
    /// The instructions of its FDE.
    pub(crate) program: Vec<u8>,
}

/// One CIE, and an FDE for each piece of code.
pub(crate) fn table(rules: &FrameRules, code: &[Described]) -> Result<Chunk, TryFromIntError> {
    let mut cie = vec![0, 0, 0, 0, 1];
    // Augmentation, code alignment 1, data alignment -8, return address, pointer encoding.
    cie.extend_from_slice(b"zR\0\x01\x78");
    cie.extend_from_slice(&[rules.return_column, 1, DW_EH_PE_PCREL_SDATA4]);
    cie.extend_from_slice(&[DW_CFA_DEF_CFA, rules.stack_pointer, rules.depth_at_entry]);
    if let Some(words) = rules.return_saved {
        cie.extend_from_slice(&[DW_CFA_OFFSET | rules.return_column, words]);
    }
    let mut data = close(cie)?;
    let mut fixups = Vec::new();
    for Described { chunk, size, program } in code {
        let start = data.len() as u64;
        // Distance from this field to the CIE at the start.
        let mut fde = u32::try_from(start + 4)?.to_le_bytes().to_vec();
        let to = Place::Chunk { chunk: *chunk, offset: 0 };
        fixups.push(Fixup { offset: start + 8, kind: RelocationKind::Pc32, to, addend: 0 });
        fde.extend_from_slice(&[0; 4]);
        fde.extend_from_slice(&u32::try_from(*size)?.to_le_bytes());
        fde.push(0);
        fde.extend_from_slice(program);
        data.append(&mut close(fde)?);
    }
    let size = data.len() as u64;
    let (kind, name) = (SectionKind::EhFrame, ".eh_frame".to_owned());
    Ok(Chunk { kind, role: Role::Other, align: 4, data, size, fixups, name })
}
