//! Makes the patched side: a few changes of the kinds that fixes are made of.
//!
//! csmith's programs are free of undefined behaviour, and a change must not bring any in, else there is
//! nothing to compare with: loop headers, array subscripts and pointers are left alone.

use super::program::Program;
use fastrand::Rng;

/// A changed copy.
#[derive(Debug)]
pub(super) struct Mutant {
    pub(super) program: Program,
    /// The changes in words.
    pub(super) changes: Vec<String>,
    /// Only line numbers differ, so no function may be reported.
    pub(super) neutral: bool,
}

pub(super) fn mutate(rng: &mut Rng, original: &Program) -> Mutant {
    let mut program = original.clone();
    let mut what = Vec::new();
    if rng.u32(..25) == 0 {
        for unit in &mut program.units {
            unit.shift = 3;
        }
        return Mutant { program, changes: vec!["lines shifted".into()], neutral: true };
    }
    let wanted = 1 + rng.usize(..3);
    for _ in 0..20 {
        if what.len() == wanted {
            break;
        }
        let done = match rng.u32(..22) {
            0 => constant(rng, &mut program),
            1 => operator(rng, &mut program),
            2 => negate(rng, &mut program),
            3 => delete(rng, &mut program),
            4 => inlining(rng, &mut program),
            5..8 => Some(program.add_call(rng, None)),
            8..10 => call_again(rng, &mut program),
            10..16 => change_feature(rng, &mut program),
            16..18 => {
                let unit = rng.usize(..program.units.len());
                Some(program.add_feature(rng, unit))
            }
            18 => remove_call(rng, &mut program),
            19 => moved(rng, &mut program),
            20 => overridden(rng, &mut program),
            _ if rng.u32(..4) == 0 => initial_value(rng, &mut program),
            _ if rng.bool() => linkage(rng, &mut program),
            _ => reorder(rng, &mut program),
        };
        what.extend(done);
    }
    Mutant { program, changes: what, neutral: false }
}

/// A line with a complete simple statement, or the condition of an `if`.
fn is_plain(line: &str) -> bool {
    let text = line.trim_start();
    if !line.starts_with("    ") || text.starts_with("/*") || text.starts_with("for (") {
        return false;
    }
    if text.starts_with("if (") || text.starts_with("return ") {
        return true;
    }
    let starts = ["g_", "l_", "(*", "p_", "++", "--"].iter().any(|s| text.starts_with(s));
    starts && text.ends_with(';') && !text.contains('{') && !text.contains('&')
}

fn edit(
    rng: &mut Rng,
    program: &mut Program,
    wanted: impl Fn(&str) -> bool,
    change: impl Fn(&mut Rng, &str) -> Option<String>,
) -> Option<String> {
    let csmith = program.units[0].csmith.as_mut()?;
    let line = rng.choice(csmith.body_lines(|l| is_plain(l) && wanted(l)))?;
    let new = change(rng, &csmith.lines[line])?;
    let what = format!("line {line}: `{}` -> `{}`", csmith.lines[line].trim(), new.trim());
    csmith.lines[line] = new;
    Some(what)
}

/// Places of `0x…` outside of subscripts: start and length of the digits.
fn constants(line: &str) -> Vec<(usize, usize)> {
    let bytes = line.as_bytes();
    let (mut depth, mut out) = (0i32, Vec::new());
    for i in 0..bytes.len() {
        match bytes[i] {
            b'[' => depth += 1,
            b']' => depth -= 1,
            b'0' if depth == 0
                && bytes.get(i + 1) == Some(&b'x')
                && (i == 0 || !bytes[i - 1].is_ascii_alphanumeric()) =>
            {
                let digits = bytes[i + 2..].iter().take_while(|b| b.is_ascii_hexdigit()).count();
                out.push((i + 2, digits));
            }
            _ => {}
        }
    }
    out
}

fn constant(rng: &mut Rng, program: &mut Program) -> Option<String> {
    edit(
        rng,
        program,
        |l| !constants(l).is_empty(),
        |rng, line| {
            let (at, len) = rng.choice(constants(line))?;
            let digits: String = (0..len).map(|_| char::from(b"0123456789ABCDEF"[rng.usize(..16)])).collect();
            Some(format!("{}{digits}{}", &line[..at], &line[at + len..]))
        },
    )
}

/// Operators of one type, which may stand for each other.
const OPERATORS: [[&str; 2]; 9] = [
    ["safe_add_func", "safe_sub_func"],
    ["safe_sub_func", "safe_add_func"],
    ["safe_mul_func", "safe_add_func"],
    ["safe_div_func", "safe_mod_func"],
    ["safe_mod_func", "safe_div_func"],
    [" ^ ", " | "],
    [" | ", " & "],
    [" < ", " >= "],
    [" > ", " <= "],
];

fn operator(rng: &mut Rng, program: &mut Program) -> Option<String> {
    let has = |l: &str, o: &[&str; 2]| l.contains(o[0]);
    edit(
        rng,
        program,
        |l| OPERATORS.iter().any(|o| has(l, o)),
        |rng, line| {
            let [from, to] = *rng.choice(OPERATORS.iter().filter(|o| has(line, o)).collect::<Vec<_>>())?;
            let at = rng.choice(line.match_indices(from).collect::<Vec<_>>())?.0;
            Some(format!("{}{to}{}", &line[..at], &line[at + from.len()..]))
        },
    )
}

