//! Builds that are not needed: found before anything is sent, and never when anything is different.

use std::fs;

use slipway_journeys::{Project, Run, Service, files, image};

/// An application that uses only a part of its folder.
const DOCKERFILE: &str = "FROM scratch AS part\nARG COLOUR=none\nCOPY src /src\nFROM part\nCOPY top.txt /\n";

fn app(project: &Project) -> &Project {
    project
        .manifest("build:\n  app:\n    context: .\n    args:\n      COLOUR: blue\n")
        .file("Dockerfile", DOCKERFILE)
        .file("src/a.txt", "a")
        .file("src/run.sh", "run")
        .link("src/link", "a.txt")
        .file("top.txt", "top")
        .file("elsewhere/b.txt", "b")
}

/// What became of the builds, by service.
fn skipped(run: &Run) -> Vec<String> {
    run.all("build.skipped").iter().map(|event| event["service"].as_str().unwrap().to_owned()).collect()
}

fn built(run: &Run) -> Vec<String> {
    run.all("build.done").iter().map(|event| event["service"].as_str().unwrap().to_owned()).collect()
}

/// The job had nothing to do: no process ran, no engine was asked, nothing was sent.
fn assert_no_job_ran(run: &Run) {
    let types: Vec<_> = run.events.iter().map(|event| event["type"].as_str().unwrap().to_owned()).collect();
    assert_eq!(types.first().map(String::as_str), Some("sync.done"), "{}", run.story());
    assert_eq!(types.last().map(String::as_str), Some("job.done"), "{}", run.story());
    assert!(types[1..types.len() - 1].iter().all(|kind| kind == "build.skipped"), "{}", run.story());
    let synced = run.last("sync.done");
    assert_eq!((&synced["files"], &synced["sent_bytes"]), (&0.into(), &0.into()));
}

#[test]
fn what_has_not_changed_is_skipped_without_a_job_and_its_names_are_set() {
    let service = Service::shared();
    let team = service.team();
    let project = team.project();
    app(&project);
    let first = project.events(&["build"]).ok();
    assert_eq!(built(&first), ["app"]);
    let image = first.last("build.done")["image"].as_str().unwrap().to_owned();

    let again = project.events(&["build"]).ok();
    assert_eq!(skipped(&again), ["app"], "{}", again.story());
    assert_no_job_ran(&again);
    let event = again.last("build.skipped");
    assert_eq!(event["image"], image.as_str());
    assert_eq!(event["digest"], image.split_once('@').unwrap().1);
    assert!(event["reason"].as_str().unwrap().contains("nothing changed"), "{event}");
    let job = event["job"].as_str().unwrap().to_owned();
    assert_eq!(team.show(&job)["state"], "succeeded");
    assert_eq!(team.attach(&job).ok().all("build.skipped").len(), 1);

    // Other times, another folder, another name that the manifest wants.
    let checkout = project.checkout();
    assert_eq!(skipped(&checkout.events(&["build"]).ok()), ["app"]);
    let manifest = "build:\n  app:\n    context: .\n    image: okteto.dev/other:1, okteto.dev/other:2\n    args:\n      COLOUR: blue\n";
    checkout.manifest(manifest);
    assert_eq!(built(&checkout.events(&["build"]).ok()), ["app"], "in another repository it is not known");
    checkout.manifest(&manifest.replace("other:2", "third:3"));
    let named = checkout.events(&["build"]).ok();
    assert_eq!(skipped(&named), ["app"]);
    for name in ["other:1", "third:3"] {
        let pulled = image::pull(&team, &format!("{}/{}/{name}", team.registry, team.namespace));
        assert_eq!(files::text(&pulled.files, "top.txt"), "top");
    }

    // Back to what was built before: the names follow.
    project.file("top.txt", "changed");
    project.events(&["build"]).ok();
    project.file("top.txt", "top");
    assert_eq!(skipped(&project.events(&["build"]).ok()), ["app"]);
    let repository = format!("{}/{}/{}-app", team.registry, team.namespace, project.name);
    let pulled = image::pull(&team, &format!("{repository}:okteto"));
    assert_eq!(files::text(&pulled.files, "top.txt"), "top");
}

