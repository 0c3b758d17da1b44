//! `slipway cache`: a namespace sees and removes its own cache mounts, and nobody else's.

use serde_json::Value;
use slipway_journeys::{Project, Run, Service, Team, unique};

/// Builds something whose step leaves bytes in a cache mount.
fn build(app: &Project, id: &str) -> Run {
    let step = unique("step");
    app.image(&format!(
        "FROM debian:trixie-slim\n\
         RUN --mount=type=cache,id={id},target=/cache head -c 100000 /dev/urandom >/cache/{step}; ls /cache >/list\n"
    ));
    app.events(&["build"]).ok()
}

fn list(team: &Team, args: &[&str]) -> Vec<Value> {
    let run = team.slipway([&["cache", "list", "--output", "json"], args].concat()).ok();
    let text = String::from_utf8(run.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn ids(mounts: &[Value]) -> Vec<&str> {
    mounts.iter().map(|mount| mount["id"].as_str().unwrap()).collect()
}

#[test]
fn a_namespace_sees_and_prunes_its_own_cache_mounts_only() {
    let service = Service::shared();
    let (one, two) = (service.team(), service.team());
    let (app, other, theirs) = (one.project(), one.project(), two.project());
    let id = unique("id");
    for app in [&app, &other, &theirs] {
        build(app, &id);
    }
    build(&app, "apt/lists");
    let repository = |app: &Project| format!("{}/{}-app", app.team.namespace, app.name);
    let ours = list(&one, &[]);
    let mut found: Vec<_> = ours.iter().map(|mount| (mount["repository"].as_str().unwrap(), &mount["id"])).collect();
    found.sort_by_key(|(_, id)| id.to_string());
    assert_eq!(ours.len(), 3, "{ours:?}");
    assert_eq!(found[0], (repository(&app).as_str(), &Value::from("apt/lists")));
    assert!(ours.iter().all(|mount| mount["bytes"].as_u64().unwrap() >= 100_000), "{ours:?}");
    assert_eq!(ids(&list(&two, &[])), [id.as_str()]);
    let of_app = format!("{}-app", app.name);
    assert_eq!(list(&one, &[&of_app]).len(), 2);
    let foreign = one.slipway(["cache", "list", "-n", &two.namespace]).expect(3);
    assert!(foreign.stderr.contains("no namespace"), "{}", foreign.stderr);
    one.slipway(["cache", "prune", "--all", "-n", &two.namespace]).expect(3);
    one.slipway(["cache", "prune"]).expect(2);

    // What was used just now is not old; what a repository has is its own.
    let pruned = |args: &[&str]| {
        let run = one.slipway([&["cache", "prune", "--output", "json"], args].concat()).ok();
        let pruned: Value = serde_json::from_slice(&run.stdout).unwrap();
        (pruned["mounts"].as_u64().unwrap(), pruned["bytes"].as_u64().unwrap())
    };
    assert_eq!(pruned(&["--all", "--older-than", "1h"]), (0, 0));
    let (mounts, bytes) = pruned(&[&of_app]);
    assert!(mounts == 2 && bytes >= 200_000, "{mounts} {bytes}");
    let left = list(&one, &[]);
    assert_eq!(left.len(), 1);
    assert_eq!(left[0]["repository"], repository(&other).as_str());
    assert_eq!(pruned(&["--all"]).0, 1);
    assert!(list(&one, &[]).is_empty());
    assert_eq!(ids(&list(&two, &[])), [id.as_str()], "nothing of another namespace is gone");
    // And it is really gone: a build finds it empty.
    let run = build(&app, &id);
    assert_eq!(run.all("build.done").len(), 1);
    assert_eq!(list(&one, &[])[0]["bytes"].as_u64().unwrap() / 100_000, 1, "one file, not two");
    let text = String::from_utf8(one.slipway(["cache", "list"]).ok().stdout).unwrap();
    assert!(text.starts_with("REPOSITORY") && text.contains(&id), "{text}");
}
