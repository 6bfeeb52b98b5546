//! Joins the patch objects of all touched units of one ELF file into one patch image.
//!
//! In: what the comparison of the units gave, the record of the original link, the linked file and the target that is in
//! service. Out: a [`patchfile::image::Image`] in which everything is settled that does not depend on where a process has the
//! target. See `docs/reference/patch-format.md` for what is left to load time.

mod asked_where;
mod chunk;
mod elf;
mod epilogue;
mod equiv;
mod error;
mod exports;
mod far_data;
mod frames;
mod getter;
mod hooks;
mod input;
mod inside;
mod join;
mod layout;
mod libraries;
mod library;
mod linked;
mod map;
mod mask;
mod new_tls;
mod options;
mod padding;
mod place;
mod placement;
mod places;
mod redirect;
mod reloc_types;
mod relocate;
mod resolve;
mod same_code;
mod stubs;
mod tail_calls;
mod target;
mod tls;
mod translate;

pub use equiv::{BuiltFile, Entry, Fit, FitInput, Ledger, LedgerUnit, Part, Used, fit, ledger};
pub use error::LinkError;
pub use input::{
    ChangedFunction, Elsewhere, LinkInput, LinkOutput, NewSymbol, OriginalUnit, Piece, Pieces, SiblingUse,
    UnitPatch,
};
pub use join::link;
pub use libraries::{Export, Libraries, LibraryFiles, Sibling};
pub use map::{contributing, names_of};
pub use translate::{LinkedSymbol, SameLayout, TargetAddresses, UsedAddresses, addresses};
