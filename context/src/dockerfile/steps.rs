//! Which steps of a Dockerfile run again after something has changed, as `BuildKit`'s cache would have it.
//!
//! A step is run again when what it runs on is another than before, when its own line or a variable in it is, or when the files
//! that it takes are. Whether the engine still has the results of the other steps is another matter.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use parse_dockerfile::{Flag, Instruction};

use self::environment::{Arguments, Environment, changed_globals, names_any};
use self::written::{Before, Kind, Known, Line, stages};
use super::interpret::{Base, Origin, Walk, bases, global_scope, origins, reachable, target};
use super::lines;
use super::scope::Scope;
use super::stages::{Dockerfile, Names, Stage};
use super::{Found, Input, MAX_TEXT, Unknown};
use crate::pattern::glob;
use crate::tree::{Change, ChangeKind};

mod environment;
mod written;

/// Files that are named as a reason.
const MAX_FILES: usize = 100;
/// The argument that is the time of what WORKDIR makes.
const SOURCE_DATE_EPOCH: &str = "SOURCE_DATE_EPOCH";

/// What is known to differ from an earlier build.
#[derive(Debug, Clone, Copy)]
pub struct Changes<'a> {
    /// The Dockerfile of that build.
    pub before: &'a str,
    /// Names of arguments.
    pub args: &'a BTreeSet<String>,
    /// Images and named contexts, by the names that the Dockerfile has for them.
    pub images: &'a BTreeSet<String>,
    /// Of the context; a folder stands for all that is beneath it.
    pub files: &'a [Change],
    /// What all steps depend on.
    pub all: Option<&'a str>,
    /// What RUN steps depend on.
    pub runs: Option<&'a str>,
    /// The target of that build, if it is another one.
    pub target: Option<Option<&'a str>>,
    /// Stages that take nothing from a cache.
    pub no_cache: &'a [String],
}

/// A step that runs again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Its line, from 1.
    pub line: usize,
    /// Its stage's name; none of a stage without.
    pub stage: Option<String>,
    /// Its first line, as it is written.
    pub text: String,
    /// Why.
    pub why: Why,
}

/// Why a step runs again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// Its line is another one, or was not there.
    Text,
    /// Nothing needed its stage.
    NotBuilt,
    /// It comes after a step that does.
    After(usize),
    /// It came after this step.
    Gone(String),
    /// What happened to an argument, a variable or something else that it can see.
    Environment(String),
    /// It takes these files.
    Files(Vec<String>),
    /// It starts from this image, or takes files from it.
    Image(String),
    /// It starts from this stage.
    Stage(String),
    /// It takes files from this stage. If they are the same again, it does not run.
    FilesOf(String),
    /// Something else that it depends on.
    Other(String),
}

/// The steps that run again, in the Dockerfile's order, of the stages that the target needs.
pub fn rebuilt(input: &Input<'_>, changes: &Changes<'_>) -> Result<Vec<Step>, Unknown> {
    let (text, text_before) = (text_of(input.text)?, text_of(changes.before)?);
    let (plain, plain_before) = (lines::plain(text)?, lines::plain(text_before)?);
    let (dockerfile, before) = (Dockerfile::parse(&plain)?, Dockerfile::parse(&plain_before)?);
    let globals = changed_globals(&before, &dockerfile, input.args, changes.args);
    let input_before = Input { target: changes.target.unwrap_or(input.target), ..*input };
    let before = Before::new(stages(text_before, &plain_before, &before), &before, &input_before, &globals);
    let mut found = Found::default();
    let global = global_scope(&dockerfile, input, input.platforms.first().map(String::as_str), &mut found);
    let (names, bases) = (dockerfile.names(), bases(&dockerfile, &global));
    let target = target(&dockerfile, &names, input.target);
    let target = target.ok_or_else(|| Unknown { reason: "the target is no stage".to_owned(), line: 1 })?;
    let needed = reachable(&dockerfile, &names, &bases, target);
    let args = Arguments {
        escape: dockerfile.escape,
        given: input.args,
        changed: changes.args,
        global: &global,
        globals: &globals,
    };
    let mut rebuilt =
        Rebuilt { changes, args, names: &names, stages: &dockerfile.stages, again: BTreeSet::new(), steps: Vec::new() };
    let mut left: BTreeMap<usize, (Scope, Environment)> = BTreeMap::new();
    let all = stages(text, &plain, &dockerfile);
    for (index, stage) in dockerfile.stages.iter().enumerate().filter(|(index, _)| needed[*index]) {
        let (scope, environment) = match &bases[index] {
            Base::Stage(from) => left.get(from).map(|(scope, environment)| (scope.inherited(), environment.clone())),
            Base::Image(name) => Some((Scope::of_image(name == "scratch"), Environment::default())),
            Base::Hidden(_) => None,
        }
        .unwrap_or_else(|| (Scope::of_image(false), Environment::default()));
        found.spend(scope.size() + environment.size(), dockerfile.line(stage.from.from.span.start));
        found.take()?;
        let walk = Walk {
            dockerfile: &dockerfile,
            input,
            global: &global,
            names: &names,
            scope,
            found: &mut found,
            only_uses: true,
        };
        let known = before.like(&all[index], index);
        let then = rebuilt.stage(index, &bases[index], &all[index].lines, walk, environment, known)?;
        debug_assert_eq!(stage.instructions.len() + 1, all[index].lines.len());
        left.insert(index, then);
    }
    Ok(rebuilt.steps)
}

