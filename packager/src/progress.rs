//! What is shown while working: a bar on a terminal, plain lines otherwise. All of it goes to standard error.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The steps of a run, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The source and the fix are read.
    Prepare,
    /// The build as shipped.
    OriginalBuild,
    /// The build with the fix.
    PatchedBuild,
    /// The kernel's tree is taken out of the store, or prepared.
    KernelTree,
    /// Objects of the kernel that the fix touches are compiled, as shipped and with the fix.
    Compile,
    /// Units are compared.
    Compare,
    /// The shipped kernel is proved to be the one that the units were compiled for.
    Fidelity,
    /// Images are linked.
    Link,
    /// Results are written.
    Package,
}

impl Step {
    /// The steps of a patch for programs.
    pub(crate) const OF_PROGRAMS: &[Self] =
        &[Self::Prepare, Self::OriginalBuild, Self::PatchedBuild, Self::Compare, Self::Link, Self::Package];
    /// The steps of a patch for the kernel.
    pub(crate) const OF_KERNEL: &[Self] = &[
        Self::Prepare,
        Self::KernelTree,
        Self::Compile,
        Self::Compare,
        Self::Fidelity,
        Self::Link,
        Self::Package,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Prepare => "prepare",
            Self::OriginalBuild => "original build",
            Self::PatchedBuild => "patched build",
            Self::KernelTree => "kernel tree",
            Self::Compile => "compile",
            Self::Compare => "compare",
            Self::Fidelity => "fidelity",
            Self::Link => "link",
            Self::Package => "package",
        }
    }
}

/// The units that a build records, counted in the folder of their records.
#[derive(Debug)]
struct Units {
    records: PathBuf,
    /// How many there will be, if an earlier build has told.
    all: Option<usize>,
    since: Instant,
    looked: Instant,
    shown: String,
}

impl Units {
    /// How far the build is, in words. Looked up twice a second at most.
    fn shown(&mut self) -> &str {
        if self.shown.is_empty() || self.looked.elapsed() > Duration::from_millis(500) {
            self.looked = Instant::now();
            let done = std::fs::read_dir(&self.records).map_or(0, Iterator::count);
            self.shown = how_far(done, self.all, self.since.elapsed());
        }
        &self.shown
    }
}

fn how_far(done: usize, all: Option<usize>, taken: Duration) -> String {
    match all {
        Some(all) if done > 0 && done < all => {
            let left = taken.as_secs_f64() / done as f64 * (all - done) as f64;
            format!("{done} of {all} units, about {left:.0} s left")
        }
        Some(all) if done < all => format!("{done} of {all} units"),
        _ => format!("{done} units"),
    }
}

/// Shows steps and messages, and measures the steps.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    shown: bool,
    quiet: bool,
    verbose: u8,
    color: bool,
    steps: &'static [Step],
    current: Option<(Step, Instant, f64)>,
    units: RefCell<Option<Units>>,
    seconds: BTreeMap<String, f64>,
    cpu: BTreeMap<String, f64>,
}

