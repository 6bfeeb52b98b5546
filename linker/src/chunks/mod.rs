//! What an image is put together from, before it has addresses: pieces of code and data ("chunks"), the
//! fields in them that depend on addresses, and what the symbols of patch objects stand for.

mod all;
mod chunk;
mod frames;
mod resolved;

pub use all::SiblingUse;
pub(crate) use all::{Chunks, IMAGE, Returning, Stubs, TARGET};
pub(crate) use chunk::{Chunk, Fixup, Place, Role};
pub(crate) use frames::{Change, Described, FrameRules, Step, program, steps, table};
pub(crate) use resolved::{Resolved, Tls, TlsSlots};
