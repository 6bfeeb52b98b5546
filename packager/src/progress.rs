//! What is shown while working: a bar on a terminal, plain lines otherwise. All of it goes to standard error.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// The phases of a run, in order.
pub const PHASES: [&str; 6] = ["prepare", "original build", "patched build", "compare", "link", "package"];

/// Shows phases and messages, and measures the phases.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    shown: bool,
    quiet: bool,
    verbose: u8,
    color: bool,
    current: Option<(&'static str, Instant)>,
    seconds: BTreeMap<String, f64>,
}

impl Progress {
    /// With a bar if `bar`, else with lines; nothing but errors if `quiet`.
    pub fn new(bar: bool, quiet: bool, verbose: u8, color: bool) -> Self {
        let shown = bar && !quiet;
        let bar = if shown {
            let bar = ProgressBar::with_draw_target(Some(PHASES.len() as u64), ProgressDrawTarget::stderr());
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
    pub fn on_terminal() -> bool {
        std::io::stderr().is_terminal()
    }

    /// Starts a phase, ends the one before.
    pub fn phase(&mut self, name: &'static str) {
        self.end();
        let number = PHASES.iter().position(|p| *p == name).map_or(0, |n| n + 1);
        self.current = Some((name, Instant::now()));
        if self.shown {
            self.bar.set_position(number as u64);
            self.bar.set_prefix(name);
            self.bar.set_message("");
        } else if !self.quiet {
            self.line(&format!("[{number}/{}] {name}", PHASES.len()));
        }
    }

    /// Ends the phase that is running.
    pub fn end(&mut self) {
        if let Some((name, since)) = self.current.take() {
            *self.seconds.entry(name.replace(' ', "-")).or_default() += since.elapsed().as_secs_f64();
        }
    }

    /// Takes the bar away.
    pub fn finish(&mut self) {
        self.end();
        self.bar.finish_and_clear();
    }

    /// What goes on inside the phase; shown only beside a bar.
    pub fn detail(&self, text: &str) {
        if self.shown {
            let text: String = text.chars().filter(|c| !c.is_control()).take(100).collect();
            self.bar.set_message(text);
        }
    }

    /// A line that a user wants to see.
    pub fn info(&self, text: &str) {
        if !self.quiet {
            self.line(text);
        }
    }

    /// A line for `-v`.
    pub fn verbose(&self, text: &str) {
        if self.verbose > 0 {
            self.line(text);
        }
    }

    /// A warning: shown unless `-q`.
    pub fn warning(&self, text: &str) {
        if !self.quiet {
            let text = if self.color {
                format!("\x1b[33mwarning:\x1b[0m {text}")
            } else {
                format!("warning: {text}")
            };
            self.line(&text);
        }
    }

    /// Seconds by phase.
    pub fn seconds(&self) -> BTreeMap<String, f64> {
        self.seconds.iter().map(|(k, v)| (k.clone(), (v * 1000.0).round() / 1000.0)).collect()
    }

    fn line(&self, text: &str) {
        self.bar.suspend(|| {
            // Nothing can be done when standard error is gone.
            let _ = writeln!(std::io::stderr(), "{text}");
        });
    }
}
