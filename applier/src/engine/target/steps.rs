//! Every change to a process is a step, counted so that tests can make any one of them go wrong.

use crate::{Fault, FaultKind, Options, ProcessError, sys::wait};
use std::{cell::Cell, io};

/// Counts steps.
#[derive(Debug)]
pub(crate) struct Steps {
    fault: Option<Fault>,
    done: Cell<usize>,
}

impl Steps {
    /// Starts counting.
    pub(crate) fn new(options: &Options) -> Self {
        Self { fault: options.fault, done: Cell::new(0) }
    }

    /// To be called before each change.
    ///
    /// # Errors
    /// Only what a test asked for.
    pub(crate) fn next(&self, what: &str) -> Result<(), ProcessError> {
        let number = self.done.replace(self.done.get() + 1);
        tracing::trace!(number, what, "step");
        match self.fault {
            Some(Fault { step, kind: FaultKind::Fail }) if step == number => Err(ProcessError::Os {
                what: what.into(),
                source: io::Error::other("fault asked for by a test"),
            }),
            Some(Fault { step, kind: FaultKind::Kill }) if step == number => {
                wait::kill_self();
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
