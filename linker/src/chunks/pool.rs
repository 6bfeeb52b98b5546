//! Code and words that the image needs besides what was compiled: GOT slots and jumps through them.

use std::collections::HashMap;

use patchfile::image::{ImportKind, Reference, RelocationKind};

use crate::chunks::chunk::{Chunk, Fixup, Place};
use crate::image::epilogue::Epilogue;
use crate::image::input::SiblingUse;
use crate::image::inside;

/// Index of [`Reference::Image`].
pub(crate) const IMAGE: u32 = 0;
/// Index of [`Reference::Target`].
pub(crate) const TARGET: u32 = 1;

/// All pieces of the image, with the ones shared between users found again.
#[derive(Debug)]
pub(crate) struct Pieces {
    pub(crate) chunks: Vec<Chunk>,
    pub(crate) references: Vec<Reference>,
    slots: HashMap<Vec<(Place, i64)>, usize>,
    jumps: HashMap<Place, usize>,
    /// Stubs by where they lead: pieces.
    inside: HashMap<Place, usize>,
    /// Words that take the size of the image: piece and offset.
    sizes: Vec<(usize, u64)>,
    /// Code made here that is no jump through a slot: piece, size, and the instructions of its FDE.
    pub(crate) described: Vec<(usize, u64, Vec<u8>)>,
    /// What is used of other ELF files' patches.
    pub(crate) used: Vec<SiblingUse>,
}

impl Pieces {
    pub(crate) fn new() -> Self {
        Self {
            chunks: Vec::new(),
            references: vec![Reference::Image, Reference::Target],
            slots: HashMap::new(),
            jumps: HashMap::new(),
            inside: HashMap::new(),
            sizes: Vec::new(),
            described: Vec::new(),
            used: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, chunk: Chunk) -> usize {
        self.chunks.push(chunk);
        self.chunks.len() - 1
    }

    fn reference(&mut self, reference: Reference) -> Place {
        let index = self.references.iter().position(|r| *r == reference).unwrap_or_else(|| {
            self.references.push(reference);
            self.references.len() - 1
        });
        Place::Outside(u32::try_from(index).unwrap_or(u32::MAX))
    }

    pub(crate) fn import(
        &mut self,
        name: &str,
        version: Option<String>,
        weak: bool,
        kind: ImportKind,
    ) -> Place {
        // One symbol is one reference, also where one unit calls it and another takes its address.
        let known = self.references.iter().position(
            |r| matches!(r, Reference::Import { name: n, version: v, .. } if n == name && *v == version),
        );
        if let Some(index) = known {
            if let Some(Reference::Import { weak: w, .. }) = self.references.get_mut(index) {
                *w &= weak;
            }
            return Place::Outside(u32::try_from(index).unwrap_or(u32::MAX));
        }
        self.reference(Reference::Import { name: name.to_owned(), version, weak, kind })
    }

    /// A symbol that the same patch adds to the ELF file of this number.
    pub(crate) fn sibling(
        &mut self,
        name: &str,
        version: Option<String>,
        kind: ImportKind,
        number: usize,
    ) -> Place {
        let used = SiblingUse { number, name: name.to_owned(), version: version.clone() };
        if !self.used.contains(&used) {
            self.used.push(used);
        }
        self.reference(Reference::Sibling { name: name.to_owned(), version, kind })
    }

    /// The content of a word of the running target.
    pub(crate) fn target_word(&mut self, address: u64) -> Place {
        self.reference(Reference::TargetWord { address })
    }

    /// Read-only words that hold these values: a GOT slot, or the pair that `__tls_get_addr` takes.
    pub(crate) fn words(&mut self, words: &[(Place, i64)]) -> Place {
        let key = words.to_vec();
        let chunk = match self.slots.get(&key) {
            Some(chunk) => *chunk,
            None => {
                let chunk = self.add(Chunk::words(".got", words));
                self.slots.insert(key, chunk);
                chunk
            }
        };
        Place::Chunk { chunk, offset: 0 }
    }

    /// `jmp *slot(%rip)`: reaches what is further away than a branch.
    pub(crate) fn jump_through(&mut self, slot: Place) -> Place {
        let chunk = match self.jumps.get(&slot) {
            Some(chunk) => *chunk,
            None => {
                let fixup = Fixup { offset: 2, kind: RelocationKind::Pc32, to: slot, addend: -4 };
                let chunk = self.add(Chunk::code(".plt", vec![0xff, 0x25, 0, 0, 0, 0], vec![fixup]));
                self.jumps.insert(slot, chunk);
                chunk
            }
        };
        Place::Chunk { chunk, offset: 0 }
    }

    /// Leads to `place` so that it returns through the target.
    pub(crate) fn call_inside(&mut self, place: Place, epilogue: Epilogue) -> Place {
        let chunk = match self.inside.get(&place) {
            Some(chunk) => *chunk,
            None => {
                let to = self.branch_target(place);
                let code = inside::code(to, epilogue);
                let size = code.chunk.size;
                let chunk = self.add(code.chunk);
                self.sizes.push((chunk, code.size_at));
                self.described.push((chunk, size, code.unwind));
                self.inside.insert(place, chunk);
                chunk
            }
        };
        Place::Chunk { chunk, offset: 0 }
    }

    /// Says how large the image is.
    pub(crate) fn set_size(&mut self, size: u64) {
        // No image has more than 512 MiB.
        let size = u32::try_from(size).unwrap_or(0).to_le_bytes();
        for (chunk, offset) in std::mem::take(&mut self.sizes) {
            self.chunks[chunk].edit(offset, &size);
        }
    }

    /// A place that a 32-bit relative branch reaches, and that leads to `place`.
    pub(crate) fn branch_target(&mut self, place: Place) -> Place {
        match place {
            Place::Outside(_) | Place::Constant(_) => {
                let slot = self.words(&[(place, 0)]);
                self.jump_through(slot)
            }
            near => near,
        }
    }
}
