//! Parts.

use super::unit::{KernelContext, KernelUnit, Parts};
use crate::error::LinkError;

/// Makes a part of the patch module of each unit, which Kbuild links together with the code that registers
/// the patch.
///
/// # Errors
/// [`LinkError::NoRoom`] where a replaced function cannot be redirected (the kernel does not trace it), which
/// its callers may help; [`LinkError::Refused`] with every reason; [`LinkError::Elf`] for a damaged file.
pub fn parts(units: &[KernelUnit<'_>], context: &KernelContext<'_>) -> Result<Parts, LinkError> {
    let _ = (units, context);
    Err(LinkError::Inconsistent("to be written".to_owned()))
}
