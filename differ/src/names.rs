//! What GCC's and Clang's symbol suffixes mean.

/// `foo.constprop.0.cold` taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parsed {
    /// The name in the source (`foo`).
    pub(crate) base: String,
    /// The suffixes by kind, numbers removed (`.constprop.cold`).
    pub(crate) suffixes: String,
    /// There was a number: the compiler counts, so equal numbers need not mean the same thing.
    pub(crate) numbered: bool,
    /// The numbers, in order.
    pub(crate) numbers: Vec<u64>,
}

/// Takes a symbol name apart. Names that begin with a dot have no base to find and stay whole.
pub(crate) fn parse(name: &str) -> Parsed {
    let mut parts = name.split('.');
    let base = parts.next().unwrap_or_default();
    if base.is_empty() {
        return Parsed { base: name.into(), suffixes: String::new(), numbered: false, numbers: Vec::new() };
    }
    let mut suffixes = String::new();
    let mut numbers = Vec::new();
    for part in parts {
        if let Ok(number) = part.parse() {
            numbers.push(number);
            continue;
        }
        suffixes.push('.');
        suffixes.push_str(part);
    }
    Parsed { base: base.into(), suffixes, numbered: !numbers.is_empty(), numbers }
}

/// The function that the cold fragment `name` belongs to.
pub(crate) fn cold_parent(name: &str) -> Option<&str> {
    if let Some(parent) = name.strip_suffix(".cold") {
        return Some(parent);
    }
    // GCC before 9 counted the fragments too: `foo.cold.3`.
    let (rest, number) = name.rsplit_once('.')?;
    let parent = rest.strip_suffix(".cold")?;
    number.bytes().all(|b| b.is_ascii_digit()).then_some(parent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_are_parted_from_numbers() {
        let p = parse("foo.constprop.12.isra.0");
        assert_eq!((p.base.as_str(), p.suffixes.as_str(), p.numbered), ("foo", ".constprop.isra", true));
        assert_eq!(p.numbers, [12, 0]);
        assert_eq!(parse("count.3").base, "count");
        assert!(!parse("plain").numbered);
    }

    #[test]
    fn cold_fragments_know_their_parent() {
        assert_eq!(cold_parent("foo.part.0.cold"), Some("foo.part.0"));
        assert_eq!(cold_parent("foo.cold.7"), Some("foo"));
        assert_eq!(cold_parent("foo.colder"), None);
    }
}
