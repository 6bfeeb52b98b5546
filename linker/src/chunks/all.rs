//! All pieces of an image: what was compiled, and the code and words that it needs besides.

use std::collections::HashMap;
use std::fmt::Debug;

use patchfile::image::{ImportKind, Reference};

use super::chunk::{Chunk, Fixup, Place, Role};
use super::frames::Described;

/// Index of [`Reference::Image`].
pub(crate) const IMAGE: u32 = 0;
/// Index of [`Reference::Target`].
pub(crate) const TARGET: u32 = 1;

/// A symbol that the fix adds to another ELF file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiblingUse {
    /// Number of that file, see [`crate::Sibling`].
    pub number: usize,
    /// Name.
    pub name: String,
    /// Version, if the file versions its symbols.
    pub version: Option<String>,
}

/// A stub that calls a function so that it returns through the target.
#[derive(Clone, Debug)]
pub(crate) struct Returning {
    pub(crate) chunk: Chunk,
    /// Offset of the word that takes the size of the image.
    pub(crate) size_at: u64,
    /// The instructions of its FDE.
    pub(crate) program: Vec<u8>,
}

/// Code of a machine that any image may need.
pub(crate) trait Stubs: Debug + Sync {
    /// A jump to where `slot` says, and the fields in it: reaches what is further away than a branch.
    fn jump_through(&self, slot: Place) -> (Vec<u8>, Vec<Fixup>);
}

/// All pieces of the image, with the ones shared between users found again.
#[derive(Debug)]
pub(crate) struct Chunks {
    pub(crate) chunks: Vec<Chunk>,
    pub(crate) references: Vec<Reference>,
    stubs: &'static dyn Stubs,
    slots: HashMap<Vec<(Place, i64)>, usize>,
    jumps: HashMap<Place, usize>,
    /// Stubs that return through the target, by where they lead.
    returning: HashMap<Place, usize>,
    /// Words that take the size of the image: chunk and offset.
    sizes: Vec<(usize, u64)>,
    /// Code made here that is no jump through a slot.
    described: Vec<Described>,
    /// What is used of other ELF files' patches.
    pub(crate) used: Vec<SiblingUse>,
    /// See [`patchfile::image::Image::companions`].
    pub(crate) companions: Vec<String>,
}

impl Chunks {
    /// None yet; code that is needed besides is made by `stubs`.
    pub(crate) fn new(stubs: &'static dyn Stubs) -> Self {
        Self {
            chunks: Vec::new(),
            references: vec![Reference::Image, Reference::Target],
            stubs,
            slots: HashMap::new(),
            jumps: HashMap::new(),
            returning: HashMap::new(),
            sizes: Vec::new(),
            described: Vec::new(),
            used: Vec::new(),
            companions: Vec::new(),
        }
    }

    /// The image needs this library, which the target does not load.
    pub(crate) fn bring(&mut self, library: String) {
        if !self.companions.contains(&library) {
            self.companions.push(library);
        }
    }

    /// The chunk with this index.
    pub(crate) fn get(&self, index: usize) -> Option<&Chunk> {
        self.chunks.get(index)
    }

    /// Bytes of a chunk; none if there is no such chunk.
    pub(crate) fn code(&self, index: usize) -> &[u8] {
        self.chunks.get(index).map(|chunk| chunk.data.as_slice()).unwrap_or_default()
    }

    /// Adds code that an unwind table has to describe: `program` are the instructions of its FDE.
    pub(crate) fn describe(&mut self, chunk: usize, size: u64, program: Vec<u8>) {
        self.described.push(Described { chunk, size, program });
    }

    /// All code that was made here, for an unwind table.
    pub(crate) fn take_described(&mut self) -> Vec<Described> {
        let mut described = std::mem::take(&mut self.described);
        for (chunk, made) in self.chunks.iter().enumerate().filter(|(_, c)| c.role == Role::JumpThrough) {
            described.push(Described { chunk, size: made.size, program: Vec::new() });
        }
        described
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
        outside(index)
    }

    pub(crate) fn import(
        &mut self,
        name: &str,
        version: Option<String>,
        weak: bool,
        kind: ImportKind,
    ) -> Place {
        // Each symbol is one reference, also where one unit calls it and another unit takes its address.
        let known = self.references.iter().position(
            |r| matches!(r, Reference::Import { name: n, version: v, .. } if n == name && *v == version),
        );
        if let Some(index) = known {
            if let Some(Reference::Import { weak: w, .. }) = self.references.get_mut(index) {
                *w &= weak;
            }
            return outside(index);
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

    /// A jump to where `slot` says.
    pub(crate) fn jump_through(&mut self, slot: Place) -> Place {
        let chunk = match self.jumps.get(&slot) {
            Some(chunk) => *chunk,
            None => {
                let (code, fixups) = self.stubs.jump_through(slot);
                let chunk = self.add(Chunk { role: Role::JumpThrough, ..Chunk::code(".plt", code, fixups) });
                self.jumps.insert(slot, chunk);
                chunk
            }
        };
        Place::Chunk { chunk, offset: 0 }
    }

    /// The stub, made by `make`, that calls `place` so that it returns through the target.
    pub(crate) fn returning(&mut self, place: Place, make: impl FnOnce(Place) -> Returning) -> Place {
        let chunk = match self.returning.get(&place) {
            Some(chunk) => *chunk,
            None => {
                let to = self.branch_target(place);
                let Returning { chunk, size_at, program } = make(to);
                let size = chunk.size;
                let chunk = self.add(chunk);
                self.sizes.push((chunk, size_at));
                self.describe(chunk, size, program);
                self.returning.insert(place, chunk);
                chunk
            }
        };
        Place::Chunk { chunk, offset: 0 }
    }

    /// Says how large the image is. `None`: it is larger than the code can say.
    pub(crate) fn set_size(&mut self, size: u64) -> Option<()> {
        let size = i32::try_from(size).ok()?.to_le_bytes();
        for (chunk, offset) in std::mem::take(&mut self.sizes) {
            self.chunks.get_mut(chunk)?.edit(offset, &size).then_some(())?;
        }
        Some(())
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

/// There are never more references than fit: each needs a symbol's name.
fn outside(index: usize) -> Place {
    Place::Outside(u32::try_from(index).unwrap_or(u32::MAX))
}
