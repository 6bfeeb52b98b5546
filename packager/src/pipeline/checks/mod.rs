//! What a run looks at besides the units: what the fix changes and no patch holds, and what it does not
//! change.

mod at_run_time;
mod contribution;
mod early_fit;
mod other_files;
mod own_tree;

pub(super) use at_run_time::warning as read_at_run_time;
pub(super) use contribution::{idle, warning as without_effect};
pub(super) use early_fit::early_fit;
pub(super) use other_files::OtherFiles;
pub(super) use own_tree::OwnTree;
