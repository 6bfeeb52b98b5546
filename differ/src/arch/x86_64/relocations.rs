//! The relocation types of x86-64 (psABI, table 4.10 "Relocation Types").
//!
//! What a linker may rewrite: psABI, "Optimize GOTPCRELX Relocations"; ELF Handling for Thread-Local Storage,
//! 5.5.

use crate::arch::relocations::{Computes, Range, ReadBy, Relaxation, RelocationType, Rewrites, Tls};

// A name must not begin with a digit: `R_X86_64_32S` is `ABS32S` here.
macro_rules! numbers {
    ($($name:ident = $number:literal;)*) => {
        $(
            #[doc = concat!("Number of `R_X86_64_", stringify!($name), "`.")]
            pub const $name: u32 = $number;
        )*
    };
}

numbers! {
    NONE = 0;
    ABS64 = 1;
    PC32 = 2;
    GOT32 = 3;
    PLT32 = 4;
    COPY = 5;
    GLOB_DAT = 6;
    JUMP_SLOT = 7;
    RELATIVE = 8;
    GOTPCREL = 9;
    ABS32 = 10;
    ABS32S = 11;
    ABS16 = 12;
    PC16 = 13;
    ABS8 = 14;
    PC8 = 15;
    DTPMOD64 = 16;
    DTPOFF64 = 17;
    TPOFF64 = 18;
    TLSGD = 19;
    TLSLD = 20;
    DTPOFF32 = 21;
    GOTTPOFF = 22;
    TPOFF32 = 23;
    PC64 = 24;
    GOTOFF64 = 25;
    GOTPC32 = 26;
    SIZE32 = 32;
    SIZE64 = 33;
    GOTPC32_TLSDESC = 34;
    TLSDESC_CALL = 35;
    TLSDESC = 36;
    IRELATIVE = 37;
    GOTPCRELX = 41;
    REX_GOTPCRELX = 42;
}

/// A field that is written as a whole.
const fn field(number: u32, name: &'static str, width: u8, computes: Computes) -> RelocationType {
    RelocationType {
        number,
        name,
        read_by: ReadBy::Objects,
        computes,
        width,
        bits: if width >= 8 { u64::MAX } else { (1 << (8 * width)) - 1 },
        pc_bias: None,
        range: Range::Whole,
        rewrites: Rewrites { before: 0, after: width },
        relaxations: &[],
        same_as: number,
    }
}

/// A field that holds a distance from itself.
const fn distance(number: u32, name: &'static str, width: u8, computes: Computes) -> RelocationType {
    let range = if width >= 8 { Range::Whole } else { Range::Signed };
    RelocationType { pc_bias: Some(width), range, ..field(number, name, width, computes) }
}

/// Read by nobody but the dynamic loader.
const fn dynamic(number: u32, name: &'static str, width: u8, computes: Computes) -> RelocationType {
    RelocationType { read_by: ReadBy::LinkedFiles, ..field(number, name, width, computes) }
}

/// In objects of the large code model, and of instruction-set extensions.
const fn unsupported(of: RelocationType) -> RelocationType {
    RelocationType { read_by: ReadBy::Unsupported, ..of }
}

/// A reference that a linker may relax, and then writes `before` bytes before the field and `after` from the
/// field on.
const fn relaxable(
    of: RelocationType,
    before: u8,
    after: u8,
    relaxations: &'static [Relaxation],
) -> RelocationType {
    RelocationType { rewrites: Rewrites { before, after }, relaxations, ..of }
}

const fn ranged(of: RelocationType, range: Range) -> RelocationType {
    RelocationType { range, ..of }
}

const fn both(of: RelocationType) -> RelocationType {
    RelocationType { read_by: ReadBy::Both, ..of }
}

const fn same(of: RelocationType, same_as: u32) -> RelocationType {
    RelocationType { same_as, ..of }
}

const SLOT: &[Relaxation] =
    &[Relaxation::SlotToDistance, Relaxation::SlotToConstant, Relaxation::SlotToBranch];
const LOAD: &[Relaxation] = &[Relaxation::SlotToDistance];
const TLS_DYNAMIC: &[Relaxation] = &[Relaxation::ToInitialExec, Relaxation::ToLocalExec];
const TLS_LOCAL_EXEC: &[Relaxation] = &[Relaxation::ToLocalExec];

