//! Ways to build a case.

use anyhow::{Context, Result};

/// What is linked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Everything in one program.
    Program,
    /// The driver is the program, the rest a shared library that it is linked with.
    Library,
}

/// A compiler with flags.
#[derive(Debug, Clone)]
pub struct Variant {
    /// Name in case files.
    pub name: &'static str,
    /// C compiler.
    pub cc: &'static str,
    /// C++ compiler.
    pub cxx: &'static str,
    /// Flags for both.
    pub flags: &'static str,
    /// Flags for the link.
    pub ldflags: &'static str,
    /// What is linked.
    pub kind: Kind,
}

/// Those of a case that names none.
pub const USUAL: [&str; 8] = ["O2", "O0", "O3", "Os", "clang", "nopie", "lib", "static"];

const fn gcc(name: &'static str, flags: &'static str, ldflags: &'static str, kind: Kind) -> Variant {
    Variant { name, cc: "gcc", cxx: "g++", flags, ldflags, kind }
}

const fn clang(name: &'static str, flags: &'static str, ldflags: &'static str, kind: Kind) -> Variant {
    Variant { name, cc: "clang", cxx: "clang++", flags, ldflags, kind }
}

const VARIANTS: &[Variant] = &[
    gcc("O0", "-g -O0", "", Kind::Program),
    gcc("O1", "-g -O1", "", Kind::Program),
    gcc("O2", "-g -O2", "", Kind::Program),
    gcc("O3", "-g -O3", "", Kind::Program),
    gcc("Os", "-g -Os", "", Kind::Program),
    gcc("Og", "-g -Og", "", Kind::Program),
    gcc("no-debug", "-O2", "", Kind::Program),
    gcc(
        "fortified",
        "-g -O2 -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fstack-clash-protection",
        "-Wl,-z,now",
        Kind::Program,
    ),
    gcc("nopie", "-g -O2 -fno-pie", "-no-pie", Kind::Program),
    gcc("nopie-O0", "-g -O0 -fno-pie", "-no-pie", Kind::Program),
    gcc("fpic", "-g -O2 -fPIC", "-pie", Kind::Program),
    gcc("noplt", "-g -O2 -fno-plt", "-Wl,-z,now", Kind::Program),
    gcc("static", "-g -O2 -fno-pie", "-static -no-pie", Kind::Program),
    gcc("static-pie", "-g -O2 -fPIE", "-static-pie", Kind::Program),
    gcc("sections", "-g -O2 -ffunction-sections -fdata-sections", "-Wl,--gc-sections", Kind::Program),
    gcc("cet", "-g -O2 -fcf-protection=full", "", Kind::Program),
    gcc("lib", "-g -O2 -fPIC", "", Kind::Library),
    gcc("lib-O0", "-g -O0 -fPIC", "", Kind::Library),
    gcc("lib-hidden", "-g -O2 -fPIC -fvisibility=hidden", "", Kind::Library),
    gcc("lib-symbolic", "-g -O2 -fPIC", "-Wl,-Bsymbolic", Kind::Library),
    gcc("lib-nosemantic", "-g -O2 -fPIC -fno-semantic-interposition", "", Kind::Library),
    gcc("lib-tlsdesc", "-g -O2 -fPIC -mtls-dialect=gnu2", "", Kind::Library),
    gcc("gold-icf", "-g -O2 -ffunction-sections", "-fuse-ld=gold -Wl,--icf=all", Kind::Program),
    gcc("lld-icf", "-g -O2 -ffunction-sections", "-fuse-ld=lld -Wl,--icf=all", Kind::Program),
    clang("clang", "-g -O2", "", Kind::Program),
    clang("clang-O0", "-g -O0", "", Kind::Program),
    clang("clang-nopie", "-g -O2 -fno-pie", "-no-pie", Kind::Program),
    clang("clang-lib", "-g -O2 -fPIC", "", Kind::Library),
];

/// A variant by name.
///
/// # Errors
/// There is none of this name.
pub fn find(name: &str) -> Result<Variant> {
    VARIANTS.iter().find(|v| v.name == name).cloned().with_context(|| format!("no variant {name:?}"))
}
