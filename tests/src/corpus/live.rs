//! A patch in running programs of its package.

use super::script::Script;
use super::{Case, Outcome};
use crate::load::{Kept, Redis};
use crate::paths::repository;
use crate::programs::{Made, upatch};
use crate::run::Ended;
use anyhow::{Context, Result, ensure};
use std::path::Path;
use std::time::Duration;

/// What a check of the corpus said, in a few words each.
#[derive(Debug, Default, Clone)]
pub struct Probed {
    /// Before the patch.
    pub before: String,
    /// With it.
    pub after: String,
    /// After it was taken back; empty if a probe would kill the old code.
    pub back: String,
    /// The fix acts when the process starts, so a running one may stay as it was.
    pub at_start: bool,
}

/// What a driver printed at each stage, compared with what it printed before the patch.
#[derive(Debug, Default, Clone)]
pub struct Smoke {
    /// With the patch: as before.
    pub same_after: bool,
    /// With the patch: as the cold-built patched package; none if that was not built.
    pub as_cold: Option<bool>,
    /// After `deactive`: as before the patch.
    pub same_deactive: bool,
    /// After `remove`: as before the patch.
    pub same_removed: bool,
    /// The first line that is not as it should be.
    pub first: String,
}

impl Probed {
    /// Vulnerable, fixed, and the old code back.
    pub fn is_right(&self) -> bool {
        self.before.starts_with("VULNERABLE")
            && (self.after.starts_with("FIXED") || self.at_start && !self.after.starts_with("BROKEN"))
            // What the patched program has cleaned up may stay so.
            && !self.back.starts_with("BROKEN")
    }
}

impl Smoke {
    /// As the cold build, or as before if that was not asked; the old code back.
    pub fn is_right(&self) -> bool {
        self.as_cold.unwrap_or(self.same_after) && self.same_deactive && self.same_removed
    }
}

/// `upatch` with a state folder of its own, on one process.
struct Manager<'a> {
    root: tempfile::TempDir,
    made: &'a Made,
    lazy: bool,
}

impl<'a> Manager<'a> {
    fn new(made: &'a Made) -> Result<Self> {
        Ok(Self { root: tempfile::tempdir()?, made, lazy: false })
    }

    fn run(&self, args: &[&str]) -> Result<Ended> {
        upatch()?.arg("--root").arg(self.root.path()).args(args).run()
    }

    /// Applies to one process: others of the same ELF may belong to someone else's run.
    fn apply(&mut self, pid: &str) -> Result<Duration> {
        let dir = self.made.dir();
        let ended = self.patiently(&["apply", "--pid", pid, &dir.to_string_lossy()])?;
        let status = self.run(&["status", &self.made.name])?.ok()?;
        ensure!(status.stdout.contains(pid), "{}", status.account());
        Ok(ended.took)
    }

    fn verb(&mut self, verb: &str) -> Result<()> {
        self.patiently(&[verb, &self.made.name]).map(drop)
    }

    /// A program that waits for input inside a changed function never leaves it by itself: such a one is
    /// switched with `--lazy`.
    fn patiently(&mut self, args: &[&str]) -> Result<Ended> {
        let ended = self.run(&[args, &["--timeout", "3"]].concat())?.expect_code(&[0, 3])?;
        if ended.code == 0 {
            return Ok(ended);
        }
        ensure!(ended.stderr.contains(" pending: "), "{}", ended.account());
        self.lazy = true;
        self.run(&[args, &["--lazy"]].concat())?.ok()
    }
}

impl Case {
    /// Tries the patch on programs that run.
    pub(super) fn try_live(&self, made: &Made, outcome: &mut Outcome, cold: bool) -> Result<()> {
        let check = self.check();
        if check.is_file() {
            self.try_check(&check, made, outcome).context("with the check of the corpus")?;
        }
        let driver = repository().join("tests/drivers").join(format!("{}.sh", self.facts.package));
        if driver.is_file() {
            outcome.smoke = Some(self.drive(&driver, made, outcome, cold).context("with the driver")?);
        }
        Ok(())
    }

