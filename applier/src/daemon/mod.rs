//! The service: processes that start later, processes that were busy, patches accepted before the reboot.

mod kernel;
mod marks;
mod notify;
mod permission_event;
mod plan;
mod record;
mod serve;
mod socket;
mod watch;
mod worker;

pub(crate) use serve::serve;
