//! The language matrix: small programs of C, C++ and assembly, each with a change that shows one construct.
//!
//! A case says what must come of the change; what the programs answer is never written down, but taken from
//! the original and the patched program built cold.

pub mod case;
pub mod live;
pub mod page;
pub mod scene;
pub mod variant;

use anyhow::{Context, Result, ensure};
use case::{Case, Verdict};
use scene::Scene;
use variant::Variant;

/// Makes the patch of one case built in one way, and holds a running process against the programs built cold.
///
/// # Errors
/// Another result than the case says; the message holds what was printed.
pub fn check(case: &Case, variant: &Variant) -> Result<()> {
    let scene = Scene::build(case, variant)?;
    let made = scene.make_patch(case, variant)?;
    let verdict = case.verdict(variant);
    let ended = made.ended.clone();
    match &verdict {
        Verdict::Works => ended.ok()?,
        Verdict::Warning(text) => ended.ok()?.says(text)?,
        Verdict::Nothing => ended.expect_code(&[3])?,
        Verdict::Refused(text) => ended.expect_code(&[4])?.is_plain_error()?.says(text)?,
    };
    if matches!(verdict, Verdict::Nothing | Verdict::Refused(_)) {
        return made.nothing_written();
    }
    ensure!(!made.elfs()?.is_empty(), "a patch without ELF files\n{}", made.ended.account());
    live::check(case, &scene, &made).with_context(|| format!("the build said\n{}", made.ended.stderr))
}
