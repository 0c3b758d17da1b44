//! Which steps of a Dockerfile run again after something has changed, as `BuildKit`'s cache would have it.
//!
//! A step is run again when what it runs on is another than before, when its own line or a variable in it is, or when the files
//! that it takes are. Whether the engine still has the results of the other steps is another matter.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use parse_dockerfile::Instruction;

use super::interpret::{Base, Origin, Walk, bases, global_scope, origins, reachable, target};
use super::lines::{self, MARK, Plain};
use super::scope::Scope;
use super::stages::{Dockerfile, Names, Stage};
use super::{Found, Input, MAX_TEXT, Unknown, words};
use crate::pattern::glob;

/// Files that are named as a reason.
const MAX_FILES: usize = 100;

/// What is known to differ from an earlier build.
#[derive(Debug, Clone, Copy)]
pub struct Changes<'a> {
    /// The Dockerfile of that build, if it is known.
    pub before: Option<&'a str>,
    /// Names of arguments.
    pub args: &'a BTreeSet<String>,
    /// Images and named contexts, by the names that the Dockerfile has for them.
    pub images: &'a BTreeSet<String>,
    /// Paths of the context; a folder stands for all that is beneath it.
    pub files: &'a [String],
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
    /// It comes after a step that does.
    After(usize),
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
    let text = text_of(input.text)?;
    let plain = lines::plain(text)?;
    let dockerfile = Dockerfile::parse(&plain)?;
    let before = changes.before.map(stages_of).transpose()?;
    let mut ignored = Found::default();
    let global = global_scope(&dockerfile, input, input.platforms.first().map(String::as_str), &mut ignored);
    let (names, bases) = (dockerfile.names(), bases(&dockerfile, &global));
    let target = target(&dockerfile, &names, input.target);
    let target = target.ok_or_else(|| Unknown { reason: "the target is no stage".to_owned(), line: 1 })?;
    let needed = reachable(&dockerfile, &names, &bases, target);
    // Stages that the target of before did not need are as new.
    let before_it = changes.target.and_then(|before| super::interpret::target(&dockerfile, &names, before));
    let were_needed = before_it.map(|before| reachable(&dockerfile, &names, &bases, before));
    let was_needed = |index: usize| {
        were_needed.as_ref().is_none_or(|needed| needed[index]) && (changes.target.is_none() || before_it.is_some())
    };
    let mut rebuilt =
        Rebuilt { changes, names: &names, stages: &dockerfile.stages, again: BTreeSet::new(), steps: Vec::new() };
    let mut left: BTreeMap<usize, (Scope, Environment)> = BTreeMap::new();
    let all = stages(text, &plain, &dockerfile);
    for (index, stage) in dockerfile.stages.iter().enumerate().filter(|(index, _)| needed[*index]) {
        let (scope, environment) = match &bases[index] {
            Base::Stage(from) => left.get(from).map(|(scope, environment)| (scope.inherited(), environment.clone())),
            Base::Image(name) => Some((Scope::of_image(name == "scratch"), Environment::default())),
            Base::Hidden(_) => None,
        }
        .unwrap_or_else(|| (Scope::of_image(false), Environment::default()));
        let walk = Walk { dockerfile: &dockerfile, input, global: &global, names: &names, scope, found: &mut ignored };
        let known = before.as_ref().map(|before| like(before, &all[index], index));
        let known = known.map_or(Known::Nothing, |stage| stage.map_or(Known::New, Known::Lines));
        let known = if was_needed(index) { known } else { Known::New };
        let then = rebuilt.stage(index, &bases[index], &all[index].lines, walk, environment, known);
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

/// One stage as it is written; the first line is its FROM.
#[derive(Debug)]
struct Written {
    name: Option<String>,
    lines: Vec<Line>,
}

/// An instruction as it is written.
#[derive(Debug)]
struct Line {
    /// From 1.
    number: usize,
    /// What counts of it.
    text: String,
    /// What it begins with, for people.
    first: String,
    kind: Kind,
}

/// What an instruction does to the steps after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// It changes files, or is what a stage starts from.
    Step,
    /// It changes what RUN steps are run with.
    Environment,
    /// It is noted in the image only.
    Note,
}

