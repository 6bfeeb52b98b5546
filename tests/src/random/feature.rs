//! Our own pieces of programs: templates with numbers, of which the mutator changes some.

use fastrand::Rng;
use std::fmt::Write as _;
use std::sync::LazyLock;

/// Parameter that stands only in initial values of live data, which a patch cannot change.
pub(crate) const INITIAL: usize = 7;

/// A template: `@` is the id, `$0`…`$7` numbers, `$L` the linkage of the entry, `$K` that of constants, `$C`
/// an earlier entry.
#[derive(Debug)]
struct Template {
    name: &'static str,
    text: &'static str,
}

fn parse(all: &'static str) -> Vec<Template> {
    let blocks = all.split("%% ").skip(1);
    blocks.filter_map(|b| b.split_once('\n')).map(|(name, text)| Template { name, text }).collect()
}

static C: LazyLock<Vec<Template>> = LazyLock::new(|| parse(include_str!("features/c.txt")));
static CXX: LazyLock<Vec<Template>> = LazyLock::new(|| parse(include_str!("features/cxx.txt")));
/// Top of each unit.
pub(crate) const PRELUDE: &str = include_str!("features/prelude.h");

/// Which compiler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Language {
    C,
    Cxx,
}

impl Language {
    fn templates(self) -> &'static [Template] {
        match self {
            Self::C => &C,
            Self::Cxx => &CXX,
        }
    }
}

/// One piece: a template and its numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Feature {
    pub(crate) id: u32,
    language: Language,
    template: usize,
    pub(crate) params: [u32; 8],
    local: bool,
    local_constants: bool,
    /// A strong definition elsewhere takes its place.
    weak: bool,
    /// Entry that it may call.
    callee: Option<u32>,
}

impl Feature {
    /// One of any kind. `local`: its entry may be static.
    pub(crate) fn random(
        rng: &mut Rng,
        id: u32,
        language: Language,
        local: bool,
        callee: Option<u32>,
    ) -> Self {
        let mut params = [0; 8];
        params.fill_with(|| number(rng));
        let local = local && rng.bool();
        Self {
            id,
            language,
            template: rng.usize(..language.templates().len()),
            params,
            local,
            weak: !local && rng.u32(..6) == 0,
            local_constants: rng.u32(..5) > 0,
            callee,
        }
    }

    pub(crate) fn kind(&self) -> &'static str {
        self.language.templates()[self.template].name
    }

    /// Changes a number, rarely one of an initial value.
    pub(crate) fn mutate(&mut self, rng: &mut Rng) -> String {
        let index = if rng.u32(..40) == 0 { INITIAL } else { rng.usize(..4) };
        let old = self.params[index];
        while self.params[index] == old {
            self.params[index] = number(rng);
        }
        format!("feature {} ({}): ${index} {old} -> {}", self.id, self.kind(), self.params[index])
    }

    /// Makes its constants visible to other units, or no longer so.
    pub(crate) fn toggle_constants(&mut self) -> String {
        self.local_constants = !self.local_constants;
        format!("feature {} ({}): constants static: {}", self.id, self.kind(), self.local_constants)
    }

    /// Makes its entry visible to other units, or no longer so.
    pub(crate) fn toggle_linkage(&mut self) -> String {
        self.local = !self.local;
        format!("feature {} ({}): static: {}", self.id, self.kind(), self.local)
    }

    /// A strong definition with one number changed, if this one is weak.
    pub(crate) fn overriding(&self, rng: &mut Rng) -> Option<Self> {
        if !self.weak || self.local {
            return None;
        }
        let mut strong = Self { weak: false, local_constants: true, ..self.clone() };
        strong.mutate(rng);
        Some(strong)
    }

    pub(crate) fn calls(&self, id: u32) -> bool {
        self.callee == Some(id)
    }

    /// `uint32_t feat_1(uint32_t x);`
    pub(crate) fn prototype(&self) -> String {
        format!("{}uint32_t feat_{}(uint32_t);", if self.local { "static " } else { "" }, self.id)
    }

    pub(crate) fn is_local(&self) -> bool {
        self.local
    }

    pub(crate) fn text(&self) -> String {
        let template = self.language.templates()[self.template].text;
        let mut out = String::with_capacity(template.len() + 64);
        let mut chars = template.chars().peekable();
        while let Some(c) = chars.next() {
            if c == '@' {
                let _ = write!(out, "{}", self.id);
                continue;
            }
            if c != '$' {
                out.push(c);
                continue;
            }
            match chars.next() {
                Some('L') if chars.next_if_eq(&'0').is_some() => out.push(if self.local { '1' } else { '0' }),
                Some('L') => out.push_str(match (self.local, self.weak) {
                    (true, _) => "static",
                    (false, true) => "__attribute__((weak))",
                    (false, false) => "",
                }),
                Some('K') => out.push_str(if self.local_constants { "static" } else { "" }),
                Some('C') => match self.callee {
                    Some(id) => {
                        let _ = write!(out, "feat_{id}");
                    }
                    None => out.push_str("(uint32_t)"),
                },
                Some(d) => {
                    let value =
                        d.to_digit(10).and_then(|d| self.params.get(d as usize)).copied().unwrap_or(0);
                    let _ = write!(out, "{value}u");
                }
                None => {}
            }
        }
        out
    }
}

/// Small and large numbers alike.
fn number(rng: &mut Rng) -> u32 {
    if rng.bool() { rng.u32(..256) } else { rng.u32(..) }
}
