//! Any text is a manifest that has plans, or is explained.

#![no_main]

use libfuzzer_sys::fuzz_target;
use slipway_manifest::{
    Manifest, Plan, Selection, Variables,
    plan::{BuildMode, JobKind, PlanError},
};

fuzz_target!(|text: &str| {
    let manifest = match Manifest::parse(text, "okteto.yaml") {
        Err(problems) => {
            assert!(problems.iter().next().is_some());
            check(&problems.render(text));
            return;
        }
        Ok(parsed) => {
            parsed.problems.iter().for_each(|concerned| check(&concerned.problem.render(text)));
            match parsed.for_jobs(&[]) {
                Ok((manifest, warnings)) => {
                    warnings.iter().for_each(|warning| check(&warning.render_warning(text)));
                    manifest
                }
                Err(problems) => panic!("what concerns no job stops one: {problems}"),
            }
        }
    };
    let variables = [("A", "a"), ("EMPTY", ""), ("HOME", "/home/me")];
    let variables =
        Variables::default().with_environment(variables.map(|(name, value)| (name.to_owned(), value.to_owned())));
    for kind in [JobKind::Build, JobKind::Deploy, JobKind::Destroy, JobKind::Test] {
        let mut selection = Selection::build("app", Vec::new());
        selection.kind = kind;
        if kind != JobKind::Build {
            selection.build = BuildMode::IfMissing;
        }
        match Plan::new(&manifest, &selection, &variables) {
            Err(PlanError::Problems(problems)) => check(&problems.render(text)),
            Err(error) => check(&error.to_string()),
            Ok((plan, warnings)) => {
                warnings.iter().for_each(|warning| check(&warning.render_warning(text)));
                let _ = plan.validate();
                let sent = serde_json::to_string(&plan).expect("a plan is JSON");
                assert_eq!(serde_json::from_str::<Plan>(&sent).ok().as_ref(), Some(&plan));
            }
        }
    }
});

/// What a terminal is given.
fn check(message: &str) {
    assert!(message.chars().all(|character| character == '\n' || !character.is_control()), "{message:?}");
}
