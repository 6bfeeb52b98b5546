//! Applying the fix to the prepared source tree, and keeping the line numbers of unchanged lines.

mod apply;
mod changes;
mod hook;
mod lines;
mod patchfiles;
mod scan;

pub use apply::{Applied, apply_fix, tree_for};
pub use changes::Changes;
pub use hook::{HOOK_COMMAND, Order, Outcome, run as run_hook, settle};
pub use lines::{is_source, keep_line_numbers};
pub use patchfiles::{PatchFiles, touched_files};
