//! The typed form of a patch ELF. Layout of the file: `docs/reference/patch-format.md`.

pub use crate::arch::RelocationKind;
use crate::manifest::{FORMAT, FORMAT_BYTES, FORMAT_HOPS, FORMAT_SIBLINGS};
use crate::{Arch, BuildId, Digest};

/// A patch for one ELF file, laid out: all addresses inside it are final relative to the image's base, which
/// the applier chooses within branch reach of the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Architecture of image and target.
    pub arch: Arch,
    /// The ELF file it fits.
    pub target: Target,
    /// What is mapped, in address order, page-aligned, without overlap. The first is the control segment (see
    /// [`crate::control`]): [`Access::Read`], at address 0, without data, large enough for one entry per
    /// redirect.
    pub segments: Vec<Segment>,
    /// Functions to redirect; their order is that of the control block's entries.
    pub redirects: Vec<Redirect>,
    /// What relocations refer to.
    pub references: Vec<Reference>,
    /// What is left to fill in when the addresses are known.
    pub relocations: Vec<Relocation>,
    /// Names for debuggers.
    pub symbols: Vec<Symbol>,
    /// Unwind tables of the image's code.
    pub unwind: Option<Unwind>,
    /// Functions to call on the way.
    pub hooks: Vec<Hook>,
    /// What the patch adds to the symbols that the target exports, for the patch's other ELF files. No two of
    /// one name and version.
    pub exports: Vec<Export>,
    /// Libraries (`DT_SONAME`) that the patch needs and the target does not load: the dynamic loader of the
    /// process loads them before the image comes in. Names of files, without a folder; none twice.
    pub companions: Vec<String>,
}

/// Identity and shape of the target ELF.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// File name, for messages.
    pub name: String,
    /// `NT_GNU_BUILD_ID`, if it has one.
    pub build_id: Option<BuildId>,
    /// Digest over its executable `PT_LOAD` segments' file contents, in order.
    pub code: Digest,
    /// Position dependent (`ET_EXEC`)? Then the image must be mapped below 2 GiB.
    pub fixed: bool,
}

/// Access rights of a segment. Nothing is ever both writable and executable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// Read.
    Read,
    /// Read and execute.
    Execute,
    /// Read and write.
    Write,
}

/// A piece of the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Access rights.
    pub access: Access,
    /// Address relative to the image's base, a multiple of [`crate::arch::Facts::page`].
    pub address: u64,
    /// Size in memory in bytes; what lies beyond `data` is zero.
    pub size: u64,
    /// Initial contents.
    pub data: Vec<u8>,
}

/// One function whose entry is redirected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// Name in the target, for messages.
    pub name: String,
    /// Link-time address of the old function.
    pub old: u64,
    /// Its size in bytes.
    pub old_size: u64,
    /// Distance in bytes from `old` to the first instruction that is overwritten, see
    /// [`crate::arch::Facts::skips`].
    pub skip: u8,
    /// The bytes at `old + skip`: at least as many as the redirect overwrites, at most 8 used.
    pub original: [u8; 8],
    /// Address in the image of the new function.
    pub new: u64,
    /// Address in the image of the stub: tests the control block's active byte, goes to `new` or to the
    /// entry's `previous`.
    pub stub: u64,
    /// Address in the image of the old function's first instructions, relocated, followed by a jump to the
    /// rest. `None` only where an image redirects a single function, whose one write is atomic by itself.
    pub resume: Option<u64>,
    /// Further pieces of old code that must not be on any stack (`.cold` parts, clones that went away):
    /// link-time address and size.
    pub fragments: Vec<(u64, u64)>,
    /// Where the entry has room for a short jump only: the padding that it leads to, which holds the jump
    /// that others have at their entry.
    pub hop: Option<Hop>,
}

/// Padding of the target that a jump is put into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hop {
    /// Link-time address.
    pub address: u64,
    /// The bytes there, of which as many are overwritten as a jump has.
    pub original: [u8; 8],
}

impl Redirect {
    /// Link-time address of the first instruction that is overwritten.
    pub fn site(&self) -> u64 {
        self.old.wrapping_add(u64::from(self.skip))
    }

    /// Link-time ranges that are overwritten on a machine.
    pub fn overwrites(&self, arch: Arch) -> impl Iterator<Item = std::ops::Range<u64>> {
        let jump = arch.facts().jump;
        let length = self.hop.and(arch.facts().short_jump).unwrap_or(jump);
        let range = |at: u64, length: u64| at..at.saturating_add(length);
        std::iter::once(range(self.site(), length)).chain(self.hop.map(|h| range(h.address, jump)))
    }
}

