//! Symbol names as their authors wrote them.

use cpp_demangle::{DemangleOptions, Symbol};

/// A symbol as in the source, with its parameters: `app::total(app::Server const&)`. `None` if it is no
/// mangled name.
pub(crate) fn demangled(symbol: &str) -> Option<String> {
    with(symbol, DemangleOptions::new())
}

/// The same without parameters: `app::total`.
pub(crate) fn qualified(symbol: &str) -> Option<String> {
    with(symbol, DemangleOptions::new().no_params().no_return_type())
}

fn with(symbol: &str, options: DemangleOptions) -> Option<String> {
    for (made, of) in [("_GLOBAL__sub_I_", "constructors of"), ("_GLOBAL__sub_D_", "destructors of")] {
        if let Some(rest) = symbol.strip_prefix(made) {
            return Some(format!("{of} {}", with(rest, options).as_deref().unwrap_or(rest)));
        }
    }
    if !symbol.starts_with("_Z") && !symbol.starts_with("_R") {
        return None;
    }
    // The compiler's own marks (`.cold`, `.constprop.0`) stand behind the mangled name.
    let (name, mark) = symbol.split_at(symbol.find(['.', '@']).unwrap_or(symbol.len()));
    let text = if is_rust(name) {
        format!("{:#}", rustc_demangle::try_demangle(name).ok()?)
    } else {
        Symbol::new(name).ok()?.demangle_with_options(&options).ok()?
    };
    Some(format!("{text}{mark}"))
}

/// Old names of Rust look like those of C++, and end with a hash.
fn is_rust(name: &str) -> bool {
    let hash = name.strip_suffix('E').and_then(|n| n.rsplit_once("17h")).map(|(_, hash)| hash);
    name.starts_with("_R") || hash.is_some_and(|h| h.len() == 16 && h.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// A text with all mangled names in it demangled.
pub(crate) fn readable(text: &str) -> String {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '$');
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find(is_part) {
        let (before, from) = rest.split_at(start);
        let (word, after) = from.split_at(from.find(|c| !is_part(c)).unwrap_or(from.len()));
        // A full stop ends a sentence.
        let name = word.trim_end_matches('.');
        out.push_str(before);
        out.push_str(demangled(name).as_deref().unwrap_or(name));
        out.push_str(&word[name.len()..]);
        rest = after;
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_source() {
        let whole = "app::total(app::Server const&)";
        assert_eq!(demangled("_ZN3app5totalERKNS_6ServerE").as_deref(), Some(whole));
        assert_eq!(qualified("_ZN3app5totalERKNS_6ServerE").as_deref(), Some("app::total"));
        assert_eq!(demangled("_ZN3app3limEPKc.cold").as_deref(), Some("app::lim(char const*).cold"));
        assert_eq!(demangled("_ZN4core3fmt5Write17h0123456789abcdefE").as_deref(), Some("core::fmt::Write"));
        assert_eq!(demangled("_RNvC6_123foo3bar").as_deref(), Some("123foo::bar"));
        assert_eq!(
            demangled("_GLOBAL__sub_I__ZN3app6serverE").as_deref(),
            Some("constructors of app::server")
        );
        assert_eq!(demangled("main"), None);
    }

    #[test]
    fn names_in_a_text_are_found_and_nothing_else_is_changed() {
        let text = "`_ZN3app3limEPKc`: 3 of _ZN3app6serverE. See a.c, _Z and x_ZN3app6serverE…";
        let shown = "`app::lim(char const*)`: 3 of app::server. See a.c, _Z and x_ZN3app6serverE…";
        assert_eq!(readable(text), shown);
    }
}