/// What differs of the environment that steps see.
#[derive(Debug, Clone, Default)]
struct Environment {
    /// Names of variables.
    variables: BTreeSet<String>,
    /// What to call the first difference.
    first: Option<String>,
}

/// What is known of a stage before.
#[derive(Debug, Clone, Copy)]
enum Known<'k> {
    /// There is no Dockerfile to compare with.
    Nothing,
    /// It is new.
    New,
    /// These lines are left of it.
    Lines(&'k [Line]),
}

/// What was found so far.
struct Rebuilt<'r, 'a> {
    changes: &'r Changes<'r>,
    names: &'r Names,
    stages: &'r [Stage<'a>],
    /// Stages in which a step runs again.
    again: BTreeSet<usize>,
    steps: Vec<Step>,
}

/// The stages of a Dockerfile that could be read before.
fn stages_of(text: &str) -> Result<Vec<Written>, Unknown> {
    let text = text_of(text)?;
    let plain = lines::plain(text)?;
    Ok(stages(text, &plain, &Dockerfile::parse(&plain)?))
}

fn stages(text: &str, plain: &Plain, dockerfile: &Dockerfile<'_>) -> Vec<Written> {
    let original: Vec<&str> = text.lines().collect();
    // Every instruction is on one line of the plain text.
    let is_instruction = |line: &str| !line.trim_start().is_empty() && !line.trim_start().starts_with('#');
    let instructions: Vec<_> = plain.text.lines().enumerate().filter(|(_, line)| is_instruction(line)).collect();
    let mut next = instructions.iter().enumerate().skip(dockerfile.global.len());
    let written = |stage: &Stage<'_>| {
        let lines = next.by_ref().take(1 + stage.instructions.len()).map(|(index, (at, line))| {
            let end = instructions.get(index + 1).map_or(original.len(), |(end, _)| *end);
            // A here-document is not in the plain text.
            let text = if line.contains(MARK) {
                original.get(*at..end).unwrap_or_default().join("\n").trim_end().to_owned()
            } else {
                line.split_whitespace().collect::<Vec<_>>().join(" ")
            };
            let first = original.get(*at).map(|line| line.trim().to_owned()).unwrap_or_default();
            Line { number: at + 1, text, first, kind: Kind::of(line) }
        });
        Written { name: stage.name.clone(), lines: lines.collect() }
    };
    dockerfile.stages.iter().map(written).collect()
}

/// The stage of the same name; of one without a name, that at the same place.
fn like<'k>(before: &'k [Written], stage: &Written, index: usize) -> Option<&'k [Line]> {
    let same = match &stage.name {
        Some(_) => before.iter().rfind(|known| known.name == stage.name),
        None => before.get(index).filter(|known| known.name.is_none()),
    };
    same.map(|known| known.lines.as_slice())
}

// === impl Kind ===

impl Kind {
    fn of(line: &str) -> Self {
        let word = line.split_whitespace().next().unwrap_or_default().to_ascii_lowercase();
        match word.as_str() {
            "run" | "copy" | "add" | "workdir" | "from" => Self::Step,
            "arg" | "env" | "user" | "shell" => Self::Environment,
            _ => Self::Note,
        }
    }
}

// === impl Environment ===

impl Environment {
    fn differs(&mut self, what: &str) {
        self.first.get_or_insert_with(|| what.to_owned());
    }