/// What a relocation's value is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// The image's own base.
    Image,
    /// The target module's load bias: the addend is a link-time address of the target.
    Target,
    /// The 8-byte word that the running target has at this link-time address, read when the patch is loaded:
    /// a GOT slot that the dynamic loader has filled in (module id of thread-local storage, address of an
    /// imported object).
    TargetWord {
        /// Link-time address of the word.
        address: u64,
    },
    /// A dynamic symbol of another module, looked up in link-map order.
    Import {
        /// Symbol name.
        name: String,
        /// Symbol version, if the library versions its symbols.
        version: Option<String>,
        /// May it be absent (value 0)?
        weak: bool,
        /// Function or object.
        kind: ImportKind,
    },
    /// A dynamic symbol that the same patch adds to another ELF file ([`Image::exports`]). Looked up in
    /// link-map order, where a module with such an image has the symbol as if it had been linked with it.
    Sibling {
        /// Symbol name.
        name: String,
        /// Symbol version, if the library versions its symbols.
        version: Option<String>,
        /// Function or object.
        kind: ImportKind,
    },
}

/// What kind of symbol is imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImportKind {
    /// `STT_FUNC` or `STT_GNU_IFUNC` (the resolver's answer is used).
    Function,
    /// `STT_OBJECT`.
    Object,
}

/// A field to fill in: width and form by `kind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relocation {
    /// Address of the field in the image.
    pub address: u64,
    /// How the value is formed and stored.
    pub kind: RelocationKind,
    /// Index in [`Image::references`].
    pub reference: u32,
    /// Addend.
    pub addend: i64,
}

/// A name in the image, for debuggers, profilers and messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Symbol {
    /// Name.
    pub name: String,
    /// Address in the image.
    pub address: u64,
    /// Size in bytes.
    pub size: u64,
    /// Is it code?
    pub function: bool,
}

/// Where the image's unwind tables are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unwind {
    /// Address of `.eh_frame` in the image; it ends with a zero terminator.
    pub eh_frame: u64,
    /// Its size in bytes, terminator included.
    pub eh_frame_size: u64,
    /// Must the target's own unwinder know it (exceptions, thread cancellation)?
    pub register: bool,
}

/// A function of the patch that is called at a point of its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// When.
    pub when: HookPoint,
    /// Address in the image.
    pub address: u64,
}

/// A symbol that the patch adds to those that the target exports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// Symbol name.
    pub name: String,
    /// Symbol version, if the target versions its symbols.
    pub version: Option<String>,
    /// Where it is.
    pub at: Exported,
}

/// Where an exported symbol is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exported {
    /// Address in the image: new.
    Image(u64),
    /// Link-time address of the target: there before, though not exported.
    Target(u64),
}

/// When a hook is called. The numbers are those in files and in processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum HookPoint {
    /// Before the first function is redirected; may refuse.
    PreApply = 0,
    /// After the last function is redirected.
    PostApply = 1,
    /// Before the first function is given back; may refuse.
    PreUnapply = 2,
    /// After the last function is given back.
    PostUnapply = 3,
}

/// All points of hooks, by their number.
pub(crate) const POINTS: [HookPoint; 4] =
    [HookPoint::PreApply, HookPoint::PostApply, HookPoint::PreUnapply, HookPoint::PostUnapply];

/// Why a patch ELF is not usable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// Not an ELF file of the right kind.
    #[error("not a patch ELF: {0}")]
    Elf(String),
    /// Another format version.
    #[error("patch ELF has format version {found}, this program reads versions up to {newest}")]
    Format {
        /// The version found.
        found: u32,
        /// The newest version that is known.
        newest: u32,
    },
    /// An architecture this program does not know.
    #[error("patch ELF is for unknown machine {0}")]
    Machine(u16),
    /// A table ends early or holds an impossible value.
    #[error("patch ELF is damaged: {table}: {why}")]
    Damaged {
        /// Which table.
        table: &'static str,
        /// What is wrong.
        why: String,
    },
}

impl Image {
    /// The oldest format version that can express this image. A program that can apply it can then read it
    /// too.
    pub fn format(&self) -> u32 {
        let sibling = |r: &Reference| matches!(r, Reference::Sibling { .. });
        if !self.companions.is_empty() {
            FORMAT_BYTES
        } else if self.redirects.iter().any(|r| r.hop.is_some()) {
            FORMAT_HOPS
        } else if self.exports.is_empty() && !self.references.iter().any(sibling) {
            FORMAT
        } else {
            FORMAT_SIBLINGS
        }
    }

    /// Size of the mapping in bytes: end of the last segment, rounded up to a page.
    pub fn size(&self) -> u64 {
        self.segments.last().map_or(0, |s| (s.address + s.size).next_multiple_of(self.arch.facts().page))
    }

    /// The segment that holds `len` bytes at `address`, with the offset into it.
    pub fn segment_at(&self, address: u64, len: u64) -> Option<(usize, usize)> {
        let index = self.segments.iter().position(|s| {
            address >= s.address && address.checked_add(len).is_some_and(|end| end <= s.address + s.size)
        })?;
        usize::try_from(address - self.segments[index].address).ok().map(|offset| (index, offset))
    }
}
