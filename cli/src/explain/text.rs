//! An explanation for people.

use std::fmt;

use super::{Changed, Explained, File, Rerun};

/// Files that are listed; the rest is counted.
const MAX_FILES: usize = 20;
/// Digits of a digest that are shown.
const DIGITS: usize = 12;

impl fmt::Display for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let service = &self.service;
        let Some(last) = &self.last else {
            return match &self.skipped {
                Some(reason) => writeln!(f, "{service}: there is nothing to build: {reason}"),
                None => writeln!(f, "{service}: no build of it is known here, so all of its steps may run"),
            };
        };
        let time = last.time.as_deref().unwrap_or("?");
        writeln!(f, "{service}: built last by job {}, {time}", last.job)?;
        if let Some(reason) = &self.skipped {
            writeln!(f, "there is nothing to build: {reason}")?;
        }
        let same = self.files.is_empty() && self.inputs.is_empty() && self.files_complete && !self.paths_changed;
        writeln!(f, "{}", if same { "none of its inputs changed" } else { "changed since then:" })?;
        self.files.iter().take(MAX_FILES).try_for_each(|file| write!(f, "{file}"))?;
        if let Some(more) = self.files.len().checked_sub(MAX_FILES).filter(|more| *more > 0) {
            writeln!(f, "  file        and {more} more")?;
        }
        if self.paths_changed {
            writeln!(f, "  file        others are used than then: those that both builds can use are compared")?;
        }
        if let Some(reason) = self.files_lack {
            writeln!(f, "  file        others may have: {reason}")?;
        }
        self.inputs.iter().try_for_each(|input| write!(f, "{input}"))?;
        if let Some(first) = &self.waits_for {
            writeln!(f, "whether it is built depends on what `{first}` becomes, which is built first")?;
        }
        if let Some(reason) = &self.never_skipped {
            writeln!(f, "it is built whether anything changed or not: {reason}")?;
        }
        let Some(steps) = &self.steps else {
            let reason = self.steps_unknown.as_deref().unwrap_or_default();
            return writeln!(f, "which steps run again is not known: {reason}");
        };
        match (steps.is_empty(), self.steps_complete) {
            (true, true) => writeln!(f, "no step runs again")?,
            (true, false) => writeln!(f, "whether a step runs again is not known")?,
            (false, true) => writeln!(f, "steps that run again:")?,
            (false, false) => writeln!(f, "steps that run again, and there may be others:")?,
        }
        steps.iter().try_for_each(|step| write!(f, "{step}"))
    }
}

impl fmt::Display for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = if self.change == "mode" { "has other permissions" } else { self.change };
        match &self.context {
            None => writeln!(f, "  file        {} {how}", self.path),
            Some(context) => writeln!(f, "  file        {} of the context `{context}` {how}", self.path),
        }
    }
}

impl fmt::Display for Changed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Of these hashes are known, no values.
        let hidden = matches!(self.kind, "argument" | "secret" | "option" | "agents");
        // One with a name is the file, one without is its name.
        let hidden = hidden || self.kind == "dockerfile" && !self.name.is_empty();
        let name = if self.name.is_empty() { String::new() } else { format!("{} ", self.name) };
        let (before, after) = (self.before.as_deref().map(short), self.after.as_deref().map(short));
        write!(f, "  {:<11} {name}", self.kind)?;
        if let Some(reason) = &self.unknown {
            return writeln!(f, "may have changed: {reason}");
        }
        match (before, after) {
            (None, _) if hidden => writeln!(f, "added"),
            (_, None) if hidden => writeln!(f, "removed"),
            _ if hidden => writeln!(f, "changed"),
            (None, Some(after)) => writeln!(f, "added: {after}"),
            (Some(before), None) => writeln!(f, "removed: {before}"),
            (before, after) => writeln!(f, "{} → {}", shown(before), shown(after)),
        }
    }
}

fn shown(value: Option<String>) -> String {
    value.filter(|value| !value.is_empty()).unwrap_or_else(|| "none".to_owned())
}

/// A digest cut short; anything else as it is.
fn short(value: &str) -> String {
    match value.strip_prefix("sha256:") {
        Some(digits) => format!("sha256:{}", digits.get(..DIGITS).unwrap_or(digits)),
        None => value.to_owned(),
    }
}

