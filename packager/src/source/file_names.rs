//! What file names tell.

use std::path::Path;

/// File name extensions of C and C++ sources and headers (gcc(1), "Options Controlling the Kind of Output"),
/// and those that projects use for template bodies. Assembly is left out.
pub(crate) const C_EXTENSIONS: &[&str] = &[
    "c", "h", "cc", "cp", "cxx", "cpp", "CPP", "c++", "C", "hh", "hp", "hxx", "hpp", "HPP", "h++", "H",
    "tcc", "ipp", "inl",
];

/// Is it, by its name, a source or a header that a compiler or an assembler reads?
pub(crate) fn is_source(path: &Path) -> bool {
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
    C_EXTENSIONS.contains(&extension) || ["S", "s", "sx"].contains(&extension)
}
