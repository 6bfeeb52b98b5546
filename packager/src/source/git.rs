//! The fix as a range of commits. Works on a private index and a private work tree: neither files nor index
//! nor HEAD of the user's tree change.

use super::is_source;
use crate::error::{Context, Result, SourceError};
use crate::naming::{cve_ids, title};
use crate::process::Tool;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Commits of a repository.
#[derive(Clone, Debug)]
pub(crate) struct GitFix {
    repository: PathBuf,
    base: String,
    head: String,
    /// What the user calls both ends.
    named: [String; 2],
    /// The tree's place below the repository's top.
    prefix: PathBuf,
    /// The branch that was made for the fix, if there is one.
    branch: Option<String>,
}

/// Branches that say nothing of a fix.
const COMMON: [&str; 6] = ["main", "master", "trunk", "devel", "develop", "default"];

/// Stands in place of a subject where the work is not committed yet.
const UNCOMMITTED: &str = "Uncommitted work";

impl GitFix {
    /// Checks that `dir` is in a repository that has both commits. Without `head` the fix goes up to the
    /// files of the work tree, of which `scratch` gets a commit.
    ///
    /// # Errors
    /// When it is not, or a commit is unknown.
    pub(crate) fn open(dir: &Path, base: &str, head: Option<&str>, scratch: &Path) -> Result<Self> {
        let what = || match head {
            Some(head) => format!("--git {base}..{head}"),
            None => format!("--git {base}"),
        };
        let ask = |args: &[&str]| -> Result<String> {
            let out = git(dir).args(args).output()?;
            if !out.status.success() {
                return Err(SourceError::Git { option: what(), said: out.message() }.into());
            }
            Ok(String::from_utf8_lossy(&out.stdout).trim_end_matches('\n').to_owned())
        };
        let prefix = PathBuf::from(ask(&["rev-parse", "--show-prefix"])?);
        let repository = PathBuf::from(ask(&["rev-parse", "--absolute-git-dir"])?);
        let commit = |name: &str| {
            ask(&["rev-parse", "--verify", "--quiet", "--end-of-options", &format!("{name}^{{commit}}")])
                .map_err(|e| SourceError::NoCommit {
                    option: what(),
                    name: name.to_owned(),
                    dir: dir.to_path_buf(),
                    source: e.into(),
                })
        };
        let named = [base.to_owned(), head.unwrap_or("the files of the tree").to_owned()];
        let base = commit(base)?;
        let branch = branch(dir, head.unwrap_or("HEAD"));
        let (repository, head) = match head {
            Some(head) => (repository, commit(head)?),
            None => work_tree(dir, &commit("HEAD")?, scratch)?,
        };
        Ok(Self { repository, base, head, named, prefix, branch })
    }

    /// Writes the tree of the first commit to `to`, submodules included.
    ///
    /// # Errors
    /// When git fails, or a submodule's commit is not here.
    pub(crate) fn check_out(&self, to: &Path, index: &Path) -> Result<PathBuf> {
        check_out(&self.repository, &self.base, to, index)?;
        Ok(to.join(&self.prefix))
    }

    /// Writes the difference between the commits to `to`, also of the submodules' own files.
    ///
    /// # Errors
    /// Exit code 6 when there is none.
    pub(crate) fn write_diff(&self, to: &Path) -> Result<()> {
        let diff = diff(&self.repository, &self.base, &self.head, Path::new(""))?;
        if diff.is_empty() {
            let [base, head] = self.named.clone();
            return Err(SourceError::NothingBetween { base, head }.into());
        }
        std::fs::write(to, diff).at(to)
    }

    /// What the fix is called: the CVE that its commits or its branch name, else its branch, else the subject
    /// of its last commit.
    pub(crate) fn name(&self) -> String {
        let messages = self.messages();
        let branch = self.branch.clone().unwrap_or_default();
        let mut subjects = messages.lines().filter_map(|line| line.strip_prefix("Subject: "));
        let subject = subjects.find(|s| *s != UNCOMMITTED).unwrap_or(UNCOMMITTED);
        let named = cve_ids(&messages).into_iter().chain(cve_ids(&branch)).next();
        named.unwrap_or_else(|| title(if branch.is_empty() { subject } else { &branch }))
    }

    /// Messages of the commits, newest first.
    pub(crate) fn messages(&self) -> String {
        let range = format!("{}..{}", self.base, self.head);
        let out =
            in_repository(&self.repository).args(["log", "--format=Subject: %s%n%n%b", &range]).output();
        out.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default()
    }
}

