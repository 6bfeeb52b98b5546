//! A fix that could not be applied before the build, since only the build unpacks or patches its sources. The
//! session then holds a command that applies it as soon as it fits. It is run before each compilation, until
//! it has done so and taken itself out of the session.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::base::env;
use crate::record::session::Session;

/// Runs the command of the session, if there is one.
pub(crate) fn apply(session: &Session) {
    let Ok(text) = std::fs::read(session.late_fix()) else { return };
    let Ok(words) = serde_json::from_slice::<Vec<String>>(&text) else { return };
    let Some((program, args)) = words.split_first() else { return };
    // The command says in its own file what it did. A build that reads the output of its compiler shall not
    // see that.
    let _ = Command::new(Path::new(program))
        .args(args)
        .env(env::ACTIVE, "1")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
}
