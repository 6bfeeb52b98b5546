//! The control block: what a patch carries about itself inside a running process.
//!
//! It is the first segment of the image, mapped read-only in the target; only the applier writes it, as
//! tracer. A daemon that starts later finds out from these blocks which patches a process has, and how to
//! take them out, without any state on disk. All integers are little endian.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 8 | magic `UPATCH\x1a\n` |
//! | 8 | 4 | layout version, [`VERSION`], or [`VERSION_HOPS`] if an entry has a hop |
//! | 12 | 4 | number of entries *n* |
//! | 16 | 16 | uuid of the patch |
//! | 32 | 4 | [`ACTIVE`]: 1 while the new code is in force, else 0. Only its first byte is ever tested. |
//! | 36 | 4 | offset of the image's `.eh_frame` from the block, 0 if it has none |
//! | 40 | 8 | [`SEQUENCE`] number: the order in which the patches of this process were activated |
//! | 48 | 8 | [`BIAS`]: load bias of the target module |
//! | 56 | 8 | size of the whole mapping in bytes, control block included |
//! | 64 | 4 | [`PHASE`]: 1 for [`Phase::Ready`], else 0 |
//! | 68 | 4 | index of the ELF file in the patch's manifest |
//! | 72 | 8 | [`REGISTERED`]: address of `.eh_frame` registered with the unwinder, or 0 |
//! | 80 | 48 | patch name, UTF-8, cut at 47 bytes, zero-filled |
//! | 128 | 64 *n* | entries |
//!
//! An entry:
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 8 | address of the redirected instruction |
//! | 8 | 8 | [`PREVIOUS`]: where the stub goes while the patch is not active |
//! | 16 | 8 | address of the new function |
//! | 24 | 8 | address of the stub |
//! | 32 | 8 | bytes that the redirect replaced, as in the linked ELF file (5 used on x86-64, 2 with a hop) |
//! | 40 | 8 | address of the relocated old instructions ("resume"), 0 if there are none |
//! | 48 | 8 | address of the padding that a short jump at the entry leads to ("hop"); 0: a long jump |
//! | 56 | 8 | bytes in the padding, of which the first 5 are replaced, as the linked ELF file has them |

use crate::Uuid;

/// First bytes of a control block.
pub const MAGIC: [u8; 8] = *b"UPATCH\x1a\n";
/// Version of this layout.
pub const VERSION: u32 = 1;
/// Version of a layout with hops. Written only where there is one: a program that does not know them must
/// leave the block alone.
pub(crate) const VERSION_HOPS: u32 = 2;
/// Offset of the word whose first byte a stub tests.
pub const ACTIVE: u64 = 32;
/// Offset of the sequence number.
pub const SEQUENCE: u64 = 40;
/// Offset of the load bias of the target module.
pub const BIAS: u64 = 48;
/// Offset of the phase.
pub const PHASE: u64 = 64;
/// Offset of the address that is registered with the unwinder.
pub const REGISTERED: u64 = 72;
/// Size of the part before the entries.
pub const HEADER_SIZE: u64 = 128;
/// Size of one entry.
pub(crate) const ENTRY_SIZE: u64 = 64;
/// Offset, inside an entry, of the address the stub continues at while the patch is not active.
pub const PREVIOUS: u64 = 8;

/// How far loading has come. A block whose phase is not [`Phase::Ready`] belongs to an applier that died:
/// nothing refers to it and it may be unmapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Mapped, contents incomplete; no code of the target leads here.
    Loading,
    /// Contents complete; code of the target may lead here.
    Ready,
}

impl Phase {
    /// As it is at [`PHASE`].
    pub const fn encode(self) -> [u8; 4] {
        match self {
            Self::Loading => [0; 4],
            Self::Ready => [1, 0, 0, 0],
        }
    }
}

/// One redirected function.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Address of the redirected instruction in the target.
    pub site: u64,
    /// Where the stub goes while the patch is not active.
    pub previous: u64,
    /// The new function.
    pub new: u64,
    /// The stub in this image.
    pub stub: u64,
    /// The bytes at `site` as linked.
    pub original: [u8; 8],
    /// The relocated old instructions in this image, 0 if there are none.
    pub resume: u64,
    /// The padding that the entry leads to where it has room for a short jump only, and the bytes there as
    /// linked.
    pub hop: Option<(u64, [u8; 8])>,
}

