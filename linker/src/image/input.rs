//! What a link takes and gives.

use std::collections::HashSet;

use differ::{Extent, Extents, LinkedAddress, PatchObject, Warning};
use records::LinkRecord;

use crate::chunks::SiblingUse;
use crate::elf::ParsedElf;
use crate::image::libraries::Libraries;
use crate::locate::{OriginalUnit, TargetAddresses};
use crate::product::Product;

/// Everything about one ELF file.
#[derive(Clone, Copy)]
pub struct LinkInput<'a> {
    /// File name of the target, for messages of the applier.
    pub name: &'a str,
    /// The touched units that went into this file, in link order.
    pub units: &'a [UnitPatch<'a>],
    /// The record of the original link.
    pub record: &'a LinkRecord,
    /// Text of its map file; `None` if the linker wrote none: then places are found by symbol table and
    /// bytes.
    pub map: Option<&'a str>,
    /// The file as it came from the linker in the original build, with its symbol table if it has one.
    pub linked: &'a ParsedElf<'a>,
    /// The file in service, maybe stripped.
    pub target: &'a ParsedElf<'a>,
    /// From addresses of `linked` to those of `target`; see [`super::addresses`].
    pub addresses: &'a dyn TargetAddresses,
    /// The file as it came from the linker in the patched build: what it exports then.
    pub patched: Option<&'a [u8]>,
    /// Where symbols come from that the target does not import yet; see [`crate::LibraryFiles`].
    pub libraries: &'a dyn Libraries,
    /// New names of the touched units for what the original has from other units.
    pub moved: &'a MovedDefinitions,
}

/// Names that are new in a unit, while the original file has them from another one: their definition moved,
/// or overrides a weak one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MovedDefinitions {
    /// The original has the same: that is used.
    pub same: HashSet<String>,
    /// Functions that are others in the original: the new ones replace them.
    pub displaced: HashSet<String>,
}

impl std::fmt::Debug for LinkInput<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LinkInput")
            .field("name", &self.name)
            .field("units", &self.units.len())
            .finish_non_exhaustive()
    }
}

/// A touched compilation unit.
#[derive(Clone, Copy, Debug)]
pub struct UnitPatch<'a> {
    /// Its source file, for messages.
    pub name: &'a str,
    /// Compiled from C++ (`UnitRecord::language` of the recorder): exceptions may pass through its functions.
    pub cplusplus: bool,
    /// The unit in the original build; `None` for a new source file.
    pub original: Option<OriginalUnit<'a>>,
    /// A new unit that was there before the build: a member of an archive, of which the program must have
    /// nothing yet.
    pub prebuilt: bool,
    /// What the comparison says to ship.
    pub patch: &'a PatchObject,
    /// Where in the patched object that comes from.
    pub extents: &'a Extents,
}

/// What was made, and what is in it.
#[derive(Clone, Debug)]
pub struct LinkOutput {
    /// The product.
    pub product: Product,
    /// Replaced functions.
    pub changed: Vec<ChangedFunction>,
    /// Functions and data that the target did not have.
    pub new: Vec<NewSymbol>,
    /// What an author should know.
    pub warnings: Vec<Warning>,
    /// What the image refers to in the images of other ELF files of the same patch.
    pub used: Vec<SiblingUse>,
    /// New variables that other files define too, so that this file would share them.
    pub shared: Vec<String>,
    /// For each unit where the pieces of its patched object are: in the image, or still in the target. For
    /// debuggers.
    pub places: Vec<Vec<(Extent, LinkedAddress)>>,
}

/// A function that is replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangedFunction {
    /// Name in the target.
    pub name: String,
    /// Source file.
    pub unit: String,
    /// Link-time address of the old function in the target.
    pub old: u64,
    /// Size of the old function in bytes.
    pub old_size: u64,
    /// Size of the new function in bytes.
    pub new_size: u64,
}

/// A function or object that is new.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSymbol {
    /// Name in the patched unit.
    pub name: String,
    /// Source file.
    pub unit: String,
    /// Code?
    pub function: bool,
    /// Size in bytes.
    pub size: u64,
}
