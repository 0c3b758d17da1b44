//! Goes through the stages that the target needs, as `dockerfile2llb` does.

use std::collections::BTreeMap;

use parse_dockerfile::{AddInstruction, Flag, Instruction, RunInstruction, Source};

use super::expand::Unresolved;
use super::scope::Scope;
use super::stages::{Dockerfile, Names};
use super::{Found, Input, MAX_PATHS, lines, words};

/// What a stage starts from.
pub(super) enum Base {
    Stage(usize),
    /// `scratch` is one, too.
    Image(String),
    /// It can't be told.
    Hidden(String),
}

/// Where COPY or a mount takes files from.
pub(super) enum Origin {
    Stage(usize),
    Image(String),
    /// It can't be told, or is a mistake.
    Hidden,
}

pub(super) fn interpret(dockerfile: &Dockerfile<'_>, input: &Input<'_>, platform: Option<&str>, found: &mut Found) {
    let global = global_scope(dockerfile, input, platform, found);
    let (names, bases) = (dockerfile.names(), bases(dockerfile, &global));
    let Some(target) = target(dockerfile, &names, input.target) else {
        return found.opaque(1, "the target is no stage");
    };
    let needed = reachable(dockerfile, &names, &bases, target);
    let mut scopes: BTreeMap<usize, Scope> = BTreeMap::new();
    for (index, stage) in dockerfile.stages.iter().enumerate().filter(|(index, _)| needed[*index]) {
        let line = dockerfile.line(stage.from.from.span.start);
        if stage.from.options.iter().any(|flag| flag.name.value != "platform") {
            found.opaque(line, "FROM has a flag that is not known");
        }
        let scope = match &bases[index] {
            Base::Stage(base) => {
                let onbuild = |instruction: &Instruction<'_>| matches!(instruction, Instruction::Onbuild(_));
                if dockerfile.stages[*base].instructions.iter().any(onbuild) {
                    found.opaque(line, "the stage that it starts from has ONBUILD triggers");
                }
                let from = scopes.get(base);
                if !found.spend(from.map_or(0, Scope::size), line) {
                    return;
                }
                from.map_or_else(|| Scope::of_image(false), Scope::inherited)
            }
            Base::Image(name) => {
                found.image(name.clone(), line, true);
                Scope::of_image(name == "scratch")
            }
            Base::Hidden(reason) => {
                found.opaque(line, format!("the base image can't be told: {reason}"));
                Scope::of_image(false)
            }
        };
        let mut walk = Walk { dockerfile, input, global: &global, names: &names, scope, found, only_uses: false };
        for instruction in &stage.instructions {
            if walk.found.is_spent() {
                return;
            }
            walk.instruction(instruction);
        }
        let scope = walk.scope;
        scopes.insert(index, scope);
    }
}

/// The stage that is built.
pub(super) fn target(dockerfile: &Dockerfile<'_>, names: &Names, name: Option<&str>) -> Option<usize> {
    match name.filter(|name| !name.is_empty()) {
        None => dockerfile.stages.len().checked_sub(1),
        Some(name) => names.get(&name.to_lowercase()).copied(),
    }
}

pub(super) fn global_scope(
    dockerfile: &Dockerfile<'_>,
    input: &Input<'_>,
    platform: Option<&str>,
    found: &mut Found,
) -> Scope {
    let mut global = Scope::global(platform, input.args);
    for arg in &dockerfile.global {
        for (name, default) in words::arg(&arg.arguments.value, dockerfile.escape) {
            let value = match (input.args.get(&name), default) {
                (Some(given), _) => given.clone(),
                (None, Some(default)) => global.expand(&default, dockerfile.escape).ok(),
                (None, None) => continue,
            };
            let before = global.size();
            global.set(&name, value);
            if !found.spend(global.size() - before, dockerfile.line(arg.arg.span.start)) {
                return global;
            }
        }
    }
    global
}

