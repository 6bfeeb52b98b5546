//! Machine architectures that a patch can be made for, and the facts about each that patches depend on.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Architecture of a patch and of its target ELF.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Arch {
    /// x86-64, little endian, LP64.
    #[serde(rename = "x86_64")]
    X86_64,
    /// AArch64, little endian, LP64.
    #[serde(rename = "aarch64")]
    Aarch64,
}

/// What patches depend on that differs between machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The name that RPM and `uname -m` use.
    pub name: &'static str,
    /// ELF `e_machine` (gABI, "ELF Header").
    pub e_machine: u16,
    /// Page size that segments of images are aligned to: the largest that a kernel for this machine has.
    pub page: u64,
    /// How far the jump at an entry reaches, forwards and backwards, in bytes. What lies further away is out
    /// of reach.
    pub reach: u64,
    /// Address after the last that a program can have (without extensions that it must ask for).
    pub address_end: u64,
    /// Length in bytes of the jump at an entry, or in padding.
    pub jump: u64,
    /// Length in bytes of the jump from an entry that is too short for [`Self::jump`] to padding near by.
    /// `None` where every function has room for the other one.
    pub short_jump: Option<u64>,
    /// How far [`Self::short_jump`] reaches, forwards, in bytes from its end; it reaches one byte further
    /// backwards.
    pub short_reach: u64,
    /// Distances that the redirected instruction may have from the function's first: 0, and the length of the
    /// instruction that marks it as a target of branches, which stays.
    pub skips: &'static [u8],
    /// Forms of relocations that images for this machine may have.
    pub relocations: &'static [RelocationKind],
}

/// Forms of relocations, with S the reference's value, A the addend, P the field's run-time address. The
/// numbers are those in patch files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RelocationKind {
    /// S + A, 8 bytes.
    Abs64 = 0,
    /// S + A, 4 bytes, must fit zero-extended (`R_X86_64_32`).
    Abs32 = 1,
    /// S + A, 4 bytes, must fit sign-extended (`R_X86_64_32S`).
    Abs32Signed = 2,
    /// S + A − P, 4 bytes, must fit sign-extended (`R_X86_64_PC32`).
    Pc32 = 3,
    /// S + A − P, 8 bytes (`R_X86_64_PC64`).
    Pc64 = 4,
}

impl RelocationKind {
    /// All kinds, by their number.
    pub(crate) const ALL: [Self; 5] = [Self::Abs64, Self::Abs32, Self::Abs32Signed, Self::Pc32, Self::Pc64];

    /// Width of the field in bytes.
    pub fn width(self) -> u64 {
        match self {
            Self::Abs64 | Self::Pc64 => 8,
            Self::Abs32 | Self::Abs32Signed | Self::Pc32 => 4,
        }
    }
}

const X86_64: Facts = Facts {
    name: "x86_64",
    e_machine: 62,
    page: 4096,
    // Displacements of 32 bits.
    reach: 1 << 31,
    // Four levels of page tables.
    address_end: 1 << 47,
    // `jmp rel32` and `jmp rel8`.
    jump: 5,
    short_jump: Some(2),
    short_reach: 127,
    // `endbr64`.
    skips: &[0, 4],
    relocations: &[
        RelocationKind::Abs64,
        RelocationKind::Abs32,
        RelocationKind::Abs32Signed,
        RelocationKind::Pc32,
        RelocationKind::Pc64,
    ],
};

/// Nothing makes or applies patches for this machine yet. Its instructions (`adrp`, `add`, `b`) will want
/// forms of relocations of their own, and an entry that begins with `paciasp` a redirect of 8 bytes.
const AARCH64: Facts = Facts {
    name: "aarch64",
    e_machine: 183,
    page: 64 << 10,
    // `b`, 26 bits of words.
    reach: 1 << 27,
    address_end: 1 << 48,
    jump: 4,
    short_jump: None,
    short_reach: 0,
    // `bti c`.
    skips: &[0, 4],
    relocations: &[RelocationKind::Abs64, RelocationKind::Pc32, RelocationKind::Pc64],
};

impl Arch {
    const ALL: [Self; 2] = [Self::X86_64, Self::Aarch64];

    /// What patches for this machine depend on.
    pub const fn facts(self) -> &'static Facts {
        match self {
            Self::X86_64 => &X86_64,
            Self::Aarch64 => &AARCH64,
        }
    }

    /// The architecture for an ELF `e_machine` value, if it is one of ours.
    pub fn from_e_machine(machine: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|arch| arch.e_machine() == machine)
    }

    /// The ELF `e_machine` value.
    pub fn e_machine(self) -> u16 {
        self.facts().e_machine
    }

    /// The architecture that this program was compiled for, if patches for it exist.
    pub fn native() -> Option<Self> {
        Self::ALL.into_iter().find(|arch| arch.name() == std::env::consts::ARCH)
    }

    /// The name that RPM and `uname -m` use.
    pub fn name(self) -> &'static str {
        self.facts().name
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_name_one_machine_each() {
        for arch in Arch::ALL {
            assert_eq!(Arch::from_e_machine(arch.e_machine()), Some(arch));
            let facts = arch.facts();
            assert!(facts.page.is_power_of_two() && facts.skips.contains(&0));
            // The bytes of a redirect and of its padding are kept in words of 8 bytes.
            assert!(facts.jump <= 8 && facts.short_jump.is_none_or(|short| short < facts.jump));
        }
        assert_eq!(Arch::from_e_machine(0), None);
        assert!(Arch::native().is_some());
    }
}
