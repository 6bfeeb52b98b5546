//! A unit as the original build linked it.

use std::collections::HashMap;

/// A unit as it was linked in the original build.
#[derive(Clone, Copy, Debug)]
pub enum OriginalUnit<'a> {
    /// One object.
    Object {
        /// Hash of the object, as in the records: the key into `LinkRecord::inputs`.
        sha256: &'a str,
        /// The object, compiled with the package's own flags.
        object: &'a [u8],
    },
    /// Several, which the comparison has seen as one.
    Optimised(&'a OptimisedUnit),
}

/// What link-time optimisation made of a program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OptimisedUnit {
    /// Hash, as in the records, and content of each object.
    pub objects: Vec<(String, Vec<u8>)>,
    /// From names in the original side of the comparison to those in the objects.
    pub names: HashMap<String, ObjectSymbol>,
}

/// A symbol of one of several objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectSymbol {
    /// Index of the object.
    pub object: usize,
    /// Name in it.
    pub name: String,
    /// Name in the linked file, where that is another.
    pub linked: Option<String>,
}