/// A control block, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// Identity of the patch.
    pub uuid: Uuid,
    /// Is the new code in force?
    pub active: bool,
    /// Order of activation within the process, from 1.
    pub sequence: u64,
    /// Load bias of the target module: run-time address minus link-time address.
    pub bias: u64,
    /// Size of the mapping in bytes.
    pub size: u64,
    /// How far loading has come.
    pub phase: Phase,
    /// Index in the manifest's list of ELF files.
    pub elf: u32,
    /// Address of `.eh_frame` registered with the target's unwinder, or 0.
    pub registered: u64,
    /// Offset of the image's `.eh_frame` from the block, 0 if it has none: how later appliers unwind its
    /// frames.
    pub eh_frame: u32,
    /// Name of the patch, at most 47 bytes.
    pub name: String,
    /// The redirected functions.
    pub entries: Vec<Entry>,
}

/// Why bytes are not a control block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// Not ours.
    #[error("no control block")]
    Magic,
    /// Written by another version.
    #[error("control block of version {0}, this program knows {VERSION} and {VERSION_HOPS}")]
    Version(u32),
    /// Shorter than its entry count says, or an impossible field.
    #[error("damaged control block")]
    Damaged,
}

/// Size in bytes of a control block with `entries` entries.
pub const fn size(entries: usize) -> u64 {
    HEADER_SIZE + ENTRY_SIZE * entries as u64
}

/// Offset of entry `index`.
pub const fn entry(index: usize) -> u64 {
    HEADER_SIZE + ENTRY_SIZE * index as u64
}

