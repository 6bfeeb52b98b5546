//! Relocation types of the x86-64 psABI, table 4.9. Those without a constant are known by name only: they are refused.

macro_rules! types {
    (@constant _ $value:literal) => {};
    (@constant $name:ident $value:literal) => {
        pub(crate) const $name: u32 = $value;
    };
    ($($name:tt = $value:literal, $text:literal;)*) => {
        $(types!(@constant $name $value);)*

        /// Name as in the psABI, for messages.
        pub(crate) fn name(kind: u32) -> String {
            match kind {
                $($value => concat!("R_X86_64_", $text).to_owned(),)*
                other => format!("relocation type {other}"),
            }
        }
    };
}

types! {
    NONE = 0, "NONE";
    ABS64 = 1, "64";
    PC32 = 2, "PC32";
    _ = 3, "GOT32";
    PLT32 = 4, "PLT32";
    COPY = 5, "COPY";
    GLOB_DAT = 6, "GLOB_DAT";
    JUMP_SLOT = 7, "JUMP_SLOT";
    RELATIVE = 8, "RELATIVE";
    GOTPCREL = 9, "GOTPCREL";
    ABS32 = 10, "32";
    ABS32S = 11, "32S";
    ABS16 = 12, "16";
    PC16 = 13, "PC16";
    ABS8 = 14, "8";
    PC8 = 15, "PC8";
    DTPMOD64 = 16, "DTPMOD64";
    DTPOFF64 = 17, "DTPOFF64";
    TPOFF64 = 18, "TPOFF64";
    TLSGD = 19, "TLSGD";
    TLSLD = 20, "TLSLD";
    DTPOFF32 = 21, "DTPOFF32";
    GOTTPOFF = 22, "GOTTPOFF";
    TPOFF32 = 23, "TPOFF32";
    PC64 = 24, "PC64";
    GOTOFF64 = 25, "GOTOFF64";
    _ = 26, "GOTPC32";
    _ = 27, "GOT64";
    _ = 28, "GOTPCREL64";
    _ = 29, "GOTPC64";
    _ = 30, "GOTPLT64";
    _ = 31, "PLTOFF64";
    _ = 32, "SIZE32";
    SIZE64 = 33, "SIZE64";
    GOTPC32_TLSDESC = 34, "GOTPC32_TLSDESC";
    TLSDESC_CALL = 35, "TLSDESC_CALL";
    TLSDESC = 36, "TLSDESC";
    IRELATIVE = 37, "IRELATIVE";
    GOTPCRELX = 41, "GOTPCRELX";
    REX_GOTPCRELX = 42, "REX_GOTPCRELX";
    _ = 43, "CODE_4_GOTPCRELX";
    _ = 44, "CODE_4_GOTTPOFF";
    _ = 45, "CODE_4_GOTPC32_TLSDESC";
}