fn text_of(text: &str) -> Result<&str, Unknown> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.len() > MAX_TEXT {
        return Err(Unknown { reason: "it is too large to be looked into".to_owned(), line: 1 });
    }
    Ok(text)
}

/// What was found so far.
struct Rebuilt<'r, 'a> {
    changes: &'r Changes<'r>,
    args: Arguments<'r>,
    names: &'r Names,
    stages: &'r [Stage<'a>],
    /// Stages in which a step runs again, or is gone.
    again: BTreeSet<usize>,
    steps: Vec<Step>,
}

// === impl Rebuilt ===

impl Rebuilt<'_, '_> {
    /// Goes through a stage; gives what those see that start from it.
    fn stage(
        &mut self,
        index: usize,
        base: &Base,
        lines: &[Line],
        mut walk: Walk<'_, '_>,
        mut environment: Environment,
        mut known: Known<'_>,
    ) -> Result<(Scope, Environment), Unknown> {
        let (Some(stage), Some((from, lines))) = (self.stages.get(index), lines.split_first()) else {
            return Ok((walk.scope, environment));
        };
        let new = if matches!(known, Known::NotBuilt) { Why::NotBuilt } else { Why::Text };
        let is_new = !known.has(from, &mut Vec::new());
        let whole = self.why_whole(stage);
        let why = whole.clone().or_else(|| self.why_from(base, from)).or_else(|| is_new.then(|| new.clone()));
        // Why what comes next runs again in any case.
        let mut last = why.map(|why| self.step(index, from, why));
        for (instruction, line) in stage.instructions.iter().zip(lines) {
            walk.instruction(instruction);
            let uses = walk.found.take()?;
            if line.kind == Kind::Note {
                continue;
            }
            let mut gone = Vec::new();
            let is_new = !known.has(line, &mut gone);
            for gone in gone {
                match gone.kind {
                    Kind::Step => last = last.or_else(|| Some(Why::Gone(gone.first.clone()))),
                    Kind::Environment | Kind::Note => environment.gone(gone, self.args),
                }
            }
            if line.kind == Kind::Environment {
                environment.set(instruction, line, self.args, is_new);
                continue;
            }
            let why = if is_new { Some(new.clone()) } else { self.why(instruction, line, &uses, &environment) };
            let alone = whole.is_none() && stands_alone(instruction);
            if let Some(why) = why.or_else(|| last.clone().filter(|_| !alone)) {
                last = Some(self.step(index, line, why));
            }
        }
        for gone in known.rest() {
            match gone.kind {
                Kind::Step => {
                    last.get_or_insert(Why::Gone(gone.first.clone()));
                }
                Kind::Environment | Kind::Note => environment.gone(gone, self.args),
            }
        }
        if last.is_some() {
            self.again.insert(index);
        }
        Ok((walk.scope, environment))
    }

    /// A step runs again; gives why the next one does.
    fn step(&mut self, index: usize, line: &Line, why: Why) -> Why {
        let stage = self.stages.get(index).and_then(|stage| stage.name.clone());
        self.steps.push(Step { line: line.number, stage, text: line.first.clone(), why });
        Why::After(line.number)
    }

    /// Why all steps of a stage run again.
    fn why_whole(&self, stage: &Stage<'_>) -> Option<Why> {
        let is_named = |name: &String| self.changes.no_cache.iter().any(|stage| stage.eq_ignore_ascii_case(name));
        let uncached = stage.name.as_ref().is_some_and(is_named).then_some("no cache is used");
        self.changes.all.or(uncached).map(|what| Why::Other(what.to_owned()))
    }

    /// Why what a stage starts from is another than before, if its line is the same.
    fn why_from(&self, base: &Base, line: &Line) -> Option<Why> {
        let why = match base {
            Base::Stage(other) => self.in_place_of(*other).or_else(|| self.other_stage(*other).map(Why::Stage)),
            Base::Image(name) => self.changes.images.contains(name).then(|| Why::Image(name.clone())),
            Base::Hidden(_) => None,
        };
        let argument = || names_any(&line.text, self.args.globals);
        why.or_else(|| argument().map(|name| Why::Environment(format!("argument `{name}` changed"))))
    }

