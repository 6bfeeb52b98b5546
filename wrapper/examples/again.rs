//! Compiles every unit of a session's phase again and compares: `again SESSION-DIR PHASE [EXTRA-FLAG...]`.
//! Without extra flags each object must come out with the same bytes.

use std::io::Write;
use std::path::Path;

use wrapper::{Phase, Session, recompile};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [dir, phase, flags @ ..] = &words[..] else { return Err("usage: again DIR PHASE [FLAG...]".into()) };
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let session = Session::open(Path::new(dir))?;
    let output = session.dir().join("again.o");
    let (mut same, mut other, mut failed) = (0, 0, 0);
    let mut out = std::io::stdout();
    let phases = [Phase::Original, Phase::Patched];
    let phase = phases.into_iter().find(|known| known.name() == phase).ok_or("PHASE: original, patched")?;
    for unit in session.records(phase)?.units {
        match recompile(&unit, &flags, &output, None) {
            Ok(outcome) if outcome.sha256 == unit.object_sha256 => same += 1,
            Ok(_) => {
                other += 1;
                if flags.is_empty() {
                    writeln!(out, "differs: {:?}", unit.source)?;
                }
            }
            Err(error) => {
                failed += 1;
                writeln!(out, "{error}")?;
            }
        }
    }
    writeln!(out, "{same} the same, {other} different, {failed} failed")?;
    Ok(())
}
