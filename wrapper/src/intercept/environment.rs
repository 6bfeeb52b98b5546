//! `env -i COMMAND` was called: it takes away the variables by which compilers that are called by their full
//! path, or found on another `PATH`, come to the recorder. They are given back.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

/// Long options of env(1) (GNU coreutils, "env invocation") whose argument is a word of its own.
const LONG_WITH_ARGUMENT: &[&[u8]] = &[b"--unset", b"--chdir", b"--argv0"];

/// The words for env, with `variables` as assignments before the caller's own, which win. As they are when
/// env takes nothing away, runs no command, or gets its words out of a string.
pub(crate) fn words(args: &[OsString], variables: &[(OsString, OsString)]) -> Vec<OsString> {
    let mut words = args.to_vec();
    if let Some(at) = first_operand(args) {
        words.splice(
            at..at,
            variables.iter().map(|(name, value)| {
                let mut word = name.clone();
                word.push("=");
                word.push(value);
                word
            }),
        );
    }
    words
}

/// The first word that is no option, where env empties the environment and runs a command.
fn first_operand(args: &[OsString]) -> Option<usize> {
    let (mut at, mut empties) = (0, false);
    while let Some(word) = args.get(at).map(|w| w.as_bytes()) {
        match word {
            b"-" | b"--ignore-environment" => empties = true,
            b"--" => {
                at += 1;
                break;
            }
            _ if LONG_WITH_ARGUMENT.contains(&word) => at += 1,
            _ if word.starts_with(b"--split-string") => return None,
            _ if word.starts_with(b"--") => {}
            _ if word.starts_with(b"-") => {
                // The first letter that takes an argument ends a group: the rest of the word is its argument.
                let letters = &word[1..];
                let end = letters.iter().position(|l| b"uCSa".contains(l));
                empties |= letters[..end.unwrap_or(letters.len())].contains(&b'i');
                match end {
                    Some(end) if letters[end] == b'S' => return None,
                    Some(end) if end + 1 == letters.len() => at += 1,
                    _ => {}
                }
            }
            _ => break,
        }
        at += 1;
    }
    let runs = args.get(at..)?.iter().any(|w| !w.as_bytes().contains(&b'='));
    (empties && runs).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::words;
    use std::ffi::OsString;

    fn given(line: &str) -> String {
        let args: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let made = words(&args, &[("A".into(), "1".into())]);
        made.iter().map(|w| w.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn variables_come_before_those_of_the_caller() {
        for (line, expected) in [
            ("-i PATH=/bin make -i", "-i A=1 PATH=/bin make -i"),
            ("- make", "- A=1 make"),
            ("-vi -u X make", "-vi -u X A=1 make"),
            ("-iuX make", "-iuX A=1 make"),
            ("-i -C dir -- make", "-i -C dir -- A=1 make"),
            ("--ignore-environment --chdir dir make", "--ignore-environment --chdir dir A=1 make"),
        ] {
            assert_eq!(given(line), expected);
        }
    }

    #[test]
    fn what_takes_nothing_away_or_runs_nothing_is_left_alone() {
        for line in ["make -i", "-u HOME make", "X=1 make - i", "-i", "-i A=2", "-iS make", "-Smake -i"] {
            assert_eq!(given(line), line);
        }
    }
}