    /// A named context that changed, where one has the stage's name: BuildKit looks among those first.
    fn in_place_of(&self, stage: usize) -> Option<Why> {
        let name = self.stages.get(stage)?.name.as_ref()?;
        let context = self.changes.images.iter().find(|image| image.eq_ignore_ascii_case(name))?;
        Some(Why::Image(context.clone()))
    }

    /// The stage's name, if a step of it runs again.
    fn other_stage(&self, index: usize) -> Option<String> {
        let name = || self.stages.get(index).and_then(|stage| stage.name.clone()).unwrap_or_else(|| index.to_string());
        self.again.contains(&index).then(name)
    }

    /// Why a step runs again whose line is the same.
    fn why(&self, instruction: &Instruction<'_>, line: &Line, uses: &Found, environment: &Environment) -> Option<Why> {
        let is_run = matches!(instruction, Instruction::Run(_));
        let files = files(uses, self.changes.files);
        if !files.is_empty() {
            return Some(Why::Files(files));
        }
        for origin in origins(instruction, self.names, self.stages.len()) {
            let why = match origin {
                Origin::Stage(other) => self.in_place_of(other).or_else(|| self.other_stage(other).map(Why::FilesOf)),
                Origin::Image(name) => self.changes.images.contains(&name).then_some(Why::Image(name)),
                Origin::Hidden => None,
            };
            if why.is_some() {
                return why;
            }
        }
        let what = match instruction {
            Instruction::Run(_) => environment.first.clone().or_else(|| environment.user.clone()),
            // It makes its folder for the user.
            Instruction::Workdir(_) => {
                let epoch = self.args.changed.contains(SOURCE_DATE_EPOCH);
                let epoch = epoch.then(|| format!("argument `{SOURCE_DATE_EPOCH}` changed"));
                environment.user.clone().or(epoch)
            }
            _ => None,
        };
        let named = || names_any(&line.text, &environment.variables);
        let what = what.or_else(|| named().map(|name| format!("variable `{name}` changed")));
        what.map(Why::Environment)
            .or_else(|| self.changes.runs.filter(|_| is_run).map(|what| Why::Other(what.to_owned())))
    }
}

/// Whether a step does not depend on those before it, by `--link`.
fn stands_alone(instruction: &Instruction<'_>) -> bool {
    let (flags, to) = match instruction {
        Instruction::Copy(copy) => (&copy.options, &copy.dest),
        Instruction::Add(add) => (&add.options, &add.dest),
        _ => return false,
    };
    let value = |flag: &Flag<'_>| flag.value.as_ref().map(|value| value.value.to_string());
    let is_link = |flag: &Flag<'_>| flag.name.value == "link" && value(flag).is_none_or(|value| value == "true");
    // Any other place is one in the directory that is set before.
    to.value.starts_with('/') && flags.iter().any(is_link) && !flags.iter().any(|flag| flag.name.value == "chmod")
}

/// Those of the changed files that a step takes.
fn files(uses: &Found, changed: &[Change]) -> Vec<String> {
    let is_used = |file: &&Change| uses.all.is_some() || uses.paths.iter().any(|source| takes(source, file));
    changed.iter().filter(is_used).take(MAX_FILES).map(|file| file.path.clone()).collect()
}

/// Whether a source leads to what changed, to a folder above it, or, where that came, went or became something else, to
/// something beneath it.
pub(super) fn takes(source: &str, change: &Change) -> bool {
    let (mut names, mut path, is_pattern) = (source.split('/'), change.path.split('/'), glob::has_wildcard(source));
    loop {
        match (names.next(), path.next()) {
            // A part that is no pattern is one of a class that holds a slash.
            (Some(name), Some(part)) if name == part || is_pattern && glob::matches(name, part).unwrap_or(true) => {}
            (Some(_), Some(_)) => return false,
            (Some(_), None) => return change.kind != ChangeKind::Mode,
            (None, _) => return true,
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text => f.write_str("its line changed"),
            Self::NotBuilt => f.write_str("its stage was not built then"),
            Self::After(line) => write!(f, "after line {line}"),
            Self::Gone(step) => write!(f, "`{step}` is gone"),
            Self::Files(files) => match files.as_slice() {
                [] => f.write_str("files changed"),
                [file] => write!(f, "{file} changed"),
                [file, other] => write!(f, "{file} and {other} changed"),
                [file, rest @ ..] => write!(f, "{file} and {} more changed", rest.len()),
            },
            Self::Image(name) => write!(f, "image {name} changed"),
            Self::Stage(name) => write!(f, "stage {name} changed"),
            Self::FilesOf(name) => write!(f, "stage {name} may give other files"),
            Self::Environment(what) | Self::Other(what) => f.write_str(what),
        }
    }
}

#[cfg(test)]
mod tests;
