//! What is shown while working: a bar on a terminal, plain lines otherwise. All of it goes to standard error.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
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
    /// Units are compared.
    Compare,
    /// Images are linked.
    Link,
    /// Results are written.
    Package,
}

impl Step {
    /// How many there are.
    const COUNT: u64 = Self::Package as u64 + 1;

    /// Its place, from 1 on.
    fn number(self) -> u64 {
        self as u64 + 1
    }

    fn name(self) -> &'static str {
        match self {
            Self::Prepare => "prepare",
            Self::OriginalBuild => "original build",
            Self::PatchedBuild => "patched build",
            Self::Compare => "compare",
            Self::Link => "link",
            Self::Package => "package",
        }
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
    current: Option<(Step, Instant)>,
    seconds: BTreeMap<String, f64>,
}

impl Progress {
    /// With a bar if `bar`, else with lines; nothing but errors if `quiet`.
    pub(crate) fn new(bar: bool, quiet: bool, verbose: u8, color: bool) -> Self {
        let shown = bar && !quiet;
        let bar = if shown {
            let bar = ProgressBar::with_draw_target(Some(Step::COUNT), ProgressDrawTarget::stderr());
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
        Self { bar, shown, quiet, verbose, color, current: None, seconds: BTreeMap::new() }
    }

    /// Is standard error a terminal?
    pub(crate) fn on_terminal() -> bool {
        std::io::stderr().is_terminal()
    }

    /// Begins a step, ends the one before.
    pub(crate) fn begin(&mut self, step: Step) {
        self.end();
        self.current = Some((step, Instant::now()));
        if self.shown {
            self.bar.set_position(step.number());
            self.bar.set_prefix(step.name());
            self.bar.set_message("");
        } else if !self.quiet {
            self.line(&format!("[{}/{}] {}", step.number(), Step::COUNT, step.name()));
        }
    }

    /// Ends the step that is running.
    fn end(&mut self) {
        if let Some((step, since)) = self.current.take() {
            *self.seconds.entry(step.name().replace(' ', "-")).or_default() += since.elapsed().as_secs_f64();
        }
    }

    /// Takes the bar away.
    pub(crate) fn finish(&mut self) {
        self.end();
        self.bar.finish_and_clear();
    }

    /// What goes on inside the step; shown only beside a bar.
    pub(crate) fn detail(&self, text: &str) {
        if self.shown {
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
        self.seconds.iter().map(|(k, v)| (k.clone(), (v * 1000.0).round() / 1000.0)).collect()
    }

    fn line(&self, text: &str) {
        self.bar.suspend(|| {
            // Nothing can be done when standard error is gone.
            let _ = writeln!(std::io::stderr(), "{text}");
        });
    }
}
