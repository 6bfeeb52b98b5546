//! Pieces of the image before they have addresses, and the fields in them that depend on addresses.

use differ::SectionKind;
use patchfile::image::RelocationKind;

/// Something with an address. What lies in the image is settled when it is laid out, the rest when it is
/// loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Place {
    /// In a piece of this image.
    Chunk { chunk: usize, offset: u64 },
    /// In the control block.
    Control(u64),
    /// Link-time address of the target.
    Target(u64),
    /// Index of a reference: an import, or a word of the running target.
    Outside(u32),
    /// A number that is the same in every process.
    Constant(u64),
}

/// A field to fill in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fixup {
    pub(crate) offset: u64,
    pub(crate) kind: RelocationKind,
    pub(crate) to: Place,
    pub(crate) addend: i64,
}

/// What code of the image is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// A jump through a slot. It leaves stack and registers alone.
    JumpThrough,
    /// Anything else.
    Other,
}

/// A piece of the image.
#[derive(Clone, Debug)]
pub(crate) struct Chunk {
    pub(crate) kind: SectionKind,
    pub(crate) role: Role,
    pub(crate) align: u64,
    pub(crate) data: Vec<u8>,
    pub(crate) size: u64,
    pub(crate) fixups: Vec<Fixup>,
    /// What it is, for messages and debuggers.
    pub(crate) name: String,
}

impl Chunk {
    /// Code made here.
    pub(crate) fn code(name: impl Into<String>, data: Vec<u8>, fixups: Vec<Fixup>) -> Self {
        let size = data.len() as u64;
        Self { kind: SectionKind::Text, role: Role::Other, align: 16, data, size, fixups, name: name.into() }
    }

    /// Read-only words made here, filled in when loaded.
    pub(crate) fn words(name: impl Into<String>, words: &[(Place, i64)]) -> Self {
        let mut data = Vec::new();
        let mut fixups = Vec::new();
        for (to, addend) in words {
            let offset = data.len() as u64;
            data.extend_from_slice(&[0; 8]);
            fixups.push(Fixup { offset, kind: RelocationKind::Abs64, to: *to, addend: *addend });
        }
        let size = data.len() as u64;
        Self { kind: SectionKind::RelRo, role: Role::Other, align: 8, data, size, fixups, name: name.into() }
    }

    /// Overwrites bytes of the content.
    pub(crate) fn edit(&mut self, offset: u64, bytes: &[u8]) -> bool {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let field = start.checked_add(bytes.len()).and_then(|end| self.data.get_mut(start..end));
        match field {
            Some(field) => {
                field.copy_from_slice(bytes);
                true
            }
            None => false,
        }
    }

    /// Bytes of the content, if they are all there.
    pub(crate) fn bytes(&self, offset: u64, len: usize) -> Option<&[u8]> {
        let start = usize::try_from(offset).ok()?;
        self.data.get(start..start.checked_add(len)?)
    }
}
