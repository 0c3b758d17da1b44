//! The trees that a job reads: where they are, which rules apply, and their snapshots.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use slipway_context::dockerfile::Analysis;
use slipway_context::{
    OktetoContext, Rules, Scan, ScanOptions, Section, Warning, find_dockerfile, scan, scan_dockerfile,
};
use slipway_manifest::options::NamedContext;
use slipway_manifest::plan::{BuildPlan, CommandsPlan};

use crate::error::{Usage, causes};
use crate::layout::Layout;
use crate::output;
use crate::project::tidy;

pub(crate) mod caches;
pub(crate) mod narrow;

/// Names of the two roots of a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BuildRoots {
    /// The context.
    pub(crate) context: String,
    /// The Dockerfile and its ignore file.
    pub(crate) dockerfile: String,
    /// The Dockerfile's name within its root.
    pub(crate) file: String,
    /// Named contexts that are folders, each with its root's name.
    pub(crate) named: Vec<(String, String)>,
    /// Caches that are read from folders, in the plan's order.
    pub(crate) caches: Vec<String>,
}

/// One tree of a job.
#[derive(Debug)]
pub(crate) struct Tree {
    /// Its name within the job.
    pub(crate) name: String,
    /// Where it is; for messages.
    pub(crate) dir: PathBuf,
    /// Its snapshot.
    pub(crate) scan: Scan,
    /// What it holds instead of everything: what these paths lead to. Empty: it is complete.
    pub(crate) only: Vec<String>,
    /// What leaves things out of it.
    rules: Rules,
}

/// Scans directories, each combination of a directory and rules once.
#[derive(Debug, Default)]
pub(crate) struct Roots {
    trees: Vec<Arc<Tree>>,
    /// Where scans remember what files held.
    scan_cache: Option<PathBuf>,
    /// By place, patterns and paths.
    known: HashMap<(PathBuf, Vec<String>, Vec<String>), String>,
    /// Contexts are scanned whole, whatever their Dockerfiles use.
    whole: bool,
}

impl Roots {
    /// None yet.
    pub(crate) fn new(scan_cache: Option<PathBuf>) -> Self {
        Self { scan_cache, ..Self::default() }
    }

    /// The same, and nothing is narrowed: for contexts as a person sees them, or where a person wants it so.
    pub(crate) fn whole(self) -> Self {
        Self { whole: true, ..self }
    }

    /// The trees, in the order of their first use.
    pub(crate) fn trees(&self) -> &[Arc<Tree>] {
        &self.trees
    }

    /// The tree of that name.
    pub(crate) fn tree(&self, name: &str) -> Option<&Tree> {
        self.trees.iter().find(|tree| tree.name == name).map(Arc::as_ref)
    }

    /// What the Dockerfile of a build says, by its roots; none where it isn't here. `earlier` are the builds of the plan before it.
    pub(crate) fn analysis(&self, of: &BuildRoots, build: &BuildPlan, earlier: &[BuildPlan]) -> Option<Analysis> {
        narrow::analysis(&self.tree(&of.dockerfile)?.scan, &of.file, build, earlier)
    }

    /// The roots of a build. `root` is the manifest's, `earlier` are the builds of the plan before it.
    pub(crate) fn add_build(
        &mut self,
        root: &Path,
        build: &BuildPlan,
        earlier: &[BuildPlan],
    ) -> Result<BuildRoots, Usage> {
        let service = build.service.as_str();
        if build.remote_context().is_some() {
            return self.add_remote(root, build);
        }
        let dir = directory(root, &build.context, format_args!("the context of `{service}`"))?;
        let path = dockerfile(root, &dir, build)?;
        let file = path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
        let file = file.ok_or_else(|| Usage::new(format!("`{}` can't be a Dockerfile's name", path.display())))?;
        let rules = Rules::docker(&dir, &path).map_err(|error| Usage::new(causes(&error)))?;
        let scanned = scan_dockerfile(&path).map_err(|error| Usage::new(causes(&error)))?;
        // A named context may be an image with triggers.
        let whole = self.whole || !build.options.contexts.is_empty();
        let only = if whole { Vec::new() } else { narrow::paths(&scanned, &file, build, earlier) };
        let context = self.add_only(format!("context:{service}"), &dir, &rules, only)?;
        let dockerfile = self.add_dockerfile(format!("dockerfile:{service}"), &path, scanned);
        let (named, caches) = (self.add_named(root, build)?, self.add_caches(root, build)?);
        Ok(BuildRoots { context, dockerfile, file, named, caches })
    }

