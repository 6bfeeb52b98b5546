//! How a program is compiled and linked.

use fastrand::Rng;
use std::process::Command;
use std::sync::LazyLock;

/// What the link makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Pie,
    Fixed,
    /// A shared object, loaded by a program of the driver alone.
    Library,
}

/// Flags.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) clang: bool,
    pub(crate) form: Form,
    pub(crate) compile: Vec<&'static str>,
    pub(crate) link: Vec<&'static str>,
    /// The target in service has no symbol table.
    pub(crate) stripped: bool,
    /// Units but the first go through an archive.
    pub(crate) archive: bool,
    /// Another optimisation level for units but the first, as makefiles have for hot files.
    pub(crate) second_level: Option<&'static str>,
    /// Units but the first are made by the other compiler.
    pub(crate) mixed: bool,
    /// C is compiled by the version of gcc before the distribution's.
    pub(crate) older: bool,
}

/// What Clang does not know, or warns about.
const GCC_ONLY: [&str; 6] = [
    "-fno-reorder-blocks-and-partition",
    "-fno-ipa-icf",
    "-fno-toplevel-reorder",
    "-fipa-pta",
    "-falign-functions=1",
    "-fgcse-after-reload",
];

static LINKERS: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    let there = |name: &str| Command::new(name).arg("--version").output().is_ok_and(|o| o.status.success());
    [("ld.gold", "-fuse-ld=gold"), ("ld.lld", "-fuse-ld=lld")]
        .into_iter()
        .filter(|(name, _)| there(name))
        .map(|(_, flag)| flag)
        .collect()
});
static CLANG: LazyLock<bool> = LazyLock::new(|| Command::new("clang").arg("--version").output().is_ok());
static AVX2: LazyLock<bool> =
    LazyLock::new(|| std::fs::read_to_string("/proc/cpuinfo").is_ok_and(|t| t.contains("avx2")));

impl Plan {
    pub(crate) fn random(rng: &mut Rng) -> Self {
        let clang = *CLANG && rng.u32(..5) == 0;
        let form = match rng.u32(..8) {
            0..2 => Form::Fixed,
            2..4 => Form::Library,
            _ => Form::Pie,
        };
        let level = ["-O2", "-O2", "-O2", "-O3", "-O1", "-O0", "-Os", "-Og"];
        let mut compile = vec![level[rng.usize(..level.len())], "-w"];
        match form {
            Form::Pie => compile.push(if rng.u32(..4) == 0 { "-fPIC" } else { "-fPIE" }),
            Form::Fixed => compile.push("-fno-pie"),
            Form::Library => compile.push("-fPIC"),
        }
        compile.push(["-g", "-g", "-g", "-g3", "-gdwarf-4", "-g1"][rng.usize(..6)]);
        let mut maybe = |one_in: u32, flag: &'static str| {
            if rng.u32(..one_in) == 0 {
                compile.push(flag);
            }
        };
        maybe(8, "-fno-plt");
        maybe(6, "-ffunction-sections");
        maybe(6, "-fdata-sections");
        maybe(5, "-fcf-protection");
        maybe(6, "-fno-omit-frame-pointer");
        maybe(6, "-fstack-protector-strong");
        maybe(6, "-fcommon");
        maybe(6, "-fvisibility=hidden");
        maybe(8, "-fno-semantic-interposition");
        maybe(8, "-D_FORTIFY_SOURCE=2");
        maybe(10, "-fno-inline");
        maybe(10, "-fstack-clash-protection");
        maybe(12, "-fno-jump-tables");
        maybe(12, "-fexceptions");
        maybe(12, "-fwrapv");
        if *AVX2 {
            maybe(8, "-mavx2");
        }
        if !clang {
            for (one_in, flag) in [8, 8, 10, 12, 12, 12].into_iter().zip(GCC_ONLY) {
                maybe(one_in, flag);
            }
        }
        let mut link = vec![if form == Form::Fixed { "-no-pie" } else { "-pie" }];
        if form == Form::Library {
            link[0] = "-shared";
        }
        link.push(if rng.bool() { "-Wl,-z,now" } else { "-Wl,-z,lazy" });
        if rng.u32(..3) == 0
            && let Some(flag) = rng.choice(LINKERS.iter())
        {
            link.push(flag);
            if rng.u32(..4) == 0 {
                link.push("-Wl,--icf=all");
            }
        }
        let mut maybe = |one_in: u32, flag: &'static str| {
            if rng.u32(..one_in) == 0 {
                link.push(flag);
            }
        };
        maybe(5, "-Wl,--gc-sections");
        maybe(4, "-Wl,--build-id");
        maybe(8, "-Wl,-O1");
        maybe(10, "-Wl,--hash-style=sysv");
        if form == Form::Library {
            maybe(5, "-Wl,-Bsymbolic");
            maybe(5, "-Wl,-Bsymbolic-functions");
        } else {
            maybe(6, "-rdynamic");
        }
        let second_level = (rng.u32(..5) == 0).then(|| level[rng.usize(..level.len())]);
        let mixed = *CLANG && rng.u32(..10) == 0;
        let (stripped, archive) = (rng.u32(..4) == 0, rng.u32(..6) == 0);
        Self { clang, form, compile, link, stripped, archive, second_level, mixed, older: false }
    }

    /// Compiler and flags for a source file.
    pub(crate) fn unit(&self, source: &str) -> (&'static str, Vec<&'static str>) {
        let is_first = source.starts_with("first");
        let clang = self.clang ^ (self.mixed && !is_first);
        let known = |flag: &&&str| !clang || !GCC_ONLY.contains(*flag);
        let mut flags: Vec<&str> = self.compile.iter().filter(known).copied().collect();
        flags.extend(self.second_level.filter(|_| !is_first));
        let cplusplus = source.ends_with(".cc");
        let compiler = if self.older && !clang && !cplusplus { "gcc-11" } else { driver(clang, cplusplus) };
        (compiler, flags)
    }

    /// What links.
    pub(crate) fn driver(&self, cplusplus: bool) -> &'static str {
        driver(self.clang, cplusplus)
    }
}

fn driver(clang: bool, cplusplus: bool) -> &'static str {
    match (clang, cplusplus) {
        (false, false) => "gcc",
        (false, true) => "g++",
        (true, false) => "clang",
        (true, true) => "clang++",
    }
}