/// All types, in ascending order of number.
pub(super) static TYPES: [RelocationType; 43] = [
    field(NONE, "R_X86_64_NONE", 0, Computes::Nothing),
    both(field(ABS64, "R_X86_64_64", 8, Computes::Address)),
    distance(PC32, "R_X86_64_PC32", 4, Computes::Address),
    ranged(field(GOT32, "R_X86_64_GOT32", 4, Computes::GotOffset), Range::Signed),
    same(distance(PLT32, "R_X86_64_PLT32", 4, Computes::Call), PC32),
    dynamic(COPY, "R_X86_64_COPY", 0, Computes::Copy),
    dynamic(GLOB_DAT, "R_X86_64_GLOB_DAT", 8, Computes::Lookup),
    dynamic(JUMP_SLOT, "R_X86_64_JUMP_SLOT", 8, Computes::LookupForCalls),
    dynamic(RELATIVE, "R_X86_64_RELATIVE", 8, Computes::Relative),
    // The psABI has types of their own for what a linker may relax; GNU ld relaxes loads of this type too.
    relaxable(distance(GOTPCREL, "R_X86_64_GOTPCREL", 4, Computes::GotSlot), 3, 4, LOAD),
    ranged(field(ABS32, "R_X86_64_32", 4, Computes::Address), Range::Unsigned),
    ranged(field(ABS32S, "R_X86_64_32S", 4, Computes::Address), Range::Signed),
    ranged(field(ABS16, "R_X86_64_16", 2, Computes::Address), Range::SignedOrUnsigned),
    distance(PC16, "R_X86_64_PC16", 2, Computes::Address),
    ranged(field(ABS8, "R_X86_64_8", 1, Computes::Address), Range::SignedOrUnsigned),
    distance(PC8, "R_X86_64_PC8", 1, Computes::Address),
    dynamic(DTPMOD64, "R_X86_64_DTPMOD64", 8, Computes::Tls(Tls::Module)),
    both(field(DTPOFF64, "R_X86_64_DTPOFF64", 8, Computes::Tls(Tls::BlockOffset))),
    both(field(TPOFF64, "R_X86_64_TPOFF64", 8, Computes::Tls(Tls::ThreadOffset))),
    // The instruction before the field, and behind it the call of `__tls_get_addr`.
    relaxable(distance(TLSGD, "R_X86_64_TLSGD", 4, Computes::Tls(Tls::GeneralDynamic)), 4, 12, TLS_DYNAMIC),
    relaxable(distance(TLSLD, "R_X86_64_TLSLD", 4, Computes::Tls(Tls::LocalDynamic)), 3, 10, TLS_LOCAL_EXEC),
    ranged(field(DTPOFF32, "R_X86_64_DTPOFF32", 4, Computes::Tls(Tls::BlockOffset)), Range::Signed),
    relaxable(
        distance(GOTTPOFF, "R_X86_64_GOTTPOFF", 4, Computes::Tls(Tls::InitialExec)),
        3,
        4,
        TLS_LOCAL_EXEC,
    ),
    ranged(field(TPOFF32, "R_X86_64_TPOFF32", 4, Computes::Tls(Tls::ThreadOffset)), Range::Signed),
    distance(PC64, "R_X86_64_PC64", 8, Computes::Address),
    field(GOTOFF64, "R_X86_64_GOTOFF64", 8, Computes::DistanceFromGot),
    distance(GOTPC32, "R_X86_64_GOTPC32", 4, Computes::GotAddress),
    unsupported(field(27, "R_X86_64_GOT64", 8, Computes::GotOffset)),
    unsupported(distance(28, "R_X86_64_GOTPCREL64", 8, Computes::GotSlot)),
    unsupported(distance(29, "R_X86_64_GOTPC64", 8, Computes::GotAddress)),
    unsupported(field(30, "R_X86_64_GOTPLT64", 8, Computes::GotOffset)),
    unsupported(field(31, "R_X86_64_PLTOFF64", 8, Computes::PltOffset)),
    ranged(field(SIZE32, "R_X86_64_SIZE32", 4, Computes::Size), Range::Unsigned),
    field(SIZE64, "R_X86_64_SIZE64", 8, Computes::Size),
    relaxable(
        distance(GOTPC32_TLSDESC, "R_X86_64_GOTPC32_TLSDESC", 4, Computes::Tls(Tls::Descriptor)),
        3,
        4,
        TLS_DYNAMIC,
    ),
    relaxable(
        field(TLSDESC_CALL, "R_X86_64_TLSDESC_CALL", 0, Computes::Tls(Tls::DescriptorCall)),
        0,
        2,
        TLS_DYNAMIC,
    ),
    dynamic(TLSDESC, "R_X86_64_TLSDESC", 16, Computes::Tls(Tls::Descriptor)),
    dynamic(IRELATIVE, "R_X86_64_IRELATIVE", 8, Computes::Resolver),
    // Opcode and ModRM byte, and a REX prefix.
    same(relaxable(distance(GOTPCRELX, "R_X86_64_GOTPCRELX", 4, Computes::GotSlot), 3, 4, SLOT), GOTPCREL),
    same(
        relaxable(distance(REX_GOTPCRELX, "R_X86_64_REX_GOTPCRELX", 4, Computes::GotSlot), 3, 4, SLOT),
        GOTPCREL,
    ),
    // As those above, with a REX2 prefix of two bytes.
    unsupported(relaxable(distance(43, "R_X86_64_CODE_4_GOTPCRELX", 4, Computes::GotSlot), 4, 4, SLOT)),
    unsupported(relaxable(
        distance(44, "R_X86_64_CODE_4_GOTTPOFF", 4, Computes::Tls(Tls::InitialExec)),
        4,
        4,
        TLS_LOCAL_EXEC,
    )),
    unsupported(relaxable(
        distance(45, "R_X86_64_CODE_4_GOTPC32_TLSDESC", 4, Computes::Tls(Tls::Descriptor)),
        4,
        4,
        TLS_DYNAMIC,
    )),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::relocations::find;

    #[test]
    fn the_table_is_in_order() {
        assert!(TYPES.windows(2).all(|w| w[0].number < w[1].number));
        for t in &TYPES {
            assert_eq!(find(&TYPES, t.number), Some(t));
            assert!(find(&TYPES, t.same_as).is_some_and(|s| s.width == t.width && s.pc_bias == t.pc_bias));
        }
        assert_eq!(find(&TYPES, 38), None);
    }

    #[test]
    fn what_may_be_rewritten_holds_the_field() {
        for t in TYPES.iter().filter(|t| t.read_by != ReadBy::LinkedFiles) {
            assert!(t.rewrites.after >= t.width, "{}", t.name);
            assert!(t.relaxations.is_empty() || t.rewrites.before + t.rewrites.after > t.width, "{}", t.name);
        }
    }
}