/// Something that is done to an application, and the flags that it is built with then.
type Change = (&'static str, fn(&Project), &'static [&'static str]);

#[test]
fn any_input_that_changes_is_built_again() {
    let service = Service::shared();
    let team = service.team();
    let project = team.project();
    app(&project).file("src/empty/x", "");
    project.events(&["build"]).ok();
    let changes: &[Change] = &[
        (
            "a file's bytes",
            |project| {
                project.file("src/a.txt", "b");
            },
            &[],
        ),
        (
            "a file's name",
            |project| fs::rename(project.path().join("src/a.txt"), project.path().join("src/c.txt")).unwrap(),
            &[],
        ),
        (
            "a file's mode",
            |project| {
                project.mode("src/run.sh", 0o755);
            },
            &[],
        ),
        (
            "a folder's mode",
            |project| {
                project.mode("src/empty", 0o700);
            },
            &[],
        ),
        (
            "a symlink's target",
            |project| {
                fs::remove_file(project.path().join("src/link")).unwrap();
                project.link("src/link", "run.sh");
            },
            &[],
        ),
        (
            "a file more",
            |project| {
                project.file("src/more", "");
            },
            &[],
        ),
        ("an empty folder more", |project| fs::create_dir(project.path().join("src/more")).unwrap(), &[]),
        ("a file less", |project| fs::remove_file(project.path().join("src/empty/x")).unwrap(), &[]),
        (
            "the Dockerfile",
            |project| {
                project.file("Dockerfile", format!("{DOCKERFILE}ENV A=1\n"));
            },
            &[],
        ),
        (
            "a comment in the Dockerfile",
            |project| {
                project.file("Dockerfile", format!("{DOCKERFILE}# x\n"));
            },
            &[],
        ),
        (
            "the ignore file",
            |project| {
                project.file(".dockerignore", "src/a.txt\n");
            },
            &[],
        ),
        (
            "the Dockerfile's own ignore file",
            |project| {
                project.file("Dockerfile.dockerignore", "src/a.txt\n");
            },
            &[],
        ),
        (
            "an argument",
            |project| {
                project.manifest("build:\n  app:\n    context: .\n    args:\n      COLOUR: red\n");
            },
            &[],
        ),
        (
            "an argument more",
            |project| {
                project.manifest("build:\n  app:\n    context: .\n    args:\n      COLOUR: blue\n      MORE: \"\"\n");
            },
            &[],
        ),
        ("--build-arg", |_| {}, &["--build-arg", "COLOUR=green"]),
        (
            "the target",
            |project| {
                project.manifest("build:\n  app:\n    context: .\n    target: part\n    args:\n      COLOUR: blue\n");
            },
            &[],
        ),
        ("--no-cache", |_| {}, &["--no-cache"]),
        (
            "smart builds off",
            |project| {
                project.file(".env", "OKTETO_SMART_BUILDS_ENABLED=F\n");
            },
            &[],
        ),
    ];
    for (what, change, flags) in changes {
        let edited = project.checkout();
        change(&edited);
        let run = edited.events(&[&["build"], *flags].concat()).ok();
        assert_eq!((built(&run), skipped(&run)), (vec!["app".to_owned()], Vec::new()), "{what}\n{}", run.story());
    }
    // What no COPY names plays no part, and an argument that is as it was by another way doesn't either.
    let same: &[Change] = &[
        (
            "a file that is not used",
            |project| {
                project.file("elsewhere/b.txt", "edited");
            },
            &[],
        ),
        (
            "a file more that is not used",
            |project| {
                project.file("new", "new");
            },
            &[],
        ),
        ("the same argument", |_| {}, &["--build-arg", "COLOUR=blue"]),
        (
            "smart builds on",
            |project| {
                project.file(".env", "OKTETO_SMART_BUILDS_ENABLED=true\n");
            },
            &[],
        ),
    ];
    for (what, change, flags) in same {
        let edited = project.checkout();
        change(&edited);
        let run = edited.events(&[&["build"], *flags].concat()).ok();
        assert_eq!(skipped(&run), ["app"], "{what}\n{}", run.story());
    }
}

#[test]
fn what_is_sent_is_what_the_dockerfile_uses() {
    let service = Service::shared();
    let team = service.team();
    let project = team.project();
    let big = slipway_journeys::random(3 << 20);
    app(&project).file("elsewhere/big", &big).file(".dockerignore", "src/ignored\n").file("src/ignored", "i");
    let run = project.events(&["build"]).ok();
    let sent = run.last("sync.done")["sent_bytes"].as_u64().unwrap();
    assert!(sent < 10_000, "{sent} bytes were sent");
    let pulled = image::pull(&team, run.last("build.done")["image"].as_str().unwrap());
    assert_eq!(files::paths(&pulled.files), ["src/a.txt", "src/link", "src/run.sh", "top.txt"]);

    // A base image with triggers uses what nobody can see here.
    project.image("FROM scratch\nCOPY Dockerfile /base\nONBUILD COPY elsewhere /elsewhere\n").file(
        "okteto.yaml",
        format!("name: {}\nbuild:\n  base:\n    context: .\n    image: okteto.dev/triggers:1\n", project.name),
    );
    project.events(&["build"]).ok();
    let child = team.project();
    child.image("FROM okteto.dev/triggers:1\nCOPY top.txt /\n").file("elsewhere/x", "x").file("top.txt", "t");
    let run = child.events(&["build"]).ok();
    let pulled = image::pull(&team, run.last("build.done")["image"].as_str().unwrap());
    assert_eq!(files::paths(&pulled.files), ["base", "elsewhere/x", "top.txt"]);
    assert_eq!(skipped(&child.events(&["build"]).ok()), [""; 0], "triggers can't be known beforehand");
}

#[test]
fn a_base_image_that_was_pushed_again_is_built_from_again() {
    let service = Service::shared();
    let team = service.team();
    let base = team.project();
    let push = |content: &str| {
        base.image("FROM scratch\nCOPY x /x\n")
            .file("x", content)
            .manifest("build:\n  base:\n    context: .\n    image: okteto.dev/base:1\n");
        base.events(&["build"]).ok();
    };
    push("one");
    let project = team.project();
    project.image("FROM okteto.dev/base:1\nCOPY y /y\n").file("y", "y");
    let taking =
        ["COPY --from=okteto.dev/base:1 /x /x\n", "COPY --from=okteto.dev/base:1 --link /x /taken\n"].map(|copy| {
            let taking = team.project();
            taking.image(&format!("FROM scratch\n{copy}"));
            taking
        });
    for one in taking.iter().chain([&project]) {
        assert_eq!(built(&one.events(&["build"]).ok()), ["app"]);
        assert_eq!(skipped(&one.events(&["build"]).ok()), ["app"]);
    }
    push("two");
    for (one, file) in taking.iter().zip(["x", "taken"]) {
        let run = one.events(&["build"]).ok();
        let pulled = image::pull(&team, run.last("build.done")["image"].as_str().unwrap());
        assert_eq!(files::text(&pulled.files, file), "two");
    }
    let run = project.events(&["build"]).ok();
    assert_eq!(built(&run), ["app"]);
    let pulled = image::pull(&team, run.last("build.done")["image"].as_str().unwrap());
    assert_eq!(files::text(&pulled.files, "x"), "two");
    push("one");
    let run = project.events(&["build"]).ok();
    assert_eq!(skipped(&run), ["app"], "from the first base again");
    let pulled = image::pull(&team, run.last("build.skipped")["image"].as_str().unwrap());
    assert_eq!(files::text(&pulled.files, "x"), "one");
    // Through the engine's mirror of Docker Hub, and what comes from there unpinned.
    let other = team.project();
    other.image("FROM debian:trixie-slim\nCOPY y /y\n").file("y", "y");
    other.events(&["build"]).ok();
    assert_eq!(skipped(&other.events(&["build"]).ok()), ["app"]);
    other.image("FROM localhost:1/nobody\n").events(&["build"]).expect(1);
}

#[test]
fn what_depends_on_a_changed_image_is_decided_when_that_is_built() {
    let service = Service::shared();
    let team = service.team();
    let project = team.project();
    project
        .manifest(
            "build:\n  base: base\n  used:\n    context: used\n    depends_on: base\n  named:\n    context: named\n    depends_on: base\n  apart: apart\n",
        )
        .file("base/Dockerfile", "FROM scratch\nCOPY x* /\n")
        .file("base/x", "1")
        .file("used/Dockerfile", "ARG OKTETO_BUILD_BASE_IMAGE\nFROM $OKTETO_BUILD_BASE_IMAGE\nCOPY y /y\n")
        .file("used/y", "y")
        .file("named/Dockerfile", format!("FROM okteto.dev/{}-base:okteto\nCOPY y /y\n", project.name))
        .file("named/y", "y")
        .file("apart/Dockerfile", "FROM scratch\nCOPY z /z\n")
        .file("apart/z", "z");
    project.events(&["build"]).ok();
    let run = project.events(&["build"]).ok();
    assert_eq!(skipped(&run).len(), 4, "{}", run.story());
    assert_no_job_ran(&run);

    project.file("base/x", "2");
    let run = project.events(&["build"]).ok();
    let mut seen = built(&run);
    seen.sort();
    assert_eq!((seen, skipped(&run)), (["base", "named", "used"].map(str::to_owned).into(), vec!["apart".to_owned()]));
    let image = |service: &str| {
        let done = run.all("build.done").into_iter().find(|event| event["service"] == service).unwrap();
        image::pull(&team, done["image"].as_str().unwrap())
    };
    for service in ["used", "named"] {
        assert_eq!(files::text(&image(service).files, "x"), "2", "{service}");
    }
    // The base is built again and is what it was: what depends on it isn't.
    project.file("base/x", "1");
    assert_eq!(skipped(&project.events(&["build"]).ok()).len(), 4);
}

#[test]
fn an_image_that_is_gone_is_built_again() {
    let service = Service::shared();
    let team = service.team();
    let project = team.project();
    app(&project);
    let image = project.build_app();
    let (repository, digest) = image.split_once('@').unwrap();
    let (_, path) = repository.split_once('/').unwrap();
    // As an administrator would who knows where the registry keeps its data.
    let link = format!("docker/registry/v2/repositories/{path}/_manifests");
    let found = find(&service.data_dir().join("registry"), &link).expect("the repository's manifests");
    fs::remove_dir_all(found).unwrap();
    let run = project.events(&["build"]).ok();
    assert_eq!(built(&run), ["app"], "{digest}\n{}", run.story());
    assert_eq!(skipped(&project.events(&["build"]).ok()), ["app"]);
}

fn find(dir: &std::path::Path, suffix: &str) -> Option<std::path::PathBuf> {
    for entry in fs::read_dir(dir).ok()?.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()) {
        if entry.ends_with(suffix) {
            return Some(entry);
        }
        if let Some(found) = find(&entry, suffix) {
            return Some(found);
        }
    }
    None
}

#[test]
fn nobody_profits_from_another_namespace() {
    let service = Service::shared();
    let (team, other) = (service.team(), service.team());
    let project = team.project();
    app(&project);
    project.events(&["build"]).ok();
    let theirs = project.checkout().of(&other);
    let run = theirs.events(&["build"]).ok();
    assert_eq!((built(&run), skipped(&run)), (vec!["app".to_owned()], Vec::new()), "{}", run.story());
    assert!(run.last("sync.done")["sent_bytes"].as_u64().unwrap() > 0);
}

#[test]
fn commands_run_with_images_that_were_skipped() {
    let service = Service::shared();
    let team = service.team();
    let project = team.project();
    let section = slipway_journeys::team::deploy_section(&["echo $OKTETO_BUILD_APP_IMAGE"]);
    project.image("FROM scratch\nCOPY x /x\n").file("x", "x").manifest(&format!("build:\n  app: .\n{section}"));
    let first = project.events(&["deploy", "--build"]).ok();
    let image = first.last("build.done")["image"].as_str().unwrap().to_owned();
    let again = project.events(&["deploy", "--build"]).ok();
    assert_eq!(skipped(&again), ["app"]);
    assert_eq!(again.said().trim(), image);
}