impl fmt::Display for Rerun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  {:>4}  {}  ({})", self.line, self.step, self.reason)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Last;
    use super::*;

    fn explained() -> Explained {
        Explained {
            service: "app".to_owned(),
            last: Some(Last {
                job: "0190".to_owned(),
                time: Some("2026-01-01T00:00:00Z".to_owned()),
                image: String::new(),
            }),
            skipped: None,
            waits_for: None,
            never_skipped: None,
            files: Vec::new(),
            files_complete: true,
            files_lack: None,
            paths_changed: false,
            inputs: Vec::new(),
            steps: Some(Vec::new()),
            steps_complete: true,
            steps_unknown: None,
        }
    }

    fn input(kind: &'static str, name: &str, before: Option<&str>, after: Option<&str>) -> Changed {
        let [before, after] = [before, after].map(|value| value.map(str::to_owned));
        Changed { kind, name: name.to_owned(), before, after, unknown: None }
    }

    #[test]
    fn every_kind_of_change_has_its_line() {
        let file = |context: Option<&str>, change| File {
            context: context.map(str::to_owned),
            path: "a/b".to_owned(),
            change,
        };
        let digest = |digit: &str| format!("sha256:{}", digit.repeat(64));
        let rerun = |line, step: &str| Rerun { line, stage: None, step: step.to_owned(), reason: "why".to_owned() };
        let explained = Explained {
            files: vec![file(None, "mode"), file(Some("lib"), "removed")],
            files_complete: false,
            files_lack: Some("the service does not keep all of that build's context"),
            paths_changed: true,
            inputs: vec![
                input("dockerfile", "Dockerfile", Some(&digest("1")), Some(&digest("2"))),
                input("dockerfile", "", Some("old"), Some("new")),
                input("argument", "A", None, Some("hash")),
                input("secret", "s", Some("hash"), None),
                input("option", "label", Some("hash"), Some("other")),
                input("image", "debian", Some(&digest("1")), Some(&digest("2"))),
                input("context", "x", None, Some("https://example.com/x.git")),
                Changed {
                    unknown: Some("it is built first".to_owned()),
                    ..input("dependency", "base", Some(&digest("1")), None)
                },
                input("target", "", Some("debug"), Some("")),
            ],
            waits_for: Some("base".to_owned()),
            never_skipped: Some("its context is what the engine fetches".to_owned()),
            steps: Some(vec![rerun(3, "RUN a"), rerun(120, "COPY b /")]),
            steps_complete: false,
            ..explained()
        };
        insta::assert_snapshot!(explained.to_string(), @r"
        app: built last by job 0190, 2026-01-01T00:00:00Z
        changed since then:
          file        a/b has other permissions
          file        a/b of the context `lib` removed
          file        others are used than then: those that both builds can use are compared
          file        others may have: the service does not keep all of that build's context
          dockerfile  Dockerfile changed
          dockerfile  old → new
          argument    A added
          secret      s removed
          option      label changed
          image       debian sha256:111111111111 → sha256:222222222222
          context     x added: https://example.com/x.git
          dependency  base may have changed: it is built first
          target      debug → none
        whether it is built depends on what `base` becomes, which is built first
        it is built whether anything changed or not: its context is what the engine fetches
        steps that run again, and there may be others:
             3  RUN a  (why)
           120  COPY b /  (why)
        ");
    }

    #[test]
    fn nothing_is_said_of_what_did_not_change() {
        assert_eq!(
            explained().to_string(),
            "app: built last by job 0190, 2026-01-01T00:00:00Z\nnone of its inputs changed\nno step runs again\n"
        );
        let skipped = Explained { skipped: Some("nothing changed".to_owned()), ..explained() };
        assert!(skipped.to_string().contains("\nthere is nothing to build: nothing changed\n"));
        let file = |n: usize| File { context: None, path: n.to_string(), change: "added" };
        let many = Explained { files: (0..25).map(file).collect(), ..explained() }.to_string();
        assert!(many.contains("  file        19 added\n  file        and 5 more\nno step"), "{many}");
        let never = Explained { last: None, ..explained() };
        assert_eq!(never.to_string(), "app: no build of it is known here, so all of its steps may run\n");
    }

    #[test]
    fn steps_are_all_only_where_all_is_known() {
        let reason = || Some("why".to_owned());
        assert!(explained().is_known());
        let input = Changed { unknown: reason(), ..input("image", "debian", None, None) };
        for unknown in [
            Explained { inputs: vec![input], ..explained() },
            Explained { waits_for: reason(), ..explained() },
            Explained { never_skipped: reason(), ..explained() },
            Explained { files_complete: false, ..explained() },
        ] {
            assert!(!unknown.is_known(), "{unknown}");
        }
    }

    #[test]
    fn what_is_not_known_is_not_called_nothing() {
        let last_line = |explained: Explained| explained.to_string().lines().last().map(str::to_owned).unwrap();
        assert_eq!(last_line(explained()), "no step runs again");
        let partly = Explained { files_complete: false, steps_complete: false, ..explained() };
        assert_eq!(last_line(partly), "whether a step runs again is not known");
        let unknown = Explained { steps: None, steps_unknown: Some("the service forgot".to_owned()), ..explained() };
        assert_eq!(last_line(unknown), "which steps run again is not known: the service forgot");
    }
}
