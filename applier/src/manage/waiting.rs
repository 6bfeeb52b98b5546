//! What a user at a terminal sees while processes are waited for.

use super::each_process::Obstacle;
use std::{
    io::{self, Write},
    time::Duration,
};

/// Waiting for less than this is not worth a word.
const SHORT: Duration = Duration::from_millis(800);

/// For those who look at no terminal.
pub(crate) fn nobody(_: &[Obstacle<'_>]) {}

/// One line, which the next one takes the place of; it goes when nothing is in the way any more.
pub(crate) fn show(obstacles: &[Obstacle<'_>]) {
    let width = terminal_size::terminal_size_of(io::stderr()).map_or(80, |(width, _)| usize::from(width.0));
    let line = line(obstacles, width.saturating_sub(1));
    // There is nowhere to report that standard error is gone.
    let _ = write!(io::stderr(), "\r\x1b[K{line}").and_then(|()| io::stderr().flush());
}

fn line(obstacles: &[Obstacle<'_>], width: usize) -> String {
    let Some(longest) = obstacles.iter().max_by_key(|o| o.since).filter(|o| o.since >= SHORT) else {
        return String::new();
    };
    let others = match obstacles.len() {
        1 => String::new(),
        n => format!(" ({} more wait)", n - 1),
    };
    let (process, seconds) = (longest.process, longest.since.as_secs().max(1));
    let line = format!(
        "waiting for process {} ({}){others}: for {seconds} s {}",
        process.key.pid, process.comm, longest.why
    );
    line.chars().filter(|c| !c.is_control()).take(width).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{manage::SurveyedProcess, state::ProcessKey};

    #[test]
    fn the_obstacle_that_has_been_there_longest_is_shown() {
        let process = |pid| SurveyedProcess {
            key: ProcessKey { pid, start: 1 },
            comm: "hello".into(),
            targets: Vec::new(),
            blocks: Ok(Vec::new()),
        };
        let (a, b) = (process(7), process(8));
        let since = Duration::from_millis;
        let seen = |first, second| {
            [
                Obstacle { process: &a, why: "thread 71 is in f", since: since(first) },
                Obstacle { process: &b, why: "thread 81 returns to g", since: since(second) },
            ]
        };
        let text = "waiting for process 8 (hello) (1 more wait): for 3 s thread 81 returns to g";
        assert_eq!(line(&seen(900, 3500), 200), text);
        assert_eq!(line(&seen(900, 3500), 20), "waiting for process ");
        assert_eq!(line(&seen(100, 200), 200), "");
        assert_eq!(line(&[], 200), "");
    }
}
