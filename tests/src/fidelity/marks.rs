//! Source text with places at which it may be another one.

use fastrand::Rng;

/// What another text at a place means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Another program.
    Real,
    /// The fix.
    Fix,
    /// The same program, which lies otherwise.
    Layout,
}

/// A place with the texts that it may have; the first is that of the rebuild.
#[derive(Clone, Debug)]
pub(super) struct Mark {
    pub(super) kind: Kind,
    pub(super) texts: Vec<String>,
}

#[derive(Clone, Debug)]
enum Part {
    Text(String),
    Mark(Mark),
}

/// A text with marks: `«real:a¦b»`, `«fix:¦b»`, `«lay:¦b»`, and `«num:5»` for a number that becomes another
/// one.
#[derive(Clone, Debug, Default)]
pub(super) struct Marked(Vec<Part>);

/// Which text each mark has that has not its first one: file, mark, text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) file: usize,
    pub(super) mark: usize,
    pub(super) text: usize,
}

impl Marked {
    pub(super) fn parse(rng: &mut Rng, text: &str) -> Self {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('«') {
            let (inside, after) = after.split_once('»').unwrap_or((after, ""));
            parts.push(Part::Text(before.to_owned()));
            let (kind, inside) = inside.split_once(':').unwrap_or(("num", inside));
            let mut texts: Vec<String> = inside.split('¦').map(str::to_owned).collect();
            let kind = match kind {
                "fix" => Kind::Fix,
                "lay" => Kind::Layout,
                "num" => {
                    texts.extend(other_number(rng, inside));
                    Kind::Real
                }
                _ => Kind::Real,
            };
            parts.push(Part::Mark(Mark { kind, texts }));
            rest = after;
        }
        parts.push(Part::Text(rest.to_owned()));
        Self(parts)
    }

    pub(super) fn marks(&self) -> impl Iterator<Item = &Mark> {
        self.0.iter().filter_map(|part| match part {
            Part::Mark(mark) => Some(mark),
            Part::Text(_) => None,
        })
    }

    /// The text with these choices for file number `file`.
    pub(super) fn render(&self, file: usize, choices: &[Choice]) -> String {
        let mut marks = 0;
        let mut text = String::new();
        for part in &self.0 {
            match part {
                Part::Text(plain) => text.push_str(plain),
                Part::Mark(mark) => {
                    let chosen = choices.iter().find(|c| c.file == file && c.mark == marks);
                    text.push_str(&mark.texts[chosen.map_or(0, |c| c.text)]);
                    marks += 1;
                }
            }
        }
        text
    }
}

/// One near to it: such differences are the ones that are overlooked.
fn other_number(rng: &mut Rng, number: &str) -> Option<String> {
    let value: i64 = number.parse().ok()?;
    let other = match rng.u32(..6) {
        0 => value + 1,
        1 => value * 2 + 1,
        2 if value > 0 => value - 1,
        3 => value + 128,
        4 => value + 4096,
        _ => value ^ 2,
    };
    Some(other.to_string())
}
