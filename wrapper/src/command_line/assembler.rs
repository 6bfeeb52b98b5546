//! A command line of GNU as.

/// Flags of GNU as with an argument in the next word (as(1)).
const WITH_ARGUMENT: &[&str] = &[
    "-o",
    "-I",
    "--defsym",
    "--MD",
    "-G",
    "--debug-prefix-map",
    "--listing-lhs-width",
    "--listing-cont-lines",
];

/// Flags after which nothing is assembled.
const QUESTIONS: &[&str] = &["--version", "-version", "--help", "--target-help"];

pub(crate) struct AsLine {
    pub(crate) output: Vec<u8>,
    pub(crate) inputs: Vec<Vec<u8>>,
}

/// `None` if nothing is assembled.
pub(crate) fn parse(words: &[Vec<u8>]) -> Option<AsLine> {
    let mut line = AsLine { output: b"a.out".to_vec(), inputs: Vec::new() };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let is = |names: &[&str]| names.iter().any(|name| name.as_bytes() == word);
        if is(QUESTIONS) {
            return None;
        }
        if is(WITH_ARGUMENT) {
            let value = words.next()?;
            if word == b"-o" {
                line.output.clone_from(value);
            }
        } else if let Some(output) = word.strip_prefix(b"-o") {
            line.output = output.to_vec();
        } else if word.first() != Some(&b'-') {
            line.inputs.push(word.clone());
        }
    }
    Some(line)
}

/// The words of an assembler's command line without its output.
pub(crate) fn without_output(words: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut kept = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.as_slice() {
            b"-o" | b"--MD" => drop(words.next()),
            _ if word.starts_with(b"-o") => {}
            _ => kept.push(word.clone()),
        }
    }
    kept
}
