//! Options may stand before the verb, as with systemctl: `upatch --pid 17 apply ID`.

use std::ffi::OsString;

/// Options of the verbs that take a value in the next word.
const WITH_VALUE: [&str; 2] = ["--pid", "--timeout"];
/// Options of the verbs that take none.
const PLAIN: [&str; 4] = ["--lazy", "--dry-run", "--json", "--replace"];

/// The words of a command line with the verb's options moved behind the verb. Everything else stays in its
/// place, so that what is wrong is told as it was typed.
pub(super) fn verb_first(words: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut words = words.into_iter();
    let mut arranged: Vec<OsString> = words.by_ref().take(1).collect();
    let mut moved = Vec::new();
    while let Some(word) = words.next() {
        let text = word.to_string_lossy().into_owned();
        if PLAIN.contains(&text.as_str()) || WITH_VALUE.iter().any(|o| text.starts_with(&format!("{o}="))) {
            moved.push(word);
        } else if WITH_VALUE.contains(&text.as_str()) {
            moved.push(word);
            moved.extend(words.next());
        } else if text == "--root" {
            arranged.push(word);
            arranged.extend(words.next());
        } else {
            arranged.push(word);
            if !text.starts_with('-') {
                break;
            }
        }
    }
    arranged.extend(moved);
    arranged.extend(words);
    arranged
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arranged(line: &str) -> String {
        let words = verb_first(line.split(' ').map(OsString::from));
        words.iter().map(|w| w.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn options_before_the_verb_go_behind_it() {
        assert_eq!(arranged("upatch --pid 17 apply X"), "upatch apply --pid 17 X");
        assert_eq!(
            arranged("upatch --root /r --lazy --pid=1 apply X"),
            "upatch --root /r apply --lazy --pid=1 X"
        );
        assert_eq!(arranged("upatch --json list"), "upatch list --json");
    }

    #[test]
    fn other_lines_stay_as_they_are() {
        for line in [
            "upatch",
            "upatch apply --pid 17 X",
            "upatch --version",
            "upatch apply -- --pid",
            "upatch --odd apply",
        ] {
            assert_eq!(arranged(line), line);
        }
    }
}
