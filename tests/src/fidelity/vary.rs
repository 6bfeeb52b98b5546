//! In what the target's build differs from the rebuild.

use super::marks::{Choice, Kind, Marked};
use super::model::{File, Model};
use crate::random::plan::Form;
use fastrand::Rng;

/// One difference.
#[derive(Clone, Debug)]
pub(super) struct Variation {
    /// What the target is built from, without the fix.
    pub(super) model: Model,
    pub(super) choices: Vec<Choice>,
    /// It lies otherwise, and does the same.
    pub(super) layout_only: bool,
    /// Order of the units in the link.
    pub(super) order: Vec<usize>,
    /// Name of the folder that it is built in.
    pub(super) folder: String,
    pub(super) kind: &'static str,
    pub(super) words: String,
}

impl Variation {
    /// One for a fix of `fixed`, the number of a file.
    pub(super) fn random(rng: &mut Rng, model: &Model, fixed: usize, number: u64) -> Self {
        let mut this = Self {
            model: model.clone(),
            choices: Vec::new(),
            layout_only: false,
            order: Vec::new(),
            folder: format!("target-{number}"),
            kind: "",
            words: String::new(),
        };
        match rng.u32(..20) {
            0..12 => this.other_text(rng, fixed),
            12..14 => this.other_flag(rng),
            14 => this.other_compiler(rng),
            _ => this.other_layout(rng, fixed),
        }
        let compiled = this.model.units();
        if this.order.is_empty() {
            this.order = compiled;
        }
        this
    }

    fn other_text(&mut self, rng: &mut Rng, fixed: usize) {
        let all = self.model.choices(Kind::Real);
        let group = self.model.files[fixed].group;
        let near: Vec<Choice> =
            all.iter().copied().filter(|c| self.model.files[c.file].group == group).collect();
        let from = if near.is_empty() || rng.u32(..4) == 0 { &all } else { &near };
        let Some(choice) = rng.choice(from) else { return };
        self.kind = "another text";
        self.words = self.model.tell(*choice);
        self.choices.push(*choice);
    }

    fn other_flag(&mut self, rng: &mut Rng) {
        const FLAGS: [&str; 14] = [
            "-O1",
            "-O2",
            "-O3",
            "-Os",
            "-funsigned-char",
            "-fshort-enums",
            "-DAUDIT",
            "-fno-inline",
            "-fno-omit-frame-pointer",
            "-fno-jump-tables",
            "-fstack-protector-strong",
            "-fno-tree-vectorize",
            "-fpack-struct=4",
            "-fcommon",
        ];
        let flag = FLAGS[rng.usize(..FLAGS.len())];
        self.kind = "another flag";
        flag.clone_into(&mut self.words);
        self.model.plan.compile.push(flag);
    }

    fn other_compiler(&mut self, rng: &mut Rng) {
        self.kind = "another compiler";
        if rng.bool() && !self.model.plan.clang {
            self.model.plan.older = true;
            "gcc 11".clone_into(&mut self.words);
        } else {
            self.model.plan.clang = !self.model.plan.clang;
            self.words = format!("clang: {}", self.model.plan.clang);
        }
    }

    fn other_layout(&mut self, rng: &mut Rng, fixed: usize) {
        self.layout_only = true;
        self.kind = "another layout";
        let mut order = self.model.units();
        match rng.u32(..6) {
            0 => {
                rng.shuffle(&mut order);
                self.words = format!("link order {order:?}");
            }
            1 => {
                self.folder.push_str("-in-a-folder-with-quite-a-long-name-that-moves-what-follows");
                "path length".clone_into(&mut self.words);
            }
            2 | 3 => {
                let all = self.model.choices(Kind::Layout);
                let others: Vec<_> = all.into_iter().filter(|c| c.file != fixed).collect();
                let Some(choice) = rng.choice(&others) else { return };
                self.words = self.model.tell(*choice);
                self.choices.push(*choice);
            }
            4 => {
                let name = "added.c".to_owned();
                let text = "#include <stdio.h>\nint added_value = 3;\nstatic const char *const added_words[] \
                 = { \"low\", \"a long text of no use\" };\n\
                            void added(int x);\nvoid added(int x) { printf(\"%s %d\\n\", added_words[x & 1], \
                            added_value); }\n";
                let at = rng.usize(..order.len() + 1);
                order.insert(at, self.model.files.len());
                self.model.files.push(File { name, text: Marked::parse(rng, text), group: 8 });
                self.words = format!("a unit added at {at}");
            }
            _ => {
                const FLAGS: [&str; 8] = [
                    "-Wl,-z,noseparate-code",
                    "-Wl,-z,max-page-size=65536",
                    "-Wl,--hash-style=both",
                    "-Wl,--build-id=sha1",
                    "-Wl,-z,norelro",
                    "-Wl,-O2",
                    "-Wl,--sort-section=name",
                    "-Wl,--sort-section=alignment",
                ];
                let flag = FLAGS[rng.usize(..FLAGS.len())];
                self.model.plan.link.push(flag);
                flag.clone_into(&mut self.words);
            }
        }
        if order != self.order {
            self.order = order;
        }
        if self.model.plan.form == Form::Library {
            self.words.push_str(" (library)");
        }
    }
}
