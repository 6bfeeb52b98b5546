//! Live patches of the kernel: are the functions of a unit those of the shipped kernel, what are the parts of
//! the patch module, and which of its references does the kernel resolve when it loads it.
//!
//! In this order: [`fidelity`] for each touched unit, as soon as its original object is compiled; [`parts`]
//! for all patch objects of one patch module; Kbuild links the parts and the code that registers the patch;
//! [`finish`] makes the module of it that the kernel loads.

mod btf;
mod checks;
mod compare;
mod finish;
mod fit;
mod image;
mod kallsyms;
mod located;
mod module_file;
mod names;
mod original;
mod part;
mod plan;
mod references;
mod shipped;
mod static_calls;
mod symvers;
mod tables;
mod unit;

pub use finish::finish;
pub use fit::{FittedFunction, FunctionMatch, KernelFit, fidelity};
pub use image::KernelImage;
pub use kallsyms::KernelSymbol;
pub use module_file::KernelModuleFile;
pub use part::parts;
pub use symvers::{KernelObject, Symvers};
pub use unit::{KernelContext, KernelUnit, PartObject, Parts, Reference, ReplacedFunction, Way};