impl Progress {
    /// With a bar if `bar`, else with lines; nothing but errors if `quiet`.
    pub(crate) fn new(bar: bool, quiet: bool, verbose: u8, color: bool, steps: &'static [Step]) -> Self {
        let shown = bar && !quiet;
        let bar = if shown {
            let bar = ProgressBar::with_draw_target(Some(steps.len() as u64), ProgressDrawTarget::stderr());
            if let Ok(style) =
                ProgressStyle::with_template("{spinner} [{pos}/{len}] {prefix} {wide_msg} {elapsed}")
            {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        } else {
            ProgressBar::hidden()
        };
        let (seconds, cpu) = (BTreeMap::new(), BTreeMap::new());
        let units = RefCell::default();
        Self { bar, shown, quiet, verbose, color, steps, current: None, units, seconds, cpu }
    }

    /// Is standard error a terminal?
    pub(crate) fn on_terminal() -> bool {
        std::io::stderr().is_terminal()
    }

    /// Begins a step, ends the one before.
    pub(crate) fn begin(&mut self, step: Step) {
        self.end();
        self.current = Some((step, Instant::now(), processor_time()));
        let number = self.steps.iter().position(|s| *s == step).map_or(0, |at| at + 1);
        if self.shown {
            self.bar.set_position(number as u64);
            self.bar.set_prefix(step.name());
            self.bar.set_message("");
        } else if !self.quiet {
            self.line(&format!("[{number}/{}] {}", self.steps.len(), step.name()));
        }
    }

    /// Ends the step that is running.
    fn end(&mut self) {
        if let Some((step, since, used)) = self.current.take() {
            *self.units.borrow_mut() = None;
            let name = step.name().replace(' ', "-");
            *self.cpu.entry(name.clone()).or_default() += processor_time() - used;
            *self.seconds.entry(name).or_default() += since.elapsed().as_secs_f64();
        }
    }

    /// Takes the bar away.
    pub(crate) fn finish(&mut self) {
        self.end();
        self.bar.finish_and_clear();
    }

    /// The step builds units, whose records go to this folder; `all` of them, if that is known.
    pub(crate) fn count(&self, records: &Path, all: Option<usize>) {
        let now = Instant::now();
        let records = records.join("units");
        *self.units.borrow_mut() =
            Some(Units { records, all, since: now, looked: now, shown: String::new() });
    }

    /// What goes on inside the step; shown only beside a bar.
    pub(crate) fn detail(&self, text: &str) {
        if self.shown {
            let text = match self.units.borrow_mut().as_mut() {
                Some(units) => format!("{}: {text}", units.shown()),
                None => text.to_owned(),
            };
            let text: String = text.chars().filter(|c| !c.is_control()).take(100).collect();
            self.bar.set_message(text);
        }
    }

    /// A line that a user wants to see.
    pub(crate) fn info(&self, text: &str) {
        if !self.quiet {
            self.line(text);
        }
    }

    /// Are lines for `-v` shown?
    pub(crate) fn is_verbose(&self) -> bool {
        self.verbose > 0
    }

    /// A line for `-v`.
    pub(crate) fn verbose(&self, text: &str) {
        if self.verbose > 0 {
            self.line(text);
        }
    }

    /// A warning: shown unless `-q`.
    pub(crate) fn warning(&self, text: &str) {
        if !self.quiet {
            let text = if self.color {
                format!("\x1b[33mwarning:\x1b[0m {text}")
            } else {
                format!("warning: {text}")
            };
            self.line(&text);
        }
    }

    /// Seconds by step.
    pub(crate) fn seconds(&self) -> BTreeMap<String, f64> {
        rounded(&self.seconds)
    }

    /// Seconds of processor time by step, of this program and of those that it ran.
    pub(crate) fn cpu(&self) -> BTreeMap<String, f64> {
        rounded(&self.cpu)
    }

    fn line(&self, text: &str) {
        self.bar.suspend(|| {
            // Nothing can be done when standard error is gone.
            let _ = writeln!(std::io::stderr(), "{text}");
        });
    }
}

fn rounded(times: &BTreeMap<String, f64>) -> BTreeMap<String, f64> {
    times.iter().map(|(k, v)| (k.clone(), (v * 1000.0).round() / 1000.0)).collect()
}

/// Processor time of this process and of its children that have ended, in seconds.
pub(crate) fn processor_time() -> f64 {
    use nix::sys::resource::{UsageWho, getrusage};
    let of = |who| {
        getrusage(who).map_or(0.0, |usage| {
            let seconds = |t: nix::sys::time::TimeVal| t.tv_sec() as f64 + t.tv_usec() as f64 / 1e6;
            seconds(usage.user_time()) + seconds(usage.system_time())
        })
    };
    of(UsageWho::RUSAGE_SELF) + of(UsageWho::RUSAGE_CHILDREN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_estimated_from_what_is_done() {
        let ten = Duration::from_secs(10);
        assert_eq!(how_far(25, Some(100), ten), "25 of 100 units, about 30 s left");
        assert_eq!(how_far(0, Some(100), ten), "0 of 100 units");
        assert_eq!(how_far(100, Some(100), ten), "100 units");
        assert_eq!(how_far(7, None, ten), "7 units");
    }
}
