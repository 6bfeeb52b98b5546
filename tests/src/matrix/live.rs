//! A running process, patched and taken back, beside the two programs built cold.

use super::case::Case;
use super::scene::Scene;
use crate::programs::{Made, Service, upatch};
use anyhow::{Context, Result, bail, ensure};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// What the phases are called.
const PHASES: [&str; 4] = ["before", "patched", "taken back", "active again"];

/// A driver that answers questions: each answer ends with a line `.`.
struct Process {
    child: Child,
    questions: ChildStdin,
    answers: Receiver<String>,
}

impl Process {
    fn start(program: &Path) -> Result<Self> {
        let mut child = Command::new(program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let questions = child.stdin.take().context("no standard input")?;
        let mut lines = BufReader::new(child.stdout.take().context("no standard output")?).lines();
        let (send, answers) = channel();
        std::thread::spawn(move || {
            let mut answer = Vec::new();
            while let Some(Ok(line)) = lines.next() {
                if line == "." {
                    if send.send(answer.join("\n")).is_err() {
                        return;
                    }
                    answer.clear();
                } else {
                    answer.push(line);
                }
            }
        });
        Ok(Self { child, questions, answers })
    }

    fn ask(&mut self, question: &str) -> Result<String> {
        let written = writeln!(self.questions, "{question}");
        match self.answers.recv_timeout(Duration::from_secs(60)) {
            Ok(answer) if written.is_ok() => Ok(answer),
            _ => {
                let end = self.child.try_wait()?;
                let mut errors = String::new();
                if end.is_some()
                    && let Some(stderr) = &mut self.child.stderr
                {
                    let _ = stderr.read_to_string(&mut errors);
                }
                let signal = end.and_then(|e| e.signal());
                bail!(
                    "no answer to {question:?}: the process ended with {end:?}, signal {signal:?}; {errors}"
                )
            }
        }
    }

    fn ask_all(&mut self, questions: &[String]) -> Result<Vec<String>> {
        questions.iter().map(|q| self.ask(q)).collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Old code, patched, old code again, patched again.
///
/// # Errors
/// An answer is not that of the program built cold, or a command fails.
pub fn check(case: &Case, scene: &Scene, made: &Made) -> Result<()> {
    let mut old = Process::start(&scene.program("a"))?;
    let mut new = Process::start(&scene.program("b"))?;
    let mut live = Process::start(&scene.program("a"))?;
    let pid = live.child.id().to_string();
    let root = tempfile::tempdir()?;
    let run = |verb: &str, id: &str| -> Result<()> {
        upatch()?
            .arg("--root")
            .arg(root.path())
            .args([verb, id, "--pid", &pid, "--timeout", "3"])
            .run()?
            .ok()?;
        Ok(())
    };
    let dir = made.dir().to_string_lossy().into_owned();
    for (phase, when) in PHASES.iter().enumerate() {
        match phase {
            1 => run("apply", &dir)?,
            2 => run("deactive", &made.name)?,
            3 => run("active", &made.name)?,
            _ => {}
        }
        let before = old.ask_all(case.asks()).context("the original program")?;
        let after = new.ask_all(case.asks()).context("the patched program, built cold")?;
        ensure!(before != after || !case.is_seen(), "both programs built cold answer {before:?}");
        let patched = phase % 2 == 1;
        let cold = if patched { after } else { before };
        let expected = case.own_answers(phase).unwrap_or(&cold);
        let answers = live.ask_all(case.asks()).context(*when)?;
        ensure!(answers == expected, "{when}: the process answers\n{answers:#?}\ninstead of\n{expected:#?}");
    }
    run("remove", &made.name)?;
    live.ask_all(case.asks()).context("after the removal")?;
    if is_root()? { started(case, scene, &dir, root.path()) } else { Ok(()) }
}

/// Longer than a start is held for want of the service: after that it runs on unpatched, and shows nothing.
const HELD: Duration = Duration::from_millis(200);

/// A process that starts while the patch is active is the program built cold, from its first line on.
fn started(case: &Case, scene: &Scene, dir: &str, root: &Path) -> Result<()> {
    let _service = Service::start(root)?;
    upatch()?.arg("--root").arg(root).args(["apply", dir]).run()?.ok()?;
    let cold = Process::start(&scene.program("b"))?.ask_all(case.asks())?;
    let expected = case.answers_started().unwrap_or(&cold);
    for _ in 0..5 {
        let began = Instant::now();
        let mut process = Process::start(&scene.program("a"))?;
        let answers = process.ask_all(case.asks()).context("started with the patch active")?;
        if answers == expected {
            return Ok(());
        }
        ensure!(
            began.elapsed() > HELD,
            "started with the patch active, the process answers\n{answers:#?}\ninstead of\n{expected:#?}"
        );
    }
    bail!("no process starts in time on this machine")
}

fn is_root() -> Result<bool> {
    Ok(std::fs::read_to_string("/proc/self/status")?.contains("\nUid:\t0\t0\t"))
}
