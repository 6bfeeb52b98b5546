//! Many pairs, in parallel, counted; what went wrong is kept.

use super::mutate::mutate;
use super::pair::{Original, Outcome};
use super::plan::Plan;
use super::program::Program;
use anyhow::{Context, Result};
use fastrand::Rng;
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

/// Mutants of one original: compiling the original once for all of them halves the cost.
const MUTANTS: u64 = 4;
/// Pairs after which a line says how far it is.
const TOLD: u64 = 100;
/// Originals tried until one ends in time.
const TRIES: usize = 8;

/// What to try.
#[derive(Clone, Debug)]
pub struct Campaign {
    /// Where all randomness comes from.
    pub seed: u64,
    /// How many pairs.
    pub pairs: u64,
    /// Threads.
    pub jobs: usize,
    /// Where pairs that went wrong are kept.
    pub keep: PathBuf,
    /// Only this pair.
    pub only: Option<u64>,
    /// A line for each pair.
    pub verbose: bool,
    /// Keep what was refused too.
    pub keep_refused: bool,
}

/// What came out.
#[derive(Debug, Default)]
pub struct Summary {
    /// Patched, and right.
    pub right: u64,
    /// No difference.
    pub same: u64,
    /// By reason.
    pub refused: BTreeMap<String, u64>,
    /// Pairs refused.
    pub refused_pairs: u64,
    /// No pairs, by reason.
    pub unfit: BTreeMap<String, u64>,
    /// Source with undefined behaviour.
    pub undefined: u64,
    /// What must not be: wrong patches and failures, each with its folder.
    pub bad: Vec<String>,
}

impl Campaign {
    /// Runs all pairs.
    ///
    /// # Errors
    /// When csmith or scratch space is missing. A wrong patch is no error here: see [`Summary::bad`].
    pub fn run(&self) -> Result<Summary> {
        let summary = Mutex::new(Summary::default());
        let next = AtomicU64::new(self.only.map_or(0, |o| o / MUTANTS));
        let end = self.only.map_or(self.pairs.div_ceil(MUTANTS), |o| o / MUTANTS + 1);
        let work = || -> Result<()> {
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= end {
                    return Ok(());
                }
                self.family(index, &summary)?;
            }
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..self.jobs.max(1)).map(|_| scope.spawn(work)).collect();
            threads
                .into_iter()
                .try_for_each(|t| t.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a thread panicked"))))
        })?;
        Ok(summary.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// One original and its mutants.
    fn family(&self, index: u64, summary: &Mutex<Summary>) -> Result<()> {
        let mut rng = Rng::with_seed(self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ index);
        let scratch = tempfile::Builder::new().prefix("upatch-random-").tempdir()?;
        let first = index * MUTANTS;
        let mut found = None;
        // Many of csmith's programs never end.
        for _ in 0..TRIES {
            let program = Program::random(&mut rng)?;
            let plan = Plan::random(&mut rng);
            let note = format!("{plan:?}");
            match Original::new(&scratch.path().join("original"), &program.render(), plan) {
                Ok(original) => {
                    found = Some((original, program, note));
                    break;
                }
                Err(e) => lock(summary).unfit(&format!("original: {e:#}")),
            }
        }
        let Some((original, program, note)) = found else { return Ok(()) };
        let seeds: Vec<u64> = (0..MUTANTS).map(|_| rng.u64(..)).collect();
        let add = |pair: u64, outcome: Outcome, changes: &[String], mutant: Option<&Path>| -> Result<()> {
            if self.verbose {
                eprintln!("{pair}: {outcome:?} {changes:?}");
            }
            let mut entry = None;
            let kept = self.keep.join(format!("seed-{}-pair-{pair}", self.seed));
            let is_bad = matches!(outcome, Outcome::Wrong(_) | Outcome::Failed(_));
            if is_bad || self.keep_refused && matches!(outcome, Outcome::Refused(_)) {
                keep(scratch.path(), mutant, &kept, &format!("{outcome:?}\n{note}\n{changes:#?}\n"))?;
            }
            if let Outcome::Wrong(why) | Outcome::Failed(why) = &outcome {
                entry = Some(format!(
                    "{why}\n  kept in {}, again with: upatch-random --seed {} --only {pair}",
                    kept.display(),
                    self.seed
                ));
            }
            let mut summary = lock(summary);
            summary.count(outcome);
            summary.bad.extend(entry);
            let judged = summary.judged();
            if judged.is_multiple_of(TOLD) {
                let Summary { right, refused_pairs, bad, .. } = &*summary;
                eprintln!("{judged} pairs: {right} right, {refused_pairs} refused, {} wrong", bad.len());
            }
            Ok(())
        };
        if let Err(e) = original.null_diff() {
            add(first, Outcome::Failed(format!("null diff: {e:#}")), &[], None)?;
        }
        for (number, seed) in (0..).zip(seeds) {
            let pair = first + number;
            if self.only.is_some_and(|o| o != pair) || pair >= self.pairs.max(self.only.map_or(0, |o| o + 1))
            {
                continue;
            }
            let mutant = mutate(&mut Rng::with_seed(seed), &program);
            let dir = scratch.path().join(format!("mutant-{number}"));
            let mut outcome = original.judge(&dir, &mutant.program.render());
            if mutant.neutral && matches!(outcome, Outcome::Right | Outcome::Refused(_)) {
                outcome =
                    Outcome::Failed(format!("a shift of all lines was taken for a change: {outcome:?}"));
            }
            add(pair, outcome, &mutant.changes, Some(&dir))?;
        }
        Ok(())
    }
}

