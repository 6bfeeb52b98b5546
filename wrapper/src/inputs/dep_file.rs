//! Dependency files: rules as make reads them, written by gcc and clang.

/// Every prerequisite of every rule, in order, each once. Escapes as in GNU make's manual ("Rule Syntax") and
/// as the compilers write them: `\ ` and `\#` for themselves, `$$` for `$`, backslash-newline continues the
/// line.
pub(crate) fn prerequisites(text: &[u8]) -> Vec<Vec<u8>> {
    let mut found: Vec<Vec<u8>> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    let mut word = Vec::new();
    let mut after_colon = false;
    let mut at = 0;
    let mut end_word = |word: &mut Vec<u8>, after_colon: bool| {
        if after_colon && !word.is_empty() && seen.insert(word.clone()) {
            found.push(word.clone());
        }
        word.clear();
    };
    while at < text.len() {
        let next = text.get(at + 1).copied();
        match (text[at], next) {
            (b'\\', Some(b'\n')) => {
                end_word(&mut word, after_colon);
                at += 1;
            }
            (b'\\', Some(b'\r')) if text.get(at + 2) == Some(&b'\n') => {
                end_word(&mut word, after_colon);
                at += 2;
            }
            (b'\\', Some(byte @ (b' ' | b'#' | b':' | b'\t'))) => {
                word.push(byte);
                at += 1;
            }
            (b'$', Some(b'$')) => {
                word.push(b'$');
                at += 1;
            }
            (b'\n', _) => {
                end_word(&mut word, after_colon);
                after_colon = false;
            }
            (b' ' | b'\t' | b'\r', _) => end_word(&mut word, after_colon),
            (b':', None | Some(b' ' | b'\t' | b'\n' | b'\r')) if !after_colon => {
                end_word(&mut word, false);
                after_colon = true;
            }
            (byte, _) => word.push(byte),
        }
        at += 1;
    }
    end_word(&mut word, after_colon);
    found
}

#[cfg(test)]
mod tests {
    use super::prerequisites;

    #[test]
    fn rules() {
        let text = b"a.o: a.c inc/a\\ b.h \\\n /x/c$$d.h e:f.h\n\ninc/a\\ b.h:\n/x/c$$d.h:\n";
        let names: Vec<_> =
            prerequisites(text).iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
        assert_eq!(names, ["a.c", "inc/a b.h", "/x/c$d.h", "e:f.h"]);
    }
}
