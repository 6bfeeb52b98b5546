//! What an object declares and where, for explanations.

use crate::debug;
use crate::elf::read_unit;
use crate::error::Error;
use crate::model::Declarations;
use crate::reading::Reading;

/// Reads it from the debug information of a relocatable object; empty where there is none.
///
/// # Errors
/// [`Error::Malformed`] when the object cannot be read.
pub fn declarations(object: &[u8]) -> Result<Declarations, Error> {
    let unit = read_unit(object, "explained", Reading::Debug)?;
    Ok(debug::read_declarations(&unit).unwrap_or_default())
}
