//! Which arguments are rpmbuild's own and handed to it as they are.
//!
//! A table and not "everything unknown": a mistyped option of ours must stay an error.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

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

/// Options whose values are files, or lists of files with colons between.
const FILES: &[&str] = &["--load", "--rcfile", "--macros"];

/// Separates our arguments from rpmbuild's. Files that are named in the latter get their full path, as
/// rpmbuild runs elsewhere.
pub(crate) fn split(args: impl IntoIterator<Item = OsString>) -> (Vec<OsString>, Vec<OsString>) {
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
            let value = args.next();
            let is_file = FILES.iter().any(|f| arg == *f);
            theirs.push(arg);
            theirs.extend(value.map(|v| if is_file { full(&v) } else { v }));
        } else if let Some(value) = file_value(&arg) {
            theirs.extend([name.to_owned(), full(value)]);
        } else if name != arg && WITH_VALUE.iter().any(|p| name == OsStr::new(p)) {
            theirs.push(arg);
        } else {
            ours.push(arg);
        }
    }
    (ours, theirs)
}

/// `x` of `--load=x`.
fn file_value(arg: &OsStr) -> Option<&OsStr> {
    let name = option_name(arg);
    let value = arg.as_bytes().get(name.len() + 1..)?;
    FILES.iter().any(|f| name == OsStr::new(f)).then(|| OsStr::from_bytes(value))
}

fn full(list: &OsStr) -> OsString {
    let mut out = OsString::new();
    for (n, file) in list.as_bytes().split(|b| *b == b':').enumerate() {
        if n > 0 {
            out.push(":");
        }
        let file = OsStr::from_bytes(file);
        match std::path::absolute(file) {
            Ok(path) if Path::new(file).exists() => out.push(path),
            _ => out.push(file),
        }
    }
    out
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
    fn files_get_their_full_path() {
        let here = std::env::current_dir().unwrap().join("Cargo.toml").to_string_lossy().into_owned();
        assert_eq!(run(&["--load=Cargo.toml"]).1, ["--load", here.as_str()]);
        let list = format!("/no/such:{here}");
        assert_eq!(run(&["--macros", "/no/such:Cargo.toml"]).1, ["--macros", list.as_str()]);
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