fn negate(rng: &mut Rng, program: &mut Program) -> Option<String> {
    let wanted = |l: &str| l.trim_start().starts_with("if (") && l.ends_with(')');
    edit(rng, program, wanted, |_, line| {
        let at = line.find("if (")? + 4;
        Some(format!("{}!({}))", &line[..at], &line[at..line.len() - 1]))
    })
}

/// Compound assignments are to integers: no pointer is left without a value.
fn delete(rng: &mut Rng, program: &mut Program) -> Option<String> {
    let wanted =
        |l: &str| [" ^= ", " |= ", " += ", " -= ", " &= "].iter().any(|o| l.contains(o)) && l.ends_with(';');
    edit(rng, program, wanted, |_, _| Some("    ;".into()))
}

/// What is inlined where, without another change.
fn inlining(rng: &mut Rng, program: &mut Program) -> Option<String> {
    let csmith = program.units[0].csmith.as_mut()?;
    let heads: Vec<usize> = csmith
        .functions
        .clone()
        .filter(|&i| {
            csmith.lines[i].contains(" func_")
                && csmith.lines[i].ends_with(')')
                && !csmith.lines[i].starts_with(' ')
        })
        .collect();
    let line = rng.choice(heads)?;
    let head = &mut csmith.lines[line];
    *head = format!("__attribute__(({})) {head}", if rng.bool() { "noinline" } else { "cold" });
    Some(format!("line {line}: `{head}`"))
}

fn call_again(rng: &mut Rng, program: &mut Program) -> Option<String> {
    let ids: Vec<u32> = program.units.iter().flat_map(|u| u.features.iter().map(|f| f.id)).collect();
    let id = rng.choice(ids)?;
    Some(program.add_call(rng, Some(id)))
}

fn change_feature(rng: &mut Rng, program: &mut Program) -> Option<String> {
    let unit = rng.usize(..program.units.len());
    let count = program.units[unit].features.len();
    (count > 0).then(|| program.units[unit].features[rng.usize(..count)].mutate(rng))
}

fn remove_call(rng: &mut Rng, program: &mut Program) -> Option<String> {
    let inserts = &mut program.units[0].inserts;
    let index = (!inserts.is_empty()).then(|| rng.usize(..inserts.len()))?;
    let gone = inserts.remove(index);
    Some(format!("line {}: `{}` removed (feature {:?})", gone.line, gone.text, gone.feature))
}

/// Functions and constants that become static, or cease to be.
fn linkage(rng: &mut Rng, program: &mut Program) -> Option<String> {
    let unit = rng.usize(..program.units.len());
    let index = rng.choice(0..program.units[unit].features.len())?;
    if rng.bool() {
        return Some(program.units[unit].features[index].toggle_constants());
    }
    let id = program.units[unit].features[index].id;
    let others = program.units.iter().skip(1).flat_map(|u| &u.features);
    // The first unit calls everything, so only its own functions can be static.
    if unit > 0 || others.into_iter().any(|f| f.calls(id)) {
        return None;
    }
    Some(program.units[unit].features[index].toggle_linkage())
}

/// Functions in another order: nothing changes but the numbers that a compiler gives.
fn reorder(rng: &mut Rng, program: &mut Program) -> Option<String> {
    let unit = rng.usize(..program.units.len());
    rng.shuffle(&mut program.units[unit].features);
    Some(format!("features of {} in another order", program.units[unit].name))
}

/// Another unit of the same language.
fn another_unit(rng: &mut Rng, program: &Program, unit: usize) -> Option<usize> {
    let alike = |u: &usize| *u != unit && program.units[*u].language == program.units[unit].language;
    rng.choice((0..program.units.len()).filter(alike).collect::<Vec<_>>())
}

/// A definition that moves to another unit, as it is or with a change.
fn moved(rng: &mut Rng, program: &mut Program) -> Option<String> {
    let unit = rng.usize(..program.units.len());
    let to = another_unit(rng, program, unit)?;
    let index = rng.choice(0..program.units[unit].features.len())?;
    if program.units[unit].features[index].is_local() {
        return None;
    }
    let mut feature = program.units[unit].features.remove(index);
    let change = if rng.bool() { format!(", {}", feature.mutate(rng)) } else { String::new() };
    let what = format!("feature {} moved to {}{change}", feature.id, program.units[to].name);
    program.units[to].features.push(feature);
    Some(what)
}

/// A strong definition in one unit that takes the place of a weak one in another.
fn overridden(rng: &mut Rng, program: &mut Program) -> Option<String> {
    let unit = rng.usize(..program.units.len());
    let to = another_unit(rng, program, unit)?;
    let index = rng.choice(0..program.units[unit].features.len())?;
    let strong = program.units[unit].features[index].overriding(rng)?;
    let what = format!("feature {} overridden in {}", strong.id, program.units[to].name);
    program.units[to].features.push(strong);
    Some(what)
}

fn initial_value(rng: &mut Rng, program: &mut Program) -> Option<String> {
    let csmith = program.units[0].csmith.as_mut()?;
    let scalar =
        |l: &str| l.contains(" = 0x") && !l.contains('{') && !l.contains('[') && !constants(l).is_empty();
    let lines: Vec<usize> = csmith.globals.clone().filter(|&i| scalar(&csmith.lines[i])).collect();
    let line = rng.choice(lines)?;
    let (at, len) = constants(&csmith.lines[line])[0];
    let new = format!("{}{}{}", &csmith.lines[line][..at], "7".repeat(len), &csmith.lines[line][at + len..]);
    let what = format!("line {line}: `{}` -> `{new}`", csmith.lines[line]);
    csmith.lines[line] = new;
    Some(what)
}
