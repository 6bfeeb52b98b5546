//! What an object declares, and where.

use differ::declarations;
use std::fs;
use std::process::Command;

const SOURCE: &str = "struct part { int a; };
typedef struct { struct part inner; struct part *other; } whole;
struct session { int id; };
struct session sessions[2];
whole all;
int use(int i)
{
    static int count;
    struct session *session = &sessions[i & 1];
    return ++count + session->id + all.inner.a;
}
";

#[test]
fn places_and_makeup_are_those_of_the_source() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a.c"), SOURCE).unwrap();
    let gcc = Command::new("gcc").args(["-g", "-O1", "-c", "a.c"]).current_dir(&dir).status().unwrap();
    assert!(gcc.success());
    let found = declarations(&fs::read(dir.path().join("a.o")).unwrap()).unwrap();
    assert!(found.source.ends_with("/a.c"), "{}", found.source);
    let line = |name: &str| found.symbols.get(name).map(|place| place.line);
    assert_eq!([line("sessions"), line("use"), line("use()::count")], [Some(4), Some(6), Some(8)]);
    // The local variable of that name is something else.
    assert_eq!(found.types["session"].line, 3);
    let whole = &found.structures["whole"];
    assert_eq!(whole.shape, ["inner: part", "other: *part"]);
    assert!(whole.parts.iter().eq(["part"]), "{:?}", whole.parts);
    assert_eq!(found.variables["sessions"].shape, ["session[2]"]);
    assert!(found.variables["all"].parts.iter().eq(["part", "whole"]));
}
