//! `slipway image`: what is in the registry, and its end.

use serde_json::Value;
use slipway_journeys::{Run, Service, image, unique};

fn names(run: &Run) -> Vec<&str> {
    run.events.iter().map(|listed| listed["image"].as_str().unwrap()).collect()
}

#[test]
fn images_are_listed_shown_and_deleted() {
    let service = Service::shared();
    let app = service.team().project();
    let (host, namespace) = (&app.team.registry, &app.team.namespace);
    app.manifest(
        "build:\n  app:\n    context: .\n    image: okteto.dev/app:1,okteto.dev/app:2\n    labels: {mark: yes}\n",
    );
    app.file("Dockerfile", format!("FROM scratch\nCOPY Dockerfile /\nCMD [\"/x\", \"y\"]\n# {}\n", unique("m")));
    let digest = app.events(&["build"]).ok().last("build.done")["digest"].as_str().unwrap().to_owned();
    app.events(&["build", "-t", "okteto.dev/other/deep:x", "--sbom", "false", "--provenance", "true", "."]).ok();

    let list = |args: &[&str]| app.slipway([&["image", "list", "--output", "json"], args].concat()).ok();
    let all = list(&[]);
    let (one, two) = (format!("{host}/{namespace}/app:1"), format!("{host}/{namespace}/app:2"));
    let deep = format!("{host}/{namespace}/other/deep:x");
    assert_eq!(names(&all), [&one, &two, &deep]);
    assert!(all.events[..2].iter().all(|listed| listed["digest"] == digest.as_str()));
    assert_eq!(names(&list(&["app"])), [&one, &two]);
    assert_eq!(names(&list(&["okteto.dev/other/deep"])), [&deep]);
    assert!(list(&["app", "--all"]).events.len() > 2, "and the service's own tags");
    let text = app.slipway(["image", "list"]).ok().out();
    assert!(text.starts_with("IMAGE ") && text.contains(&one) && text.contains(&digest), "{text}");

    let shown = app.slipway(["image", "show", "okteto.dev/app:1", "--output", "json"]).ok();
    let shown: &Value = &shown.events[0];
    assert_eq!(shown["digest"], digest.as_str());
    assert_eq!(shown["manifests"][0]["config"]["config"]["Labels"]["mark"], "yes");
    let text = app.slipway(["image", "show", "okteto.dev/app:1"]).ok().out();
    assert!(
        text.contains(&digest) && text.contains("label       mark=yes") && text.contains("[\"/x\",\"y\"]"),
        "{text}"
    );
    let index = app.slipway(["image", "show", "okteto.dev/other/deep:x"]).ok().out();
    assert!(index.contains("linux/amd64") && index.contains("attestation"), "{index}");
    // What it says and of which image.
    assert!(index.contains("says        https://slsa.dev/provenance/"), "{index}");
    let shown = app.slipway(["image", "show", "okteto.dev/other/deep:x", "--output", "json"]).ok();
    let manifests = &shown.events[0]["manifests"];
    assert_eq!(manifests[1]["attests_to"], manifests[0]["digest"], "{manifests}");

    // By its tag it goes when nothing else names it.
    let refused = app.slipway(["image", "delete", "okteto.dev/app:1"]);
    if refused.status == 3 {
        assert!(refused.stderr.contains("it is also `2`") && refused.stderr.contains(&digest), "{}", refused.stderr);
        app.slipway(["image", "delete", &format!("okteto.dev/app@{digest}")]).ok();
    } else {
        // A registry that removes single tags.
        assert_eq!(names(&list(&["app"])), [&two]);
        app.slipway(["image", "delete", "okteto.dev/app:2"]).ok();
    }
    assert_eq!(names(&list(&[])), [&deep]);
    assert!(image::pull_refused(&app.team, &two).is_some());
    app.slipway(["image", "delete", "okteto.dev/other/deep:x"]).ok();
    assert!(list(&[]).events.is_empty());
    // It is not found any more, so it is built.
    assert_eq!(app.events(&["build"]).ok().all("build.done").len(), 1);
}

#[test]
fn nobody_sees_or_deletes_images_of_others() {
    let service = Service::shared();
    let (app, other) = (service.team().project(), service.team());
    app.image(&format!("FROM scratch\nCOPY Dockerfile /\n# {}\n", unique("m")));
    let theirs = app.build_app();
    let by_name = format!("{}/{}", app.team.registry, app.team.namespace);
    for args in [
        &["image", "show", theirs.as_str()][..],
        &["image", "delete", &theirs],
        &["image", "list", &format!("{by_name}/{}-app", app.name)],
        &["image", "list", "-n", &app.team.namespace],
        &["image", "delete", "okteto.global/runner:x"],
        &["image", "show", "okteto.dev/none:1"],
    ] {
        let run = other.slipway(args).expect(3);
        assert!(!run.out().contains("sha256"), "{}", run.out());
    }
    assert!(other.slipway(["image", "list"]).ok().out().lines().count() <= 1);
    // The global namespace is everybody's to see, and no one's to change.
    let runner = format!("okteto.global/runner:{}", env!("CARGO_PKG_VERSION"));
    other.slipway(["image", "show", &runner]).ok();
    other.slipway(["image", "delete", &runner]).expect(3);
    image::pull(&app.team, &theirs);
}
