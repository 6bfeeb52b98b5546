//! One ELF file of a patch may use what the fix adds to another: a program a new function of its library.
//! What is left of each image when all are there, and in which order they go in.

use super::join::{ElfResult, Joined};
use crate::output::Refused;
use linker::{Product, SiblingUse};
use std::collections::{HashMap, HashSet};

/// Decides what the images export to each other. Afterwards an image exports what another one uses. It is
/// left out if it does nothing, and it stands behind the images that it uses. `name` gives the file name of a
/// target.
pub(in crate::pipeline) fn settle(outcomes: &mut [ElfResult], name: impl Fn(usize) -> String) -> Vec<Joined> {
    for i in 0..outcomes.len() {
        let Some(joined) = &outcomes[i].joined else { continue };
        let missing: Vec<SiblingUse> =
            joined.output.used.iter().filter(|u| !exports(outcomes, u)).cloned().collect();
        for used in missing {
            let other = name(used.number);
            // A file that was refused says why by itself.
            if outcomes.iter().any(|o| o.target == used.number && !o.report.refused.is_empty()) {
                continue;
            }
            let refused = Refused {
                what: "symbol of another file that comes to be exported".into(),
                place: format!("{} (of {other}, used in {})", used.name, outcomes[i].report.name),
                why: format!(
                    "{other} exports it when it is built with the fix, but it is no new code or data of that \
                     file"
                ),
                remedy: "add a new function to the library that does what is needed, and call that".into(),
                ..Refused::default()
            };
            outcomes[i].report.refused.push(refused);
        }
    }
    refuse_shared(outcomes);
    let mut joined: Vec<Joined> = outcomes.iter_mut().filter_map(|o| o.joined.take()).collect();
    loop {
        prune(&mut joined);
        let before = joined.len();
        // Hooks alone are a patch too: they may repair data.
        joined.retain(|j| {
            let Product::Image(image) = &j.output.product;
            !image.redirects.is_empty() || !image.hooks.is_empty() || !image.exports.is_empty()
        });
        if joined.len() == before {
            return ordered(joined);
        }
    }
}

/// The dynamic loader makes one of variables that several files define with vague linkage; the images would
/// have one each.
fn refuse_shared(outcomes: &mut [ElfResult]) {
    let mut seen: HashMap<String, String> = HashMap::new();
    for outcome in outcomes {
        let shared = outcome.joined.iter().flat_map(|j| j.output.shared.clone()).collect::<Vec<_>>();
        for name in shared {
            let Some(other) = seen.get(&name) else {
                seen.insert(name, outcome.report.name.clone());
                continue;
            };
            outcome.report.refused.push(Refused {
                what: "new variable of several files".into(),
                place: format!("{name} ({other} and {})", outcome.report.name),
                why: "in a process that is started anew both use one variable, and each part of the patch \
                 has its own"
                    .into(),
                remedy: "define it in one of the files (`extern` in the header), and use it from the \
                 other"
                    .into(),
                ..Refused::default()
            });
        }
    }
}

fn exports(outcomes: &[ElfResult], used: &SiblingUse) -> bool {
    let of = outcomes.iter().find(|o| o.target == used.number).and_then(|o| o.joined.as_ref());
    of.is_some_and(|j| {
        let Product::Image(image) = &j.output.product;
        image.exports.iter().any(|e| e.name == used.name && e.version == used.version)
    })
}

/// Keeps only the exports that another image uses.
fn prune(joined: &mut [Joined]) {
    let used: Vec<SiblingUse> = joined.iter().flat_map(|j| j.output.used.iter().cloned()).collect();
    for one in joined {
        let number = one.target;
        let Product::Image(image) = &mut one.output.product;
        image.exports.retain(|e| {
            used.iter().any(|u| u.number == number && u.name == e.name && u.version == e.version)
        });
    }
}

/// Sorts files so that those come first whose additions others use. They come into force first and go out of
/// force last, wherever a change of several files is cut short.
fn ordered(mut rest: Vec<Joined>) -> Vec<Joined> {
    let mut done: Vec<Joined> = Vec::new();
    while !rest.is_empty() {
        let waiting: HashSet<usize> = rest.iter().map(|j| j.target).collect();
        let ready = |j: &Joined| !j.output.used.iter().any(|u| waiting.contains(&u.number));
        // Two that use each other: as they come.
        let next = rest.iter().position(ready).unwrap_or(0);
        done.push(rest.remove(next));
    }
    done
}
