//! From request to result, phase by phase.

mod analysis;
mod at_run_time;
mod builds;
mod contribution;
mod counterpart;
mod debug;
mod elsewhere;
mod join;
mod ledger;
mod link_options;
mod members;
mod numbered;
mod outside;
mod run;
mod shipped;
mod siblings;
mod unseen;

pub(crate) use run::cache_of;
pub use run::run;
