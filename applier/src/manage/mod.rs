//! What a verb means for many processes, for the state on disk and for the log. The command line and the
//! service are both made of this.

mod announce;
mod backend;
mod context;
mod each_process;
mod error;
mod examine;
mod inventory;
pub(crate) mod kernel;
mod opt_out;
mod overlap;
mod processes;
mod reconcile;
mod replaced;
mod service;
mod settings;
mod stop_request;
mod systemd_unit;
mod view;
mod waiting;

pub(crate) use announce::{CHANGED, DONE, PATIENCE, socket, tell};
#[cfg(test)]
pub(crate) use backend::Backend;
pub(crate) use backend::{Survey, SurveyedProcess};
pub(crate) use context::Context;
pub(crate) use each_process::{ProcessOutcome, ProcessResult, Results};
pub(crate) use error::Error;
pub(crate) use error::exit_of;
pub(crate) use examine::{Finding, examine};
pub(crate) use inventory::Inventory;
pub(crate) use inventory::kind_exit;
pub(crate) use opt_out::{LEFT_ALONE, OptOut};
pub(crate) use overlap::{Overlap, covers, overlaps};
pub(crate) use processes::ProcessBackend;
pub(crate) use processes::{comm, printable};
pub(crate) use reconcile::targets;
pub(crate) use reconcile::{Reconciler, complete};
pub(crate) use service::{ServiceStatus, StartHandling};
pub(crate) use settings::Settings;
pub(crate) use stop_request::{NeverStop, Signals, StopRequest};
pub(crate) use systemd_unit::SystemdUnit;
pub(crate) use view::TargetIndex;
pub(crate) use view::{PatchView, ProcessView, view, view_all};
