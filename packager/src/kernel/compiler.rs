//! The compiler that made the kernel.

use super::config::Config;
use crate::cli::KernelRequest;
use crate::error::{KernelError, Result};
use crate::process::Tool;

/// A compiler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Compiler {
    /// What is run.
    pub(super) program: String,
    /// First line of what it says of itself, as in `CONFIG_CC_VERSION_TEXT`.
    pub(super) version: String,
}

impl Compiler {
    /// The one that is asked for, or the one that the configuration names.
    ///
    /// # Errors
    /// Exit code 5 when it is not there or is another one: its objects would not be those of the kernel.
    pub(super) fn find(request: &KernelRequest, config: &Config) -> Result<Self> {
        let wanted = config.compiler();
        let named = wanted.split(' ').next().unwrap_or_default();
        if named.contains("clang") && request.args.cc.is_none() {
            return Err(KernelError::OtherCompiler(wanted.to_owned()).into());
        }
        let given = request.args.cc.as_deref();
        let candidates: Vec<&str> = match given {
            Some(cc) => vec![cc],
            None => [named, "gcc"].into_iter().filter(|n| !n.is_empty()).collect(),
        };
        let mut seen = Vec::new();
        for program in candidates {
            let Some(version) = version(program) else { continue };
            // The name in front is how it was called.
            if version == wanted || tail(&version) == tail(wanted) {
                return Ok(Self { program: program.to_owned(), version: wanted.to_owned() });
            }
            seen.push(format!("{program} is {version}"));
        }
        Err(KernelError::Compiler { wanted: wanted.to_owned(), seen }.into())
    }
}

fn version(program: &str) -> Option<String> {
    let out = Tool::new(program).arg("--version").env("LC_ALL", "C").output().ok()?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    text.lines().next().filter(|_| out.status.success()).map(|l| l.trim().to_owned())
}

/// Without the name in front.
fn tail(version: &str) -> &str {
    version.split_once(' ').map_or("", |(_, rest)| rest)
}
