//! docs/guide/when-refused.md has an anchor for each reason for which a fix or a process is refused, and
//! names cases that exist.

use anyhow::{Result, ensure};
use std::collections::BTreeSet;
use std::fs;
use tests::package::files_below;
use tests::paths::repository;

const PAGE: &str = "docs/guide/when-refused.md";

/// The crates whose refusals reach the user of `upatch-build`.
const MAKERS: [&str; 3] = ["differ", "linker", "packager"];

fn page() -> Result<String> {
    Ok(fs::read_to_string(repository().join(PAGE))?)
}

/// All Rust sources below `CRATE/src`, without their tests.
fn sources(name: &str) -> Result<Vec<String>> {
    let all = files_below(&repository().join(name).join("src"))?;
    let sources = all.iter().filter(|p| p.extension().is_some_and(|e| e == "rs"));
    let text = |path: &std::path::PathBuf| -> Result<String> {
        let text = fs::read_to_string(path)?;
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
        let lines = code.lines().filter(|l| !l.trim_start().starts_with("//"));
        Ok(lines.collect::<Vec<_>>().join("\n"))
    };
    sources.map(text).collect()
}

/// The parts between the commas of the outermost brackets, of which `text` begins with the opening one.
fn parts(text: &str) -> Vec<&str> {
    let (mut depth, mut start, mut found) = (0, 1, Vec::new());
    let (mut quoted, mut escaped) = (false, false);
    for (at, c) in text.char_indices() {
        if quoted {
            quoted = escaped || c != '"';
            escaped = !escaped && c == '\\';
            continue;
        }
        match c {
            '"' => quoted = true,
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 || depth == 1 && c == ',' {
            found.push(text[start.min(at)..at].trim());
            start = at + 1;
        }
        if depth == 0 {
            break;
        }
    }
    found
}

/// The string literals in a piece of code.
fn literals(code: &str) -> impl Iterator<Item = &str> {
    code.split('"').skip(1).step_by(2)
}

/// Where `word` stands in `text` as a word of its own, right before `bracket`: the text from the bracket on.
fn calls<'t>(text: &'t str, word: &'t str, bracket: char) -> impl Iterator<Item = &'t str> {
    text.match_indices(word).filter_map(move |(at, _)| {
        let before = text[..at].trim_end_matches(' ');
        let own = !text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let defined = ["fn", "struct", "impl", "for", "->"].iter().any(|w| before.ends_with(w));
        let rest = text[at + word.len()..].trim_start();
        (own && !defined && rest.starts_with(bracket)).then_some(rest)
    })
}

/// Each `what` of a refusal: the first argument of what makes one (the second, where it takes the file's name
/// first), the field of the structure, or the constant.
fn whats() -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for name in MAKERS {
        for text in sources(name)? {
            for (word, argument) in [("refuse", 0), ("refusal", 0), ("refused", 1)] {
                let first = calls(&text, word, '(').filter_map(|rest| parts(rest).get(argument).copied());
                // What is put together says why, not what.
                let whole = first.filter(|a| !a.starts_with("format!") && !a.starts_with("match "));
                found.extend(whole.flat_map(literals).map(String::from));
            }
            for kind in ["Refusal", "Refused"] {
                let fields = calls(&text, kind, '{').flat_map(parts).filter(|f| f.starts_with("what:"));
                found.extend(fields.flat_map(literals).map(String::from));
            }
            let constants = text.split("const WHAT: &str =").skip(1).filter_map(|rest| literals(rest).next());
            found.extend(constants.map(String::from));
        }
    }
    Ok(found)
}

/// `size of live data changed` as `size-of-live-data-changed`.
fn slug(what: &str) -> String {
    let words = what.split(|c: char| !c.is_ascii_alphanumeric()).filter(|w| !w.is_empty());
    words.map(str::to_ascii_lowercase).collect::<Vec<_>>().join("-")
}

#[test]
fn each_refusal_has_its_place_on_the_page() -> Result<()> {
    let (page, found) = (page()?, whats()?);
    for known in [
        "size of live data changed",
        "undefined symbol",
        "definition that moved",
        "unrecorded object",
        "link-time optimisation",
        "live data without a symbol",
        "ELF file of another kind",
    ] {
        ensure!(found.contains(known), "the sources are read wrongly: {known:?} is not found in them");
    }
    ensure!(found.len() >= 75, "only {} refusals are found in the sources", found.len());
    let missing: Vec<&String> =
        found.iter().filter(|what| !page.contains(&format!("<a id=\"{}\"></a>", slug(what)))).collect();
    ensure!(
        missing.is_empty(),
        "{PAGE} says nothing of these refusals; write what each means, why, and what to do: {missing:#?}"
    );
    Ok(())
}

#[test]
fn each_reason_of_the_applier_has_its_place_on_the_page() -> Result<()> {
    let page = page()?;
    let all = sources("applier")?;
    let list = all.iter().find_map(|text| text.split_once(" enum ProcessError ").map(|(_, rest)| rest));
    let variants: Vec<String> =
        list.map(parts).unwrap_or_default().iter().filter_map(|v| variant(v)).collect();
    ensure!(
        variants.contains(&"NotPermitted".to_owned()) && variants.len() >= 12,
        "read wrongly: {variants:?}"
    );
    for name in variants {
        let mut anchor = "process".to_owned();
        for c in name.chars() {
            if c.is_ascii_uppercase() {
                anchor.push('-');
            }
            anchor.push(c.to_ascii_lowercase());
        }
        ensure!(
            page.contains(&format!("<a id=\"{anchor}\"></a>")),
            "{PAGE} has no {anchor} for ProcessError::{name}"
        );
    }
    Ok(())
}

/// Name of a variant, behind its attributes.
fn variant(text: &str) -> Option<String> {
    let bare = text.rsplit_once(")]").map_or(text, |(_, rest)| rest).trim();
    let name: String = bare.chars().take_while(char::is_ascii_alphanumeric).collect();
    (!name.is_empty()).then_some(name)
}

#[test]
fn the_page_names_what_exists() -> Result<()> {
    let page = page()?;
    let builds = fs::read_to_string(repository().join("testdata/builds/cases.yaml"))?;
    let fixtures = repository().join("differ/tests/fixtures");
    for line in shown(&page) {
        for name in line.split('`').skip(1).step_by(2).filter(|n| !n.contains(' ')) {
            let known = repository().join(name).exists()
                || repository().join(format!("testdata/matrix/{name}.case")).is_file()
                || builds.contains(&format!("{{ name: {name},"))
                || fixtures.join(name).is_file();
            ensure!(known, "{PAGE}: there is no case or file {name}");
        }
    }
    Ok(())
}

/// What stands behind each *Shown by*, up to the next empty line.
fn shown(page: &str) -> impl Iterator<Item = &str> {
    page.split("*Shown by*").skip(1).filter_map(|rest| rest.split("\n\n").next())
}
