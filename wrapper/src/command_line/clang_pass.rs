//! Commands of clang's compiler proper and of its assembler, which the driver runs.

/// First argument of a command of the compiler proper.
pub(crate) const CC1: &[u8] = b"-cc1";

/// First argument of a command of its assembler.
pub(crate) const CC1AS: &[u8] = b"-cc1as";

/// The words of a `-cc1` command without those that name outputs; `extra` goes before the source, which is
/// last.
pub(crate) fn without_outputs(argv: &[Vec<u8>], extra: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut kept = Vec::new();
    let mut words = argv.iter();
    while let Some(word) = words.next() {
        match word.as_slice() {
            b"-o" | b"-dependency-file" | b"-MT" | b"-serialize-diagnostic-file" | b"-split-dwarf-output" => {
                let _ = words.next();
            }
            b"-sys-header-deps" | b"-MP" | b"-MG" => {}
            _ => kept.push(word.clone()),
        }
    }
    let source = kept.pop();
    kept.extend(extra.iter().cloned());
    kept.extend(source);
    kept
}
