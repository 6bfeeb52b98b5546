//! The functions of an object and what is inlined in them, for explanations.

use crate::debug;
use crate::elf::read_unit;
use crate::error::Error;
use crate::model::Inlining;
use crate::reading::Reading;

/// Reads it from the debug information of a relocatable object; empty where there is none.
///
/// # Errors
/// [`Error::Malformed`] when the object cannot be read.
pub fn inlining(object: &[u8]) -> Result<Inlining, Error> {
    let unit = read_unit(object, "explained", Reading::Debug)?;
    Ok(debug::read_inlining(&unit).unwrap_or_default())
}
