//! The answer of a comparison: changes, refusals, warnings and the patch object.

use std::collections::BTreeMap;

use serde::Serialize;

use super::kernel_options::KernelOptions;
use super::patch_object::{Extents, PatchObject};
use crate::profile::Profile;

/// How a comparison is made.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The product that the unit is a part of.
    pub profile: Profile,
    /// For [`Profile::Kernel`]: what is known of the kernel.
    pub kernel: KernelOptions,
    /// Name of the unit for messages (its source file as the user knows it). Empty: taken from the object.
    pub unit: String,
    /// Ship read-only data with global binding although other units may hold the address of the old copy.
    /// Set by a caller that has seen that no other unit refers to it; its names are in
    /// [`UnitDiff::global_rodata_changed`] either way.
    pub allow_global_rodata: bool,
    /// Functions of the original whose entries cannot be redirected, as they have no room for a jump (in the
    /// kernel those without a call of `__fentry__` are found here, and need not be named). If only functions
    /// of this unit can call such a function, and all of these can be replaced, they are, and the function is
    /// shipped as new code for them.
    pub too_short: Vec<String>,
    /// Constants that the linker merged with others in the original, see [`crate::merged`]. Where new code
    /// refers to one of them, the patch has a copy.
    pub merged: Vec<String>,
}

/// Everything that differs between the two variants of one compilation unit.
#[derive(Debug, Clone, Default, Serialize)]
pub struct UnitDiff {
    /// The unit's source file (its `STT_FILE` symbol, or [`Options::unit`]).
    pub source_file: String,
    /// Functions that changed, are new or are gone, in name order.
    pub functions: Vec<Change>,
    /// Data objects that changed, are new or are gone, in name order.
    pub objects: Vec<Change>,
    /// Why this unit cannot be live-patched. Not empty: [`UnitDiff::patch`] is `None`.
    pub refused: Vec<Refusal>,
    /// What an author should know, though it does not stop the patch.
    pub warnings: Vec<Warning>,
    /// Changed read-only data with global binding: another unit may refer to the old copy.
    pub global_rodata_changed: Vec<String>,
    /// What its functions do with members of objects in another way than before. The caller holds the changes
    /// of all units of a patch against each other, see [`crate::conflicts`].
    #[serde(skip)]
    pub member_changes: Vec<MemberChange>,
    /// What to ship; `None` when nothing changed, or when something was refused.
    #[serde(skip)]
    pub patch: Option<PatchObject>,
    /// Where in the patched object the content of the patch comes from, and what stays in the program.
    #[serde(skip)]
    pub extents: Extents,
}

impl UnitDiff {
    /// Neither code nor data differs, and nothing was refused.
    pub fn is_unchanged(&self) -> bool {
        self.functions.is_empty() && self.objects.is_empty() && self.refused.is_empty()
    }
}

/// In which way a symbol differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    /// On both sides, different: a function is replaced, a read-only object is shipped anew.
    Changed,
    /// Only in the patched unit.
    New,
    /// Only in the original unit.
    Removed,
}

/// One function or data object that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Symbol name: in the patched unit, for a removed one in the original unit.
    pub name: String,
    /// Changed, new or removed.
    pub kind: ChangeKind,
    /// Name in the original unit where it is another one (`count.1` now called `count.2`).
    pub orig_name: Option<String>,
    /// Its own content differs. `false`: something differs that it refers to.
    pub content: bool,
    /// The difference in words: the instruction, the datum, or the reference.
    pub reasons: Vec<String>,
}

/// Something that cannot be done safely in a running process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// What was met, short: `initial value of live data changed`.
    pub what: String,
    /// Symbol or section, with the source file: `limit (server.c)`.
    pub place: String,
    /// Why this is not safe.
    pub why: String,
    /// What the author of the patch can do.
    pub remedy: String,
}

/// Something that an author should look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Hash)]
pub struct Warning {
    /// What was met, short.
    pub what: String,
    /// Symbol or section, with the source file.
    pub place: String,
    /// What it may lead to.
    pub why: String,
}

/// A function that treats members of objects in another way than before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberChange {
    /// Its name.
    pub function: String,
    /// Source file of its unit.
    pub source_file: String,
    /// The function that the members' values come from, or are handed to. `++` and `--` stand for a count in
    /// the object that a value points to.
    pub callee: String,
    /// What is different.
    pub kind: MemberChangeKind,
    /// The members that may be meant, as `structure::member`. `true`: the function has such a structure at
    /// hand. `false`: it can get at such a structure through pointers.
    pub members: BTreeMap<String, bool>,
}

/// What is different in the way in which a function treats a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberChangeKind {
    /// The function no longer stores the result of the other function in the member.
    NoLongerKeeps,
    /// It no longer hands the value to the other function.
    NoLongerGives,
    /// It puts there what the other function returns.
    Keeps,
    /// The function passes to the other function what it stores in the member.
    Counts,
    /// It hands the value to the other function.
    Gives,
    /// It asks the other function for more memory to put there.
    Enlarges,
    /// The function uses the member. Among functions that do so, only those count whose unit has another
    /// function that enlarges it.
    Reads,
}

/// A difference between the plain and the sectioned object of one unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mismatch {
    /// Function in which the two differ.
    pub function: String,
    /// Where and how, in words.
    pub detail: String,
}
