//! Relocation types of x86-64 (psABI, "Relocation Types") that may appear in an object.

/// `EM_X86_64`.
pub(crate) const MACHINE: u16 = 62;
/// `R_X86_64_PC32`.
pub(crate) const R_PC32: u32 = 2;
/// `R_X86_64_PLT32`.
pub(crate) const R_PLT32: u32 = 4;

/// What a relocation type does.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    /// Bytes written.
    pub(crate) width: u8,
    /// The place's own address is subtracted, so the addend has the distance from the field to what the processor counts from in it.
    pub(crate) pc_relative: bool,
}

/// The meaning of `r_type`; `None`: unknown, to be refused.
pub(crate) fn kind(r_type: u32) -> Option<Kind> {
    let (name, width, pc_relative) = match r_type {
        0 => ("R_X86_64_NONE", 0, false),
        1 => ("R_X86_64_64", 8, false),
        2 => ("R_X86_64_PC32", 4, true),
        3 => ("R_X86_64_GOT32", 4, false),
        4 => ("R_X86_64_PLT32", 4, true),
        9 => ("R_X86_64_GOTPCREL", 4, true),
        10 => ("R_X86_64_32", 4, false),
        11 => ("R_X86_64_32S", 4, false),
        12 => ("R_X86_64_16", 2, false),
        13 => ("R_X86_64_PC16", 2, true),
        14 => ("R_X86_64_8", 1, false),
        15 => ("R_X86_64_PC8", 1, true),
        17 => ("R_X86_64_DTPOFF64", 8, false),
        18 => ("R_X86_64_TPOFF64", 8, false),
        19 => ("R_X86_64_TLSGD", 4, true),
        20 => ("R_X86_64_TLSLD", 4, true),
        21 => ("R_X86_64_DTPOFF32", 4, false),
        22 => ("R_X86_64_GOTTPOFF", 4, true),
        23 => ("R_X86_64_TPOFF32", 4, false),
        24 => ("R_X86_64_PC64", 8, true),
        25 => ("R_X86_64_GOTOFF64", 8, false),
        26 => ("R_X86_64_GOTPC32", 4, true),
        32 => ("R_X86_64_SIZE32", 4, false),
        33 => ("R_X86_64_SIZE64", 8, false),
        34 => ("R_X86_64_GOTPC32_TLSDESC", 4, true),
        35 => ("R_X86_64_TLSDESC_CALL", 0, false),
        41 => ("R_X86_64_GOTPCRELX", 4, true),
        42 => ("R_X86_64_REX_GOTPCRELX", 4, true),
        _ => return None,
    };
    Some(Kind { name, width, pc_relative })
}

/// Two types that ask for the same thing: `PLT32` is `PC32` for a branch, and the three `GOTPCREL` differ only in what the linker may relax.
pub(crate) fn same_type(a: u32, b: u32) -> bool {
    let class = |t: u32| match t {
        R_PLT32 => R_PC32,
        41 | 42 => 9,
        other => other,
    };
    class(a) == class(b)
}