/// What each stage starts from.
pub(super) fn bases(dockerfile: &Dockerfile<'_>, global: &Scope) -> Vec<Base> {
    let mut before = Names::new();
    let mut bases = Vec::with_capacity(dockerfile.stages.len());
    for (index, stage) in dockerfile.stages.iter().enumerate() {
        bases.push(base(&stage.from.image.value, global, dockerfile.escape, &before));
        before.extend(stage.name.clone().map(|name| (name, index)));
    }
    bases
}

/// `before`: the stages that one can start from.
fn base(written: &str, global: &Scope, escape: char, before: &Names) -> Base {
    match global.expand(written, escape) {
        Err(unresolved) => Base::Hidden(unresolved.to_string()),
        Ok(name) if name.is_empty() => Base::Hidden("it is empty".to_owned()),
        Ok(name) => match before.get(&name) {
            Some(stage) => Base::Stage(*stage),
            None => Base::Image(name),
        },
    }
}

/// Which stages the target needs.
pub(super) fn reachable(dockerfile: &Dockerfile<'_>, names: &Names, bases: &[Base], target: usize) -> Vec<bool> {
    let mut needed = vec![false; dockerfile.stages.len()];
    let mut open = vec![target];
    while let Some(index) = open.pop() {
        if std::mem::replace(&mut needed[index], true) {
            continue;
        }
        if let Base::Stage(base) = bases[index] {
            open.push(base);
        }
        for instruction in &dockerfile.stages[index].instructions {
            for origin in origins(instruction, names, dockerfile.stages.len()) {
                if let Origin::Stage(stage) = origin {
                    open.push(stage);
                }
            }
        }
    }
    needed
}

/// Where an instruction takes files from besides the context, by its flags.
pub(super) fn origins(instruction: &Instruction<'_>, names: &Names, stages: usize) -> Vec<Origin> {
    let flags = match instruction {
        Instruction::Copy(copy) => copy.options.as_slice(),
        Instruction::Run(run) => run.options.as_slice(),
        _ => &[],
    };
    let origin = |flag: &Flag<'_>| match (&*flag.name.value, value(flag)) {
        ("from", Some(from)) => Some(copy_origin(names, stages, from)),
        ("mount", Some(mount)) => {
            words::mount(mount).as_deref().and_then(mount_from).map(|from| mount_origin(names, from))
        }
        _ => None,
    };
    flags.iter().filter_map(origin).collect()
}

fn copy_origin(names: &Names, stages: usize, from: &str) -> Origin {
    if !words::is_plain(from) || from.contains('$') || from.is_empty() {
        return Origin::Hidden;
    }
    if let Ok(index) = from.parse::<usize>() {
        return if index < stages { Origin::Stage(index) } else { Origin::Hidden };
    }
    names.get(&from.to_lowercase()).map_or_else(|| Origin::Image(from.to_owned()), |stage| Origin::Stage(*stage))
}

/// As [`copy_origin`], but without numbers.
fn mount_origin(names: &Names, from: &str) -> Origin {
    if from.contains('$') {
        return Origin::Hidden;
    }
    match names.get(&from.to_lowercase()) {
        Some(stage) => Origin::Stage(*stage),
        None if from.parse::<i64>().is_ok() => Origin::Hidden,
        None => Origin::Image(from.to_owned()),
    }
}

fn mount_from<'v>(fields: &[(String, Option<&'v str>)]) -> Option<&'v str> {
    last(fields, &["from"]).filter(|from| !from.is_empty())
}

fn last<'v>(fields: &[(String, Option<&'v str>)], keys: &[&str]) -> Option<&'v str> {
    fields.iter().rev().find(|(key, _)| keys.contains(&key.as_str())).and_then(|(_, value)| *value)
}

fn value<'f>(flag: &'f Flag<'_>) -> Option<&'f str> {
    flag.value.as_ref().map(|value| &*value.value)
}