    /// What ARG and ENV set to something else: where the line is another one, or what it names is.
    fn set(
        &mut self,
        instruction: &Instruction<'_>,
        line: &Line,
        escape: char,
        changed: &BTreeSet<String>,
        is_new: bool,
    ) {
        match instruction {
            Instruction::Arg(arg) => {
                for (name, default) in words::arg(&arg.arguments.value, escape) {
                    let derived = default.is_some_and(|default| self.names_one(&default));
                    if changed.contains(&name) || is_new || derived {
                        self.differs(&format!("argument `{name}` changed"));
                        self.variables.insert(name);
                    }
                }
            }
            Instruction::Env(env) => {
                for (name, value) in words::env(&env.arguments.value, escape).unwrap_or_default() {
                    if is_new || self.names_one(&value) {
                        self.differs(&format!("variable `{name}` changed"));
                        self.variables.insert(name);
                    }
                }
            }
            _ if is_new || self.names_one(&line.text) => self.differs(&format!("`{}` changed", line.first)),
            _ => {}
        }
    }

    fn names_one(&self, text: &str) -> bool {
        self.variables.iter().any(|name| names(text, name))
    }
}

/// Whether a text holds `$name` or `${name…}`.
fn names(text: &str, name: &str) -> bool {
    text.match_indices('$').any(|(at, _)| {
        let rest = text[at + 1..].trim_start_matches('{');
        let end = rest.find(|character: char| !character.is_ascii_alphanumeric() && character != '_');
        &rest[..end.unwrap_or(rest.len())] == name
    })
}

// === impl Known ===

impl Known<'_> {
    /// Whether the line was not there before, next to the one before it. `gone` is told of lines that changed the environment
    /// and are not there any more.
    fn is_new(&mut self, line: &Line, gone: &mut dyn FnMut(&Line)) -> bool {
        loop {
            let lines = match self {
                Self::Nothing => return false,
                Self::New => return true,
                Self::Lines(lines) => lines,
            };
            let Some((before, rest)) = lines.split_first() else { return true };
            let same = before.text == line.text;
            if !same && line.kind == Kind::Note {
                return true;
            }
            // What takes its place is another line of its kind; any other may still come.
            if same || before.kind == line.kind || before.kind != Kind::Step {
                *self = Self::Lines(rest);
            }
            if same || before.kind == line.kind || before.kind == Kind::Step {
                return !same;
            }
            if before.kind == Kind::Environment {
                gone(before);
            }
        }
    }
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
    ) -> (Scope, Environment) {
        let (Some(stage), Some((from, lines))) = (self.stages.get(index), lines.split_first()) else {
            return (walk.scope, environment);
        };
        let is_new = known.is_new(from, &mut |_| {});
        let mut last = self.why_from(stage, base, from, is_new).map(|why| self.step(index, from, why));
        for (instruction, line) in stage.instructions.iter().zip(lines) {
            let is_new = known.is_new(line, &mut |gone| environment.differs(&format!("`{}` is gone", gone.first)));
            walk.instruction(instruction);
            let uses = std::mem::take(walk.found);
            match line.kind {
                Kind::Note => continue,
                Kind::Environment => {
                    environment.set(instruction, line, walk.dockerfile.escape, self.changes.args, is_new);
                    continue;
                }
                Kind::Step => {}
            }
            let why = if is_new { Some(Why::Text) } else { self.why(instruction, line, &uses, &environment) };
            if let Some(why) = why.or(last.map(Why::After)) {
                last = Some(self.step(index, line, why));
            }
        }
        (walk.scope, environment)
    }

    fn step(&mut self, index: usize, line: &Line, why: Why) -> usize {
        self.again.insert(index);
        let stage = self.stages.get(index).and_then(|stage| stage.name.clone());
        self.steps.push(Step { line: line.number, stage, text: line.first.clone(), why });
        line.number
    }

    fn why_from(&self, stage: &Stage<'_>, base: &Base, line: &Line, is_new: bool) -> Option<Why> {
        if let Some(all) = self.changes.all {
            return Some(Why::Other(all.to_owned()));
        }
        let is_named = |name: &String| self.changes.no_cache.iter().any(|stage| stage.eq_ignore_ascii_case(name));
        if stage.name.as_ref().is_some_and(is_named) {
            return Some(Why::Other("no cache is used".to_owned()));
        }
        match base {
            Base::Stage(other) => self.other_stage(*other).map(Why::Stage).or(is_new.then_some(Why::Text)),
            Base::Image(name) if self.changes.images.contains(name) => Some(Why::Image(name.clone())),
            Base::Image(_) => is_new.then_some(Why::Text),
            Base::Hidden(_) => {
                let name = self.changes.args.iter().find(|name| names(&line.text, name));
                let argument = name.map(|name| Why::Environment(format!("argument `{name}` changed")));
                argument.or(is_new.then_some(Why::Text))
            }
        }
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
                Origin::Stage(stage) => self.other_stage(stage).map(Why::FilesOf),
                Origin::Image(name) => self.changes.images.contains(&name).then_some(Why::Image(name)),
                Origin::Hidden => None,
            };
            if why.is_some() {
                return why;
            }
        }
        if is_run && let Some(what) = environment.first.clone() {
            return Some(Why::Environment(what));
        }
        if let Some(name) = environment.variables.iter().find(|name| names(&line.text, name)) {
            return Some(Why::Environment(format!("variable `{name}` changed")));
        }
        self.changes.runs.filter(|_| is_run).map(|what| Why::Other(what.to_owned()))
    }
}

