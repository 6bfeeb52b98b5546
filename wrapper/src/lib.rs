//! Records how a build makes its objects and links them, without changing one byte of what it makes.
//!
//! The binary `upatch-cc` stands in for every compiler, assembler and linker on `PATH`; this library holds its logic,
//! the format of what it records ([`record`]), the directory that ties a build's records together ([`session`]),
//! the store of compiled units ([`store`]), and the way to compile a recorded unit once more ([`recompile()`]).

mod absent;
mod archive;
mod asdeps;
mod assemble;
mod bitcode;
mod clanglog;
mod cmdline;
mod compile;
mod copy;
mod copyline;
mod depfile;
pub mod env;
pub mod error;
mod files;
mod flags;
pub mod hash;
mod identity;
mod inputs;
mod ldline;
mod link;
mod loaded;
mod ltrans;
mod made;
mod mapfiles;
mod names;
pub mod osbytes;
mod prefix;
mod proof;
pub mod recompile;
pub mod record;
mod recorder;
mod resolve;
mod response;
mod scan;
mod search;
pub mod session;
pub mod store;
mod streams;
mod sys;
pub mod tool;

pub use archive::members;
pub use bitcode::LANGUAGE as LLVM;
pub use error::{Error, Result};
pub use ltrans::LANGUAGE as LTRANS;
pub use osbytes::OsBytes;
pub use recompile::{RecompileOutcome, recompile};
pub use record::{Dep, LinkInput, LinkRecord, MapFlavour, Problem, Records, UnitKind, UnitRecord};
pub use recorder::is_probe;
pub use session::{Config, Mode, Session};
pub use store::Store;
