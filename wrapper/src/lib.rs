//! Records how a build makes its objects and links them, without changing one byte of what it makes.
//!
//! The binary `upatch-cc` stands in for every compiler, assembler and linker on `PATH`; this library holds
//! its logic, the format of what it records ([`Records`]), the directory that ties a build's records together
//! ([`Session`]), the store of compiled units ([`Store`]), and the way to compile a recorded unit once more
//! ([`recompile()`]).
//!
//! From the ground up: `base`, `sys` · `tools` · `command_line` · `record` · `inputs` · `store` ·
//! `recompile`, and on top `intercept`, which is all that the binary does.

mod base;
mod command_line;
mod inputs;
mod intercept;
mod recompile;
mod record;
mod store;
mod sys;
mod tools;

pub use base::error::{Error, Result};
pub use base::hash::sha256;
pub use base::loaded::same_when_loaded;
pub use intercept::link::archive::members;
pub use intercept::run::main;
pub use recompile::again::{RecompileOutcome, recompile};
pub use record::probe::is_probe;
pub use record::records::{Problem, Records};
pub use record::session::{Config, Session};
pub use record::unit::{Copied, CopyRecord, Dep, LLVM, LTRANS, UnitKind, UnitRecord};
pub use records::{LinkInput, LinkRecord, MapFlavour, OsBytes, Pass, Phase};
pub use store::results::Store;
