//! Where in a C or C++ source a preprocessor directive may stand.
//!
//! A directive is legal at the start of a line that is not inside a comment, a raw string or a line continued
//! with a backslash (C17 5.1.1.2, 6.10). Inside the arguments of a macro it is undefined (6.10.3 p11), so a
//! line inside any open parenthesis does not count as legal either: whether it belongs to a macro call cannot
//! be told without preprocessing.

/// Lines of a text, counted from 0, as far as directives matter.
#[derive(Debug)]
pub(super) struct DirectivePositions {
    /// May a directive be put in front of the line? In front of one that begins or ends a branch of a
    /// conditional there is no use for one.
    legal: Vec<bool>,
    /// The branch of a conditional that the line is in; 0 is the text outside of all.
    branch: Vec<usize>,
    /// By branch the one around it.
    around: Vec<usize>,
}

impl DirectivePositions {
    pub(super) fn of(text: &[u8]) -> Self {
        let mut scan = Scan { around: vec![0], ..Scan::default() };
        let (mut legal, mut branch) = (Vec::new(), Vec::new());
        for line in text.split_inclusive(|b| *b == b'\n') {
            let here = scan.legal_here(line);
            let turns = scan.line(line);
            legal.push(here && !turns);
            branch.push(scan.branch());
        }
        Self { legal, branch, around: scan.around }
    }

    /// May a directive be put in front of this line?
    pub(super) fn legal(&self, line: usize) -> bool {
        self.legal.get(line).copied().unwrap_or(false)
    }

    /// The branch of a conditional that a line is in.
    pub(super) fn branch(&self, line: usize) -> usize {
        self.branch.get(line).copied().unwrap_or(0)
    }

    /// Does `outer` hold `inner`, or is it the same branch? Then `outer` is compiled wherever `inner` is.
    pub(super) fn encloses(&self, outer: usize, mut inner: usize) -> bool {
        while inner > outer {
            inner = self.around.get(inner).copied().unwrap_or(0);
        }
        inner == outer
    }
}

#[derive(Default)]
struct Scan {
    comment: bool,
    /// Closing sequence of the raw string we are in: `)delimiter"`.
    raw: Option<Vec<u8>>,
    /// The line before ended with a backslash.
    continued: bool,
    /// Quote character of the literal that a continuation left open.
    quote: Option<u8>,
    /// Inside a directive (until the line ends uncontinued).
    directive: bool,
    parens: u32,
    /// The conditionals around us: the depth at their `#if`, at which each of their branches starts, and the
    /// branch that we are in.
    conditionals: Vec<(u32, usize)>,
    /// By branch the one around it.
    around: Vec<usize>,
}

impl Scan {
    fn legal_here(&self, next: &[u8]) -> bool {
        let first = next.iter().find(|b| !b.is_ascii_whitespace());
        // A name and its parenthesis on the next line may be a macro call.
        !self.comment && self.raw.is_none() && !self.continued && self.parens == 0 && first != Some(&b'(')
    }

    fn branch(&self) -> usize {
        self.conditionals.last().map_or(0, |(_, branch)| *branch)
    }

    /// Reads a line. Does it begin or end a branch of a conditional?
    fn line(&mut self, line: &[u8]) -> bool {
        let body = line.strip_suffix(b"\n").unwrap_or(line);
        let body = body.strip_suffix(b"\r").unwrap_or(body);
        let fresh = !self.comment && self.raw.is_none() && !self.continued;
        let mut turns = false;
        if fresh {
            self.directive = false;
            let trimmed = body.trim_ascii_start();
            if let Some(rest) = trimmed.strip_prefix(b"#") {
                self.directive = true;
                turns = self.conditional(rest.trim_ascii_start());
            } else if body.first() == Some(&b'}') {
                // The end of a function: whatever confused us (unbalanced branches, macros) ends here.
                self.parens = 0;
            }
        }
        self.characters(body);
        self.continued = self.raw.is_none() && body.last() == Some(&b'\\');
        if !self.continued {
            self.quote = None;
        }
        turns
    }

    fn conditional(&mut self, rest: &[u8]) -> bool {
        let word = rest.split(|b| !b.is_ascii_alphabetic()).next().unwrap_or_default();
        let branch = self.around.len();
        match word {
            b"if" | b"ifdef" | b"ifndef" => {
                self.around.push(self.branch());
                self.conditionals.push((self.parens, branch));
            }
            b"else" | b"elif" | b"elifdef" | b"elifndef" => {
                if let Some((_, ended)) = self.conditionals.last() {
                    self.around.push(self.around[*ended]);
                }
                if let Some((parens, now)) = self.conditionals.last_mut() {
                    self.parens = *parens;
                    *now = branch;
                }
            }
            b"endif" => {
                self.conditionals.pop();
            }
            _ => return false,
        }
        true
    }

