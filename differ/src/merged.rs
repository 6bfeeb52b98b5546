//! Named constants in sections that linkers merge.

use crate::elf;
use crate::error::Error;
use crate::model::{Binding, SymbolType};
use crate::reading::Reading;
use crate::unit::{DefinedIn, SHF_MERGE};

/// The local constants of an object as it was built that lie in sections which the linker merges by content.
/// With `-fmerge-all-constants` GCC puts arrays there that have sections of their own with `-fdata-sections`.
/// Nothing records where the linker put them. Each may share its bytes with any other constant of the same
/// content, so no code can depend on its address.
///
/// # Errors
/// When the object cannot be read.
pub fn merged(plain: &[u8]) -> Result<Vec<String>, Error> {
    let unit = elf::read_unit(plain, "plain", Reading::Program)?;
    let has_flag = |section: usize| unit.sections.get(section).is_some_and(|s| s.has(SHF_MERGE));
    let is_merged = |home| matches!(home, DefinedIn::Section(s) if has_flag(s));
    let constants = unit.symbols.iter().filter(|s| {
        s.binding == Binding::Local
            && s.stype == SymbolType::Object
            && !s.name.is_empty()
            && is_merged(s.home)
    });
    Ok(constants.map(|s| s.name.to_owned()).collect())
}
