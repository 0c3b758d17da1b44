//! The stages of a Dockerfile.

use std::collections::{BTreeMap, BTreeSet};

use parse_dockerfile::{ArgInstruction, FromInstruction, Instruction};

use super::lines::Plain;
use super::{Unknown, words};

/// A Dockerfile that could be read.
pub(super) struct Dockerfile<'a> {
    /// Where lines begin.
    lines: Vec<usize>,
    pub(super) escape: char,
    /// Before the first FROM.
    pub(super) global: Vec<ArgInstruction<'a>>,
    pub(super) stages: Vec<Stage<'a>>,
}

/// One stage.
pub(super) struct Stage<'a> {
    pub(super) from: FromInstruction<'a>,
    /// In lower case.
    pub(super) name: Option<String>,
    pub(super) instructions: Vec<Instruction<'a>>,
}

/// Stages by name; as everywhere, the last one of a name counts.
pub(super) type Names = BTreeMap<String, usize>;

// === impl Dockerfile ===

impl<'a> Dockerfile<'a> {
    pub(super) fn parse(plain: &'a Plain) -> Result<Self, Unknown> {
        let problem = |reason: String| Unknown { reason, line: 1 };
        let unreadable = |error: parse_dockerfile::Error| problem(format!("it can't be read: {error}"));
        let parsed = parse_dockerfile::parse(&plain.text).map_err(unreadable)?;
        let escape = parsed.parser_directives.escape.as_ref().map_or('\\', |escape| escape.value.value);
        if escape != plain.escape || parsed.instructions.len() != plain.instructions {
            return Err(problem("it can be read in more than one way".to_owned()));
        }
        let lines = std::iter::once(0).chain(plain.text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        let mut dockerfile = Self { lines, escape, global: Vec::new(), stages: Vec::new() };
        for instruction in parsed.instructions {
            match (instruction, dockerfile.stages.last_mut()) {
                (Instruction::From(from), _) => {
                    let name = from.as_.as_ref().map(|(_, name)| name.value.to_lowercase());
                    dockerfile.stages.push(Stage { from, name, instructions: Vec::new() });
                }
                (instruction, Some(stage)) => stage.instructions.push(instruction),
                (Instruction::Arg(arg), None) => dockerfile.global.push(arg),
                (_, None) => return Err(problem("it does not start with FROM".to_owned())),
            }
        }
        Ok(dockerfile)
    }

    /// Every name that an ARG declares, ONBUILD's included.
    pub(super) fn declared_args(&self) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        let mut add = |arg: &ArgInstruction<'_>| {
            names.extend(words::arg(&arg.arguments.value, self.escape).into_iter().map(|(name, _)| name));
        };
        self.global.iter().for_each(&mut add);
        for instruction in self.stages.iter().flat_map(|stage| &stage.instructions) {
            match instruction {
                Instruction::Arg(arg) => add(arg),
                Instruction::Onbuild(onbuild) => {
                    if let Instruction::Arg(arg) = &*onbuild.instruction {
                        add(arg);
                    }
                }
                _ => {}
            }
        }
        names
    }

    /// All stages by name.
    pub(super) fn names(&self) -> Names {
        let stages = self.stages.iter().enumerate();
        stages.filter_map(|(index, stage)| Some((stage.name.clone()?, index))).collect()
    }

    /// The line of a byte, from 1.
    pub(super) fn line(&self, at: usize) -> usize {
        self.lines.partition_point(|start| *start <= at)
    }
}
