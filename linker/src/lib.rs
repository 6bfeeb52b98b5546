//! Joins the patch objects of all touched units of one ELF file into one patch image, and finds where the
//! symbols of the original are. Bytes in, bytes out: nothing is run here, and no file is opened.
//!
//! In: what the comparison of the units gave, the record of the original link, the linked file and the target
//! that is in service. Out: a [`patchfile::image::Image`] in which everything is settled that does not depend
//! on where a process has the target. See `docs/reference/patch-format.md` for what is left to load time.
//!
//! The folders, each of which uses only those before it: `elf` reads files, `chunks` are the pieces of an
//! image, `arch` is what depends on the instruction set, `locate` finds each old symbol, `equiv` compares
//! linked files, `image` makes the product for programs, `livepatch` that for the kernel.

mod arch;
mod chunks;
mod elf;
mod equiv;
mod error;
mod image;
mod livepatch;
mod locate;
mod product;

pub use chunks::SiblingUse;
pub use elf::ParsedElf;
pub use equiv::{BuiltFile, Entry, Fit, FitInput, Ledger, LedgerUnit, Part, fit, ledger};
pub use error::LinkError;
pub use image::{
    ChangedFunction, Export, Libraries, LibraryFiles, LinkInput, LinkOutput, MovedDefinitions, NOT_IN_FILE,
    NewSymbol, Sibling, UnitPatch, link,
};
pub use livepatch::{
    FittedFunction, FunctionMatch, KernelContext, KernelFit, KernelImage, KernelModuleFile, KernelObject,
    KernelSymbol, KernelUnit, PartObject, Parts, Reference, ReplacedFunction, Symvers, Way, fidelity, finish,
    parts,
};
pub use locate::{
    LinkedSymbol, ObjectSymbol, OptimisedUnit, OriginalUnit, SameLayout, TargetAddresses, Used,
    UsedAddresses, addresses, contributing, functions_alike, names_of,
};
pub use product::Product;
