//! Every system call and every `unsafe` of this crate.

pub(crate) mod alarm;
pub(crate) mod breakpoint;
pub(crate) mod call;
pub(crate) mod guardian;
pub(crate) mod page;
pub(crate) mod plain;
pub(crate) mod procmap;
pub(crate) mod ptrace;
pub(crate) mod scratch;
pub(crate) mod sharing;
pub(crate) mod tracee;
pub(crate) mod wait;