    fn try_check(&self, check: &Path, made: &Made, outcome: &mut Outcome) -> Result<()> {
        let text = std::fs::read_to_string(check)?;
        let says = |flag: &str| text.lines().any(|l| l.starts_with(flag));
        let fatal = says("FATAL=1");
        let mut manager = Manager::new(made)?;
        let script = Script::start(check, &self.shipped.root)?;
        let said = |ended: Ended| ended.stdout.lines().next().unwrap_or("BROKEN").to_owned();
        let mut probed = Probed { at_start: says("INIT=1"), ..Probed::default() };

        probed.before = said(script.probe()?);
        if fatal {
            script.restart()?;
        }
        let open = |port: &u16| Redis::connect(*port).is_ok_and(|mut redis| redis.is_open());
        let port = script.port().filter(|_| self.facts.package == "redis").filter(open);
        let load = port.map(|port| Kept::start(&self.shipped.root, port, script.dir())).transpose()?;
        outcome.applied_in = Some(manager.apply(&script.pid()?)?);
        if let Some(load) = &load {
            load.go_on(3000)?;
        }
        probed.after = said(script.probe()?);
        if let Some(load) = load {
            load.go_on(1000)?;
            manager.verb("deactive")?;
            load.go_on(1000)?;
            manager.verb("active")?;
            load.go_on(1000)?;
            outcome.requests = load.finish()?;
        }
        manager.verb("deactive")?;
        // A probe of the old code would end a program that dies of it.
        if !fatal && !probed.at_start {
            probed.back = said(script.probe()?);
        }
        manager.verb("remove")?;
        script.lives()?;
        outcome.lazy |= manager.lazy;
        outcome.check = Some(probed);
        Ok(())
    }

    fn drive(&self, driver: &Path, made: &Made, outcome: &mut Outcome, cold: bool) -> Result<Smoke> {
        let mut manager = Manager::new(made)?;
        let script = Script::start(driver, &self.shipped.root)?;
        let work =
            |stage: &str| Ok::<_, anyhow::Error>(script.probe()?.ok().context(stage.to_owned())?.stdout);
        let before = work("before the patch")?;
        ensure!(work("before the patch, again")? == before, "the driver prints something else each time");
        let took = manager.apply(&script.pid()?)?;
        outcome.applied_in.get_or_insert(took);
        let after = work("with the patch")?;
        manager.verb("deactive")?;
        let deactive = work("after deactivation")?;
        manager.verb("active")?;
        manager.verb("remove")?;
        let removed = work("after removal")?;
        script.lives()?;
        outcome.lazy |= manager.lazy;
        drop(script);

        let mut smoke = Smoke {
            same_after: after == before,
            same_deactive: deactive == before,
            same_removed: removed == before,
            ..Smoke::default()
        };
        let mut expected = before.clone();
        if cold || !smoke.same_after {
            let script = Script::start(driver, &self.cold()?.root)?;
            expected = script.probe()?.ok().context("the cold build")?.stdout;
            smoke.as_cold = Some(after == expected);
        }
        smoke.first = [(&after, &expected), (&deactive, &before), (&removed, &before)]
            .iter()
            .find_map(|(is, should)| difference(is, should))
            .unwrap_or_default();
        Ok(smoke)
    }
}

/// The first line in which two transcripts differ.
fn difference(is: &str, should: &str) -> Option<String> {
    let end = "(end)";
    let count = is.lines().count().max(should.lines().count());
    (0..count).find_map(|n| {
        let (a, b) = (is.lines().nth(n).unwrap_or(end), should.lines().nth(n).unwrap_or(end));
        (a != b).then(|| format!("{a:?} instead of {b:?}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transcripts_are_compared_line_by_line() {
        assert_eq!(difference("a\nb\n", "a\nb\n"), None);
        assert_eq!(difference("a\nx\n", "a\nb\n").as_deref(), Some("\"x\" instead of \"b\""));
        assert_eq!(difference("a\n", "a\nb\n").as_deref(), Some("\"(end)\" instead of \"b\""));
    }
}
