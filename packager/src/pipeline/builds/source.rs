//! The source of a package: a spec file with its sources, or a tree.

use crate::cli::{Input, Request};
use crate::error::Result;
use crate::scratch::Work;
use crate::source::{GitFix, SpecSource, TreeSource, unpack};
use patchfile::manifest::Package;

/// What is built.
#[derive(Debug)]
pub(in crate::pipeline) enum Source {
    Spec(SpecSource),
    Tree(TreeSource, Option<GitFix>),
}

impl Source {
    /// Reads the source's description.
    pub(in crate::pipeline) fn open(request: &Request, work: &Work) -> Result<Self> {
        match &request.input {
            Input::Spec { spec, sourcedir } => {
                SpecSource::read(spec, sourcedir, &request.rpmbuild).map(Self::Spec)
            }
            Input::Srpm(srpm) => {
                let dir = work.path("srpm");
                let spec = unpack(srpm, &dir)?;
                SpecSource::read(&spec, &dir, &request.rpmbuild).map(Self::Spec)
            }
            Input::Tree { dir, build, prepare, git } => {
                let name = dir.file_name().unwrap_or_default().to_string_lossy();
                let name: String = name
                    .chars()
                    .map(|c| if c.is_ascii_alphanumeric() || "._+-".contains(c) { c } else { '-' })
                    .collect();
                let name = name.trim_start_matches(['.', '-']).to_owned();
                let name = if name.is_empty() { "source".to_owned() } else { name };
                let git = git.as_ref();
                let git = git.map(|(base, head)| GitFix::open(dir, base, head.as_deref(), &work.path("git")));
                let git = git.transpose()?;
                let tree =
                    TreeSource { dir: dir.clone(), name, build: build.clone(), prepare: prepare.clone() };
                Ok(Self::Tree(tree, git))
            }
        }
    }

    /// The package it describes.
    pub(in crate::pipeline) fn package(&self) -> Package {
        match self {
            Self::Spec(spec) => spec.package.clone(),
            Self::Tree(tree, _) => Package {
                name: tree.name.clone(),
                epoch: None,
                version: String::new(),
                release: String::new(),
            },
        }
    }

    /// Its licence, if known.
    pub(in crate::pipeline) fn license(&self) -> String {
        match self {
            Self::Spec(spec) => spec.license.clone(),
            Self::Tree(..) => String::new(),
        }
    }

    /// The spec file, if there is one.
    pub(in crate::pipeline) fn spec(&self) -> Option<&SpecSource> {
        match self {
            Self::Spec(spec) => Some(spec),
            Self::Tree(..) => None,
        }
    }
}
