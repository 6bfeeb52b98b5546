//! Static calls (`include/linux/static_call.h`): a call goes to the trampoline `__SCT__x`, and the kernel
//! writes into it where the key `__SCK__x` leads. It finds the calls of a module in `.static_call_sites`.

use differ::{PatchSection, Relocation};

use super::plan::Goal;
use super::tables::is_table;
use crate::arch::kernel as machine;
use crate::elf::{Rela, SHF_EXECINSTR};

const TRAMPOLINE: &str = "__SCT__";
const KEY: &str = "__SCK__";
/// In the reference to the key: the call is a jump, with which its function ends.
const STATIC_CALL_SITE_TAIL: i64 = 1;

/// One static call.
#[derive(Clone, Debug)]
pub(super) struct StaticCall {
    /// Its key.
    pub(super) key: Goal,
    /// It is a jump.
    pub(super) is_tail: bool,
}

/// The name of the key to a trampoline; `None` if the symbol is none.
pub(super) fn key_of(symbol: &str) -> Option<String> {
    symbol.strip_prefix(TRAMPOLINE).map(|name| format!("{KEY}{name}"))
}

/// Where the instruction begins whose field a relocation fills in, and whether it is a jump. `None` where it
/// is no call and no jump.
pub(super) fn site(section: &PatchSection, rela: &Relocation) -> Option<(u64, bool)> {
    if section.flags & SHF_EXECINSTR == 0 || is_table(&section.name) {
        return None;
    }
    machine::branch_at(&section.data, rela.offset)
}

/// The relocations of an entry.
pub(super) mod static_call {
    use super::{Rela, STATIC_CALL_SITE_TAIL};
    use crate::arch::kernel as machine;

    pub(in crate::livepatch) fn site(at: u64, section_symbol: usize, site: i64) -> Rela {
        Rela { offset: at, kind: machine::DISTANCE, symbol: section_symbol, addend: site }
    }

    pub(in crate::livepatch) fn key(at: u64, key: usize, is_tail: bool, shift: i64) -> Rela {
        let addend = shift + if is_tail { STATIC_CALL_SITE_TAIL } else { 0 };
        Rela { offset: at + 4, kind: machine::DISTANCE, symbol: key, addend }
    }
}
