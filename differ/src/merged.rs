//! Named constants in sections that linkers merge.

use crate::elf;
use crate::error::Error;
use crate::model::{Binding, SymbolType};
use crate::reading::Reading;
use crate::unit::{Home, SHF_MERGE};

/// The local constants of an object as it was built that are in sections which the linker merges by content:
/// with `-fmerge-all-constants`, GCC puts arrays there that have sections of their own with
/// `-fdata-sections`. Where they went is not recorded, and each may share its place with any other of its
/// content, so that nothing can depend on it.
///
/// # Errors
/// When the object cannot be read.
pub fn merged(plain: &[u8]) -> Result<Vec<String>, Error> {
    let unit = elf::read_unit(plain, "plain", Reading::Program)?;
    let is_merged =
        |home| matches!(home, Home::Section(s) if unit.sections.get(s).is_some_and(|s| s.has(SHF_MERGE)));
    let constants = unit.symbols.iter().filter(|s| {
        s.binding == Binding::Local
            && s.stype == SymbolType::Object
            && !s.name.is_empty()
            && is_merged(s.home)
    });
    Ok(constants.map(|s| s.name.to_owned()).collect())
}
