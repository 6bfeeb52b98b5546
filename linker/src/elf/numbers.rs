//! Numbers of the gABI, under its names.

use object::elf;

macro_rules! numbers {
    ($type:ty: $($name:ident),*) => {
        $(pub(crate) const $name: $type = elf::$name.0;)*
    };
}

numbers!(u16: ET_EXEC);
numbers!(u32: PT_LOAD, PT_INTERP, PT_TLS, PF_X);
numbers!(u32: SHT_PROGBITS, SHT_RELA, SHT_NOTE, SHT_NOBITS, SHT_RELR);
numbers!(u64: SHF_WRITE, SHF_ALLOC, SHF_EXECINSTR, SHF_MERGE, SHF_STRINGS, SHF_TLS);
numbers!(u16: SHN_ABS, SHN_COMMON);
numbers!(u8: STT_OBJECT, STT_FUNC, STT_SECTION, STT_FILE, STT_TLS, STT_GNU_IFUNC);
numbers!(u8: STB_LOCAL, STB_WEAK);
