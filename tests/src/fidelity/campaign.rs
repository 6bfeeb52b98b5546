//! Many pairs, in families of one rebuild and one fix, judged and counted; what went wrong is kept.

use super::judge::Judge;
use super::marks::{Choice, Kind};
use super::model::Model;
use super::rebuild::{Answer, Objects, Rebuild};
use super::summary::Summary;
use super::vary::Variation;
use anyhow::{Context, Result};
use fastrand::Rng;
use std::path::{Path, PathBuf};
use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

/// Targets of one rebuild: compiling it once for all of them saves half of the time.
const TARGETS: u64 = 10;
/// Pairs after which a line says how far it is.
const TOLD: u64 = 100;
/// Programs tried until one ends in time, and fixes until one can be patched live.
const TRIES: usize = 12;

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
}

impl Campaign {
    /// Runs all pairs.
    ///
    /// # Errors
    /// When a compiler, csmith or scratch space is missing. What went wrong is in [`Summary::wrong`].
    pub fn run(&self) -> Result<Summary> {
        let summary = Mutex::new(Summary::default());
        let next = AtomicU64::new(self.only.map_or(0, |o| o / TARGETS));
        let end = self.only.map_or(self.pairs.div_ceil(TARGETS), |o| o / TARGETS + 1);
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

    /// One rebuild with its fix, and its targets.
    fn family(&self, index: u64, summary: &Mutex<Summary>) -> Result<()> {
        let mut rng = Rng::with_seed(self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ index);
        let scratch = tempfile::Builder::new().prefix("upatch-fidelity-").tempdir()?;
        let mut objects = Objects::default();
        let mut found = None;
        for _ in 0..TRIES {
            let model = Model::random(&mut rng)?;
            // It is compiled for another form of the program.
            let _ = std::fs::remove_file(scratch.path().join("driver.o"));
            match start(&mut rng, &mut objects, &scratch.path().join("rebuild"), model) {
                Ok(Some(family)) => {
                    found = Some(family);
                    break;
                }
                Ok(None) => {}
                Err(e) => lock(summary).unfit(&format!("rebuild: {e:#}")),
            }
        }
        let Some((model, fix, rebuild)) = found else { return Ok(()) };
        let seeds: Vec<u64> = (0..TARGETS).map(|_| rng.u64(..)).collect();
        for (number, seed) in (0..).zip(seeds) {
            let pair = index * TARGETS + number;
            if self.only.map_or(pair >= self.pairs, |only| only != pair) {
                continue;
            }
            let mut rng = Rng::with_seed(seed);
            let variation = Variation::random(&mut rng, &model, fix.file, number);
            let dir = scratch.path();
            let mut judge = Judge { objects: &mut objects, model: &model, rebuild: &rebuild, fix, dir };
            let (verdict, details) = judge.pair(&mut rng, &variation);
            let note = format!(
                "{verdict:?}\n{}: {}\nfix: {}\n{details}\n{:?}\nagain with: upatch-soak-fidelity --seed {} \
                 --only {pair}\n",
                variation.kind,
                variation.words,
                model.tell(fix),
                model.plan,
                self.seed
            );
            if self.verbose {
                eprintln!("{pair}: {note}");
            }
            if verdict.is_bad() {
                keep(scratch.path(), &variation.folder, &self.kept(pair), &note)?;
            }
            let mut summary = lock(summary);
            summary.count(&verdict, &variation, || format!("{note}  kept in {}", self.kept(pair).display()));
            if summary.pairs().is_multiple_of(TOLD) {
                eprintln!("{}", summary.line());
            }
            drop(summary);
            // Space in memory, where /tmp is there.
            for folder in ["", "-fixed", "-trace"].map(|end| format!("{}{end}", variation.folder)) {
                let _ = std::fs::remove_dir_all(scratch.path().join(folder));
            }
        }
        Ok(())
    }

    fn kept(&self, pair: u64) -> PathBuf {
        self.keep.join(format!("seed-{}-pair-{pair}", self.seed))
    }
}

/// The rebuild, if it ends in time, and a fix that alone can be patched live.
fn start(
    rng: &mut Rng,
    objects: &mut Objects,
    dir: &Path,
    model: Model,
) -> Result<Option<(Model, Choice, Rebuild)>> {
    let order = model.units();
    let sources = model.render(&[]);
    for _ in 0..3 {
        let Some(fix) = rng.choice(model.choices(Kind::Fix)) else { return Ok(None) };
        let unit = model.files[fix.file].name.clone();
        let _ = std::fs::remove_dir_all(dir);
        let fixed = model.render(&[fix]);
        if let Some(rebuild) = Rebuild::new(objects, dir, &model, [&sources, &fixed], &order, &unit)? {
            crate::random::pair::cold(&rebuild.built.program)?;
            // That it cannot be patched live at all says nothing about a target.
            if matches!(rebuild.ask(&rebuild.built.linked, None)?, Answer::Fits(_)) {
                return Ok(Some((model, fix, rebuild)));
            }
        }
    }
    Ok(None)
}

fn lock(summary: &Mutex<Summary>) -> MutexGuard<'_, Summary> {
    summary.lock().unwrap_or_else(PoisonError::into_inner)
}

fn keep(scratch: &Path, folder: &str, to: &Path, note: &str) -> Result<()> {
    let _ = std::fs::remove_dir_all(to);
    std::fs::create_dir_all(to)?;
    for name in ["rebuild".to_owned(), folder.to_owned(), format!("{folder}-fixed")] {
        let from = scratch.join(&name);
        if from.is_dir() {
            let copied = std::process::Command::new("cp").arg("-r").arg(&from).arg(to).status();
            copied.with_context(|| to.display().to_string())?;
        }
    }
    std::fs::write(to.join("why.txt"), note)?;
    Ok(())
}
