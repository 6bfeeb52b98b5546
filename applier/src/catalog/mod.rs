//! Which patches there are: those installed from packages, those kept from directories applied by path, and
//! the directories a user names. Patches are untrusted input: who may have written them, their digests and
//! their form are checked before anything else looks at them.

mod entry;
mod fit;
mod id;
mod package;
mod read;
mod scan;
mod walk;

pub(crate) use entry::{Entry, EntryError, LoadedEntry, Origin};
pub(crate) use fit::{ElfFile, disk_elf, elf_file};
pub(crate) use id::{Known, ResolveError, alike, resolve};
pub(crate) use read::{Owner, PatchDir, ReadError};
pub(crate) use scan::{Catalog, Problem, keep, keep_debug, kept_directory, sync_kept, unkeep};
