//! What the patch is called: as the user says, else as the fix does.

use crate::cli::Args;
use crate::error::{Context, PrepError, Result};
use crate::files::{self, SOURCE_LIMIT};
use crate::naming::{self, Naming};
use crate::prep::{PatchFiles, touched_files};
use std::path::PathBuf;

/// Reads the fix and names it; what the user says comes first. `messages` of commits belong to the first
/// patch.
///
/// # Errors
/// When a patch cannot be read, is empty or is no diff.
pub(crate) fn name(args: &Args, patches: &[PathBuf], messages: Option<&str>) -> Result<Naming> {
    let mut texts = Vec::new();
    for patch in patches {
        let data = files::read(patch, SOURCE_LIMIT).at(patch)?;
        if data.trim_ascii().is_empty() {
            return Err(PrepError::Empty(patch.clone()).into());
        }
        if touched_files(&data, args.strip) == PatchFiles::default() {
            return Err(PrepError::NoDiff(patch.clone()).into());
        }
        let file = patch.file_name().unwrap_or_default().to_string_lossy().into_owned();
        texts.push((file, String::from_utf8_lossy(&data).into_owned()));
    }
    if let (Some(messages), Some((_, text))) = (messages, texts.first_mut()) {
        *text = format!("{messages}\n{text}");
    }
    let mut naming = naming::derive(&texts);
    if let Some(name) = &args.name {
        naming.name.clone_from(name);
    }
    if !args.cve.is_empty() {
        naming.cve.clone_from(&args.cve);
    }
    if let Some(description) = &args.description {
        naming.description.clone_from(description);
    }
    Ok(naming)
}
