//! What debug information tells of functions and symbols.

use std::collections::{BTreeMap, BTreeSet};

/// A function with the place of its declaration.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Declared {
    /// Symbol name.
    pub name: String,
    /// Path of the source file as the debug information has it.
    pub file: String,
    /// Line number, 0 if not known.
    pub line: u64,
}

/// What a compiler did with the functions of a unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inlining {
    /// All functions that the debug information describes, also functions that exist only inlined in others.
    pub functions: Vec<Declared>,
    /// By symbol name: what was put into a function, directly or through others.
    pub inlined: BTreeMap<String, Vec<Declared>>,
}

/// Where a symbol comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// Its name there, mangled if the debug information says so; empty if it has no name.
    pub name: String,
    /// Path of the source file that was compiled, as the debug information has it.
    pub source: String,
    /// Other source files cannot name it (internal linkage, or none): equal names in two files are two
    /// things.
    pub internal: bool,
}

/// Where something is declared.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct SourcePlace {
    /// Path of the source file as the debug information has it.
    pub file: String,
    /// Line number, from 1.
    pub line: u64,
}

/// What an object declares, for explanations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Declarations {
    /// Path of the source file that was compiled.
    pub source: String,
    /// Functions and variables, by symbol name and by qualified name.
    pub symbols: BTreeMap<String, SourcePlace>,
    /// Types, by qualified name.
    pub types: BTreeMap<String, SourcePlace>,
    /// What variables are made of, by qualified name.
    pub variables: BTreeMap<String, Makeup>,
    /// What structures are made of, by qualified name.
    pub structures: BTreeMap<String, Makeup>,
}

/// What a structure or variable is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Makeup {
    /// Each member with the name of its type; of a variable its type. Two are equal where the source says
    /// the same of both, though what a member is made of may be another.
    pub shape: Vec<String>,
    /// The structures that it contains.
    pub parts: BTreeSet<String>,
}
