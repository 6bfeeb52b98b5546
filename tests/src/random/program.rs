//! A random program: units made of csmith's text and of features, rendered to source files.

use super::csmith::{self, Csmith};
use super::feature::{Feature, Language, PRELUDE};
use anyhow::Result;
use fastrand::Rng;
use std::fmt::Write as _;

/// A statement put in front of a line of csmith's text.
#[derive(Clone, Debug)]
pub(super) struct Insert {
    pub(super) line: usize,
    /// Feature that it calls: it goes with it.
    pub(super) feature: Option<u32>,
    pub(super) text: String,
}

/// One source file.
#[derive(Clone, Debug)]
pub(super) struct Unit {
    pub(super) name: &'static str,
    pub(super) language: Language,
    pub(super) csmith: Option<Csmith>,
    pub(super) features: Vec<Feature>,
    pub(super) inserts: Vec<Insert>,
    /// Lines added at the top: a shift of all line numbers.
    pub(super) shift: usize,
}

/// The program. The first unit has csmith's text and calls everything.
#[derive(Clone, Debug)]
pub(super) struct Program {
    pub(super) units: Vec<Unit>,
    pub(super) next_id: u32,
}

impl Program {
    /// A new one.
    ///
    /// # Errors
    /// When csmith fails.
    pub(super) fn random(rng: &mut Rng) -> Result<Self> {
        let mut csmith = csmith::generate(rng)?;
        match rng.u32(..4) {
            0 => csmith.make_global(false),
            1 => csmith.make_global(true),
            _ => {}
        }
        let unit = |name, language, csmith| Unit {
            name,
            language,
            csmith,
            features: Vec::new(),
            inserts: Vec::new(),
            shift: 0,
        };
        let mut units = vec![unit("first.c", Language::C, Some(csmith))];
        if rng.u32(..3) > 0 {
            units.push(unit("second.c", Language::C, None));
        }
        if rng.u32(..5) == 0 {
            units.push(unit("third.cc", Language::Cxx, None));
        }
        let mut program = Self { units, next_id: 1 };
        for index in 0..program.units.len() {
            for _ in 0..rng.u32(3..8) {
                program.add_feature(rng, index);
            }
        }
        Ok(program)
    }

    /// Adds a feature to a unit, and a call of it (or two).
    pub(super) fn add_feature(&mut self, rng: &mut Rng, unit: usize) -> String {
        let id = self.next_id;
        self.next_id += 1;
        let others: Vec<u32> = self
            .units
            .iter()
            .enumerate()
            .flat_map(|(u, x)| x.features.iter().filter(move |f| u == unit || !f.is_local()).map(|f| f.id))
            .collect();
        let callee = rng.choice(others);
        let owner = &mut self.units[unit];
        let feature = Feature::random(rng, id, owner.language, unit == 0, callee);
        let what = format!("feature {id} ({}) added to {}", feature.kind(), owner.name);
        owner.features.push(feature);
        for _ in 0..rng.u32(1..3) {
            self.add_call(rng, Some(id));
        }
        what
    }

    /// Adds a statement to the first unit, which calls a feature or only computes.
    pub(super) fn add_call(&mut self, rng: &mut Rng, feature: Option<u32>) -> String {
        let unit = &mut self.units[0];
        let Some(csmith) = &unit.csmith else { return String::new() };
        let mut places: Vec<usize> = csmith.functions.clone().filter(|&i| csmith.is_statement(i)).collect();
        // As often at the end of all as in some function.
        if rng.bool() || places.is_empty() {
            places = vec![csmith.end];
        }
        let line = rng.choice(places).unwrap_or(csmith.end);
        let text = match (feature, rng.u32(..4)) {
            (Some(id), 0) => format!("SAY(\"feat_{id} says %u\\n\", feat_{id}(acc));"),
            (Some(id), _) => format!("acc = MIX(acc, feat_{id}(acc ^ {}u));", rng.u32(..100)),
            (None, 0) => format!("SAY(\"here {} %u\\n\", acc);", rng.u32(..1000)),
            (None, 1) => {
                format!("{{ static uint32_t extra; extra += {}u; acc ^= extra; }}", rng.u32(1..1000))
            }
            (None, _) => format!("acc = acc * {}u + {}u;", rng.u32(..1000) | 1, rng.u32(..1000)),
        };
        let what = format!("line {line}: {text}");
        unit.inserts.push(Insert { line, feature, text });
        what
    }

    /// Ids of entries that something else may call, and that must therefore stay.
    pub(super) fn render(&self) -> Vec<(&'static str, String)> {
        self.units.iter().enumerate().map(|(index, unit)| (unit.name, self.unit_text(index, unit))).collect()
    }

    fn unit_text(&self, index: usize, unit: &Unit) -> String {
        let mut out = "/* shifted */\n".repeat(unit.shift);
        out.push_str(PRELUDE);
        if unit.language == Language::Cxx {
            out.push_str(
                "#include <string>\n#include <vector>\n#include <stdexcept>\n#include \
             <algorithm>\n#include <cstring>\n#include <functional>\n#include <map>\n#include \
             <memory>\nextern \"C\" {\n",
            );
        }
        for (u, other) in self.units.iter().enumerate() {
            for f in other.features.iter().filter(|f| u == index || !f.is_local()) {
                let _ = writeln!(out, "{}", f.prototype());
            }
        }
        if unit.language == Language::Cxx {
            out.push_str("}\n");
        }
        let Some(csmith) = &unit.csmith else {
            for feature in &unit.features {
                out.push_str(&feature.text());
            }
            return out;
        };
        for (number, line) in csmith.lines.iter().enumerate() {
            if number == csmith.functions.start {
                for feature in unit.features.iter().filter(|f| f.id % 2 == 0) {
                    out.push_str(&feature.text());
                }
            }
            for insert in unit.inserts.iter().filter(|i| i.line == number) {
                let _ = writeln!(out, "    {}", insert.text);
            }
            if number == csmith.end {
                out.push_str("    printf(\"acc %u\\n\", acc);\n");
            }
            out.push_str(line);
            out.push('\n');
            if number + 1 == csmith.functions.end {
                for feature in unit.features.iter().filter(|f| f.id % 2 == 1) {
                    out.push_str(&feature.text());
                }
            }
        }
        out
    }
}
