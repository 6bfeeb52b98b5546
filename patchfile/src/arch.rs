//! Machine architectures a patch can be made for.

use serde::{Deserialize, Serialize};
use std::fmt;

const EM_X86_64: u16 = 62;
const EM_AARCH64: u16 = 183;

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

impl Arch {
    /// The architecture for an ELF `e_machine` value (gABI, "ELF Header"), if it is one of ours.
    pub fn from_e_machine(machine: u16) -> Option<Self> {
        match machine {
            EM_X86_64 => Some(Self::X86_64),
            EM_AARCH64 => Some(Self::Aarch64),
            _ => None,
        }
    }

    /// The ELF `e_machine` value.
    pub fn e_machine(self) -> u16 {
        match self {
            Self::X86_64 => EM_X86_64,
            Self::Aarch64 => EM_AARCH64,
        }
    }

    /// The architecture this program was compiled for, if it is one of ours.
    pub fn native() -> Option<Self> {
        match std::env::consts::ARCH {
            "x86_64" => Some(Self::X86_64),
            "aarch64" => Some(Self::Aarch64),
            _ => None,
        }
    }

    /// The name RPM and `uname -m` use.
    pub fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
