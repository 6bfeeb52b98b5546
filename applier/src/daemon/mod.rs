//! The service: processes that start later, processes that were busy, patches accepted before the reboot.

mod notify;
mod serve;

pub use serve::serve;
