//! How making a patch fails. Each part of the program has its type of error, with what caused it as its
//! source; what the user reads of it (message, hints, exit code) is worded here and nowhere else.

mod build;
mod compare;
mod develop;
mod failure;
mod kernel;
mod option;
mod output;
mod prep;
mod process;
mod scratch;
mod source;
mod step;
mod store;
mod target;
mod words;

pub(crate) use build::{BuildError, OtherTree, Side};
pub(crate) use compare::{Cause, CompareError, RefusalLine, anchor};
pub(crate) use develop::DevelopError;
pub(crate) use failure::{Failure, Result, keep_log};
pub(crate) use kernel::KernelError;
pub(crate) use option::OptionError;
pub(crate) use output::OutputError;
pub(crate) use prep::PrepError;
pub(crate) use process::ProcessError;
pub(crate) use scratch::ScratchError;
pub(crate) use source::SourceError;
pub(crate) use step::{Context, StepError};
pub(crate) use store::StoreError;
pub(crate) use target::TargetError;
pub(crate) use words::{Worded, Words};
