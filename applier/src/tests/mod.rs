//! Every verb and every exit code, on processes that are only said to exist.

mod answers;
mod apply;
mod daemon;
mod fake;
mod fake_kernel;
mod files;
mod kernel;
mod lifecycle;
mod operator;
mod show;