fn lock(summary: &Mutex<Summary>) -> MutexGuard<'_, Summary> {
    summary.lock().unwrap_or_else(PoisonError::into_inner)
}

fn keep(scratch: &Path, mutant: Option<&Path>, to: &Path, note: &str) -> Result<()> {
    let _ = std::fs::remove_dir_all(to);
    for (from, name) in
        [(Some(scratch.join("original")), "original"), (mutant.map(Path::to_path_buf), "patched")]
    {
        let Some(from) = from.filter(|f| f.is_dir()) else { continue };
        let target = to.join(name);
        std::fs::create_dir_all(&target).with_context(|| target.display().to_string())?;
        for entry in std::fs::read_dir(&from)? {
            let entry = entry?;
            std::fs::copy(entry.path(), target.join(entry.file_name()))?;
        }
    }
    std::fs::create_dir_all(to)?;
    std::fs::write(to.join("why.txt"), note)?;
    Ok(())
}

impl Summary {
    fn count(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Right => self.right += 1,
            Outcome::Same => self.same += 1,
            Outcome::Refused(reasons) => {
                self.refused_pairs += 1;
                let mut kinds: Vec<&str> =
                    reasons.iter().map(|r| r.split(" | ").next().unwrap_or_default()).collect();
                kinds.sort_unstable();
                kinds.dedup();
                for kind in kinds {
                    *self.refused.entry(kind.to_owned()).or_default() += 1;
                }
            }
            Outcome::Unfit(why) => {
                let line =
                    why.lines().find(|l| l.contains("error")).or(why.lines().next()).unwrap_or_default();
                *self.unfit.entry(line.chars().take(100).collect()).or_default() += 1;
            }
            Outcome::Undefined(_) => self.undefined += 1,
            Outcome::Wrong(_) | Outcome::Failed(_) => {}
        }
    }

    fn unfit(&mut self, why: &str) {
        let line = why.lines().find(|l| l.contains("error")).or(why.lines().next()).unwrap_or_default();
        *self.unfit.entry(line.chars().take(100).collect()).or_default() += 1;
    }

    /// All pairs that were pairs.
    #[must_use]
    pub fn judged(&self) -> u64 {
        self.right + self.same + self.refused_pairs + self.undefined + self.bad.len() as u64
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        let unfit: u64 = self.unfit.values().sum();
        let _ = writeln!(text, "{:>6}  patched, and right", self.right);
        let _ = writeln!(text, "{:>6}  no difference", self.same);
        let _ = writeln!(text, "{:>6}  refused", self.refused_pairs);
        let _ = writeln!(text, "{:>6}  WRONG or failed", self.bad.len());
        let _ = writeln!(text, "{:>6}  undefined behaviour in the source", self.undefined);
        let _ = writeln!(text, "{unfit:>6}  originals and mutants left out (run too long, do not compile)");
        for (title, table) in [("refused, by reason", &self.refused), ("left out, by reason", &self.unfit)] {
            if !table.is_empty() {
                let _ = writeln!(text, "{title}:");
            }
            for (reason, count) in table {
                let _ = writeln!(text, "{count:>8}  {reason}");
            }
        }
        for bad in &self.bad {
            let _ = writeln!(text, "BAD: {bad}");
        }
        f.write_str(&text)
    }
}
