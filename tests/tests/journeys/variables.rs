//! `slipway variable`: what the service keeps for builds, and nobody reads again.

use std::fs;
use std::path::Path;

use slipway_journeys::{Project, Run, Service, Team, files, image, unique};

pub(crate) fn set(team: &Team, scope: &str, variable: &str) -> Run {
    team.slipway(["variable", "set", "--scope", scope, "--secret", variable]).ok()
}

/// An image of what a step finds in its secret.
fn app(team: &Team) -> Project {
    let app = team.project();
    app.manifest("build:\n  app:\n    context: .\n    secrets:\n      token: {variable: TOKEN}\n");
    app.file(
        "Dockerfile",
        format!(
            "FROM debian:trixie-slim AS made\nRUN --mount=type=secret,id=token : {}; sha256sum </run/secrets/token >/sum\n\
             FROM scratch\nCOPY --from=made /sum /\n",
            unique("v")
        ),
    );
    app
}

/// The digest of what the step found.
fn found(team: &Team, run: &Run) -> String {
    let done =
        run.events.iter().rfind(|event| event["type"] == "build.done" || event["type"] == "build.skipped").unwrap();
    let image = image::pull(team, done["image"].as_str().unwrap());
    files::text(&image.files, "sum").split(' ').next().unwrap().to_owned()
}

fn sum(text: &str) -> String {
    slipway_context::Digest::of(text.as_bytes()).hex()
}

/// Whether any file below a folder holds a text.
pub(crate) fn holds(dir: &Path, text: &str) -> bool {
    fs::read_dir(dir).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return !path.ends_with("registry") && holds(&path, text);
        }
        fs::read(&path).is_ok_and(|content| content.windows(text.len()).any(|bytes| bytes == text.as_bytes()))
    })
}

#[test]
fn a_namespaces_secret_reaches_its_builds_and_a_changed_one_counts() {
    let service = Service::shared();
    let (team, others) = (service.team(), service.team());
    let [one, two] = [unique("one-sesame"), unique("two-sesame")];
    let (app, theirs) = (app(&team), app(&others));

    let refused = app.events(&["build"]).expect(2);
    assert!(refused.stderr.contains("there is no variable `TOKEN`"), "{}", refused.stderr);
    assert!(refused.stderr.contains("slipway variable set --scope namespace --secret TOKEN=-"), "{}", refused.stderr);

    set(&team, "namespace", &format!("TOKEN={one}"));
    let run = app.events(&["build"]).ok();
    assert_eq!(found(&team, &run), sum(&one));
    assert_eq!(app.events(&["build"]).ok().all("build.skipped").len(), 1, "the same value");
    set(&team, "namespace", &format!("TOKEN={two}"));
    let run = app.events(&["build", "--detach"]);
    let job = String::from_utf8(run.ok().stdout).unwrap().trim().to_owned();
    let run = team.attach(&job).ok();
    assert_eq!(run.all("build.done").len(), 1, "another value builds anew: {}", run.story());
    assert_eq!(found(&team, &run), sum(&two));

    // Another namespace has none, or its own; a user's own comes first.
    assert!(theirs.events(&["build"]).expect(2).stderr.contains("there is no variable `TOKEN`"));
    set(&others, "user", "TOKEN=theirs");
    set(&others, "namespace", "TOKEN=not this");
    let run = theirs.events(&["build"]).ok();
    assert_eq!(found(&others, &run), sum("theirs"));
    others.slipway(["variable", "unset", "--scope", "user", "TOKEN"]).ok();
    assert_eq!(found(&others, &theirs.events(&["build"]).ok()), sum("not this"));
    others.slipway(["variable", "unset", "--scope", "namespace", "TOKEN"]).ok();

    // It is nowhere but in the step.
    for secret in [&one, &two] {
        assert!(!holds(&service.data_dir(), secret) && !service.log().contains(secret));
        assert!(!run.out().contains(secret));
    }
}

#[test]
fn values_are_shown_where_they_are_plain_and_scopes_have_their_owners() {
    let service = Service::shared();
    let (team, others) = (service.team(), service.team());
    let list = |team: &Team, scope: &str| {
        let run = team.slipway(["variable", "list", "--scope", scope]).ok();
        let text = String::from_utf8(run.stdout).unwrap();
        // Without the times.
        let line =
            |line: &str| line.split_whitespace().filter(|word| !word.contains('T')).collect::<Vec<_>>().join(" ");
        text.lines().skip(1).map(line).collect::<Vec<_>>()
    };
    set(&team, "namespace", "SECREt=1");
    team.slipway(["variable", "set", "--scope", "namespace", "MASKED=2"]).ok();
    team.slipway(["variable", "set", "--scope", "namespace", "--plain", "PLAIN=3"]).ok();
    assert_eq!(list(&team, "namespace"), ["MASKED masked ***", "PLAIN plain 3", "SECREt secret ***"]);
    assert!(list(&others, "namespace").is_empty());
    let refused = team.slipway(["variable", "set", "--scope", "admin", "A=1"]).expect(3);
    assert!(refused.stderr.contains("only admins"), "{}", refused.stderr);
    assert!(team.slipway(["variable", "list", "--scope", "admin"]).expect(3).stderr.contains("only admins"));
    let gone = team.slipway(["variable", "unset", "--scope", "namespace", "NONE"]).expect(3);
    assert!(gone.stderr.contains("there is no variable `NONE`"), "{}", gone.stderr);
    let stranger = team.slipway(["variable", "list", "-n", &others.namespace]).expect(3);
    assert!(stranger.stderr.contains("no namespace"), "{}", stranger.stderr);
    for bad in ["OKTETO_TOKEN=x", "1A=x"] {
        team.slipway(["variable", "set", "--scope", "user", bad]).expect(2);
    }
}
