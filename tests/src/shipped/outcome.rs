//! What came of a package, and the table of all.

use super::cache;
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::fmt::Write;

/// What came of a package.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub struct Outcome {
    /// Source package.
    pub source: String,
    /// Its version.
    pub version: String,
    /// The patch that was taken off.
    pub fix: String,
    /// Exit code of `upatch-build`; none if it did not come to that.
    pub code: Option<i32>,
    /// Worst fidelity of the files that the fix reaches.
    pub fidelity: String,
    /// The path that the builds had, if it was the shipped file's.
    pub built_at: String,
    /// Processor seconds that making the patch took, with the builds that it ran.
    pub cpu_seconds: f64,
    /// Peak resident memory of `upatch-build` itself, in MB.
    pub peak_mb: u64,
    /// Changed and new functions.
    pub functions: usize,
    /// `patched` and the rest; empty if there is no service to try it on.
    pub live: String,
    /// Threads and processes that were patched.
    pub processes: String,
    /// What came of it under the service's own unit; empty where the entry names none.
    #[serde(default)]
    pub under_unit: String,
    /// Newer patches of the package that were refused, with the reasons.
    #[serde(default)]
    pub refused: Vec<String>,
    /// The reason, where something is not as it should be.
    pub why: String,
}

impl Outcome {
    /// Was the process changed in a way that it should not be?
    pub fn is_wrong(&self) -> bool {
        self.live.starts_with("WRONG") || self.under_unit.starts_with("WRONG")
    }

    /// What `upatch-build` answered, in a word.
    fn verdict(&self) -> String {
        match self.code {
            Some(0) => "patch".into(),
            Some(3) => "changes nothing".into(),
            Some(4) => "refused".into(),
            Some(7) => "does not match".into(),
            Some(code) => format!("exit {code}"),
            None => "not tried".into(),
        }
    }

    /// Keeps it for the next run.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn keep(&self) -> Result<()> {
        let dir = cache().join("results");
        std::fs::create_dir_all(&dir)?;
        Ok(std::fs::write(dir.join(format!("{}.yaml", self.source)), serde_yaml::to_string(self)?)?)
    }
}

/// What an earlier run has found out.
pub fn kept(source: &str) -> Option<Outcome> {
    let text = std::fs::read_to_string(cache().join("results").join(format!("{source}.yaml"))).ok()?;
    serde_yaml::from_str(&text).ok()
}

/// All of them in a table (Markdown), with sums.
pub fn table(outcomes: &[Outcome]) -> String {
    let mut text = String::from(
        "| package | version | fix | verdict | fidelity | functions | CPU s | peak MB | running process | \
         remark |\n\
         |---|---|---|---|---|---:|---:|---:|---|---|\n",
    );
    for o in outcomes {
        let reason = Some(&o.why).filter(|w| !w.is_empty()).map(|w| first_words(w));
        let newer = o.refused.iter().map(|w| format!("refused before: {}", first_words(w)));
        let why = reason.into_iter().chain(newer).collect::<Vec<_>>().join("; ");
        let unit =
            if o.under_unit.is_empty() { String::new() } else { format!("own unit: {}", o.under_unit) };
        let live = [o.live.clone(), o.processes.clone(), unit];
        let live = live.into_iter().filter(|t| !t.is_empty()).collect::<Vec<_>>().join(", ");
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {:.0} | {} | {live} | {why} |",
            o.source,
            o.version,
            o.fix,
            o.verdict(),
            o.fidelity,
            o.functions,
            o.cpu_seconds,
            o.peak_mb
        );
    }
    let count = |is: &dyn Fn(&Outcome) -> bool| outcomes.iter().filter(|o| is(o)).count();
    let fits = count(&|o| matches!(o.fidelity.as_str(), "identical" | "equivalent"));
    let made = count(&|o| o.code == Some(0));
    let live = count(&|o| o.live.starts_with("patched"));
    let tried = count(&|o| !o.live.is_empty());
    let wrong = count(&Outcome::is_wrong);
    let units = count(&|o| o.under_unit.starts_with("patched"));
    let refused: usize = outcomes.iter().map(|o| o.refused.len()).sum();
    let _ = writeln!(
        text,
        "\n{} packages: {fits} identical or equivalent, {made} patches made, {live} of {tried} services \
         patched live, \
         {units} under their own unit, {wrong} wrong; {refused} fixes refused before another was taken.",
        outcomes.len()
    );
    text
}

/// As much of a reason as has room in a table.
fn first_words(why: &str) -> String {
    const ROOM: usize = 200;
    let line = why.lines().next().unwrap_or_default();
    let mut words: String = line.chars().take(ROOM).collect();
    if words.len() < line.len() {
        words.push('…');
    }
    words.replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_answer_under_the_unit_counts_and_a_refusal_before_is_named() {
        let patched = Outcome {
            source: "one".into(),
            code: Some(0),
            fidelity: "identical".into(),
            live: "patched".into(),
            refused: vec!["newer.patch: a | b".into()],
            ..Outcome::default()
        };
        let wrong = Outcome { under_unit: "WRONG: other answer".into(), ..patched.clone() };
        assert!(!patched.is_wrong() && wrong.is_wrong());
        let text = table(&[patched, wrong]);
        assert!(text.contains("refused before: newer.patch: a \\| b |"), "{text}");
        assert!(text.contains("2 packages: 2 identical or equivalent, 2 patches made"), "{text}");
        assert!(text.contains("1 wrong; 2 fixes refused"), "{text}");
    }
}
