//! How a program is compiled and linked.

use fastrand::Rng;
use std::process::Command;
use std::sync::LazyLock;

/// What the link makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Pie,
    Fixed,
    /// A shared object, loaded by a program of the driver alone.
    Library,
}

/// Flags.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) clang: bool,
    pub(super) form: Form,
    pub(super) compile: Vec<&'static str>,
    pub(super) link: Vec<&'static str>,
    /// The target in service has no symbol table.
    pub(super) stripped: bool,
    /// Units but the first go through an archive.
    pub(super) archive: bool,
}

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
    pub(super) fn random(rng: &mut Rng) -> Self {
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
            maybe(8, "-fno-reorder-blocks-and-partition");
            maybe(8, "-fno-ipa-icf");
            maybe(10, "-fno-toplevel-reorder");
            maybe(12, "-fipa-pta");
            maybe(12, "-falign-functions=1");
            maybe(12, "-fgcse-after-reload");
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
        Self { clang, form, compile, link, stripped: rng.u32(..4) == 0, archive: rng.u32(..6) == 0 }
    }

    pub(super) fn driver(&self, cplusplus: bool) -> &'static str {
        match (self.clang, cplusplus) {
            (false, false) => "gcc",
            (false, true) => "g++",
            (true, false) => "clang",
            (true, true) => "clang++",
        }
    }
}