    fn characters(&mut self, body: &[u8]) {
        let mut at = 0;
        while at < body.len() {
            let rest = &body[at..];
            if self.comment {
                let Some(end) = find(rest, b"*/") else { return };
                self.comment = false;
                at += end + 2;
            } else if let Some(close) = &self.raw {
                let Some(end) = find(rest, close) else { return };
                at += end + close.len();
                self.raw = None;
            } else if let Some(quote) = self.quote {
                match rest[0] {
                    b'\\' => at += 2,
                    c => {
                        if c == quote {
                            self.quote = None;
                        }
                        at += 1;
                    }
                }
            } else if rest.starts_with(b"/*") {
                self.comment = true;
                at += 2;
            } else if rest.starts_with(b"//") {
                return;
            } else {
                self.code(body, &mut at);
            }
        }
    }

    fn code(&mut self, body: &[u8], at: &mut usize) {
        match body[*at] {
            b'"' => match raw_close(body, *at) {
                Some(close) => {
                    *at += close.len();
                    self.raw = Some(close);
                }
                None => {
                    self.quote = Some(b'"');
                    *at += 1;
                }
            },
            // A quote between digits or letters separates digits (C++14, C23) unless it begins a prefixed
            // literal.
            b'\'' => {
                if !is_digit_separator(body, *at) {
                    self.quote = Some(b'\'');
                }
                *at += 1;
            }
            b'(' if !self.directive => {
                self.parens += 1;
                *at += 1;
            }
            b')' if !self.directive => {
                self.parens = self.parens.saturating_sub(1);
                *at += 1;
            }
            _ => *at += 1,
        }
    }
}

fn is_digit_separator(body: &[u8], at: usize) -> bool {
    let start = body[..at]
        .iter()
        .rposition(|b| !(b.is_ascii_alphanumeric() || *b == b'_' || *b == b'\''))
        .map_or(0, |p| p + 1);
    start < at && body[start].is_ascii_digit() && body.get(at + 1).is_some_and(u8::is_ascii_alphanumeric)
}

/// If the quote at `at` begins a raw string (`R"x(`), its closing sequence.
fn raw_close(body: &[u8], at: usize) -> Option<Vec<u8>> {
    let start =
        body[..at].iter().rposition(|b| !(b.is_ascii_alphanumeric() || *b == b'_')).map_or(0, |p| p + 1);
    if !matches!(&body[start..at], b"R" | b"u8R" | b"uR" | b"UR" | b"LR") {
        return None;
    }
    let rest = &body[at + 1..];
    let open = rest.iter().take(17).position(|b| *b == b'(')?;
    let mut close = vec![b')'];
    close.extend_from_slice(&rest[..open]);
    close.push(b'"');
    Some(close)
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|w| w == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn illegal(text: &str) -> Vec<usize> {
        let places = DirectivePositions::of(text.as_bytes());
        (0..places.legal.len()).filter(|i| !places.legal(*i)).collect()
    }

    #[test]
    fn comments_strings_and_continuations_are_left_whole() {
        assert_eq!(illegal("a\n/* x\n y */\nb\n"), [2]);
        assert_eq!(illegal("// /*\nb\n\"/*\"\nc\n'\"'\nd\n"), [0usize; 0]);
        assert_eq!(illegal("#define A \\\n b\nc\n"), [1]);
        assert_eq!(illegal("s = R\"x(\n)\"\n)x\";\nb\n"), [1, 2]);
        assert_eq!(illegal("s = \"a\\\nb(\";\nc\n"), [1]);
    }

    #[test]
    fn arguments_are_left_whole() {
        assert_eq!(illegal("f(a,\n  b);\nc;\n"), [1]);
        assert_eq!(illegal("M\n(x);\n"), [1]);
        assert_eq!(illegal("if (a &&\n#ifdef X\n b) {\n#else\n c) {\n#endif\n}\n"), [1, 2, 3, 4, 5]);
    }

    #[test]
    fn parentheses_of_directives_and_character_literals_do_not_count() {
        assert_eq!(illegal("#define OPEN (\nx = '(';\ny = 1'000;\nz;\n"), [0usize; 0]);
    }

    #[test]
    fn branches_of_conditionals_are_told_apart() {
        let text = "a\n#if X\nb\n#if Y\nc\n#endif\n#else\nd\n#endif\ne\n";
        let places = DirectivePositions::of(text.as_bytes());
        let of = |line: usize| places.branch(line);
        assert_eq!([0, 2, 4, 7, 9].map(of), [0, 1, 2, 3, 0]);
        assert!(places.encloses(of(2), of(4)) && places.encloses(of(0), of(7)));
        assert!(!places.encloses(of(4), of(2)) && !places.encloses(of(2), of(7)) && !places.encloses(1, 0));
    }

    #[test]
    fn confusion_ends_with_the_function() {
        assert_eq!(illegal("void f() {\n  BEGIN(\n}\nx\n"), [2]);
    }
}
