//! Finish.

use super::unit::{KernelContext, Parts};
use crate::error::LinkError;

/// Makes a patch module of what Kbuild linked: livepatch relocations for what no module can link by itself,
/// and a look at all that the kernel would stumble over.
///
/// # Errors
/// [`LinkError::Refused`] with every reason; [`LinkError::Elf`] for a damaged file.
pub fn finish(module: &[u8], parts: &Parts, context: &KernelContext<'_>) -> Result<Vec<u8>, LinkError> {
    let _ = (module, parts, context);
    Err(LinkError::Inconsistent("to be written".to_owned()))
}