/// One stage, instruction by instruction.
pub(super) struct Walk<'w, 'a> {
    pub(super) dockerfile: &'w Dockerfile<'a>,
    pub(super) input: &'w Input<'w>,
    pub(super) global: &'w Scope,
    pub(super) names: &'w Names,
    pub(super) scope: Scope,
    pub(super) found: &'w mut Found,
    /// What is asked for and not used doesn't count.
    pub(super) only_uses: bool,
}

// === impl Walk ===

impl Walk<'_, '_> {
    pub(super) fn instruction(&mut self, instruction: &Instruction<'_>) {
        let escape = self.dockerfile.escape;
        match instruction {
            Instruction::Arg(arg) => {
                let line = self.dockerfile.line(arg.arg.span.start);
                for (name, default) in words::arg(&arg.arguments.value, escape) {
                    let before = self.scope.size();
                    self.arg(&name, default);
                    if !self.found.spend(self.scope.size().saturating_sub(before), line) {
                        return;
                    }
                }
            }
            Instruction::Env(env) => {
                let line = self.dockerfile.line(env.env.span.start);
                self.env(words::env(&env.arguments.value, escape), line);
            }
            Instruction::Copy(copy) => {
                let line = self.dockerfile.line(copy.copy.span.start);
                let known = ["from", "chown", "chmod", "link", "parents", "exclude"];
                if copy.options.iter().any(|flag| !known.contains(&&*flag.name.value)) {
                    self.found.opaque(line, "COPY has a flag that is not known");
                }
                match copy.options.iter().rev().find(|flag| flag.name.value == "from") {
                    Some(from) => {
                        let from = value(from).unwrap_or_default();
                        let origin = copy_origin(self.names, self.dockerfile.stages.len(), from);
                        self.origin(origin, line);
                    }
                    None => {
                        for path in self.sources(&copy.src, line) {
                            self.found.path(&path, line);
                        }
                    }
                }
            }
            Instruction::Add(add) => self.add(add),
            Instruction::Run(run) => self.run(run),
            // Triggers count where a stage starts from this one, which is looked at there.
            _ => {}
        }
    }

    fn arg(&mut self, name: &str, default: Option<String>) {
        use super::expand::Value;
        let value = match (self.input.args.get(name), default) {
            (Some(given), _) => given.clone(),
            (None, Some(default)) => self.scope.expand(&default, self.dockerfile.escape).ok(),
            (None, None) => match self.global.lookup(name) {
                Value::Set(value) => Some(value),
                Value::Hidden => None,
                Value::Unset => return,
            },
        };
        self.scope.set(name, value);
    }

    fn env(&mut self, pairs: Option<Vec<(String, String)>>, line: usize) {
        if !self.found.spend(self.scope.size(), line) {
            return;
        }
        let before = self.scope.clone();
        let Some(pairs) = pairs else {
            return self.scope.forget();
        };
        for (name, value) in pairs {
            match before.expand(&name, self.dockerfile.escape) {
                Ok(name) => {
                    let size = self.scope.size();
                    self.scope.set_env(&name, before.expand(&value, self.dockerfile.escape).ok());
                    if !self.found.spend(self.scope.size() - size, line) {
                        return;
                    }
                }
                Err(_) => self.scope.forget(),
            }
        }
    }