impl Control {
    /// The bytes of the block.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(usize::try_from(size(self.entries.len())).unwrap_or(0));
        out.extend_from_slice(&MAGIC);
        let hops = self.entries.iter().any(|e| e.hop.is_some());
        let version = if hops { VERSION_HOPS } else { VERSION };
        out.extend_from_slice(&version.to_le_bytes());
        out.extend_from_slice(&u32::try_from(self.entries.len()).unwrap_or(u32::MAX).to_le_bytes());
        out.extend_from_slice(self.uuid.as_bytes());
        out.extend_from_slice(&u32::from(self.active).to_le_bytes());
        out.extend_from_slice(&self.eh_frame.to_le_bytes());
        for word in [self.sequence, self.bias, self.size] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        out.extend_from_slice(&self.phase.encode());
        out.extend_from_slice(&self.elf.to_le_bytes());
        out.extend_from_slice(&self.registered.to_le_bytes());
        let mut name = [0u8; 48];
        let mut end = self.name.len().min(47);
        while !self.name.is_char_boundary(end) {
            end -= 1;
        }
        name[..end].copy_from_slice(&self.name.as_bytes()[..end]);
        out.extend_from_slice(&name);
        for e in &self.entries {
            for word in [e.site, e.previous, e.new, e.stub] {
                out.extend_from_slice(&word.to_le_bytes());
            }
            out.extend_from_slice(&e.original);
            let (hop, bytes) = e.hop.unwrap_or_default();
            for word in [e.resume, hop, u64::from_le_bytes(bytes)] {
                out.extend_from_slice(&word.to_le_bytes());
            }
        }
        out
    }

    /// Number of entries a block has whose first [`HEADER_SIZE`] bytes are `header`.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub fn count(header: &[u8]) -> Result<usize, ControlError> {
        if header.get(..8) != Some(&MAGIC) {
            return Err(ControlError::Magic);
        }
        let u32_at =
            |at: usize| header.get(at..at + 4).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes);
        match u32_at(8) {
            Some(VERSION | VERSION_HOPS) => {}
            Some(other) => return Err(ControlError::Version(other)),
            None => return Err(ControlError::Damaged),
        }
        // A patch of more functions than this would not be a patch; the bound keeps a damaged block from
        // asking for gigabytes.
        u32_at(12).filter(|n| *n <= 1 << 20).map(|n| n as usize).ok_or(ControlError::Damaged)
    }

    /// Reads a block.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, ControlError> {
        let count = Self::count(bytes)?;
        let need = usize::try_from(size(count)).map_err(|_| ControlError::Damaged)?;
        let bytes = bytes.get(..need).ok_or(ControlError::Damaged)?;
        let word = |at: usize| {
            let field = bytes.get(at..at + 8).and_then(|b| b.try_into().ok());
            field.map(u64::from_le_bytes).ok_or(ControlError::Damaged)
        };
        let uuid: [u8; 16] = bytes[16..32].try_into().map_err(|_| ControlError::Damaged)?;
        let name = bytes[80..128].split(|b| *b == 0).next().unwrap_or_default();
        let mut entries = Vec::with_capacity(count);
        for index in 0..count {
            let at = usize::try_from(entry(index)).map_err(|_| ControlError::Damaged)?;
            entries.push(Entry {
                site: word(at)?,
                previous: word(at + 8)?,
                new: word(at + 16)?,
                stub: word(at + 24)?,
                original: word(at + 32)?.to_le_bytes(),
                resume: word(at + 40)?,
                hop: Some((word(at + 48)?, word(at + 56)?.to_le_bytes())).filter(|(hop, _)| *hop != 0),
            });
        }
        Ok(Self {
            uuid: Uuid::from_bytes(uuid),
            active: word(32)? & 0xff != 0,
            sequence: word(40)?,
            bias: word(48)?,
            size: word(56)?,
            phase: if word(64)? & 0xffff_ffff == 1 { Phase::Ready } else { Phase::Loading },
            elf: (word(64)? >> 32) as u32,
            registered: word(72)?,
            eh_frame: (word(32)? >> 32) as u32,
            name: String::from_utf8_lossy(name).into_owned(),
            entries,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Control {
        Control {
            uuid: Uuid::from_bytes(*b"0123456789abcdef"),
            active: true,
            sequence: 3,
            bias: 0x5555_0000_0000,
            size: 0x4000,
            phase: Phase::Ready,
            elf: 2,
            registered: 0x77,
            eh_frame: 0x3000,
            name: "CVE-2025-32023".into(),
            entries: vec![
                Entry { site: 1, previous: 2, new: 3, stub: 4, original: *b"abcdefgh", resume: 5, hop: None },
                Entry { hop: Some((9, *b"paddings")), ..Entry::default() },
            ],
        }
    }

    #[test]
    fn round_trip_and_documented_offsets() {
        let bytes = sample().encode();
        assert_eq!(bytes.len() as u64, size(2));
        assert_eq!(bytes[usize::try_from(ACTIVE).unwrap()], 1);
        assert_eq!(bytes[usize::try_from(entry(0) + PREVIOUS).unwrap()], 2);
        let bias = usize::try_from(BIAS).unwrap();
        assert_eq!(bytes[bias..bias + 8], sample().bias.to_le_bytes());
        let has = |at: u64, field: &[u8]| bytes[usize::try_from(at).unwrap()..].starts_with(field);
        assert!(has(SEQUENCE, &3u64.to_le_bytes()) && has(REGISTERED, &0x77u64.to_le_bytes()));
        assert!(has(PHASE, &Phase::Ready.encode()) && has(PHASE + 4, &2u32.to_le_bytes()));
        assert_eq!(Control::decode(&bytes).unwrap(), sample());
    }

    #[test]
    fn damage_is_an_error() {
        let bytes = sample().encode();
        assert_eq!(Control::decode(&bytes[..200]), Err(ControlError::Damaged));
        assert_eq!(Control::decode(b"UPATCH??"), Err(ControlError::Magic));
        let mut other = bytes.clone();
        other[8] = 9;
        assert_eq!(Control::decode(&other), Err(ControlError::Version(9)));
        let mut huge = bytes;
        huge[12..16].fill(0xff);
        assert_eq!(Control::decode(&huge), Err(ControlError::Damaged));
    }
}
