//! Puts the pieces of both programs together, with names that mean the same on both sides.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::names::{self, Symbol};
use super::program::Program;
use crate::elf;
use crate::error::{CompareError, Context, Result};
use crate::process::Tool;
use linker::{ObjectSymbol, OptimisedUnit};
use wrapper::{OsBytes, Pass};

/// Both programs as one unit.
#[derive(Clone, Debug, Default)]
pub(crate) struct Merged {
    /// The original, a section for each function.
    pub(crate) original: Vec<u8>,
    /// The patched one.
    pub(crate) patched: Vec<u8>,
    /// The patched unit as a file.
    pub(crate) patched_file: PathBuf,
    /// The original pieces as they were linked, and the piece that each name belongs to.
    pub(crate) pieces: OptimisedUnit,
    /// The original pieces as one object, where a `-r` link has made one of them.
    pub(crate) linked: Option<OptimisedUnit>,
    /// For each program, by name: the piece, and the name of the symbol there.
    pub(crate) names: [HashMap<String, (usize, String)>; 2],
    /// The original pieces with a section for each function, one by one.
    pub(crate) sectioned: Vec<Vec<u8>>,
}

/// Merges the compiled pieces of both programs in files below `dir`.
///
/// # Errors
/// When the tools of binutils fail, or the programs have no debug information, without which symbols of one
/// name from different source files cannot be told apart.
pub(crate) fn merge(original: &Side<'_>, patched: &Side<'_>, dir: &Path) -> Result<Merged> {
    let was = MergedPieces::new(original, &dir.join("original"))?;
    let is = MergedPieces::new(patched, &dir.join("patched"))?;
    let [was_names, is_names] = names::canonical([&was.symbols, &is.symbols]);
    let mut pieces = OptimisedUnit::default();
    for unit in &original.program.pieces {
        let data = std::fs::read(&unit.stored).at(unit.stored.as_path())?;
        pieces.objects.push((unit.object_sha256.clone(), data));
    }
    let program = original.program;
    let passes = [&program.passes, &patched.program.passes];
    let sectioned = original.compiled.iter().map(|p| std::fs::read(p).at(p));
    let (_, original) = was.renamed(&was_names, passes[0])?;
    let (patched_file, patched) = is.renamed(&is_names, passes[1])?;
    for (symbol, name) in was.symbols.iter().zip(&was_names) {
        let piece = ObjectSymbol { object: symbol.piece, name: symbol.own.clone(), linked: None };
        pieces.names.insert(name.clone(), piece);
    }
    let linked = match &program.joined {
        Some(sha256) => Some(as_linked(program, sha256, (&was.symbols, &was_names), &dir.join("linked"))?),
        None => None,
    };
    let piece_of = |(symbol, name): (&Symbol, &String)| (name.clone(), (symbol.piece, symbol.own.clone()));
    let names_of =
        |side: &MergedPieces, names: &[String]| side.symbols.iter().zip(names).map(piece_of).collect();
    let names = [names_of(&was, &was_names), names_of(&is, &is_names)];
    let sectioned = sectioned.collect::<Result<_>>()?;
    Ok(Merged { original, patched, patched_file, pieces, linked, names, sectioned })
}

/// What is merged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Side<'a> {
    /// How the pieces were made.
    pub(crate) program: &'a Program<'a>,
    /// The pieces, compiled once more.
    pub(crate) compiled: &'a [PathBuf],
}

/// The pieces of one side in one file, each symbol with a name of its own.
struct MergedPieces {
    dir: PathBuf,
    file: PathBuf,
    symbols: Vec<Symbol>,
}

impl MergedPieces {
    fn new(side: &Side<'_>, dir: &Path) -> Result<Self> {
        std::fs::create_dir_all(dir).at(dir)?;
        let mut symbols = Vec::new();
        let mut taken: HashSet<String> = HashSet::new();
        let mut parts = Vec::new();
        let contents = side.compiled.iter().map(|p| std::fs::read(p).at(p));
        let contents: Vec<Vec<u8>> = contents.collect::<Result<_>>()?;
        let own: Vec<Vec<elf::Name>> = contents
            .iter()
            .map(|data| Ok(elf::defined_names(data).map_err(|e| CompareError::OptimisedObject(e.into()))?))
            .collect::<Result<_>>()?;
        // Names that several pieces share first: a local symbol must not take one of them.
        taken.extend(own.iter().flatten().filter(|n| !n.local).map(|n| n.name.clone()));
        let llvm = |piece: usize| side.program.pieces.get(piece).is_some_and(|u| u.language == wrapper::LLVM);
        for (piece, (names, path)) in own.into_iter().zip(side.compiled).enumerate() {
            let mut renames = BTreeMap::new();
            for elf::Name { name: own, local, exported } in names {
                let mut name = own.clone();
                if local && !taken.insert(name.clone()) {
                    name = format!("{own}:{piece}");
                    renames.insert(own.clone(), name.clone());
                }
                symbols.push(Symbol { name, own, piece, exported, llvm: llvm(piece), origin: None });
            }
            parts.push(rename(path, &renames, &dir.join(format!("{piece}.o")), false)?);
        }
        let early = side.program.sources.iter().enumerate();
        let early: Vec<PathBuf> = early
            .filter_map(|(i, source)| early_debug(source, &dir.join(format!("{i}.debug.o"))).transpose())
            .collect::<Result<_>>()?;
        let file = dir.join("joined.o");
        // Sections of one name stay apart; those of debug information are put together.
        Tool::new("ld")
            .args(["-r", "--unique", "-z", "noexecstack", "-o"])
            .arg(&file)
            .args(early.iter().chain(&parts))
            .check()?;
        let data = std::fs::read(&file).at(&file)?;
        let mut origins = differ::origins(&data).map_err(|e| CompareError::OptimisedObject(e.into()))?;
        if origins.is_empty() {
            return Err(CompareError::OptimisedWithoutDebug.into());
        }
        for symbol in &mut symbols {
            symbol.origin = origins.remove(&symbol.name);
        }
        names::inherit(&mut symbols);
        Ok(Self { dir: dir.to_path_buf(), file, symbols })
    }

