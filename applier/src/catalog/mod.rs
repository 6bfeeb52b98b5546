//! Which patches there are: those installed from packages, those kept from directories applied by path, and the
//! directories a user names. Patches are untrusted input: who may have written them, their digests and their form are
//! checked before anything else looks at them.

mod entry;
mod fit;
mod id;
mod read;
mod scan;
mod walk;

pub use entry::{Entry, EntryError, Loaded, Origin};
pub use fit::{DiskElf, ElfFile, disk_elf, elf_file};
pub use id::{Known, ResolveError, alike, resolve};
pub use read::{Owner, PatchDir, ReadError};
pub use scan::{Catalog, Problem, keep, kept_directory, settle, unkeep};
