//! What the original link's command line says about how names are bound.

use std::collections::BTreeSet;

/// Options of the linker (ld(1)) that change what a reference means.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// `--icf=all` or `--icf=safe`, which gold, lld and mold know: equal functions are folded.
    pub(crate) folds: bool,
    /// `-Bsymbolic`: own definitions first.
    pub(crate) binds_own: bool,
    /// Own definitions first for functions, also with `-Bsymbolic-functions`: the library's variables may
    /// then still be copied into a program.
    pub(crate) binds_own_functions: bool,
    /// `--wrap`: these names.
    wrapped: BTreeSet<String>,
}

impl Options {
    /// Reads a command line without response files.
    pub(crate) fn read<'a>(argv: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut options = Self::default();
        let mut names_next = false;
        for word in argv {
            if std::mem::take(&mut names_next) {
                options.wrap(word);
                continue;
            }
            // Options of more than one letter may begin with one dash or two.
            let option = word.strip_prefix(b"--").or(word.strip_prefix(b"-")).unwrap_or_default();
            match option {
                b"Bsymbolic" => (options.binds_own, options.binds_own_functions) = (true, true),
                b"Bsymbolic-functions" => options.binds_own_functions = true,
                b"wrap" => names_next = true,
                _ => {
                    let folding = option.strip_prefix(b"icf=").is_some_and(|how| how != b"none");
                    options.folds |= folding;
                    if let Some(name) = option.strip_prefix(b"wrap=") {
                        options.wrap(name);
                    }
                }
            }
        }
        options
    }

    fn wrap(&mut self, name: &[u8]) {
        self.wrapped.insert(String::from_utf8_lossy(name).into_owned());
    }

    /// The name that a reference by `name` means instead, in an object that does not define `name`.
    pub(crate) fn wrapper_of(&self, name: &str) -> Option<String> {
        if self.wrapped.contains(name) {
            return Some(format!("__wrap_{name}"));
        }
        let real = name.strip_prefix("__real_")?;
        self.wrapped.contains(real).then(|| real.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> Options {
        Options::read(words.iter().map(|w| w.as_bytes()))
    }

    #[test]
    fn every_way_to_write_wrap() {
        for words in [&["--wrap=malloc"][..], &["--wrap", "malloc"], &["-wrap=malloc"], &["-wrap", "malloc"]]
        {
            let options = read(words);
            assert_eq!(options.wrapper_of("malloc").as_deref(), Some("__wrap_malloc"), "{words:?}");
            assert_eq!(options.wrapper_of("__real_malloc").as_deref(), Some("malloc"), "{words:?}");
            assert_eq!(options.wrapper_of("__wrap_malloc"), None, "{words:?}");
            assert_eq!(options.wrapper_of("free"), None, "{words:?}");
        }
        assert_eq!(read(&["-o", "x"]).wrapper_of("malloc"), None);
    }

    #[test]
    fn symbolic_and_folding() {
        assert!(read(&["-Bsymbolic"]).binds_own && read(&["-Bsymbolic"]).binds_own_functions);
        let functions = read(&["-Bsymbolic-functions", "--icf=none"]);
        assert!(functions.binds_own_functions && !functions.binds_own && !functions.folds);
        assert!(read(&["--icf=safe"]).folds);
    }
}