    /// Makes the merged object with other names. Names that only the pieces share with each other become
    /// local: a linker would hide them, or objcopy has hidden them.
    fn renamed(&self, names: &[String], passes: &[Pass]) -> Result<(PathBuf, Vec<u8>)> {
        let pairs = self.symbols.iter().zip(names).filter(|(symbol, name)| symbol.name != **name);
        let renames = pairs.map(|(symbol, name)| (symbol.name.clone(), name.clone())).collect();
        let file = rename(&self.file, &renames, &self.dir.join("renamed.o"), passes.is_empty())?;
        let file = hide(file, passes, &self.dir)?;
        let data = std::fs::read(&file).at(&file)?;
        Ok((file, data))
    }
}

/// The pieces as the `-r` link has joined them, but that no two symbols have one name.
fn as_linked(
    program: &Program<'_>,
    sha256: &str,
    (symbols, names): (&[Symbol], &[String]),
    dir: &Path,
) -> Result<OptimisedUnit> {
    std::fs::create_dir_all(dir).at(dir)?;
    let mut unit = OptimisedUnit::default();
    let mut renames = vec![BTreeMap::new(); program.pieces.len()];
    for (symbol, name) in symbols.iter().zip(names) {
        let linked = (symbol.own != *name).then(|| symbol.own.clone());
        if let (Some(own), Some(renames)) = (&linked, renames.get_mut(symbol.piece)) {
            renames.insert(own.clone(), name.clone());
        }
        unit.names.insert(name.clone(), ObjectSymbol { object: 0, name: name.clone(), linked });
    }
    let mut parts = Vec::new();
    for (index, (piece, renames)) in program.pieces.iter().zip(&renames).enumerate() {
        parts.push(rename(piece.stored.as_path(), renames, &dir.join(format!("{index}.o")), false)?);
    }
    let file = dir.join("joined.o");
    Tool::new("ld").args(["-r", "-o"]).arg(&file).args(&parts).check()?;
    let file = hide(file, &program.passes, dir)?;
    let data = std::fs::read(&file).at(&file)?;
    unit.objects.push((sha256.to_owned(), data));
    Ok(unit)
}

/// Does to a joined object what objcopy did to hide some of its symbols.
fn hide(mut file: PathBuf, passes: &[Pass], dir: &Path) -> Result<PathBuf> {
    for (index, pass) in passes.iter().enumerate() {
        let hidden = dir.join(format!("hidden-{index}.o"));
        let options = pass.options.iter().map(OsBytes::as_os_str);
        Tool::new(pass.tool.as_os_str()).args(options).arg(&file).arg(&hidden).check()?;
        file = hidden;
    }
    Ok(file)
}

/// Renames symbols. With `localise`, names that a linker would hide become local.
fn rename(object: &Path, names: &BTreeMap<String, String>, output: &Path, localise: bool) -> Result<PathBuf> {
    if names.is_empty() && !localise {
        return Ok(object.to_path_buf());
    }
    let mut list = String::new();
    for (from, to) in names {
        list += &format!("{from} {to}\n");
    }
    let file = output.with_extension("names");
    std::fs::write(&file, list).at(&file)?;
    let mut redefine = std::ffi::OsString::from("--redefine-syms=");
    redefine.push(&file);
    let mut tool = Tool::new("objcopy").arg(redefine);
    if localise {
        tool = tool.arg("--localize-hidden");
    }
    tool.arg(object).arg(output).check()?;
    Ok(output.to_path_buf())
}

/// What the compiler wrote about a source file, before any optimisation, as debug sections of an object of
/// its own. gcc puts it beside the bytecode (gcc internals, "LTO file sections"), and the pieces refer to it
/// by a symbol.
fn early_debug(object: &Path, output: &Path) -> Result<Option<PathBuf>> {
    const MARK: &[u8] = b"__gnu_lto_slim";
    let mut data = std::fs::read(object).at(object)?;
    if !elf::has_section(&data, ".gnu.debuglto_.debug_info") {
        return Ok(None);
    }
    // objcopy renames nothing in an object with this symbol.
    let marks: Vec<usize> = memchr::memmem::find_iter(&data, MARK).collect();
    for at in marks {
        data[at..at + MARK.len()].copy_from_slice(b"__gnu_lto_kept");
    }
    let copy = output.with_extension("copy");
    std::fs::write(&copy, data).at(&copy)?;
    let mut tool = Tool::new("objcopy").arg("--only-section=.gnu.debuglto_*");
    for name in ["info", "abbrev", "line", "str", "line_str"] {
        let section = format!(".gnu.debuglto_.debug_{name}=.debug_{name},readonly,debug,contents");
        tool = tool.arg("--rename-section").arg(section);
    }
    tool.arg(&copy).arg(output).check()?;
    std::fs::remove_file(&copy).at(&copy)?;
    Ok(Some(output.to_path_buf()))
}

/// Functions and data of each object by name, as [`OptimisedUnit::names`] has them the other way round.
pub(crate) fn by_piece(pieces: &OptimisedUnit) -> HashMap<(usize, &str), &str> {
    pieces.names.iter().map(|(name, p)| ((p.object, p.name.as_str()), name.as_str())).collect()
}