    /// A build whose context and Dockerfile the engine fetches: nothing of them is here.
    fn add_remote(&mut self, root: &Path, build: &BuildPlan) -> Result<BuildRoots, Usage> {
        let nothing = tempfile::tempdir().map_err(|error| Usage::new(format!("make a folder: {error}")))?;
        let name = format!("context:{}", build.service);
        let empty = Tree::scan(name.clone(), nothing.path().to_owned(), Rules::none(), Vec::new(), None)?;
        self.trees.push(Arc::new(empty));
        let (context, dockerfile, file) = (name.clone(), name, build.dockerfile.clone());
        let (named, caches) = (self.add_named(root, build)?, self.add_caches(root, build)?);
        Ok(BuildRoots { context, dockerfile, file, named, caches })
    }

    fn add_named(&mut self, root: &Path, build: &BuildPlan) -> Result<Vec<(String, String)>, Usage> {
        let (mut named, service) = (Vec::new(), build.service.as_str());
        for (name, context) in &build.options.contexts {
            if let NamedContext::Directory(path) = context {
                let dir = directory(root, path, format_args!("the context `{name}` of `{service}`"))?;
                let rules = Rules::dockerignore(&dir).map_err(|error| Usage::new(causes(&error)))?;
                named.push((name.clone(), self.add(format!("context:{service}:{name}"), &dir, &rules)?));
            }
        }
        Ok(named)
    }

    fn add_caches(&mut self, root: &Path, build: &BuildPlan) -> Result<Vec<String>, Usage> {
        let local = build.options.cache_from.iter().filter_map(|cache| caches::files(root, cache));
        let add = |(index, (layout, files)): (usize, (Layout, _))| {
            self.add_only(format!("cache:{}:{index}", build.service), layout.dir(), &Rules::none(), files)
        };
        local.enumerate().map(add).collect()
    }

    /// The root that commands run in.
    pub(crate) fn add_commands(
        &mut self,
        root: &Path,
        commands: &CommandsPlan,
        tests: &[String],
    ) -> Result<String, Usage> {
        let (name, section) = match (commands.section, &commands.test) {
            (slipway_manifest::plan::Section::Destroy, _) => ("destroy".to_owned(), Section::Destroy),
            (slipway_manifest::plan::Section::Test, Some(test)) => {
                (format!("test:{test}"), Section::Test(test.clone()))
            }
            _ => ("deploy".to_owned(), Section::Deploy),
        };
        let dir = directory(root, &commands.context, format_args!("the context of {}", commands.label()))?;
        let rules = okteto_rules(&dir, section, tests)?;
        self.add(name, &dir, &rules)
    }

    /// Any other directory.
    pub(crate) fn add(&mut self, name: String, dir: &Path, rules: &Rules) -> Result<String, Usage> {
        self.add_only(name, dir, rules, Vec::new())
    }

    fn add_only(&mut self, name: String, dir: &Path, rules: &Rules, only: Vec<String>) -> Result<String, Usage> {
        // Two ways to write a directory are one directory; should that fail, scanning says why.
        let place = fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
        let patterns = rules.patterns().map(|(pattern, _, _)| pattern.to_owned()).collect();
        let known = self.known.entry((place, patterns, only.clone())).or_insert_with(|| name.clone()).clone();
        if known != name {
            return Ok(known);
        }
        warn(rules.warnings());
        let (dir, rules) = (dir.to_owned(), rules.clone());
        self.trees.push(Arc::new(Tree::scan(name.clone(), dir, rules, only, self.scan_cache.clone())?));
        Ok(name)
    }

