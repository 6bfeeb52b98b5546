//! What is recorded of a build, the session that it is recorded in, and how records are written.

pub(crate) mod copied;
pub(crate) mod probe;
pub(crate) mod recorder;
pub(crate) mod records;
pub(crate) mod session;
pub(crate) mod unit;
