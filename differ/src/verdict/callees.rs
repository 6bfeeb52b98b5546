//! What functions are for, by their names.

/// What they return is all of one kind: memory for `free`.
const HEAP: [&str; 12] = [
    "malloc",
    "calloc",
    "realloc",
    "reallocarray",
    "strdup",
    "strndup",
    "__strdup",
    "__strndup",
    "aligned_alloc",
    "memalign",
    "_Znwm",
    "_Znam",
];

/// Words in the names of functions that end the use of something. The second list: as the last word.
const RELEASES: ([&str; 22], [&str; 3]) = (
    [
        "cleanup",
        "dealloc",
        "deallocate",
        "dec",
        "decr",
        "decref",
        "delete",
        "deref",
        "destroy",
        "discard",
        "dispose",
        "drop",
        "fini",
        "kill",
        "release",
        "shutdown",
        "teardown",
        "term",
        "unhold",
        "unlock",
        "unref",
        "unreference",
    ],
    ["put", "down", "clear"],
);

/// Words in the names of functions by which something is kept from ending.
const ACQUIRES: ([&str; 14], [&str; 3]) = (
    [
        "acquire",
        "addref",
        "grab",
        "hold",
        "inc",
        "incr",
        "incref",
        "lock",
        "pin",
        "ref",
        "reference",
        "refup",
        "retain",
        "upref",
    ],
    ["get", "up", "dup"],
);

/// The name that stands for all functions that return the same kind of memory.
pub(super) fn kind(function: &str) -> &str {
    if HEAP.contains(&function) { "malloc" } else { function }
}

/// Does it return memory of a size that it is told?
pub(super) fn allocates(function: &str) -> bool {
    kind(function) == "malloc" || words(function).iter().any(|w| w.ends_with("alloc"))
}

/// Functions of the C library that have to do with what lies behind a pointer, wherever it comes from.
pub(super) fn looks_only(function: &str) -> bool {
    let name = function.trim_start_matches("__");
    let known = ["puts", "fputs", "fwrite", "fread", "write", "read", "send", "recv"];
    ["mem", "str", "wcs"].iter().any(|p| name.starts_with(p))
        || name.contains("printf")
        || known.contains(&name)
}

/// Does it end the use of what it gets, or take it back?
pub(super) fn releases(function: &str) -> bool {
    let freed = ["_ZdlPv", "_ZdaPv"].iter().any(|p| function.starts_with(p));
    let words = words(function);
    // `g_free`, `zfree`, `fclose`
    let frees = words.iter().any(|w| w.ends_with("free") || w.ends_with("close"));
    function == "--" || freed || frees || among(&words, &RELEASES.0, &RELEASES.1)
}

/// Does it keep what it gets from ending?
pub(super) fn acquires(function: &str) -> bool {
    function == "++" || (among(&words(function), &ACQUIRES.0, &ACQUIRES.1) && !releases(function))
}

fn among(words: &[String], anywhere: &[&str], last: &[&str]) -> bool {
    words.iter().any(|w| anywhere.contains(&w.as_str()))
        || words.last().is_some_and(|w| last.contains(&w.as_str()))
}

/// The words of a name, in lower case: `conn_put`, `decrRefCount`, `_ZN4Conn3putEv` (whose words are those between the numbers, and a
/// rest).
fn words(function: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut fresh = true;
    let mut was_lower = false;
    for c in function.chars() {
        if !c.is_ascii_alphabetic() {
            fresh = true;
            was_lower = false;
            continue;
        }
        if fresh || (c.is_ascii_uppercase() && was_lower) {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut() {
            word.push(c.to_ascii_lowercase());
        }
        (fresh, was_lower) = (false, c.is_ascii_lowercase());
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell() {
        for name in [
            "free",
            "g_free",
            "zfree",
            "xmlFreeNode",
            "conn_put",
            "decrRefCount",
            "SSL_CTX_free",
            "_ZN4Conn5unrefEv",
            "_ZdlPvm",
            "fclose",
            "--",
        ] {
            assert!(releases(name) && !acquires(name), "{name}");
        }
        for name in [
            "conn_get",
            "incrRefCount",
            "g_object_ref",
            "xmlHoldNode",
            "SSL_CTX_up_ref",
            "_ZN4Conn3refEv",
            "++",
        ] {
            assert!(acquires(name) && !releases(name), "{name}");
        }
        for name in ["freeze", "get_length", "fputs", "output", "strlen", "prefer", "list_get_first"] {
            assert!(!acquires(name) && !releases(name), "{name}");
        }
    }
}