    /// The paths that COPY and ADD name; those that can't be told make it the whole context.
    fn sources(&mut self, sources: &[Source<'_>], line: usize) -> Vec<String> {
        let mut paths = Vec::new();
        if sources.len() > MAX_PATHS {
            self.found.everything(line, "it uses very many paths");
            return paths;
        }
        for source in sources {
            let Some(path) = of_context(source) else { continue };
            match self.scope.expand(path, self.dockerfile.escape) {
                Ok(path) => paths.push(path),
                Err(unresolved) => self.found.everything(line, &unresolved.to_string()),
            }
        }
        paths
    }

    fn add(&mut self, add: &AddInstruction<'_>) {
        let line = self.dockerfile.line(add.add.span.start);
        let known = ["chown", "chmod", "link", "keep-git-dir", "checksum", "unpack", "exclude"];
        if add.options.iter().any(|flag| !known.contains(&&*flag.name.value)) {
            self.found.opaque(line, "ADD has a flag that is not known");
        }
        let checksum = add.options.iter().rev().find(|flag| flag.name.value == "checksum").and_then(value);
        let checksum = checksum.map(|checksum| self.scope.expand(checksum, self.dockerfile.escape));
        let pinned = matches!(checksum, Some(Ok(checksum)) if !checksum.is_empty());
        let named = add.src.iter().filter_map(of_context).count();
        let paths = self.sources(&add.src, line);
        if paths.len() < named {
            // What is not known may be a URL.
            self.found.unknown(line, "what ADD takes can't be known beforehand");
        }
        for path in paths {
            let http = path.starts_with("http://") || path.starts_with("https://");
            let remote = http || is_git(&path);
            if remote && !pinned && !has_commit(&path) {
                self.found.unknown(line, format!("ADD {path} gives what is there at the time of the build"));
            }
            // As BuildKit does: only these two are told from paths.
            if !http {
                self.found.path(&path, line);
            }
        }
    }

    fn run(&mut self, run: &RunInstruction<'_>) {
        let line = self.dockerfile.line(run.run.span.start);
        for flag in &run.options {
            match (&*flag.name.value, value(flag)) {
                ("network" | "security" | "device", _) => {}
                ("mount", Some(mount)) => match words::mount(mount) {
                    Some(fields) => self.mount(&fields, line),
                    None => self.found.opaque(line, "RUN has a mount that is not understood"),
                },
                _ => self.found.opaque(line, "RUN has a flag that is not known"),
            }
        }
    }

    fn mount(&mut self, fields: &[(String, Option<&str>)], line: usize) {
        let expand = |text: &str| self.scope.expand(text, self.dockerfile.escape);
        let kind = last(fields, &["type"]).map_or(Ok("bind".to_owned()), expand);
        let source: Result<String, Unresolved> = last(fields, &["source", "src"]).map_or(Ok(String::new()), expand);
        if let Some(from) = mount_from(fields) {
            let origin = mount_origin(self.names, from);
            return self.origin(origin, line);
        }
        match (kind.map(|kind| kind.to_lowercase()).as_deref(), source) {
            (Ok("secret" | "ssh" | "cache"), _) => {}
            (Ok("tmpfs"), _) if self.only_uses => {}
            // A tmpfs, too: BuildKit asks for the path, although it has no use for it.
            (Ok("bind" | "tmpfs"), Ok(source)) => self.found.path(&source, line),
            (Ok("bind" | "tmpfs"), Err(unresolved)) => self.found.everything(line, &unresolved.to_string()),
            _ => self.found.opaque(line, "RUN has a mount of a type that is not known"),
        }
    }

    fn origin(&mut self, origin: Origin, line: usize) {
        match origin {
            Origin::Stage(_) => {}
            Origin::Image(name) => self.found.image(name, line, false),
            Origin::Hidden => self.found.opaque(line, "what `from` names can't be told"),
        }
    }
}

/// The path of a source; `None`: it is a here-document.
fn of_context<'s>(source: &'s Source<'_>) -> Option<&'s str> {
    match source {
        Source::Path(path) if !path.value.contains(lines::MARK) => Some(&path.value),
        _ => None,
    }
}

/// Whether ADD takes this for a git repository; rather too often (`BuildKit`, `dfgitutil.ParseGitRef`).
fn is_git(source: &str) -> bool {
    let before_path = source.split('/').next().unwrap_or_default();
    source.contains("://") || before_path.contains('@') && before_path.contains(':')
}

/// Whether a git reference names a commit, which is always the same.
fn has_commit(source: &str) -> bool {
    let Some((url, reference)) = source.split_once('#') else { return false };
    let is_repository = is_git(source) && (!url.starts_with("http") || url.strip_suffix(".git").is_some());
    let commit = reference.split(':').next().unwrap_or_default();
    is_repository && commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit())
}
