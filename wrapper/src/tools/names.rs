//! Which names on `PATH` are compilers, assemblers, linkers and what else the recorder stands before.

/// What a tool does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tool {
    Gcc,
    Clang,
    Assembler,
    Linker,
    /// Never records anything. It is here so that a build sees all tools of a family in one place.
    Archiver,
    /// objcopy.
    Copier,
    Strip,
    /// env, which may take away the variables by which the recorder is found.
    Environment,
}

/// `cc` and `c++` are gcc or clang: that is looked up behind the link.
const NAMES: &[(&str, Tool)] = &[
    ("gcc", Tool::Gcc),
    ("g++", Tool::Gcc),
    ("cc", Tool::Gcc),
    ("c++", Tool::Gcc),
    ("c89", Tool::Gcc),
    ("c99", Tool::Gcc),
    ("c11", Tool::Gcc),
    ("gfortran", Tool::Gcc),
    ("clang", Tool::Clang),
    ("clang++", Tool::Clang),
    ("as", Tool::Assembler),
    ("ld", Tool::Linker),
    ("ld.bfd", Tool::Linker),
    ("ld.gold", Tool::Linker),
    ("ld.lld", Tool::Linker),
    ("ld.mold", Tool::Linker),
    ("lld", Tool::Linker),
    ("gold", Tool::Linker),
    ("mold", Tool::Linker),
    ("ar", Tool::Archiver),
    ("objcopy", Tool::Copier),
    ("llvm-objcopy", Tool::Copier),
    ("strip", Tool::Strip),
    ("llvm-strip", Tool::Strip),
    ("env", Tool::Environment),
];

/// Programs that stand in for a compiler under its name and look for the next one on `PATH`, where they would
/// find the wrapper again.
pub(crate) const MASQUERADERS: &[&str] =
    &["ccache", "distcc", "icecc", "sccache", "colorgcc", "icerun", "ccache-swig"];

/// Programs that lie beside a compiler, where a build may look for them by the compiler's folder. Those that
/// are no links of ours record nothing.
#[rustfmt::skip]
const COMPANIONS: &[&str] = &[
    "addr2line", "c++filt", "cpp", "dwp", "elfedit", "gcc-ar", "gcc-nm", "gcc-ranlib", "gcov", "gcov-dump",
    "gcov-tool", "gprof", "nm", "objcopy", "objdump", "ranlib", "readelf", "size", "strings", "strip",
];

/// Does this program belong to a compiler, beside which it is looked for?
pub(crate) fn is_companion(name: &str) -> bool {
    let bare = match name.rsplit_once('-') {
        Some((front, version)) if version.bytes().all(|b| b.is_ascii_digit() || b == b'.') => front,
        _ => name,
    };
    let after_triplet = |tool: &&&str| {
        let triplet = bare.strip_suffix(**tool).and_then(|front| front.strip_suffix('-'));
        triplet.is_some_and(|triplet| triplet.contains('-'))
    };
    COMPANIONS.contains(&bare)
        || bare.starts_with("llvm-")
        || COMPANIONS.iter().any(|tool| after_triplet(&tool))
}

/// The tool behind a file name, with the target triplet in front (`x86_64-linux-gnu-`) and the version behind
/// (`-12`, `-4.8.5`) taken away.
pub(crate) fn classify(name: &str) -> Option<Tool> {
    let bare = match name.rsplit_once('-') {
        Some((front, version))
            if !version.is_empty() && version.bytes().all(|b| b.is_ascii_digit() || b == b'.') =>
        {
            front
        }
        _ => name,
    };
    let exact = |wanted: &str| NAMES.iter().find(|(name, _)| *name == wanted).map(|(_, tool)| *tool);
    exact(bare).or_else(|| {
        let (triplet, last) = bare.rsplit_once('-')?;
        // `gcc-ar` and `wasm-ld` are not "ar for target gcc": a triplet has two parts at least.
        (triplet.contains('-') && !triplet.ends_with("gcc")).then(|| exact(last)).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::{Tool, classify, is_companion};

    #[test]
    fn companions() {
        for name in [
            "ranlib",
            "objdump",
            "x86_64-linux-gnu-readelf",
            "gcc-ar-12",
            "x86_64-linux-gnu-gcc-nm-12",
            "llvm-nm-14",
        ] {
            assert!(is_companion(name) && classify(name).is_none(), "{name}");
        }
        for name in ["gcc", "as", "x86_64-linux-gnu-ld.bfd", "make", "my-nm", "stripe"] {
            assert!(!is_companion(name), "{name}");
        }
    }

    #[test]
    fn names() {
        for (name, tool) in [
            ("gcc", Some(Tool::Gcc)),
            ("gcc-12", Some(Tool::Gcc)),
            ("g++-4.8.5", Some(Tool::Gcc)),
            ("x86_64-linux-gnu-gcc-12", Some(Tool::Gcc)),
            ("x86_64-redhat-linux-c++", Some(Tool::Gcc)),
            ("clang++-14", Some(Tool::Clang)),
            ("x86_64-linux-gnu-as", Some(Tool::Assembler)),
            ("x86_64-linux-gnu-ld.bfd", Some(Tool::Linker)),
            ("x86_64-linux-gnu-strip", Some(Tool::Strip)),
            ("llvm-objcopy-14", Some(Tool::Copier)),
            ("ld.so", None),
            ("gcc-ar", None),
            ("gcc-ar-12", None),
            ("x86_64-linux-gnu-gcc-ar-12", None),
            ("wasm-ld", None),
            ("clang-cpp-14", None),
            ("ccache", None),
            ("ldd", None),
            ("gcc-", None),
        ] {
            assert_eq!(classify(name), tool, "{name}");
        }
    }
}