/// The branch that this name of a commit means, if it was made for a fix.
fn branch(dir: &Path, head: &str) -> Option<String> {
    let out = git(dir).args(["rev-parse", "--symbolic-full-name", "--end-of-options", head]).output().ok()?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    // In the order of git-rev-parse(1) the separator is printed too.
    let branch = text.lines().find_map(|line| line.strip_prefix("refs/heads/"))?;
    (out.status.success() && !COMMON.contains(&branch)).then(|| branch.to_owned())
}

/// Makes a commit of the files of the work tree: what git tracks as it is now, and sources that nobody has
/// added yet. The commit is in a repository of its own, which takes the other commits from the user's; so
/// nothing is written there.
fn work_tree(dir: &Path, parent: &str, scratch: &Path) -> Result<(PathBuf, String)> {
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim_end_matches('\n').to_owned();
    let ask = |args: &[&str]| git(dir).args(args).check().map(text);
    let top = PathBuf::from(ask(&["rev-parse", "--show-toplevel"])?);
    let objects = dir.join(ask(&["rev-parse", "--git-path", "objects"])?);
    let format = ask(&["rev-parse", "--show-object-format"])?;
    let own = scratch.join("repository");
    std::fs::create_dir_all(&own).at(&own)?;
    in_repository(&own).args(["init", "--quiet", &format!("--object-format={format}")]).check()?;
    // How files are read (line ends, filters) and which are ignored is said in the user's repository.
    for file in ["config", "info/exclude", "info/attributes", "shallow"] {
        let from = dir.join(ask(&["rev-parse", "--git-path", file])?);
        if from.is_file() {
            let _ = std::fs::create_dir_all(own.join("info"));
            std::fs::copy(&from, own.join(file)).at(&from)?;
        }
    }
    let alternates = own.join("objects/info/alternates");
    std::fs::write(&alternates, format!("{}\n", objects.display())).at(&alternates)?;
    let here = || in_repository(&own).env("GIT_WORK_TREE", &top).dir(&top);
    here().args(["config", "core.bare", "false"]).check()?;
    // No daemon is started that watches the tree for this repository.
    here().args(["config", "core.fsmonitor", "false"]).check()?;
    here().args(["config", "core.worktree"]).arg(&top).check()?;
    here().args(["read-tree", parent]).check()?;
    // git gives an object file a new time when the same object is written again, also where another
    // repository holds it. So the user's objects are out of sight while files are added.
    let aside = scratch.join("alternates");
    std::fs::rename(&alternates, &aside).at(&aside)?;
    here().args(["add", "--update", "."]).check()?;
    let others = here().args(["ls-files", "--others", "--exclude-standard", "-z"]).check()?;
    let is_source = |name: &&[u8]| !name.is_empty() && is_source(Path::new(OsStr::from_bytes(name)));
    let sources: Vec<&[u8]> = others.split(|b| *b == 0).filter(is_source).collect();
    if !sources.is_empty() {
        let list = scratch.join("sources");
        std::fs::write(&list, sources.join(&0)).at(&list)?;
        let add = here().args(["add", "--pathspec-from-file=-", "--pathspec-file-nul"]);
        add.env("GIT_LITERAL_PATHSPECS", "1").stdin(&list)?.check()?;
    }
    let tree = text(here().args(["write-tree", "--missing-ok"]).check()?);
    std::fs::rename(&aside, &alternates).at(&alternates)?;
    let mut commit = here().args(["commit-tree", &tree, "-p", parent, "-m", UNCOMMITTED]);
    for role in ["AUTHOR", "COMMITTER"] {
        commit =
            commit.env(&format!("GIT_{role}_NAME"), "nobody").env(&format!("GIT_{role}_EMAIL"), "nobody");
        commit = commit.env(&format!("GIT_{role}_DATE"), "2000-01-01T00:00:00Z");
    }
    Ok((own, text(commit.check()?)))
}

/// Writes a commit's files to `to`.
fn check_out(repository: &Path, commit: &str, to: &Path, index: &Path) -> Result<()> {
    std::fs::create_dir_all(to).at(to)?;
    for args in [&["read-tree", commit][..], &["checkout-index", "--all", "--force"]] {
        let git = in_repository(repository).env("GIT_INDEX_FILE", index).env("GIT_WORK_TREE", to);
        git.args(args).dir(to).check()?;
    }
    for module in modules(repository, commit)? {
        // A submodule that nobody fetched is an empty folder, here as in the user's tree.
        if let Some(repository) = &module.repository {
            check_out(repository, &module.commit, &to.join(&module.path), index)
                .map_err(|e| SourceError::SubmoduleCheckout(e.into()))?;
        }
    }
    Ok(())
}

