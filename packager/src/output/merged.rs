//! One line for what was met in many units: a header's change shows in each unit that includes it, in the
//! same words.

/// Most files that a line names. It counts the rest.
const NAMED: usize = 3;

/// What was met, where, and the rest of the line.
pub(crate) type Line = (String, String, String);

/// Joins lines that differ only in the file of their place (`symbol (file)`), in the order of the first of
/// each.
pub(crate) fn merged(lines: impl IntoIterator<Item = Line>) -> Vec<Line> {
    struct Group {
        what: String,
        symbol: String,
        rest: String,
        files: Vec<String>,
    }
    let mut groups: Vec<Group> = Vec::new();
    for (what, place, rest) in lines {
        let (symbol, file) = split(&place);
        let same = |g: &&mut Group| g.what == what && g.symbol == symbol && g.rest == rest;
        match groups.iter_mut().find(same) {
            Some(group) => group.files.extend(file.filter(|f| !group.files.contains(f))),
            None => groups.push(Group { symbol, files: file.into_iter().collect(), what, rest }),
        }
    }
    groups.into_iter().map(|g| (g.what, place(&g.symbol, &g.files), g.rest)).collect()
}

/// `limit (server.c)` as symbol and file.
pub(super) fn split(place: &str) -> (String, Option<String>) {
    let parts = place.strip_suffix(')').and_then(|p| p.rsplit_once(" ("));
    parts.map_or((place.to_owned(), None), |(symbol, file)| (symbol.to_owned(), Some(file.to_owned())))
}

/// The symbol with the files behind it, or the files alone.
pub(super) fn place(symbol: &str, files: &[String]) -> String {
    let list = match files {
        [] => return symbol.to_owned(),
        // One file more is named, since counting it would take as much room.
        all if all.len() <= NAMED + 1 => all.join(", "),
        all => format!("{} and {} more", all[..NAMED].join(", "), all.len() - NAMED),
    };
    if symbol.is_empty() { list } else { format!("{symbol} ({list})") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(what: &str, place: &str, rest: &str) -> Line {
        (what.to_owned(), place.to_owned(), rest.to_owned())
    }

    #[test]
    fn the_same_in_several_units_is_one_line() {
        let units = ["a.c", "b.c", "a.c", "c.c", "d.c", "e.c", "f.c"];
        let lines = units.map(|u| line("layout", &format!("session ({u})"), "moved"));
        assert_eq!(merged(lines.clone()), [line("layout", "session (a.c, b.c, c.c and 3 more)", "moved")]);
        assert_eq!(merged(lines[..5].to_vec()), [line("layout", "session (a.c, b.c, c.c, d.c)", "moved")]);
    }

    #[test]
    fn other_symbols_reasons_and_kinds_stay_apart() {
        let lines = vec![
            line("layout", "session (a.c)", "moved"),
            line("layout", "session (a.c)", "grew"),
            line("layout", "other (a.c)", "moved"),
            line("value", "session (b.c)", "moved"),
            line("build stamp", "version.c", "time"),
        ];
        assert_eq!(merged(lines.clone()), lines);
    }
}
