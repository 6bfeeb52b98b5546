//! What making an image has to know of a machine.

use std::fmt::Debug;
use std::ops::Range;

use differ::{Refusal, Relocation, SectionKind};
use patchfile::image::Hop;

use super::reading::Epilogue;
use crate::chunks::{Chunk, Chunks, FrameRules, Place, Resolved, Returning, Step, Stubs};
use crate::elf::Segment;
use crate::error::refusal;

/// Where a relocation is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Site<'a> {
    pub(crate) chunk: usize,
    pub(crate) kind: SectionKind,
    pub(crate) unit: &'a str,
    pub(crate) section: &'a str,
}

impl Site<'_> {
    pub(crate) fn refuse(
        &self,
        what: &str,
        reloc: &Relocation,
        why: impl Into<String>,
        remedy: &str,
    ) -> Refusal {
        refusal(what, format!("{}+{:#x} ({})", self.section, reloc.offset, self.unit), why, remedy)
    }
}

/// What the code around a relocation can count on.
pub(crate) struct Surroundings<'a> {
    /// The target is a program, not a library.
    pub(crate) executable: bool,
    /// The target is always loaded at its link-time addresses.
    pub(crate) fixed: bool,
    /// TLS segment of the target.
    pub(crate) tls: Option<&'a Segment>,
    /// Word of the target that holds its own TLS module id.
    pub(crate) own_module: Option<u64>,
    /// The function that returns the address of a new thread-local variable.
    pub(crate) getter: Option<Place>,
    /// Whose address a call of the local-dynamic model has to return in this section.
    pub(crate) base: TlsBase,
    /// Leads a call through the target if the called function asks which module called it; `None` for all
    /// other calls.
    pub(crate) through_target: &'a ThroughTarget<'a>,
}

/// Where a call leads in place of what it names.
pub(crate) type ThroughTarget<'a> =
    dyn Fn(&Relocation, &Resolved, &mut Chunks) -> Result<Option<Place>, Refusal> + 'a;

/// Whose address a call of the local-dynamic model has to return.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum TlsBase {
    /// The target's variables, or there is no such call.
    #[default]
    Target,
    /// New variables.
    New,
    /// Old and new variables; or the call for new ones was not found.
    Unclear,
}

/// An old function in the target.
#[derive(Clone, Debug)]
pub(crate) struct OldFunction<'a> {
    pub(crate) name: String,
    pub(crate) address: u64,
    pub(crate) size: u64,
    /// Bytes of the target from its entry to the end of the segment's file content.
    pub(crate) bytes: &'a [u8],
    /// Bytes from its entry to the next thing that is known to be there.
    pub(crate) reach: u64,
}

/// What a redirection of one function consists of.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) skip: u8,
    pub(crate) original: [u8; 8],
    /// Old first instructions; `None` where they cannot be moved.
    pub(crate) resume: Option<(Chunk, Vec<Step>)>,
    /// Padding that a short jump leads to.
    pub(crate) hop: Option<Hop>,
}

/// What the block of each thread with the new thread-local variables looks like.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    /// Bytes; at least 1.
    pub(crate) size: u32,
    /// A power of two.
    pub(crate) align: u32,
    /// Initial content: chunk, offset in the block, bytes. The rest is zero.
    pub(crate) templates: Vec<(usize, u32, u32)>,
}

/// Functions of the C library that the getter calls: slots with their addresses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CLibrary {
    pub(crate) abort: Place,
    pub(crate) calloc: Place,
    pub(crate) errno_location: Place,
    pub(crate) free: Place,
    pub(crate) getspecific: Place,
    pub(crate) key_create: Place,
    pub(crate) once: Place,
    pub(crate) setspecific: Place,
}

/// Control words of the getter in the image's writable data: a `pthread_once_t`, and the key plus 1, both of
/// 32 bits and 0 at first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Control {
    pub(crate) once: Place,
    pub(crate) key: Place,
}

/// How code of an image is written.
pub(crate) trait Writing: Stubs + Debug + Sync {
    /// What every unwind table begins with.
    fn frame_rules(&self) -> &'static FrameRules;

    /// The byte that fills gaps between code. A thread that gets there is stopped by a signal.
    fn filler(&self) -> u8;

    /// Turns one relocation of a patch object into a field of the image. `Some`: offset of the relocation of
    /// a call that went away with the sequence that it ends.
    fn relocate(
        &self,
        around: &Surroundings<'_>,
        site: Site<'_>,
        reloc: &Relocation,
        symbol: &Resolved,
        chunks: &mut Chunks,
    ) -> Result<Option<u64>, Refusal>;

    /// Is the field at `offset` that of a call or jump, to the function itself or by a word that holds its
    /// address?
    fn is_branch(&self, code: &[u8], offset: u64) -> bool;

    /// Is the field at `offset` that of a direct call?
    fn is_call(&self, code: &[u8], offset: u64) -> bool;

    /// Does the instruction with this relocation form the address of what it refers to, rather than load from
    /// there?
    fn forms_address(&self, code: &[u8], reloc: &Relocation) -> bool;

    /// The field from which the instructions before the one with the field `call` have the first argument of
    /// the call, if that is an address. Code is followed as it stands there.
    fn first_argument(&self, code: &[u8], call: u64) -> Option<u64>;

    /// Plans the entry of a function that gets redirected. `code_of_old`: address and bytes of the whole
    /// function and its fragments, to find branches into what gets overwritten. `padding` finds some in reach
    /// of a short jump from an address.
    ///
    /// # Errors
    /// When there is no room for a jump.
    fn plan_entry(
        &self,
        old: &OldFunction<'_>,
        code_of_old: &[(u64, &[u8])],
        padding: &mut dyn FnMut(u64) -> Option<Hop>,
    ) -> Result<Entry, Refusal>;

    /// Bytes at the entry that its jump overwrites, long or short.
    fn overwritten(&self, old: &OldFunction<'_>) -> Range<u64>;

    /// The stub of redirect `index`: to the new code while the patch is active, else to where the control
    /// block says.
    fn redirect_stub(&self, index: usize, name: &str, new: Place) -> Chunk;

    /// The code of a stub that calls `to` so that `to` returns through the target.
    fn returning_stub(&self, to: Place, epilogue: Epilogue) -> Returning;

    /// The function that gives each thread its block of new thread-local variables.
    fn getter(&self, block: &Block, library: &CLibrary, control: Control, chunks: &mut Chunks) -> Place;
}
