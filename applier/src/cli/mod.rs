//! The command line of `upatch`.

mod args;
mod generate;
mod logging;
mod order;
mod report;
mod run;
mod verbs;

#[cfg(test)]
pub(crate) use args::Args;
pub(crate) use run::main;
#[cfg(test)]
pub(crate) use run::run;
