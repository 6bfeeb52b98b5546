//! What names one linked ELF file: its build-id, and the digest of its code where it has none. Makers and
//! appliers of patches compute both here, so that they agree.

use crate::{BuildId, Digest};

/// `NT_GNU_BUILD_ID`, in a note whose owner is `GNU` (gABI, "Note Section").
/// Type of the note by which a program opts out.
const NT_OPT_OUT: u32 = 1;
const NT_GNU_BUILD_ID: u32 = 3;
const OWNER: &[u8] = b"GNU\0";
/// Owner's size, descriptor's size, kind: four bytes each.
const NOTE_HEADER: usize = 12;
/// `PT_LOAD` and `PF_X` (gABI, "Program Header").
const PT_LOAD: u32 = 1;
const PF_X: u32 = 1;

/// The build-id among `notes`, the content of one section or segment of notes. Owner and descriptor are
/// padded to 4 bytes. Notes that are aligned to 8 (`NT_GNU_PROPERTY_TYPE_0`) are in sections and segments of
/// their own.
pub fn build_id(notes: &[u8]) -> Option<BuildId> {
    let found = all_notes(notes).find(|(owner, kind, _)| *owner == OWNER && *kind == NT_GNU_BUILD_ID);
    BuildId::new(found?.2)
}

/// Do notes (contents of a `PT_NOTE` segment) say that processes of this program are not to be patched? The
/// owner is `upatch`, the type 1; `UPATCH_OPT_OUT` of `upatch.h` makes one.
pub fn opts_out(notes: &[u8]) -> bool {
    all_notes(notes).any(|(owner, kind, _)| owner == b"upatch\0" && kind == NT_OPT_OUT)
}

/// Owner, type and content of each note.
fn all_notes(notes: &[u8]) -> impl Iterator<Item = (&[u8], u32, &[u8])> {
    let mut rest = notes;
    std::iter::from_fn(move || {
        let word = |at: usize| rest.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
        let (owner_size, size, kind) = (word(0)? as usize, word(4)? as usize, word(8)?);
        let owner = rest.get(NOTE_HEADER..NOTE_HEADER.checked_add(owner_size)?)?;
        let start = NOTE_HEADER.checked_add(owner_size.checked_next_multiple_of(4)?)?;
        let content = rest.get(start..start.checked_add(size)?)?;
        rest = rest.get(start.checked_add(size.checked_next_multiple_of(4)?)?..).unwrap_or_default();
        Some((owner, kind, content))
    })
}

/// Does a segment with these `p_type` and `p_flags` count for the digest of the code?
pub fn is_code(kind: u32, flags: u32) -> bool {
    kind == PT_LOAD && flags & PF_X != 0
}

/// Digest of the code of an ELF file with the bytes `file`, whose segments of code (see [`is_code`]) are at
/// `segments`: offset and size in the file, in the order of the program headers. What lies outside of the
/// file counts as empty.
pub fn code_digest(file: &[u8], segments: impl IntoIterator<Item = (u64, u64)>) -> Digest {
    let content = |(offset, size): (u64, u64)| {
        let start = usize::try_from(offset).ok()?;
        file.get(start..start.checked_add(usize::try_from(size).ok()?)?)
    };
    Digest::of_concatenated(segments.into_iter().map(|s| content(s).unwrap_or_default()))
}

/// The code digest of a file that is read piece by piece: `pieces` are the contents of its segments of code,
/// one after the other.
///
/// # Errors
/// The error of the first piece that could not be read.
pub fn code_digest_of_pieces<E>(pieces: impl IntoIterator<Item = Result<Vec<u8>, E>>) -> Result<Digest, E> {
    Digest::of_all(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(kind: u32, owner: &[u8], content: &[u8]) -> Vec<u8> {
        let size = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap().to_le_bytes();
        let mut note = [size(owner), size(content), kind.to_le_bytes()].concat();
        for part in [owner, content] {
            note.extend(part);
            note.resize(note.len().next_multiple_of(4), 0);
        }
        note
    }

    #[test]
    fn build_id_after_other_notes() {
        let id = note(3, b"GNU\0", b"\xde\xad\xbe\xef\x01");
        let notes = [note(1, b"GNU\0", b"abcdefg"), note(3, b"stapsdt\0", b"x"), id].concat();
        assert_eq!(build_id(&notes).unwrap().to_string(), "deadbeef01");
        assert_eq!(build_id(&notes[..notes.len() - 4]), None);
        assert_eq!(build_id(&[0xff; 40]), None);
        assert_eq!(build_id(&[]), None);
        assert!(opts_out(&[note(3, b"GNU\0", b"x"), note(1, b"upatch\0", b"")].concat()));
        assert!(!opts_out(&note(2, b"upatch\0", b"")) && !opts_out(&notes) && !opts_out(&[0xff; 40]));
    }

    #[test]
    fn code_is_the_same_whole_and_in_pieces() {
        let file = b"headCODEdataMORE";
        let whole = code_digest(file, [(4, 4), (12, 4)]);
        let pieces = [b"CO".to_vec(), b"DEMO".to_vec(), b"RE".to_vec()].map(Ok::<_, ()>);
        assert_eq!(code_digest_of_pieces(pieces), Ok(whole));
        assert_eq!(whole, Digest::of(b"CODEMORE"));
        assert_eq!(code_digest(file, [(4, 100), (u64::MAX, 2)]), Digest::of(b""));
    }

    #[test]
    fn only_loaded_segments_that_are_executed_are_code() {
        assert!(is_code(1, 5) && !is_code(1, 6) && !is_code(2, 5));
    }
}
