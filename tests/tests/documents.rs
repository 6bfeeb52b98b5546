//! What the documents name exists: files and headings behind links, verbs, make targets, keys.

use anyhow::{Context, Result, ensure};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use tests::package::files_below;
use tests::paths::repository;

/// All documents: Markdown at the top, below docs, and of the tests.
fn documents() -> Result<Vec<(PathBuf, String)>> {
    let mut paths = files_below(&repository().join("docs"))?;
    for entry in fs::read_dir(repository())? {
        paths.push(entry?.path());
    }
    paths.push(repository().join("tests/README.md"));
    let pages = paths.into_iter().filter(|p| p.extension().is_some_and(|e| e == "md"));
    pages.map(|p| Ok((p.clone(), fs::read_to_string(&p)?))).collect()
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(repository().join(path)).with_context(|| path.to_owned())
}

/// Text outside of fenced code.
fn prose(page: &str) -> String {
    page.split("```").step_by(2).collect()
}

/// Where links lead: what stands in the round brackets behind square ones.
fn links(page: &str) -> Vec<String> {
    let ends = prose(page);
    let found = ends.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(to, _)| to.to_owned());
    found.filter(|to| !to.starts_with("http") && !to.contains(char::is_whitespace)).collect()
}

/// Names of places on a page: of its headings as forges make them, and of its anchors.
fn places(page: &str) -> BTreeSet<String> {
    let heading = |line: &str| -> String {
        let text = line.trim_start_matches('#').trim().to_lowercase();
        let kept = text.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    let prose = prose(page);
    let headings = prose.lines().filter(|l| l.starts_with('#')).map(heading);
    let anchors = page.split("<a id=\"").skip(1).filter_map(|rest| rest.split('"').next()).map(str::to_owned);
    headings.chain(anchors).collect()
}

#[test]
fn links_lead_somewhere() -> Result<()> {
    for (path, text) in documents()? {
        let at = path.strip_prefix(repository()).unwrap_or(&path).display().to_string();
        for link in links(&text) {
            let (file, place) = link.split_once('#').unwrap_or((&link, ""));
            let target = if file.is_empty() {
                path.clone()
            } else {
                path.parent().unwrap_or(Path::new("/")).join(file)
            };
            ensure!(target.exists(), "{at}: {link}: there is no such file");
            if !place.is_empty() && target.extension().is_some_and(|e| e == "md") {
                let page = fs::read_to_string(&target)?;
                ensure!(places(&page).contains(place), "{at}: {link}: there is no such heading");
            }
        }
    }
    Ok(())
}

/// The words that follow `word` and a blank, at the beginning of a line of code or of a piece of code in
/// text.
fn after<'t>(page: &'t str, word: &str) -> BTreeSet<&'t str> {
    let starts = ["\n$ ", "\n    ", "`", "&& "].map(|before| format!("{before}{word} "));
    let found = starts.iter().flat_map(|start| page.split(start.as_str()).skip(1));
    found
        .map(|rest| rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').next().unwrap_or_default())
        .collect()
}

#[test]
fn verbs_and_targets_are_there() -> Result<()> {
    let list = body("applier", " enum Verb {")?;
    let makefile = read("Makefile")?;
    for (path, text) in documents()? {
        let at = path.strip_prefix(repository()).unwrap_or(&path).display().to_string();
        // Records of decisions and changes speak of other times.
        if at.starts_with("docs/decisions") || at == "CHANGELOG.md" {
            continue;
        }
        for verb in
            after(&text, "upatch").into_iter().filter(|v| v.starts_with(|c: char| c.is_ascii_lowercase()))
        {
            // `needs-restart` is `NeedsRestart`.
            let capital = |word: &str| word[..1].to_ascii_uppercase() + &word[1..];
            let variant: String = verb.split('-').filter(|w| !w.is_empty()).map(capital).collect();
            let known =
                list.contains(&format!("    {variant}")) || list.contains(&format!("alias = \"{verb}\""));
            ensure!(known, "{at}: upatch has no verb {verb}");
        }
        for target in
            after(&text, "make").into_iter().filter(|t| t.starts_with(|c: char| c.is_ascii_lowercase()))
        {
            ensure!(makefile.contains(&format!("\n{target}:")), "{at}: there is no make {target}");
        }
    }
    Ok(())
}

