//! How fast objects are compared: all objects of a package, debug information included, on all cores, and ten
//! times as many.

use anyhow::{Context, Result, ensure};
use differ::Options;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// At least this many pairs in the small round.
const PAIRS: usize = 500;

/// One line of the table.
#[derive(Clone, Copy, Debug)]
pub struct Speed {
    /// Pairs compared.
    pub pairs: usize,
    /// Bytes of one side.
    pub bytes: u64,
    /// Seconds on the clock.
    pub wall: f64,
    /// CPU seconds.
    pub cpu: f64,
    /// Highest resident set of this process so far, in MiB.
    pub peak: f64,
}

/// Objects of both sides.
#[derive(Clone, Debug)]
pub struct Pair {
    original: PathBuf,
    patched: PathBuf,
}

/// The relocatable objects below `original` that are below `patched` at the same place too.
///
/// # Errors
/// When there are none.
pub fn pairs(original: &Path, patched: &Path) -> Result<Vec<Pair>> {
    let mut found = Vec::new();
    for path in crate::package::files_below(original)? {
        let other = patched.join(path.strip_prefix(original)?);
        if path.extension().is_some_and(|e| e == "o") && other.is_file() {
            found.push(Pair { original: path, patched: other });
        }
    }
    ensure!(!found.is_empty(), "no objects below {}", original.display());
    Ok(found)
}

/// Compares all pairs, `rounds` times each.
///
/// # Errors
/// When an object cannot be read or compared.
pub fn compare(pairs: &[Pair], rounds: usize) -> Result<Speed> {
    let next = AtomicUsize::new(0);
    let (began, cpu) = (Instant::now(), own_cpu_seconds()?);
    let work = || -> Result<u64> {
        let mut bytes = 0;
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= pairs.len() * rounds {
                return Ok(bytes);
            }
            let pair = &pairs[index % pairs.len()];
            let (original, patched) = (std::fs::read(&pair.original)?, std::fs::read(&pair.patched)?);
            bytes += original.len() as u64;
            differ::diff(&original, &patched, &Options::default())
                .with_context(|| pair.original.display().to_string())?;
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let bytes = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        let join = |t: std::thread::ScopedJoinHandle<'_, Result<u64>>| {
            t.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a thread panicked")))
        };
        threads.into_iter().map(join).sum::<Result<u64>>()
    })?;
    Ok(Speed {
        pairs: pairs.len() * rounds,
        bytes,
        wall: began.elapsed().as_secs_f64(),
        cpu: own_cpu_seconds()? - cpu,
        peak: peak_mib()?,
    })
}

/// One function of a large unit: a static local, tables, strings and a switch, as many units have them.
const FUNCTION: &str = r#"
__attribute__((noinline)) int f@(int x) {
  static int count = @;
  static const int table[] = { @, 7, 13, 4 };
  static const char *const names[] = { "alpha @", "beta", __func__ };
  count += x;
  if (x < 0) fails(__func__, "negative");
  switch (x) {
  case 0: return out("zero", @);
  case 1: return out(names[x & 1], count);
  case 2: return out("two", 3);
  case 3: return count ^ 5;
  case 4: return count * 3 + CHANGE;
  case 5: return x ^ @;
  }
  return table[x & 3] + out("rest @", count);
}
"#;

/// Compiles one unit of so many functions below `original` and, with each function changed, below `patched`.
///
/// # Errors
/// gcc is missing or fails.
pub fn one_unit(functions: usize, original: &Path, patched: &Path) -> Result<()> {
    let mut text =
        "extern int out(const char *, int); extern void fails(const char *, const char *);\n".to_owned();
    text.extend((0..functions).map(|i| FUNCTION.replace('@', &i.to_string())));
    for (folder, change) in [(original, "-DCHANGE=1"), (patched, "-DCHANGE=2")] {
        std::fs::create_dir_all(folder)?;
        let source = folder.join("unit.c");
        std::fs::write(&source, &text)?;
        let command = crate::run::Cmd::new("gcc").args(["-c", "-g", "-O1", "-ffunction-sections"]);
        let command = command.args(["-fdata-sections", change, "-o"]).arg(folder.join("unit.o")).arg(&source);
        command.limit(Duration::from_secs(900)).run()?.ok()?;
    }
    Ok(())
}

/// As many rounds over the pairs as make up a big package.
#[must_use]
pub fn rounds(pairs: &[Pair]) -> usize {
    PAIRS.div_ceil(pairs.len().max(1))
}

/// User and system time of this process, in seconds.
fn own_cpu_seconds() -> Result<f64> {
    // proc_pid_stat(5): fields 14 and 15, in clock ticks; USER_HZ is 100 on every Linux of today.
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let rest = stat.rsplit_once(')').context("no command in /proc/self/stat")?.1;
    let ticks: u64 = rest.split_whitespace().skip(11).take(2).filter_map(|f| f.parse::<u64>().ok()).sum();
    Ok(ticks as f64 / 100.0)
}

fn peak_mib() -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).context("no VmHWM")?;
    Ok(line.split_whitespace().next().context("VmHWM")?.parse::<f64>()? / 1024.0)
}

impl std::fmt::Display for Speed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let pairs = self.pairs as f64;
        write!(
            f,
            "{:>8} {:>9.1} {:>10.0} {:>12.2} {:>9.0}",
            self.pairs,
            self.bytes as f64 / f64::from(1 << 20),
            pairs / self.wall,
            self.cpu * 1000.0 / pairs,
            self.peak
        )
    }
}
