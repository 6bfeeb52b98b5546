//! What GCC's and Clang's symbol suffixes mean.

/// `foo.constprop.0.cold` taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parsed {
    /// The name in the source (`foo`).
    pub(crate) base: String,
    /// The suffixes by kind, numbers removed (`.constprop.cold`).
    pub(crate) suffixes: String,
    /// There was a number. The compiler counts, so equal numbers on both sides need not mean the same thing.
    pub(crate) numbered: bool,
    /// The numbers, in order.
    pub(crate) numbers: Vec<u64>,
}

/// Takes a symbol name apart. A name that begins with a dot has no base and stays whole.
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

/// One of the functions that a compiler makes of a coroutine: GCC's `f(f()::f.Frame*) [clone .actor]`,
/// Clang's `f.resume`, `f.destroy`, `f.cleanup`.
pub(crate) fn is_coroutine_part(name: &str) -> bool {
    let mut parts = name.split('.').skip(1);
    name.starts_with("_Z") && parts.any(|p| matches!(p, "actor" | "destroy" | "resume" | "cleanup"))
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

/// The mangled name of something that belongs to a lambda, with the lambda's number replaced; `None` without
/// a lambda in the name.
///
/// Itanium C++ ABI: `<closure-type-name> ::= Ul <lambda-sig> E [ <number> ] _`.
pub(crate) fn lambda_group(name: &str) -> Option<String> {
    if !name.starts_with("_Z") {
        return None;
    }
    let mut rest = name;
    let mut group = String::new();
    let mut found = false;
    while let Some((before, signature)) = rest.split_once("Ul") {
        group.push_str(before);
        group.push_str("Ul");
        rest = signature;
        if let Some((start, end)) = closure_number(signature) {
            found = true;
            group.push_str(signature.get(..start)?);
            group.push('#');
            rest = signature.get(end..)?;
        }
    }
    group.push_str(rest);
    let numbered = unnamed(&group);
    found |= numbered != group;
    found.then_some(numbered)
}

/// Clang's names for lambdas that no other unit can see, `$_<number>`, with the number replaced.
fn unnamed(name: &str) -> String {
    let mut parts = name.split("$_");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_digit());
        out.push_str("$_");
        out.push_str(if rest.len() < part.len() { "#" } else { "" });
        out.push_str(rest);
    }
    out
}

/// Where the first `E [<number>] _` has its number.
fn closure_number(text: &str) -> Option<(usize, usize)> {
    text.match_indices('E').find_map(|(at, _)| {
        let start = at + 1;
        let digits = text.get(start..)?.bytes().take_while(u8::is_ascii_digit).count();
        (text.as_bytes().get(start + digits) == Some(&b'_')).then_some((start, start + digits))
    })
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

    #[test]
    fn lambdas_lose_their_number() {
        let group = |name| lambda_group(name).unwrap();
        assert_eq!(group("_ZZ5setupvENKUliE_clEi"), group("_ZZ5setupvENKUliE12_clEi"));
        assert_ne!(group("_ZZ5setupvENKUliE_clEi"), group("_ZZ5setupvENKUlcE_clEc"));
        assert_eq!(
            group("_ZZ1fvENKUlSt6vectorIiSaIiEEE_clES1_"),
            group("_ZZ1fvENKUlSt6vectorIiSaIiEEE0_clES1_")
        );
        assert_eq!(
            group("_ZNSt17_Function_handlerIFllEZ3askE3$_1E9_M_invokeERKSt9_Any_dataOl"),
            group("_ZNSt17_Function_handlerIFllEZ3askE3$_0E9_M_invokeERKSt9_Any_dataOl")
        );
        assert_eq!(lambda_group("_Z5setupv"), None);
        assert_eq!(lambda_group("Ulysses"), None);
    }
}
