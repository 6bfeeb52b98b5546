//! For the author of a program: make the patch and apply it, again and again.

mod apply;
mod run;
mod tree;

pub(crate) use run::run;