/// What differs between two commits, or since nothing or until nothing; names begin with `prefix`.
fn diff(repository: &Path, old: &str, new: &str, prefix: &Path) -> Result<Vec<u8>> {
    let args = [
        "diff",
        "--no-ext-diff",
        "--no-textconv",
        "--no-color",
        "--no-renames",
        "--binary",
        "--ignore-submodules=all",
    ];
    let names = ["src", "dst"].iter().zip(["a", "b"]).map(|(side, first)| {
        let mut word = OsString::from(format!("--{side}-prefix={first}/"));
        if prefix != Path::new("") {
            word.push(prefix);
            word.push("/");
        }
        word
    });
    let mut all = in_repository(repository).args(args).args(names).args([old, new]).check()?;
    let (before, after) = (modules(repository, old)?, modules(repository, new)?);
    for module in before.iter().chain(after.iter().filter(|m| !before.iter().any(|b| b.path == m.path))) {
        let commit = |side: &[Module]| {
            side.iter().find(|m| m.path == module.path).map_or(NOTHING.to_owned(), |m| m.commit.clone())
        };
        let (old, new) = (commit(&before), commit(&after));
        let repository =
            after.iter().chain([module]).find(|m| m.path == module.path).and_then(|m| m.repository.as_ref());
        if let Some(repository) = repository.filter(|_| old != new) {
            all.extend(diff(repository, &old, &new, &prefix.join(&module.path))?);
        } else if old != new {
            return Err(SourceError::Submodule(prefix.join(&module.path)).into());
        }
    }
    Ok(all)
}

/// The tree without files.
const NOTHING: &str = "4b825dc642cb6eb9a060e54bf8d69288fbee4904";

/// A submodule of a commit.
struct Module {
    path: PathBuf,
    commit: String,
    /// Where its commits are, if they were fetched.
    repository: Option<PathBuf>,
}

/// The submodules of a commit (gitmodules(5); git-ls-tree(1) shows them with mode 160000).
fn modules(repository: &Path, commit: &str) -> Result<Vec<Module>> {
    let listed = in_repository(repository).args(["ls-tree", "-r", "-z", commit]).check()?;
    let mut found = Vec::new();
    for line in listed.split(|b| *b == 0) {
        let Some(rest) = line.strip_prefix(b"160000 commit ") else { continue };
        let Some(tab) = rest.iter().position(|b| *b == b'\t') else { continue };
        let path = PathBuf::from(OsString::from_vec(rest[tab + 1..].to_vec()));
        let commit = String::from_utf8_lossy(&rest[..tab]).into_owned();
        found.push(Module { repository: module_repository(repository, &path), path, commit });
    }
    Ok(found)
}

/// The repository of the submodule at `path`: that of the folder in the work tree, else what git keeps for
/// it.
fn module_repository(repository: &Path, path: &Path) -> Option<PathBuf> {
    let ask = |tool: Tool, args: &[&str]| {
        let out = tool.args(args).output().ok().filter(|out| out.status.success())?;
        let text = String::from_utf8_lossy(&out.stdout).trim_end_matches('\n').to_owned();
        (!text.is_empty()).then(|| PathBuf::from(text))
    };
    // A repository of a submodule says where its own work tree is; one with the usual name is in it.
    let configured =
        ask(in_repository(repository), &["config", "core.worktree"]).map(|tree| repository.join(tree));
    let usual = (repository.file_name() == Some(".git".as_ref())).then(|| repository.parent()).flatten();
    let trees = configured.into_iter().chain(usual.map(Path::to_path_buf));
    let in_tree = trees.map(|tree| tree.join(path)).filter(|folder| folder.join(".git").exists());
    let in_tree = in_tree.filter_map(|folder| ask(git(&folder), &["rev-parse", "--absolute-git-dir"]));
    let common = ask(in_repository(repository), &["rev-parse", "--git-common-dir"])?;
    let kept = repository.join(common).join("modules").join(path);
    in_tree.chain([kept]).find(|dir| dir.join("HEAD").exists())
}

fn in_repository(repository: &Path) -> Tool {
    Tool::new("git").env("GIT_OPTIONAL_LOCKS", "0").env("GIT_DIR", repository)
}

fn git(dir: &Path) -> Tool {
    Tool::new("git").env("GIT_OPTIONAL_LOCKS", "0").arg("-C").arg(dir)
}
