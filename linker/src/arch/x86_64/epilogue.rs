//! The end of a function of the target that a call from the image can return through.
//!
//! Some functions of the C library ask which module called them, by their return address: `dlsym(RTLD_NEXT)`,
//! `dlopen` with the module's `RUNPATH`. Code of the image is in no module. What it calls through
//! [`crate::image::inside`] returns into the last instructions of a function of the target, which take one
//! word off the stack and return to the image. The unwind table describes that as the end of any function:
//! the frame is two words large, and has what the stub has put there.

use gimli::{
    BaseAddresses, CfaRule, CieOrFde, EhFrame, LittleEndian, RegisterRule, UnwindContext, UnwindSection,
    UnwindTableRow,
};

use super::{RBP, RBX, RETURN, RSP};
use crate::arch::{Epilogue, Saves};
use crate::elf::{ElfFile, PF_X, PT_LOAD};

/// Size of the frame, return address included.
const FRAME: i64 = 16;

/// Instructions and what they do. A frame that counts from `rbp` may end with either of the last two.
const FORMS: [(&[u8], Saves); 10] = [
    (&[0x48, 0x83, 0xc4, 0x08, 0xc3], Saves::Nothing),
    (&[0x59, 0xc3], Saves::Nothing),
    (&[0x5b, 0xc3], Saves::Register(RBX)),
    (&[0x41, 0x5c, 0xc3], Saves::Register(12)),
    (&[0x41, 0x5d, 0xc3], Saves::Register(13)),
    (&[0x41, 0x5e, 0xc3], Saves::Register(14)),
    (&[0x41, 0x5f, 0xc3], Saves::Register(15)),
    (&[0x5d, 0xc3], Saves::Register(RBP)),
    (&[0x5d, 0xc3], Saves::FramePointer),
    (&[0xc9, 0xc3], Saves::FramePointer),
];

/// Finds one outside of `replaced`, ranges of code that the patch replaces.
pub(super) fn find(target: &ElfFile<'_>, replaced: &[(u64, u64)]) -> Option<Epilogue> {
    let mut ranges = replaced.to_vec();
    described(target, &mut ranges).or_else(|| undescribed(target, &ranges))
}

/// Is the range none of these?
fn stays(replaced: &[(u64, u64)], start: u64, end: u64) -> bool {
    replaced.iter().all(|(address, size)| end <= *address || start >= address.saturating_add(*size))
}

/// Finds an epilogue that an unwind table describes. Functions that are unfit go to `ranges`.
fn described(target: &ElfFile<'_>, ranges: &mut Vec<(u64, u64)>) -> Option<Epilogue> {
    let section = target.sections.iter().find(|s| s.name == ".eh_frame")?;
    let frames = EhFrame::new(target.content(section), LittleEndian);
    let bases = BaseAddresses::default().set_eh_frame(section.address);
    let mut context = UnwindContext::new();
    let mut entries = frames.entries(&bases);
    while let Ok(Some(entry)) = entries.next() {
        let CieOrFde::Fde(partial) = entry else { continue };
        let Ok(fde) = partial.parse(|section, bases, at| section.cie_from_offset(bases, at)) else {
            continue;
        };
        let (start, size) = (fde.initial_address(), fde.len());
        let end = start.saturating_add(size);
        // An exception that came by would be offered to the function.
        let catches = fde.personality().is_some() || fde.lsda().is_some() || fde.is_signal_trampoline();
        let replaced = !stays(ranges, start, end);
        ranges.push((start, size));
        if catches || replaced {
            continue;
        }
        let code = target.bytes_from(start);
        let code = code.get(..usize::try_from(size).unwrap_or(0)).unwrap_or_default();
        for (at, saves) in candidates(code) {
            // A return address belongs to the instruction before it. A thread that is stopped at the address
            // belongs to this instruction.
            let address = start + at as u64;
            let fits = [address - 1, address].iter().all(|pc| {
                let row = fde.unwind_info_for_address(&frames, &bases, &mut context, *pc);
                row.is_ok_and(|row| describes(row, saves))
            });
            if fits {
                return Some(Epilogue { address, saves });
            }
        }
    }
    None
}

/// Offsets of what looks like the last instructions, behind the first byte.
fn candidates(code: &[u8]) -> impl Iterator<Item = (usize, Saves)> {
    (1..code.len()).flat_map(move |at| {
        FORMS
            .iter()
            .filter(move |(bytes, _)| code[at..].starts_with(bytes))
            .map(move |(_, saves)| (at, *saves))
    })
}

/// Does the row of an unwind table say of a frame what the instructions do?
fn describes(row: &UnwindTableRow<usize>, saves: Saves) -> bool {
    let base = if saves == Saves::FramePointer { RBP } else { RSP };
    let frame = match row.cfa() {
        CfaRule::RegisterAndOffset { register, offset } => register.0 == u16::from(base) && *offset == FRAME,
        CfaRule::Expression(_) => false,
    };
    let saved = match saves {
        Saves::Nothing => None,
        Saves::Register(register) => Some(u16::from(register)),
        Saves::FramePointer => Some(u16::from(RBP)),
    };
    let mut seen = false;
    let others = row.registers().all(|(register, rule)| match rule {
        RegisterRule::Offset(-8) if register.0 == u16::from(RETURN) => true,
        RegisterRule::Offset(-16) if Some(register.0) == saved => {
            seen = true;
            true
        }
        RegisterRule::SameValue => true,
        _ => false,
    });
    frame && others && seen == saved.is_some()
}

/// One that no unwind table describes, as at the end of `_fini`: it works, though a stack that is looked at
/// meanwhile cannot be unwound beyond it.
fn undescribed(target: &ElfFile<'_>, ranges: &[(u64, u64)]) -> Option<Epilogue> {
    let (bytes, saves) = FORMS[0];
    let code = target.segments.iter().filter(|s| s.kind == PT_LOAD && s.flags & PF_X != 0);
    for segment in code {
        let content = target.bytes_from(segment.address);
        for at in memchr::memmem::find_iter(content, bytes) {
            let address = segment.address + at as u64;
            if stays(ranges, address, address + bytes.len() as u64) {
                return Some(Epilogue { address, saves });
            }
        }
    }
    None
}