/// Those of the changed files that a step takes.
fn files(uses: &Found, changed: &[String]) -> Vec<String> {
    let is_used = |file: &&String| uses.all.is_some() || uses.paths.iter().any(|source| takes(source, file));
    changed.iter().filter(is_used).take(MAX_FILES).cloned().collect()
}

/// Whether a source leads to the file, into a folder that changed as a whole, or to one above it.
fn takes(source: &str, file: &str) -> bool {
    let ends = file.match_indices('/').map(|(at, _)| at).chain([file.len()]);
    let mut above = ends.map(|end| &file[..end]);
    let below = source.strip_prefix(file).is_some_and(|rest| rest.starts_with('/'));
    below || above.any(|path| path == source || glob::has_wildcard(source) && glob::matches(source, path) == Ok(true))
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text => f.write_str("its line changed"),
            Self::After(line) => write!(f, "after line {line}"),
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
mod tests {
    use super::*;

    const TEXT: &str = "\
ARG TAG=1
FROM debian:$TAG AS base
RUN apt-get install -y make

FROM base AS build
ARG VERSION=0
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY src/*.go ./src/
LABEL stage=build
RUN --mount=type=bind,source=scripts,target=/s /s/build \\
      --all

FROM scratch
COPY --from=build /src/out /
COPY --from=tools /bin/tool /bin/
COPY docs /docs
CMD [\"/out\"]
";

    fn nothing() -> Changes<'static> {
        static NONE: BTreeSet<String> = BTreeSet::new();
        Changes {
            before: None,
            args: &NONE,
            images: &NONE,
            files: &[],
            all: None,
            runs: None,
            target: None,
            no_cache: &[],
        }
    }

    fn strings(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    /// The lines that run again, each with why.
    fn again(text: &str, changes: &Changes<'_>) -> Vec<String> {
        let args = BTreeMap::new();
        let input = Input { text, target: None, args: &args, platforms: &[] };
        let steps = rebuilt(&input, changes).unwrap();
        steps.iter().map(|step| format!("{}: {}", step.line, step.why)).collect()
    }

    fn changed(files: &[&str], args: &[&str], images: &[&str]) -> Vec<String> {
        let files = strings(files);
        let [args, images] = [args, images].map(|names| strings(names).into_iter().collect());
        let (args, images) = (&args, &images);
        let changes = Changes { before: Some(TEXT), args, images, files: &files, ..nothing() };
        again(TEXT, &changes)
    }

    fn edited(from: &str, to: &str) -> Vec<String> {
        assert!(TEXT.contains(from));
        let none = BTreeSet::new();
        let changes = Changes { before: Some(TEXT), args: &none, images: &none, ..nothing() };
        again(&TEXT.replacen(from, to, 1), &changes)
    }

    #[test]
    fn nothing_runs_again_for_nothing() {
        assert_eq!(changed(&[], &[], &[]), [""; 0]);
        assert_eq!(changed(&["README.md", "src/deep/a.go", "goXmod"], &["OTHER"], &["alpine"]), [""; 0]);
        assert_eq!(edited("LABEL stage=build", "LABEL stage=other"), [""; 0]);
        assert_eq!(edited("LABEL stage=build\n", ""), [""; 0]);
        assert_eq!(edited("RUN go", "# why\nLABEL a=b\n\nRUN   go"), [""; 0]);
        assert_eq!(edited("CMD", "EXPOSE 1\nCMD"), [""; 0]);
    }

    #[test]
    fn files_count_for_the_steps_that_take_them_and_for_those_after() {
        let build =
            ["12: after line 10", "16: stage build may give other files", "17: after line 16", "18: after line 17"];
        let whole = |first: &str| [&[first.to_owned()], strings(&build).as_slice()].concat();
        assert_eq!(changed(&["src/a.go"], &[], &[]), whole("10: src/a.go changed"));
        assert_eq!(changed(&["src"], &[], &[]), whole("10: src changed"), "a folder that came or went");
        assert_eq!(changed(&["src/a.go", "src/b.go"], &[], &[]), whole("10: src/a.go and src/b.go changed"));
        assert_eq!(changed(&["src/a.go", "src/b.go", "src/c.go"], &[], &[])[0], "10: src/a.go and 2 more changed");
        assert_eq!(changed(&["scripts/x/y"], &[], &[])[0], "12: scripts/x/y changed");
        assert_eq!(changed(&["docs/a/b"], &[], &[]), ["18: docs/a/b changed"]);
        assert_eq!(changed(&["go.sum"], &[], &[])[..2], ["8: go.sum changed", "9: after line 8"]);
    }

    #[test]
    fn arguments_count_for_run_and_where_they_are_named() {
        assert_eq!(changed(&[], &["VERSION"], &[])[..2], ["9: argument `VERSION` changed", "10: after line 9"]);
        assert_eq!(edited("COPY docs /docs", "ARG D=docs\nCOPY docs /docs"), [""; 0]);
        assert_eq!(edited("ARG VERSION=0\n", "")[0], "8: `ARG VERSION=0` is gone");
        assert_eq!(edited("ARG VERSION=0", "ARG VERSION=1")[0], "9: argument `VERSION` changed");
        assert_eq!(edited("WORKDIR /src", "ENV A=$VERSION\nWORKDIR /src")[0], "10: variable `A` changed");
        assert_eq!(edited("WORKDIR /src", "USER 1000\nWORKDIR /src")[0], "10: `USER 1000` changed");
        let text = "FROM scratch\nARG DIR\nENV TO=/x/$DIR\nCOPY a ${TO:-/y}/\nCOPY b /b\n";
        let (args, none) = (BTreeSet::from(["DIR".to_owned()]), BTreeSet::new());
        let changes = Changes { before: Some(text), args: &args, images: &none, ..nothing() };
        assert_eq!(again(text, &changes), ["4: variable `TO` changed", "5: after line 4"]);
    }

    #[test]
    fn images_stages_and_lines_count_for_what_comes_from_them() {
        let from_base = changed(&[], &[], &["debian:1"]);
        assert_eq!(
            from_base[..4],
            ["2: image debian:1 changed", "3: after line 2", "5: stage base changed", "7: after line 5"]
        );
        assert_eq!(changed(&[], &[], &["tools"]), ["17: image tools changed", "18: after line 17"]);
        assert_eq!(edited("go mod download", "go mod vendor")[..2], ["9: its line changed", "10: after line 9"]);
        assert_eq!(edited("--all", "--some")[0], "12: its line changed");
        assert_eq!(edited("RUN go", "RUN echo\nRUN go")[..2], ["9: its line changed", "10: its line changed"]);
        assert_eq!(
            edited(
                "AS base\nRUN apt-get install -y make\n\nFROM base",
                "AS other\nRUN apt-get install -y make\n\nFROM other"
            )[0],
            "2: its line changed"
        );
    }

    #[test]
    fn an_image_that_only_the_service_knows_counts_by_its_argument() {
        let text = "ARG OKTETO_BUILD_BASE_IMAGE\nFROM ${OKTETO_BUILD_BASE_IMAGE} AS one\nRUN a\n";
        let (args, none) = (BTreeMap::from([("OKTETO_BUILD_BASE_IMAGE".to_owned(), None)]), BTreeSet::new());
        let others = BTreeSet::from(["OKTETO_BUILD_BASE_IMAGE".to_owned()]);
        let input = Input { text, target: None, args: &args, platforms: &[] };
        let changes = Changes { before: Some(text), args: &others, images: &none, ..nothing() };
        let steps = rebuilt(&input, &changes).unwrap();
        assert_eq!(steps[0].why, Why::Environment("argument `OKTETO_BUILD_BASE_IMAGE` changed".to_owned()));
        assert_eq!((steps.len(), steps[1].line), (2, 3));
    }

    #[test]
    fn options_count_for_all_steps_or_for_run() {
        let none = BTreeSet::new();
        let changes = Changes {
            before: Some(TEXT),
            args: &none,
            images: &none,
            runs: Some("option `network` changed"),
            ..nothing()
        };
        let found = again(TEXT, &changes);
        assert_eq!(found[..2], ["3: option `network` changed", "5: stage base changed"]);
        let changes = Changes { runs: None, all: Some("platform changed"), ..changes };
        let from: Vec<_> =
            again(TEXT, &changes).into_iter().filter(|line| line.ends_with("platform changed")).collect();
        assert_eq!(from.len(), 3, "{from:?}");
        let changes = Changes { all: None, before: None, ..changes };
        assert_eq!(again(TEXT, &changes), [""; 0], "nothing is known of its lines");
    }

    #[test]
    fn another_target_makes_its_own_stages_new_and_stages_without_cache_run_again() {
        let (args, text) = (BTreeMap::new(), format!("{TEXT}FROM base AS other\nRUN lint\n"));
        let steps = |changes: &Changes<'_>, target| {
            let input = Input { text: &text, target, args: &args, platforms: &[] };
            let steps = rebuilt(&input, changes).unwrap();
            steps.iter().map(|step| format!("{}: {}", step.line, step.why)).collect::<Vec<_>>()
        };
        let changes = Changes { before: Some(&text), ..nothing() };
        assert_eq!(steps(&changes, Some("other")), [""; 0]);
        let from_build = Changes { target: Some(Some("build")), ..changes };
        assert_eq!(steps(&from_build, Some("other")), ["20: its line changed", "21: its line changed"]);
        assert_eq!(steps(&Changes { target: Some(Some("other")), ..changes }, Some("base")), [""; 0]);
        let filtered = Changes { no_cache: &["Other".to_owned()], ..changes };
        assert_eq!(steps(&filtered, None), ["20: no cache is used", "21: after line 20"]);
    }

    #[test]
    fn what_a_here_document_holds_counts() {
        let text = "FROM scratch\nCOPY <<EOF /x\none\nEOF\nCOPY a /a\n";
        let none = BTreeSet::new();
        let changes = Changes { before: Some(text), args: &none, images: &none, ..nothing() };
        assert_eq!(again(text, &changes), [""; 0]);
        assert_eq!(again(&text.replace("one", "two"), &changes), ["2: its line changed", "5: after line 2"]);
    }
}
