//! The source files that the symbols of an object come from.

use std::collections::BTreeMap;

use crate::debug;
use crate::elf::read_unit;
use crate::error::Error;
use crate::model::Origin;
use crate::reading::Reading;

/// By symbol name, as far as the debug information of a relocatable object tells; empty where there is none.
///
/// # Errors
/// [`Error::Malformed`] when the object cannot be read.
pub fn origins(object: &[u8]) -> Result<BTreeMap<String, Origin>, Error> {
    let unit = read_unit(object, "merged", Reading::Debug)?;
    Ok(debug::read_origins(&unit).unwrap_or_default())
}
