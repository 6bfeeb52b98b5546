//! Records one command by hand: `record SESSION-DIR UPATCH-CC [STORE] -- COMMAND...`, then says what was
//! recorded.

use std::io::Write;
use std::path::{Path, PathBuf};

use wrapper::{Config, Session};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let at = words
        .iter()
        .position(|word| word == "--")
        .ok_or("usage: record DIR UPATCH-CC [STORE] -- COMMAND...")?;
    let [dir, exe, store @ ..] = &words[..at] else { return Err("DIR and UPATCH-CC are missing".into()) };
    let mut config = Config::new(Path::new(exe));
    config.store = store.first().map(PathBuf::from);
    let session = match Session::open(Path::new(dir)) {
        Ok(mut session) => {
            session.set_phase(wrapper::Phase::Patched)?;
            session
        }
        Err(_) => Session::create(Path::new(dir), &config)?,
    };
    let (program, args) = words[at + 1..].split_first().ok_or("COMMAND is missing")?;
    let status = std::process::Command::new(program).args(args).envs(session.env()).status()?;
    let records = session.records(session.phase())?;
    let reused = records.units.iter().filter(|unit| unit.reused).count();
    let mut out = std::io::stdout();
    writeln!(
        out,
        "{status}: {} units ({reused} from the store), {} links, {} problems",
        records.units.len(),
        records.links.len(),
        records.problems.len()
    )?;
    for problem in &records.problems {
        writeln!(out, "problem: {}: {}", problem.what, problem.why)?;
    }
    let mut notes = std::collections::BTreeMap::new();
    for note in records
        .units
        .iter()
        .flat_map(|unit| &unit.notes)
        .chain(records.links.iter().flat_map(|link| &link.notes))
    {
        *notes.entry(note).or_insert(0) += 1;
    }
    for (note, count) in notes {
        writeln!(out, "{count} x {note}")?;
    }
    // A link input that no unit, link or system archive stands for.
    for link in &records.links {
        for input in &link.inputs {
            let known = records.unit_by_object(&input.sha256).is_some()
                || records.link_by_sha256(&input.sha256).is_some();
            if !known
                && !input.path.as_bytes().starts_with(b"/usr/lib")
                && !input.path.as_bytes().starts_with(b"/lib")
            {
                writeln!(out, "unknown input {:?} {:?} of {:?}", input.path, input.member, link.output)?;
            }
        }
    }
    Ok(())
}