    /// Makes these trees complete, as the service wants them.
    pub(crate) fn widen(&mut self, names: &[String]) -> Result<(), Usage> {
        let cache = self.scan_cache.clone();
        for tree in self.trees.iter_mut().filter(|tree| names.contains(&tree.name) && !tree.only.is_empty()) {
            *tree = Arc::new(Tree::scan(
                tree.name.clone(),
                tree.dir.clone(),
                tree.rules.clone(),
                Vec::new(),
                cache.clone(),
            )?);
        }
        Ok(())
    }

    fn add_dockerfile(&mut self, name: String, path: &Path, scan: Scan) -> String {
        let same = self.trees.iter().find(|tree| is_dockerfile(tree) && tree.scan.digest() == scan.digest());
        if let Some(same) = same {
            return same.name.clone();
        }
        let dir = path.parent().unwrap_or(Path::new("")).to_owned();
        self.trees.push(Arc::new(Tree::complete(name.clone(), dir, scan)));
        name
    }
}

/// Whether a tree is that of a Dockerfile.
pub(crate) fn is_dockerfile(tree: &Tree) -> bool {
    tree.name.starts_with("dockerfile:")
}

impl Tree {
    /// A tree without rules.
    pub(crate) fn complete(name: String, dir: PathBuf, scan: Scan) -> Self {
        Self { name, dir, scan, only: Vec::new(), rules: Rules::none() }
    }

    fn scan(
        name: String,
        dir: PathBuf,
        rules: Rules,
        only: Vec<String>,
        cache_dir: Option<PathBuf>,
    ) -> Result<Self, Usage> {
        let options = ScanOptions { cache_dir, only: only.clone(), ..ScanOptions::default() };
        let scan = scan(&dir, &rules, &options).map_err(|error| Usage::new(causes(&error)))?;
        warn(scan.warnings());
        let totals = scan.totals();
        tracing::info!(root = name, files = totals.files, bytes = totals.bytes, "scanned");
        Ok(Self { name, dir, scan, only, rules })
    }
}

/// The rules of a section of `.oktetoignore`; `tests` are the manifest's.
pub(crate) fn okteto_rules(dir: &Path, section: Section, tests: &[String]) -> Result<Rules, Usage> {
    let context = OktetoContext { context_dir: dir, working_dir: Path::new("."), section, tests };
    Rules::okteto(&context).map_err(|error| Usage::new(causes(&error)))
}

/// A directory that the manifest names. It may be outside the manifest's root: these are the caller's own files.
pub(crate) fn directory(root: &Path, path: &str, what: fmt::Arguments<'_>) -> Result<PathBuf, Usage> {
    if path.contains("://") {
        return Err(Usage::new(format!("{what} is `{path}`, which is no folder here")));
    }
    let dir = tidy(&root.join(path));
    if dir.is_dir() {
        return Ok(dir);
    }
    let why = if dir.exists() { "is no folder" } else { "does not exist" };
    Err(Usage::new(format!("{what}, `{}`, {why}", dir.display())))
}

/// A folder that need not be there, as the manifest or a flag names it.
pub(crate) fn folder(root: &Path, path: &str) -> PathBuf {
    tidy(&root.join(path))
}

/// A build's Dockerfile: relative to its context, else to the manifest's root.
pub(crate) fn dockerfile(root: &Path, context: &Path, build: &BuildPlan) -> Result<PathBuf, Usage> {
    let first = tidy(&context.join(&build.dockerfile));
    if find_dockerfile(&first).is_some() {
        return Ok(first);
    }
    let service = build.service.as_str();
    let second = tidy(&root.join(&build.dockerfile));
    if second != first && find_dockerfile(&second).is_some() {
        output::warn(format_args!(
            "the Dockerfile of `{service}` is `{}`, relative to the manifest: `{}` does not exist",
            second.display(),
            first.display()
        ));
        return Ok(second);
    }
    Err(Usage::new(format!("the Dockerfile of `{service}`, `{}`, does not exist", first.display())))
}

fn warn(warnings: &[Warning]) {
    for warning in warnings {
        match warning {
            Warning::UnknownSection { .. } => output::warn(format_args!("{}: {warning}", warning.place())),
            _ => output::warn(warning),
        }
    }
}
