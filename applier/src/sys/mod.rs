//! Every system call and every `unsafe` of this crate.

pub(crate) mod alarm;
pub(crate) mod breakpoint;
pub(crate) mod call;
pub mod guardian;
pub(crate) mod plain;
pub(crate) mod procmap;
pub(crate) mod ptrace;
pub(crate) mod readv;
pub(crate) mod sharing;
pub mod signals;
pub(crate) mod tracee;
pub(crate) mod wait;
