//! A program whose sources have marks: a main unit, groups of units that belong together, now and then one
//! that csmith wrote.

use super::marks::{Choice, Kind, Marked};
use crate::random::csmith;
use crate::random::feature::PRELUDE;
use crate::random::plan::Plan;
use anyhow::Result;
use fastrand::Rng;
use std::fmt::Write as _;

const C: &str = include_str!("templates/c.txt");
const CXX: &str = include_str!("templates/cxx.txt");

/// A source file.
#[derive(Clone, Debug)]
pub(super) struct File {
    pub(super) name: String,
    pub(super) text: Marked,
    /// Files of one number belong together.
    pub(super) group: u32,
}

/// Sources, and how they are built.
#[derive(Clone, Debug)]
pub(super) struct Model {
    pub(super) files: Vec<File>,
    pub(super) plan: Plan,
    /// Sources are given to the compiler by their full path.
    pub(super) absolute: bool,
}

impl Model {
    /// A new one.
    ///
    /// # Errors
    /// When csmith fails.
    pub(super) fn random(rng: &mut Rng) -> Result<Self> {
        let mut plan = Plan::random(rng);
        // What only lies otherwise has to be found by its symbols.
        plan.stripped = rng.u32(..3) == 0;
        let mut files = Vec::new();
        let mut entries = Vec::new();
        for group in 1..=rng.u32(2..5) {
            let (templates, end) = if rng.u32(..6) == 0 { (CXX, "cc") } else { (C, "c") };
            let blocks: Vec<&str> = templates.split("%% ").skip(1).collect();
            // A block that begins with a name starts a template; `header`, `unit` and `user` are its parts.
            let starts: Vec<usize> = (0..blocks.len()).filter(|i| !is_part(blocks[*i])).collect();
            let chosen = rng.usize(..starts.len());
            let until = starts.get(chosen + 1).copied().unwrap_or(blocks.len());
            for block in &blocks[starts[chosen] + 1..until] {
                add(rng, &mut files, block, group, end);
            }
            entries.push(format!("own_{group}"));
        }
        if rng.u32(..6) == 0 {
            let chaos = chaos(rng)?;
            files.push(File { name: "chaos.c".into(), text: Marked::parse(rng, &chaos), group: 9 });
            entries.push("chaos".into());
        }
        let main = main_unit(rng, &entries);
        files.insert(0, File { name: "main.c".into(), text: Marked::parse(rng, &main), group: 0 });
        Ok(Self { files, plan, absolute: rng.u32(..5) == 0 })
    }

    /// Numbers of the files that are compiled.
    pub(super) fn units(&self) -> Vec<usize> {
        let compiled = |name: &str| [".c", ".cc"].iter().any(|end| name.ends_with(end));
        (0..self.files.len()).filter(|i| compiled(&self.files[*i].name)).collect()
    }

    /// The files with these choices.
    pub(super) fn render(&self, choices: &[Choice]) -> Vec<(String, String)> {
        let texts = self.files.iter().enumerate();
        texts.map(|(number, file)| (file.name.clone(), file.text.render(number, choices))).collect()
    }

    /// All choices of one kind but the first texts.
    pub(super) fn choices(&self, kind: Kind) -> Vec<Choice> {
        let mut all = Vec::new();
        for (file, content) in self.files.iter().enumerate() {
            for (mark, place) in content.text.marks().enumerate().filter(|(_, m)| m.kind == kind) {
                all.extend((1..place.texts.len()).map(|text| Choice { file, mark, text }));
            }
        }
        all
    }

    /// What a choice changes, in words.
    pub(super) fn tell(&self, choice: Choice) -> String {
        let file = &self.files[choice.file];
        let texts = file.text.marks().nth(choice.mark).map(|m| m.texts.as_slice()).unwrap_or_default();
        let text = |i: usize| texts.get(i).map_or("", String::as_str);
        format!("{}: `{}` is `{}`", file.name, text(0), text(choice.text))
    }
}

fn is_part(block: &str) -> bool {
    ["header\n", "unit\n", "user\n"].iter().any(|part| block.starts_with(part))
}

fn add(rng: &mut Rng, files: &mut Vec<File>, block: &str, group: u32, end: &str) {
    let Some((part, text)) = block.split_once('\n') else { return };
    let text = text.replace('$', &group.to_string());
    let header = format!("own{group}.h");
    let (name, mut content) = match part {
        "header" => (header, String::new()),
        part => {
            let mut content = PRELUDE.to_owned();
            if files.iter().any(|f| f.name == header) {
                let _ = writeln!(content, "#include \"{header}\"");
            }
            (format!("{part}{group}.{end}"), content)
        }
    };
    content.push_str(&text);
    if part != "header" {
        let language = if end == "cc" { "extern \"C\" " } else { "" };
        let _ = writeln!(
            content,
            "«lay:¦{language}int unused_{part}{group}(int x);\n{language}int unused_{part}{group}(int x) {{ \
             return x * 3; }}\n\
             ¦extern const char *const words_{part}{group}[];\nconst char *const words_{part}{group}[] = \
             {{ \"a word\", \"one more\" }};\n»"
        );
    }
    files.push(File { name, text: Marked::parse(rng, &content), group });
}

/// Calls everything with a few numbers.
fn main_unit(rng: &mut Rng, entries: &[String]) -> String {
    let mut text = PRELUDE.to_owned();
    for entry in entries {
        let _ = writeln!(text, "uint32_t {entry}(uint32_t);");
    }
    text.push_str("int unit_main(void);\nint unit_main(void) {\n  static const uint32_t numbers[] = { ");
    for _ in 0..24 {
        let most = if rng.bool() { 200 } else { u32::MAX };
        let _ = write!(text, "{}u, ", rng.u32(..most));
    }
    text.push_str("};\n  for (int i = 0; i < 24; i++) {\n");
    for entry in entries {
        let _ = writeln!(text, "    acc = MIX(acc, {entry}(numbers[i]));");
    }
    // What is compared with is built from the target's sources: the text that is printed may be another one
    // there.
    text.push_str(
        "  }\n  printf(\"«lay:acc¦all that was said before, in one number:» %u\\n\", acc);\n  return 0;\n}\n",
    );
    text
}

/// What csmith wrote, with marks at some of its numbers.
fn chaos(rng: &mut Rng) -> Result<String> {
    let program = csmith::generate(rng)?;
    let mut lines = program.lines.clone();
    let numbered = program.body_lines(|line| line.contains("0x"));
    for _ in 0..12.min(numbered.len()) {
        let Some(index) = rng.choice(&numbered) else { break };
        let line = &lines[*index];
        if line.contains('«') {
            continue;
        }
        let Some(at) = line.find("0x") else { continue };
        let length = line[at + 2..].find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(line.len() - at - 2);
        let (number, rest) = line[at..].split_at(length + 2);
        let marked = format!("{}«real:{number}¦{number}1»{rest}", &line[..at]);
        if length < 7 {
            lines[*index] = marked;
        }
    }
    let statements: Vec<usize> = program.functions.clone().filter(|i| program.is_statement(*i)).collect();
    for _ in 0..3 {
        if let Some(index) = rng.choice(&statements).filter(|i| !lines[**i].contains('«')) {
            lines[*index] = format!("«fix:¦    puts(\"here\");\n»{}", lines[*index]);
        }
    }
    let text = lines.join("\n").replace("int unit_main(void)", "unsigned chaos(unsigned number)");
    // Once is enough.
    Ok(text.replacen(
        "int print_hash_value = 0;",
        "static int done; if (done++) return number; int print_hash_value = 0;",
        1,
    ))
}
