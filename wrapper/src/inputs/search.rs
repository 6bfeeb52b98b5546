//! The compiler's include path, as the compiler itself tells it.

use std::path::Path;
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use crate::base::hash::KeyHasher;
use crate::base::{env, files};
use crate::command_line::driver::{CommandLine, Kind, Source};
use crate::command_line::flags::Meaning;
use crate::record::recorder::Recorder;
use records::OsBytes;

/// Directories in the order of search; all absolute.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SearchPath {
    /// For `"name"` only, after the directory of the including file.
    quote: Vec<OsBytes>,
    /// For both.
    angle: Vec<OsBytes>,
    /// Named by a flag, but not there. If one appears it may shadow all that follows.
    pub(crate) missing: Vec<OsBytes>,
}

impl SearchPath {
    pub(crate) fn dirs(&self, quoted: bool) -> impl Iterator<Item = &Path> {
        let quote = if quoted { &self.quote[..] } else { &[] };
        quote.iter().chain(&self.angle).map(OsBytes::as_path)
    }

    /// Asks the compiler once for each set of flags and directory in a session.
    pub(crate) fn of(recorder: &Recorder, real: &Path, line: &CommandLine, source: &Source) -> Option<Self> {
        let mut key = KeyHasher::new("search");
        let words = flags(line);
        key.field(OsBytes::from(real).as_bytes());
        key.field(source.language.as_bytes());
        key.field(OsBytes::from(recorder.cwd.as_path()).as_bytes());
        for word in &words {
            key.field(word);
        }
        for (name, value) in env::relevant(&recorder.session.bin_dir()) {
            key.field(name.as_bytes());
            key.field(value.as_bytes());
        }
        let kept = recorder.session.dir().join("search").join(key.finish());
        if let Some(known) = std::fs::read(&kept).ok().and_then(|text| serde_json::from_slice(&text).ok()) {
            return Some(known);
        }
        let mut command = Command::new(real);
        command.args(words.iter().map(|word| OsBytes::from(word.as_slice()).as_os_str().to_owned()));
        command.args(["-E", "-v", "-x", &source.language, "/dev/null", "-o", "/dev/null"]);
        command.env(env::ACTIVE, "1").env("LC_ALL", "C").stdin(Stdio::null());
        let output = command.output().ok().filter(|output| output.status.success())?;
        let found = parse(&output.stderr, &recorder.cwd)?;
        let _ = kept.parent().map(std::fs::create_dir_all);
        let _ = files::write_json(&kept, &found);
        Some(found)
    }
}

/// The flags that may change the search path: all but those that certainly do not.
fn flags(line: &CommandLine) -> Vec<Vec<u8>> {
    let mut words = Vec::new();
    for item in &line.items {
        let first = &item.words[0];
        let wanted = match item.meaning {
            Kind::Flag(Meaning::Reads) => true,
            Kind::Flag(Meaning::Plain) => ![&b"-D"[..], b"-U", b"-W", b"-w", b"-O", b"-g", b"--", b"-H"]
                .iter()
                .any(|flag| first.starts_with(flag) && !(flag == b"--" && first.len() > 2)),
            _ => false,
        };
        if wanted {
            words.extend(item.words.iter().cloned());
        }
    }
    words
}

fn parse(text: &[u8], cwd: &Path) -> Option<SearchPath> {
    let mut path = SearchPath::default();
    let mut list = None;
    let absolute = |name: &[u8]| OsBytes::from(cwd.join(OsBytes::from(name).as_path()));
    for line in text.split(|byte| *byte == b'\n') {
        if line.starts_with(b"#include \"...\"") {
            list = Some(true);
        } else if line.starts_with(b"#include <...>") {
            list = Some(false);
        } else if line.starts_with(b"End of search list") {
            return Some(path);
        } else if let Some(rest) = line.strip_prefix(b"ignoring nonexistent directory \"") {
            path.missing.push(absolute(rest.strip_suffix(b"\"").unwrap_or(rest)));
        } else if let (Some(quote), Some(dir)) = (list, line.strip_prefix(b" ")) {
            if quote { &mut path.quote } else { &mut path.angle }.push(absolute(dir));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gcc_listing() {
        let text = b"ignoring nonexistent directory \"/no\"\n#include \"...\" search starts here:\n q\n\
                     #include <...> search starts here:\n /usr/include\nEnd of search list.\n";
        let path = parse(text, Path::new("/b")).unwrap();
        let dirs: Vec<_> = path.dirs(true).collect();
        assert_eq!(dirs, [Path::new("/b/q"), Path::new("/usr/include")]);
        assert_eq!(path.dirs(false).count(), 1);
        assert_eq!(path.missing, [OsBytes::from("/no")]);
        assert_eq!(parse(b"nothing", Path::new("/b")), None);
    }
}
