//! What came out of all pairs.

use super::judge::Verdict;
use super::vary::Variation;
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

/// Counts.
#[derive(Debug, Default)]
pub struct Summary {
    /// Other programs refused.
    pub refused: u64,
    /// Other programs accepted, which behave the same.
    pub harmless: u64,
    /// Only laid out otherwise, accepted, and right.
    pub laid_out: u64,
    /// Other programs, of which the target shows nothing.
    pub no_trace: u64,
    /// Accepted though behaviour differs, each with its folder.
    pub wrong: Vec<String>,
    /// Refused though only laid out otherwise, each with its folder.
    pub false_refusals: Vec<String>,
    /// What may not fail, and did.
    pub failed: Vec<String>,
    /// No pairs, by reason.
    unfit: BTreeMap<String, u64>,
    /// By kind of the variation: refused, accepted.
    kinds: BTreeMap<&'static str, [u64; 2]>,
}

impl Summary {
    pub(super) fn count(&mut self, verdict: &Verdict, variation: &Variation, told: impl Fn() -> String) {
        let kind = self.kinds.entry(variation.kind).or_default();
        match verdict {
            Verdict::Right | Verdict::Wrong(_) => kind[1] += 1,
            Verdict::Refused(_) | Verdict::FalseRefusal(_) => kind[0] += 1,
            _ => {}
        }
        match verdict {
            Verdict::Right if variation.layout_only => self.laid_out += 1,
            Verdict::Right => self.harmless += 1,
            Verdict::Refused(_) => self.refused += 1,
            Verdict::FalseRefusal(_) => self.false_refusals.push(told()),
            Verdict::Wrong(_) => self.wrong.push(told()),
            Verdict::NoTrace => self.no_trace += 1,
            Verdict::Unfit(why) => self.unfit(why),
            Verdict::Failed(_) => self.failed.push(told()),
        }
    }

    pub(super) fn unfit(&mut self, why: &str) {
        let line = why.lines().find(|l| l.contains("error")).or(why.lines().next()).unwrap_or_default();
        *self.unfit.entry(line.chars().take(100).collect()).or_default() += 1;
    }

    /// Pairs that are another program.
    #[must_use]
    pub fn others(&self) -> u64 {
        self.refused + self.harmless + self.wrong.len() as u64
    }

    /// Pairs that are only laid out otherwise.
    #[must_use]
    pub fn layouts(&self) -> u64 {
        self.laid_out + self.false_refusals.len() as u64
    }

    /// All that were judged.
    #[must_use]
    pub fn pairs(&self) -> u64 {
        self.others() + self.layouts() + self.failed.len() as u64
    }

    /// Nothing wrong, nothing failed, and of what is only laid out otherwise at most one in fifty refused.
    #[must_use]
    pub fn is_good(&self) -> bool {
        let refused = self.false_refusals.len() as u64;
        self.wrong.is_empty() && self.failed.is_empty() && refused * 50 <= self.layouts()
    }

    pub(super) fn line(&self) -> String {
        format!(
            "{} pairs: {} other programs, {} of them accepted though behaviour differs; {} laid out \
             otherwise, {} of them refused",
            self.pairs(),
            self.others(),
            self.wrong.len(),
            self.layouts(),
            self.false_refusals.len()
        )
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        let rows = [
            (self.wrong.len() as u64, "WRONG: another program, accepted though behaviour differs"),
            (self.failed.len() as u64, "FAILED"),
            (self.refused, "another program, refused"),
            (self.harmless, "another program, accepted: behaves the same"),
            (self.laid_out, "only laid out otherwise, accepted, right"),
            (self.false_refusals.len() as u64, "only laid out otherwise, refused"),
            (self.no_trace, "not counted: the target shows nothing of the difference"),
            (self.unfit.values().sum(), "not counted: does not compile or end"),
        ];
        for (count, what) in rows {
            let _ = writeln!(text, "{count:>6}  {what}");
        }
        for (kind, [refused, accepted]) in &self.kinds {
            let _ =
                writeln!(text, "{:>8}  {kind}: {refused} refused, {accepted} accepted", refused + accepted);
        }
        for (why, count) in &self.unfit {
            let _ = writeln!(text, "{count:>8}  {why}");
        }
        for (what, list) in
            [("WRONG", &self.wrong), ("FAILED", &self.failed), ("REFUSED", &self.false_refusals)]
        {
            for one in list {
                let _ = writeln!(text, "{what}: {one}");
            }
        }
        f.write_str(&text)
    }
}