/// Source files are named by their paths. Where a name is to be filled in, it is in capitals.
#[test]
fn source_files_that_documents_name_are_there() -> Result<()> {
    let tops =
        ["applier/", "differ/", "linker/", "packager/", "patchfile/", "records/", "tests/", "wrapper/"];
    for (path, text) in documents()? {
        for word in text.split('`').skip(1).step_by(2).filter(|w| tops.iter().any(|top| w.starts_with(top))) {
            let is_path = word.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
            let to_fill_in = word.split(['/', '.']).any(|part| part.len() > 1 && part == part.to_uppercase());
            let is_there = repository().join(word).exists();
            ensure!(!is_path || to_fill_in || is_there, "{}: there is no {word}", path.display());
        }
    }
    Ok(())
}

#[test]
fn files_that_the_readme_names_are_there() -> Result<()> {
    let readme = read("README.md")?;
    let words = readme.split(|c: char| c.is_whitespace() || "`()[]".contains(c));
    for word in words.filter(|w| ["testdata/", "scripts/", "rpm/"].iter().any(|top| w.starts_with(top))) {
        let (folder, name) = word.rsplit_once('/').unwrap_or(("", word));
        let here = match name.split_once('*') {
            None => repository().join(word).exists(),
            Some((_, end)) => fs::read_dir(repository().join(folder))?
                .flatten()
                .any(|e| e.file_name().to_string_lossy().ends_with(end)),
        };
        ensure!(here, "README.md: there is no {word}");
    }
    Ok(())
}

/// A line without the word that makes its field visible to others.
fn public(line: &str) -> Option<&str> {
    line.strip_prefix("pub(crate) ").or_else(|| line.strip_prefix("pub "))
}

/// What stands between the brackets of the definition that begins so, in whatever file of the crate it is.
fn body(name: &str, definition: &str) -> Result<String> {
    for path in files_below(&repository().join(name).join("src"))? {
        let text = fs::read_to_string(&path)?;
        if let Some((body, _)) = text.split_once(definition).and_then(|(_, rest)| rest.split_once("\n}")) {
            return Ok(body.to_owned());
        }
    }
    anyhow::bail!("no{definition} in {name}")
}

/// Public fields of the structures in a source, as they are written to YAML.
fn keys(source: &str) -> Vec<String> {
    let mut keys = Vec::new();
    let mut other = None;
    for line in source.lines().map(str::trim) {
        if let Some(rest) = line.strip_prefix("#[serde(rename = \"") {
            other = rest.split('"').next().map(str::to_owned);
        } else if let Some((name, _)) = public(line).and_then(|l| l.split_once(": "))
            && name.chars().all(|c| c.is_ascii_lowercase() || c == '_')
        {
            keys.push(other.take().unwrap_or_else(|| name.to_owned()));
        }
    }
    keys
}

#[test]
fn each_key_of_the_report_and_of_the_settings_is_explained() -> Result<()> {
    let (page, all) = (read("docs/reference/report-yaml.md")?, keys(&read("packager/src/output/report.rs")?));
    ensure!(all.len() > 40 && all.contains(&"where".to_owned()), "read wrongly: {all:?}");
    for key in all {
        ensure!(
            page.contains(&format!("| `{key}` |")) || page.contains(&format!("`{key}`")),
            "no {key} in report-yaml.md"
        );
    }
    let fields = body("applier", " struct Settings {")?;
    let page = read("docs/reference/settings.md")?;
    for line in fields.lines().map(str::trim).filter(|l| !l.starts_with("//")) {
        let Some((name, _)) = public(line).unwrap_or(line).split_once(':') else { continue };
        ensure!(page.contains(&format!("| `{name}` |")), "no {name} in settings.md");
    }
    Ok(())
}

#[test]
fn each_exit_code_is_explained() -> Result<()> {
    let page = read("docs/reference/exit-codes.md")?;
    for program in ["upatch-build", "upatch"] {
        let part = page.split_once(&format!("\n## {program}\n")).context("no heading")?.1;
        let part = part.split("\n## ").next().unwrap_or_default();
        for code in 0..8 {
            ensure!(part.contains(&format!("\n| {code} |")), "exit-codes.md: {program} {code}");
        }
    }
    Ok(())
}
