//! Which arguments are rpmbuild's own and handed to it as they are.
//!
//! A table and not "everything unknown": a mistyped option of ours must stay an error.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

/// rpmbuild options (rpmbuild(8), rpm(8)) that take a value in the next argument.
const WITH_VALUE: &[&str] = &[
    "--define",
    "-D",
    "--undefine",
    "--with",
    "--without",
    "--load",
    "--rcfile",
    "--macros",
    "--dbpath",
    "--pipe",
];
/// rpmbuild options without a value that leave the stages of the build to us.
const PLAIN: &[&str] = &[
    "--nocheck",
    "--nodebuginfo",
    "--nodeps",
    "--nodirtokens",
    "--nodigest",
    "--nosignature",
    "--scm",
    "--noclean",
    "--allow-overwrite",
];

/// Separates our arguments from rpmbuild's.
pub fn split(args: impl IntoIterator<Item = OsString>) -> (Vec<OsString>, Vec<OsString>) {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        if arg == "--" {
            ours.push(arg);
            ours.extend(args);
            break;
        }
        let name = option_name(&arg);
        if PLAIN.iter().any(|p| arg == *p) {
            theirs.push(arg);
        } else if WITH_VALUE.iter().any(|p| arg == *p) {
            theirs.push(arg);
            theirs.extend(args.next());
        } else if name != arg && WITH_VALUE.iter().any(|p| name == OsStr::new(p)) {
            theirs.push(arg);
        } else {
            ours.push(arg);
        }
    }
    (ours, theirs)
}

/// `--with` of `--with=x`.
fn option_name(arg: &OsStr) -> &OsStr {
    let bytes = arg.as_bytes();
    match bytes.iter().position(|b| *b == b'=') {
        Some(at) if bytes.starts_with(b"--") => OsStr::from_bytes(&bytes[..at]),
        _ => arg,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(args: &[&str]) -> (Vec<OsString>, Vec<OsString>) {
        split(args.iter().map(OsString::from))
    }

    #[test]
    fn rpmbuild_options_are_handed_on_with_their_values() {
        let (ours, theirs) = run(&[
            "--spec",
            "a",
            "--define",
            "x y",
            "--nocheck",
            "--with=z",
            "--without",
            "q",
            "--patch",
            "p",
        ]);
        assert_eq!(ours, ["--spec", "a", "--patch", "p"]);
        assert_eq!(theirs, ["--define", "x y", "--nocheck", "--with=z", "--without", "q"]);
    }

    #[test]
    fn a_mistyped_option_stays_ours() {
        assert_eq!(run(&["--pach", "x"]).0, ["--pach", "x"]);
    }

    #[test]
    fn nothing_after_the_double_dash_is_an_option() {
        assert_eq!(run(&["--", "--define"]).0, ["--", "--define"]);
    }
}
