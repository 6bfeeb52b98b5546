//! What a verb means for a patch of the kernel.

mod change;
mod errors;
mod fit;
mod reload;
mod signature;
mod view;

pub(crate) use change::{Transition, TransitionOutcome, bring, take};
pub(crate) use fit::{fits, image, is_for_this_kernel, is_of_kernel, refuses_pids};
pub(crate) use reload::{is_idle, note_on_modules, once_only};
pub(crate) use view::{foreign, object_lines, task_lines};
