//! Errors of running other programs, and the signals that end a run.

use super::{Worded, Words};
use std::io;

/// A program that did not do what it was run for.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.words())]
pub(crate) enum ProcessError {
    /// It does not start.
    Start {
        /// Its name.
        name: String,
        /// Why not.
        source: io::Error,
    },
    /// It failed.
    Failed {
        /// Its name.
        name: String,
        /// What it said.
        said: String,
    },
    /// A signal asked us to stop.
    Interrupted {
        /// Its number.
        signal: i32,
    },
}

impl Worded for ProcessError {
    fn words(&self) -> Words {
        match self {
            Self::Start { name, source } => {
                let words = Words::failed(format!("cannot run {name}"), source);
                match source.kind() {
                    io::ErrorKind::NotFound => words.hint(format!("install the program `{name}`")),
                    _ => words,
                }
            }
            Self::Failed { name, said } => Words::failed(format!("{name} failed"), said),
            Self::Interrupted { signal } => {
                let words = Words::failed("interrupted", format!("signal {signal}"));
                Words { signal: Some(*signal), ..words }
            }
        }
    }
}
