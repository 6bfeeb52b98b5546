//! What goes into the making of a patch module, and what comes out.

use differ::PatchObject;

use super::image::KernelImage;
use super::module_file::KernelModuleFile;
use super::symvers::{KernelObject, Symvers};

/// One touched unit of a kernel.
#[derive(Clone, Debug)]
pub struct KernelUnit<'a> {
    /// Its name for messages, and for the part: the source file.
    pub name: &'a str,
    /// The object that it is linked into.
    pub object: KernelObject,
    /// The object of the shipped source with a section for each function and datum, as the compiler made it
    /// (before `objtool`).
    pub original: &'a [u8],
    /// What is to be shipped of it.
    pub patch: &'a PatchObject,
}

/// The shipped kernel.
#[derive(Clone, Copy, Debug)]
pub struct KernelContext<'a> {
    /// The kernel itself.
    pub image: &'a KernelImage<'a>,
    /// The modules that the units are linked into.
    pub modules: &'a [KernelModuleFile],
    /// What the kernel and all its modules export.
    pub symvers: &'a Symvers,
}

/// What `parts` makes of the patch objects of one patch module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts {
    /// One for each unit, for Kbuild to link.
    pub objects: Vec<PartObject>,
    /// For the list of functions in the module's code.
    pub functions: Vec<ReplacedFunction>,
    /// What the undefined symbols of the parts mean.
    pub references: Vec<Reference>,
}

/// A relocatable object, a part of the patch module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartObject {
    /// [`KernelUnit::name`]
    pub unit: String,
    /// The ELF file.
    pub bytes: Vec<u8>,
}

/// A function that the kernel is to redirect (`struct klp_func`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplacedFunction {
    /// The object that has it.
    pub object: KernelObject,
    /// Its name there.
    pub old_name: String,
    /// Its position among the symbols of that name: 0 where there is one.
    pub sympos: u32,
    /// The global symbol of a part that is put in its place. It may have dots, so C code gives the name with
    /// `__asm__`.
    pub new_symbol: String,
}

/// What one undefined symbol of the parts means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Its name in the parts.
    pub symbol: String,
    /// The object that has what it means.
    pub object: KernelObject,
    /// Its name there.
    pub name: String,
    /// Its position among the symbols of that name: 0 where there is one.
    pub sympos: u32,
    /// How it is resolved.
    pub way: Way,
}

/// How a symbol is resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// The kernel exports it: as with every module.
    Exported,
    /// By livepatch, when the kernel loads the patch, or this patched module if that is later.
    Livepatch(KernelObject),
}
