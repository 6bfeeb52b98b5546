//! The fix as a range of commits. Works on a private index and a private work tree: neither files nor index nor HEAD of the
//! user's tree change.

use crate::error::{Context, Failure, Result};
use crate::run::Tool;
use patchfile::exit::BuildExit;
use std::path::{Path, PathBuf};

/// Commits of a repository.
#[derive(Clone, Debug)]
pub struct GitFix {
    repository: PathBuf,
    base: String,
    head: String,
    /// The tree's place below the repository's top.
    prefix: PathBuf,
}

impl GitFix {
    /// Checks that `dir` is in a repository that has both commits.
    ///
    /// # Errors
    /// When it is not, or a commit is unknown.
    pub fn open(dir: &Path, base: &str, head: &str) -> Result<Self> {
        let what = || format!("--git {base}..{head}");
        let ask = |args: &[&str]| -> Result<String> {
            let out = git(dir).args(args).output()?;
            if !out.status.success() {
                return Err(Failure::failed(what(), out.message()));
            }
            Ok(String::from_utf8_lossy(&out.stdout).trim_end_matches('\n').to_owned())
        };
        let prefix = PathBuf::from(ask(&["rev-parse", "--show-prefix"])?);
        let repository = PathBuf::from(ask(&["rev-parse", "--absolute-git-dir"])?);
        let commit = |name: &str| {
            ask(&["rev-parse", "--verify", "--quiet", "--end-of-options", &format!("{name}^{{commit}}")])
                .map_err(|_| Failure::failed(what(), format!("{name} is no commit of {}", dir.display())))
        };
        Ok(Self { repository, base: commit(base)?, head: commit(head)?, prefix })
    }

    /// Writes the tree of the first commit to `to`.
    ///
    /// # Errors
    /// When git fails.
    pub fn check_out(&self, to: &Path, index: &Path) -> Result<PathBuf> {
        std::fs::create_dir_all(to).what(to.display().to_string())?;
        for args in [&["read-tree", self.base.as_str()][..], &["checkout-index", "--all", "--force"]] {
            self.git().env("GIT_INDEX_FILE", index).env("GIT_WORK_TREE", to).args(args).dir(to).check()?;
        }
        Ok(to.join(&self.prefix))
    }

    /// Writes the difference between the commits to `to`.
    ///
    /// # Errors
    /// Exit code 6 when there is none.
    pub fn write_diff(&self, to: &Path) -> Result<()> {
        let args = [
            "diff",
            "--no-ext-diff",
            "--no-textconv",
            "--no-color",
            "--no-renames",
            "--binary",
            "--src-prefix=a/",
            "--dst-prefix=b/",
        ];
        let diff = self.git().args(args).args([&self.base, &self.head]).check()?;
        if diff.is_empty() {
            let why = format!("no file differs between {} and {}", self.base, self.head);
            return Err(Failure::new(BuildExit::NoChange, "nothing to patch", why));
        }
        std::fs::write(to, diff).what(to.display().to_string())
    }

    /// Messages of the commits, newest first.
    pub fn messages(&self) -> String {
        let range = format!("{}..{}", self.base, self.head);
        let out = self.git().args(["log", "--format=Subject: %s%n%n%b", &range]).output();
        out.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default()
    }

    fn git(&self) -> Tool {
        Tool::new("git").env("GIT_OPTIONAL_LOCKS", "0").env("GIT_DIR", &self.repository)
    }
}

fn git(dir: &Path) -> Tool {
    Tool::new("git").env("GIT_OPTIONAL_LOCKS", "0").arg("-C").arg(dir)
}
