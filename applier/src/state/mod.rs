//! What survives this program: which patch shall be in force (`/var/lib/upatch`), why processes are not there
//! yet (`/run/upatch`), and what was done. The truth about a process is in the process; nothing here is
//! believed against it.

mod attempts;
mod clock;
mod file;
mod lock;
mod log;
mod record;

pub(crate) use attempts::Attempts;
pub(crate) use clock::{now, timestamp};
pub(crate) use file::{read_yaml, write_yaml};
pub(crate) use lock::Lock;
pub(crate) use log::{Event, SERVICE, append, has_log, read_log};
pub(crate) use record::{ProcessKey, Record, State, StateFile, builds, same_file};
