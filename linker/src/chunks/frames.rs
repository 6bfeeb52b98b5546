//! `.eh_frame` of the code that was made here, so that an unwinder which meets it needs no guess (LSB core, 10.6; DWARF 5, 6.4).

use differ::SectionKind;
use patchfile::image::RelocationKind;

use crate::chunks::chunk::{Chunk, Fixup, Place};

/// The stack pointer has moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// Offset in the code from which on this holds.
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

/// DWARF register numbers (psABI, table 3.36).
pub(crate) const RBX: u8 = 3;
pub(crate) const RBP: u8 = 6;
pub(crate) const RSP: u8 = 7;

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
fn close(mut record: Vec<u8>) -> Vec<u8> {
    while record.len() % 8 != 4 {
        record.push(0);
    }
    let mut out = u32::try_from(record.len()).unwrap_or(0).to_le_bytes().to_vec();
    out.append(&mut record);
    out
}

/// The instructions of an FDE: rules by the offset in the code from which on they hold.
pub(crate) fn program(changes: &[(u64, Change)]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut at = 0;
    for (from, change) in changes {
        if *from > at {
            out.push(DW_CFA_ADVANCE_LOC4);
            out.extend_from_slice(&u32::try_from(from - at).unwrap_or(0).to_le_bytes());
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

/// The same for code that only moves the stack pointer.
pub(crate) fn steps(steps: &[Step]) -> Vec<u8> {
    let changes = steps.iter().flat_map(|step| {
        let saved = step.saved.map(|register| (step.at, Change::Saved(register, step.depth / 8)));
        std::iter::once((step.at, Change::Depth(step.depth))).chain(saved)
    });
    program(&changes.collect::<Vec<_>>())
}

/// One CIE and an FDE for each piece of code: piece, size, and the instructions of the FDE.
pub(crate) fn table(code: &[(usize, u64, Vec<u8>)]) -> Chunk {
    let mut cie = vec![0, 0, 0, 0, 1];
    // Augmentation, code alignment 1, data alignment -8, return address in column 16, pointer encoding.
    cie.extend_from_slice(b"zR\0\x01\x78\x10\x01");
    cie.push(DW_EH_PE_PCREL_SDATA4);
    cie.extend_from_slice(&[DW_CFA_DEF_CFA, 7, 8, DW_CFA_OFFSET | 16, 1]);
    let mut data = close(cie);
    let mut fixups = Vec::new();
    for (chunk, size, program) in code {
        let start = data.len() as u64;
        // Distance from this field to the CIE at the start.
        let mut fde = u32::try_from(start + 4).unwrap_or(0).to_le_bytes().to_vec();
        let to = Place::Chunk { chunk: *chunk, offset: 0 };
        fixups.push(Fixup { offset: start + 8, kind: RelocationKind::Pc32, to, addend: 0 });
        fde.extend_from_slice(&[0; 4]);
        fde.extend_from_slice(&u32::try_from(*size).unwrap_or(0).to_le_bytes());
        fde.push(0);
        fde.extend_from_slice(program);
        data.append(&mut close(fde));
    }
    let size = data.len() as u64;
    Chunk { kind: SectionKind::EhFrame, align: 4, data, size, fixups, name: ".eh_frame".to_owned() }
}
