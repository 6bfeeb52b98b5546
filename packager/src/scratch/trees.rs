//! The source trees of a run. All of them are built at one path, as objects hold it; so one is in place, the
//! others lie aside.

use super::tree::Tree;
use super::work::{BUILD, Work, clear};
use crate::error::{Context, Result};
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

impl Work {
    /// Where a tree is now.
    pub(crate) fn tree_of(&self, tree: Tree) -> PathBuf {
        if self.in_place() == tree { self.build() } else { self.path(tree.name()) }
    }

    /// Puts the tree in place aside, and an empty one in its place: that of a build that is to be made.
    ///
    /// # Errors
    /// When renaming fails.
    pub(crate) fn begin(&self, tree: Tree) -> Result<()> {
        let aside = self.path(self.in_place().name());
        self.exchange(tree, |build| {
            std::fs::rename(build, aside).what("renaming the build tree")?;
            std::fs::create_dir(build).what("build tree")
        })
    }

    /// Puts a tree in place, and the one that is there aside.
    ///
    /// # Errors
    /// When renaming fails.
    pub(crate) fn put_in_place(&self, tree: Tree) -> Result<()> {
        if self.in_place() == tree {
            return Ok(());
        }
        let (aside, away) = (self.path(tree.name()), self.path(self.in_place().name()));
        self.exchange(tree, |build| {
            std::fs::rename(build, away).what("renaming the build tree")?;
            std::fs::rename(aside, build).what("renaming the build tree")
        })
    }

    /// Records which tree is in place from now on.
    pub(crate) fn call(&self, tree: Tree) {
        *self.in_place.lock().unwrap_or_else(PoisonError::into_inner) = tree;
    }

    /// Empties the tree in place.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub(crate) fn start_over(&self) -> Result<()> {
        self.exchange(self.in_place(), |build| {
            clear(build)?;
            std::fs::create_dir(build).what("build tree")
        })
    }

    /// Removes a tree that lies aside.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub(crate) fn remove(&self, tree: Tree) -> Result<()> {
        clear(&self.path(tree.name()))
    }

    fn in_place(&self) -> Tree {
        *self.in_place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts another folder in place, also where it is seen.
    fn exchange(&self, tree: Tree, with: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let build = self.path(BUILD);
        self.view.hide()?;
        with(&build)?;
        self.call(tree);
        self.view.show(&build)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tree_is_found_wherever_it_lies() {
        let base = tempfile::tempdir().unwrap();
        let work = Work::create(Some(base.path()), "x", false).unwrap();
        let mark = |tree: Tree| std::fs::write(work.tree_of(tree).join("mark"), format!("{tree:?}")).unwrap();
        let read = |tree: Tree| std::fs::read_to_string(work.tree_of(tree).join("mark")).unwrap();
        mark(Tree::Original);
        work.begin(Tree::Patched).unwrap();
        mark(Tree::Patched);
        assert_eq!(work.tree_of(Tree::Patched), work.build());
        work.put_in_place(Tree::Original).unwrap();
        assert_eq!(work.tree_of(Tree::Original), work.build());
        assert_eq!(
            (read(Tree::Original), read(Tree::Patched)),
            ("Original".to_owned(), "Patched".to_owned())
        );
        work.put_in_place(Tree::Patched).unwrap();
        work.call(Tree::Numbered);
        work.begin(Tree::Patched).unwrap();
        assert_eq!(read(Tree::Numbered), "Patched");
        work.put_in_place(Tree::Numbered).unwrap();
        work.remove(Tree::Patched).unwrap();
        work.call(Tree::Patched);
        assert_eq!(read(Tree::Patched), "Patched");
    }
}
