//! Named contexts: folders, images and services that a Dockerfile finds under a name.

use std::fs;

use slipway_journeys::{Project, Run, Service, command, files, image, unique};

fn reference(run: &Run) -> String {
    let event = run.events.iter().rfind(|event| event["type"] == "build.done" || event["type"] == "build.skipped");
    event.unwrap()["image"].as_str().unwrap().to_owned()
}

/// What the image `app` of a build holds, by path.
fn contents(app: &Project, run: &Run) -> Vec<(String, String)> {
    let found = image::pull(&app.team, &reference(run)).files;
    files::paths(&found).into_iter().map(|path| (path.to_owned(), files::text(&found, path).to_owned())).collect()
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect()
}

#[test]
fn a_folder_is_found_under_its_name_and_what_it_ignores_is_not() {
    let service = Service::shared();
    let app = service.team().project();
    let lib = app.beside("lib");
    fs::create_dir(&lib).unwrap();
    for (name, text) in [("a", "one"), ("b.tmp", "two"), (".dockerignore", "*.tmp\n.dockerignore\n")] {
        fs::write(lib.join(name), text).unwrap();
    }
    app.manifest("build:\n  app:\n    context: .\n    additional_contexts:\n      lib: ../${WHERE}\n");
    app.file("Dockerfile", "FROM scratch\nCOPY own /\nCOPY --from=lib . /\n").file("own", &app.name);
    let args = ["build", "--var", "WHERE=lib"];
    let run = app.events(&args).ok();
    let before = pairs(&[("a", "one"), ("own", &app.name)]);
    assert_eq!(contents(&app, &run), before);
    assert_eq!(app.events(&args).ok().all("build.skipped").len(), 1);
    fs::write(lib.join("b.tmp"), "three").unwrap();
    assert_eq!(app.events(&args).ok().all("build.skipped").len(), 1, "what is ignored counts for nothing");
    fs::write(lib.join("a"), "changed").unwrap();
    let run = app.events(&args).ok();
    assert_eq!(contents(&app, &run), pairs(&[("a", "changed"), ("own", &app.name)]));

    // A flag takes the place of the manifest's, and is relative to where one is.
    app.file("other/c", "of the flag");
    let run = app.events(&["build", "--var", "WHERE=no/such", "--build-context", "lib=other"]).ok();
    assert_eq!(contents(&app, &run), pairs(&[("c", "of the flag"), ("own", &app.name)]));
    // From elsewhere, too.
    let manifest = app.path().join("okteto.yaml").display().to_string();
    let mut command = app.team.command(["-f", &manifest, "build", "--var", "WHERE=no", "--build-context", "lib=lib"]);
    command.args(["--output", "json"]).current_dir(lib.parent().unwrap());
    let run = command::start(command, None).finish().ok();
    assert_eq!(contents(&app, &run), pairs(&[("a", "changed"), ("own", &app.name)]));
    let missing = app.slipway(["build", "--var", "WHERE=no/such"]).expect(2);
    assert!(missing.stderr.contains("the context `lib` of `app`, `../no/such`, does not exist"), "{}", missing.stderr);
}

#[test]
fn a_service_is_a_context_and_is_built_before() {
    let service = Service::shared();
    let app = service.team().project();
    app.manifest(
        "build:\n  app:\n    context: app\n    additional_contexts:\n    - base=service:base\n  base:\n    context: base\n",
    );
    app.file("app/Dockerfile", "FROM base\nCOPY --from=base /of-base /copied\n");
    app.file("base/Dockerfile", "FROM scratch\nCOPY of-base /\n").file("base/of-base", &app.name);
    let run = app.events(&["build", "app"]).ok();
    assert_eq!(contents(&app, &run), pairs(&[("copied", &app.name), ("of-base", &app.name)]));
    let started: Vec<_> = run.all("build.started").iter().map(|event| event["service"].as_str().unwrap()).collect();
    assert_eq!(started, ["base", "app"]);
    assert_eq!(app.events(&["build"]).ok().all("build.skipped").len(), 2);
    let changed = format!("{} again", app.name);
    app.file("base/of-base", &changed);
    let run = app.events(&["build"]).ok();
    assert_eq!(contents(&app, &run), pairs(&[("copied", &changed), ("of-base", &changed)]));
    let wrong = app.slipway(["build", "--build-context", "x=service:none"]).expect(2);
    assert!(wrong.stderr.contains("only the manifest"), "{}", wrong.stderr);
}

#[test]
fn an_image_takes_the_place_of_what_a_dockerfile_names() {
    let service = Service::shared();
    let (team, other) = (service.team(), service.team());
    let base = team.project();
    base.manifest("build:\n  app:\n    context: .\n    image: okteto.dev/base:1\n");
    base.file("Dockerfile", "FROM scratch\nCOPY x /\n").file("x", &base.name);
    base.build_app();
    let app = team.project();
    app.image("FROM no.such.registry/image:1\nCOPY own /\n").file("own", &app.name);
    let args = ["build", "--build-context", "no.such.registry/image:1=docker-image://okteto.dev/base:1"];
    let run = app.events(&args).ok();
    assert_eq!(contents(&app, &run), pairs(&[("own", &app.name), ("x", &base.name)]));
    assert_eq!(app.events(&args).ok().all("build.skipped").len(), 1);
    // The name has another image now.
    let changed = unique("x");
    base.file("x", &changed);
    base.build_app();
    let run = app.events(&args).ok();
    assert_eq!(contents(&app, &run), pairs(&[("own", &app.name), ("x", &changed)]));

    // However it is written.
    app.file("Dockerfile", "FROM docker.io/library/slipway-no-such:latest\nCOPY own /\n");
    for name in ["slipway-no-such", "library/slipway-no-such:latest", "docker.io/library/slipway-no-such"] {
        let run = app.events(&["build", "--build-context", &format!("{name}=docker-image://okteto.dev/base:1")]).ok();
        assert_eq!(contents(&app, &run), pairs(&[("own", &app.name), ("x", &changed)]), "{name}");
    }

    // Not somebody else's.
    let theirs = format!("a=docker-image://{}/{}/base:1", other.registry, team.namespace);
    let thief = other.project();
    thief.image("FROM a\n");
    let run = thief.events(&["build", "--build-context", &theirs]).expect(1);
    let message = run.last("job.done")["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("denied by policy"), "{message}");
}

/// BuildKit looks its frontends up among the named contexts, too.
#[test]
fn a_context_does_not_take_the_place_of_a_frontend() {
    let service = Service::shared();
    let app = service.team().project();
    app.image("# syntax=docker/dockerfile:1\nFROM scratch\n");
    for name in ["docker/dockerfile:1", "docker.io/docker/dockerfile:1", "dockerfile.v0"] {
        let run =
            app.slipway(["build", "--build-context", &format!("{name}=docker-image://okteto.dev/evil")]).expect(2);
        assert!(run.stderr.contains("it is BuildKit's own"), "{name}: {}", run.stderr);
    }
}

#[test]
fn the_engines_own_network_is_no_context() {
    let service = Service::shared();
    let app = service.team().project();
    app.image("FROM scratch\nCOPY --from=far . /\n");
    for url in ["http://127.0.0.1:1/a.git", "https://localhost/a.git#main", "git://0x7f.1/a.git"] {
        let run = app.events(&["build", "--build-context", &format!("far={url}")]).expect(1);
        let message = run.last("job.done")["error"]["message"].as_str().unwrap().to_owned();
        assert!(message.contains("denied by policy"), "{url}: {message}");
    }
}
