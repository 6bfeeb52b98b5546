//! Filling in spec templates: `@PLACEHOLDER@` by value.

use crate::error::{OutputError, Result};
use std::collections::BTreeMap;

/// Values by placeholder.
#[derive(Clone, Debug, Default)]
pub(super) struct Values(BTreeMap<&'static str, String>);

impl Values {
    /// One line; rpm expands no macro in it.
    pub(super) fn set(&mut self, name: &'static str, value: &str) {
        let line: String = value.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        self.0.insert(name, line.trim().replace('%', "%%"));
    }

    /// One line that the template puts between single quotes of the shell.
    pub(super) fn set_quoted(&mut self, name: &'static str, value: &str) {
        self.set(name, &value.replace('\'', "'\\''"));
    }

    /// Several lines.
    pub(super) fn set_lines(&mut self, name: &'static str, lines: Vec<String>) {
        self.0.insert(name, lines.join("\n").replace('%', "%%"));
    }
}

/// Replaces each placeholder; comments at the top, which describe them, are left out.
///
/// # Errors
/// When the template has a placeholder without value: the two parts of this program do not fit.
pub(super) fn fill(template: &str, values: &Values) -> Result<String> {
    let body = template.lines().skip_while(|l| l.starts_with('#') || l.is_empty());
    let mut out = String::new();
    for line in body {
        let mut rest = line;
        while let Some(at) = rest.find('@') {
            let name = rest[at + 1..].split('@').next().unwrap_or_default();
            let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase() || c == '_');
            if !is_name || !rest[at + 1 + name.len()..].starts_with('@') {
                out.push_str(&rest[..=at]);
                rest = &rest[at + 1..];
                continue;
            }
            let value = values.0.get(name).ok_or_else(|| OutputError::Template(name.to_owned()))?;
            out.push_str(&rest[..at]);
            out.push_str(value);
            rest = &rest[at + name.len() + 2..];
        }
        out.push_str(rest);
        out.push('\n');
    }
    Ok(out)
}

/// For a shell.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_filled_in_and_percent_signs_doubled() {
        let mut values = Values::default();
        values.set("NAME", "a%b\nc");
        assert_eq!(
            fill("# @NAME@\n\nName: @NAME@ a@b @NAME@\n", &values).unwrap(),
            "Name: a%%b c a@b a%%b c\n"
        );
        assert!(fill("x @OTHER@\n", &values).is_err());
    }
}
