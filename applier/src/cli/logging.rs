//! What is done, in detail, on standard error: `upatch -v`, or the level that `UPATCH_LOG` names. Code logs
//! by `tracing`; this writes it down.

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::{
    fmt::{self, Write as _},
    io::{self, Write as _},
    os::fd::AsFd,
};
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
    span,
};

/// Begins to log: up to the level that `UPATCH_LOG` names, else as many levels as `-v` was given.
pub(super) fn begin(verbose: u8) {
    let named = std::env::var("UPATCH_LOG").ok().filter(|level| !level.is_empty());
    let most = named.map_or(Ok(of_count(verbose)), |level| level.parse());
    match most {
        Ok(LevelFilter::OFF) => {}
        // Fails only where something logs already.
        Ok(most) => drop(tracing::subscriber::set_global_default(Log { most, write: to_stderr })),
        // There is nowhere to report that standard error is gone.
        Err(_) => {
            drop(writeln!(io::stderr(), "warning: UPATCH_LOG: wants error, warn, info, debug or trace"))
        }
    }
}

fn of_count(verbose: u8) -> LevelFilter {
    match verbose {
        0 => LevelFilter::OFF,
        1 => LevelFilter::INFO,
        2 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    }
}

/// Makes one line of each event.
struct Log<W> {
    most: LevelFilter,
    write: W,
}

/// Writes a line, unless that would take time.
fn to_stderr(level: &str, line: &Line) {
    let stderr = io::stderr();
    // Threads of a process may be stopped now: nobody who does not read may hold that up.
    let mut fds = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
    if poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0) {
        let _ = writeln!(&stderr, "{}: {}{}", level.to_lowercase(), line.message, line.fields);
    }
}

impl<W: Fn(&str, &Line) + Send + Sync + 'static> Subscriber for Log<W> {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.most
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.most)
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        (self.write)(event.metadata().level().as_str(), &line);
    }

    // There are no spans.
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// An event in words: its message, then what else it tells.
#[derive(Debug, Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string does not fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, ", {name} {value:?}"),
        };
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[test]
    fn events_are_lines() {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let lines = Arc::clone(&kept);
        let write = move |level: &str, line: &Line| {
            lines.lock().unwrap().push(format!("{level}: {}{}", line.message, line.fields));
        };
        tracing::subscriber::with_default(Log { most: LevelFilter::DEBUG, write }, || {
            tracing::debug!(pid = 17, what = "map a segment", "step");
            tracing::trace!("too much");
        });
        assert_eq!(*kept.lock().unwrap(), ["DEBUG: step, pid 17, what map a segment"]);
    }

    #[test]
    fn more_is_more() {
        let levels: Vec<_> = (0..5).map(of_count).collect();
        assert!(levels.is_sorted() && levels[0] == LevelFilter::OFF && levels[4] == LevelFilter::TRACE);
    }
}
