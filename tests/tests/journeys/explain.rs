//! `build --explain`: what changed, and which steps that makes run again, checked against the build that follows.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;
use slipway_journeys::api::{Api, SmallTree};
use slipway_journeys::{Project, Run, Service, unique};
use slipway_proto::v1::ReadDirectoriesRequest;

const MANIFEST: &str = "\
build:
  app:
    context: .
    args:
      COLOUR: ${COLOUR:-none}
    secrets:
      key: key.txt
    extra_hosts:
      - ${HOSTNAME_OF:-db}:10.0.0.1
";

const DOCKERFILE: &str = "\
FROM debian:trixie-slim AS base
WORKDIR /app
COPY src /app/src
FROM base AS made
ARG COLOUR=none
COPY *.cfg /app/
RUN --mount=type=secret,id=key cat /run/secrets/key >/dev/null && cat /proc/sys/kernel/random/uuid >/app/made
LABEL what=app
FROM base
COPY docs /docs
COPY --from=made /app/made /app/made
RUN cat /app/made
";

fn app(service: &Service) -> Project {
    let app = service.team().project();
    // An equal step that somebody else runs meanwhile would count as one that runs again.
    let text = DOCKERFILE.replace("WORKDIR /app", &format!("WORKDIR /{}", unique("w")));
    app.manifest(MANIFEST).file("Dockerfile", format!("{text}RUN echo {}\n", unique("e")));
    for path in ["src/a/b.txt", "src/c.txt", "docs/d.txt", "one.cfg", "key.txt"] {
        write(&app, path);
    }
    app
}

/// What others have copied would not be copied again.
fn write(app: &Project, path: &str) {
    app.file(path, unique("content"));
}

fn explained(app: &Project, args: &[&str]) -> Value {
    let run = app.slipway([&["build", "--explain", "app", "--output", "json"], args].concat()).ok();
    serde_json::from_slice(&run.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&run.stdout)))
}

/// The steps that ran, as they are written, but for what stages start from.
fn ran(run: &Run) -> BTreeSet<String> {
    let steps = run.all("step.done").into_iter().filter(|step| step["cached"] == false);
    let names =
        steps.filter_map(|step| step["name"].as_str().unwrap().split_once("] ").map(|(_, name)| name.to_owned()));
    names.filter(|name| is_step(name)).collect()
}

fn is_step(text: &str) -> bool {
    ["RUN ", "COPY ", "WORKDIR "].iter().any(|word| text.starts_with(word))
}

fn predicted(explained: &Value) -> BTreeSet<String> {
    let steps = explained["steps"].as_array().unwrap().iter();
    steps.map(|step| step["step"].as_str().unwrap().to_owned()).filter(|step| is_step(step)).collect()
}

/// Something that somebody does to a project.
type Edit<'e> = (&'e str, &'e dyn Fn(&Project), &'e [&'e str]);

#[test]
fn what_is_said_to_run_again_is_what_runs() {
    let service = Service::shared();
    let app = app(&service);
    assert_eq!(explained(&app, &[])["last"], Value::Null);
    let first = app.events(&["build"]).ok();
    let same = explained(&app, &[]);
    assert!(same["skipped"].as_str().unwrap().contains("nothing changed"), "{same}");
    assert_eq!(same["last"]["image"], first.last("build.done")["image"]);
    let edit = |from: &'static str, to: &'static str| {
        move |app: &Project| {
            let text = fs::read_to_string(app.path().join("Dockerfile")).unwrap();
            assert!(text.contains(from));
            app.file("Dockerfile", text.replacen(from, to, 1));
        }
    };
    let (label, added) =
        (edit("what=app", "what=other"), edit("FROM base\nCOPY docs", "FROM base\nENV A=1\nCOPY docs"));
    let changed = edit("RUN cat /app/made", "RUN cat /app/made /app/made");
    let (blue, hosts) = (["--var", "COLOUR=blue"], ["--var", "COLOUR=blue", "--var", "HOSTNAME_OF=cache"]);
    let edits: [Edit<'_>; 10] = [
        ("src/a/b.txt", &|app| write(app, "src/a/b.txt"), &[]),
        ("docs/new/", &|app| write(app, "docs/new/e.txt"), &[]),
        ("two.cfg", &|app| write(app, "two.cfg"), &[]),
        ("docs/d.txt", &|app| fs::remove_file(app.path().join("docs/d.txt")).unwrap(), &[]),
        ("argument COLOUR", &|_| (), &blue),
        ("secret key", &|app| write(app, "key.txt"), &blue),
        ("option add-host", &|_| (), &hosts),
        ("dockerfile Dockerfile", &label, &hosts),
        ("dockerfile Dockerfile", &added, &hosts),
        ("dockerfile Dockerfile", &changed, &hosts),
    ];
    for (what, edit, args) in edits {
        edit(&app);
        is_told_and_runs(&app, what, args);
    }
}

/// What is said to have changed, and that the build which follows runs the steps that it is said to run. Gives what was said.
fn is_told_and_runs(app: &Project, what: &str, args: &[&str]) -> Value {
    let explained = explained(app, args);
    assert_eq!(explained["skipped"], Value::Null, "{what}: {explained}");
    let (files, inputs) = (explained["files"].as_array().unwrap(), explained["inputs"].as_array().unwrap());
    let files = files.iter().map(|file| file["path"].as_str().unwrap().to_owned());
    let name = |input: &Value| format!("{} {}", input["kind"].as_str().unwrap(), input["name"].as_str().unwrap());
    let told: Vec<String> = files.chain(inputs.iter().map(name)).collect();
    assert_eq!(told.join(", "), what, "{explained}");
    let run = app.events(&[&["build", "app"], args].concat()).ok();
    assert_eq!(predicted(&explained), ran(&run), "{what}: {explained}");
    assert_eq!(explained["steps_complete"], true, "{what}: {explained}");
    explained
}

/// The only input that changed: what it was and what it is.
fn only_input(explained: &Value) -> (&str, &str) {
    let input = &explained["inputs"][0];
    let text = |name: &str| input[name].as_str().unwrap_or("nothing");
    (text("before"), text("after"))
}

#[test]
fn images_stages_platforms_and_contexts_that_changed_are_told() {
    let service = Service::shared();
    let team = service.team();
    let base = team.project();
    base.manifest("build:\n  app:\n    context: .\n    image: okteto.dev/base:1\n");
    // Files are copied once for all platforms, where what is below them is the same.
    base.file("Dockerfile", "FROM scratch\nARG TARGETARCH\nCOPY x /x-$TARGETARCH\n");
    let push = || {
        write(&base, "x");
        let run = base.events(&["build", "--platform", "linux/amd64,linux/arm64"]).ok();
        run.last("build.done")["digest"].as_str().unwrap().to_owned()
    };
    let tool = team.project();
    tool.manifest("build:\n  app:\n    context: .\n    image: okteto.dev/tool:1\n");
    tool.file("Dockerfile", "FROM scratch\nCOPY x /x\n");
    write(&tool, "x");
    tool.build_app();
    let first = push();
    let app = team.project();
    app.image(
        "FROM okteto.dev/base:1 AS lib\nCOPY lib /\nFROM okteto.dev/base:1 AS first\nCOPY own /own\nFROM first\nCOPY --from=lib / /lib\n\
         COPY --from=okteto.dev/tool:1 / /tool\n",
    );
    // Beside the context, which is looked at as a whole where there are named ones.
    for path in ["own", "lib/a", "../other/b"] {
        write(&app, path);
    }
    app.events(&["build", "--target", "first"]).ok();
    let told = is_told_and_runs(&app, "target , image okteto.dev/tool:1", &[]);
    assert_eq!(only_input(&told), ("first", ""));
    let (tool, lib) = ("COPY --from=okteto.dev/tool:1 / /tool", "COPY --from=lib / /lib");
    assert_eq!(predicted(&told), BTreeSet::from([tool, lib, "COPY lib /"].map(str::to_owned)));

    let second = push();
    let told = is_told_and_runs(&app, "image okteto.dev/base:1", &[]);
    assert_eq!(only_input(&told), (&*first, &*second));
    let all = BTreeSet::from([tool, lib, "COPY lib /", "COPY own /own"].map(str::to_owned));
    assert_eq!(predicted(&told), all);
    assert!(told["steps"].to_string().contains("FROM okteto.dev/base:1 AS first"), "{told}");

    let arm = ["--platform", "linux/arm64"];
    let told = is_told_and_runs(&app, "platform ", &arm);
    assert!(only_input(&told).0.starts_with("linux/") && only_input(&told).1 == "linux/arm64", "{told}");
    assert_eq!(predicted(&told), all);

    let named = [&arm[..], &["--build-context", "okteto.dev/tool:1=../other"]].concat();
    let told = is_told_and_runs(&app, "image okteto.dev/tool:1, context okteto.dev/tool:1", &named);
    assert_eq!(told["inputs"][1]["after"], "a folder", "{told}");
    assert_eq!(predicted(&told), BTreeSet::from([tool.to_owned()]));
    write(&app, "../other/b");
    let told = is_told_and_runs(&app, "b", &named);
    assert_eq!(told["files"][0]["context"], "okteto.dev/tool:1", "{told}");
    assert_eq!(predicted(&told), BTreeSet::from([tool.to_owned()]));
}

#[test]
fn what_becomes_of_a_dependency_is_told_when_that_is_built() {
    let service = Service::shared();
    let app = service.team().project();
    app.manifest("build:\n  base: base\n  app:\n    context: app\n    depends_on: base\n")
        .file("base/Dockerfile", "FROM scratch\nCOPY x /x\n")
        .file("app/Dockerfile", "ARG OKTETO_BUILD_BASE_IMAGE\nFROM $OKTETO_BUILD_BASE_IMAGE\nCOPY y /y\n");
    write(&app, "base/x");
    write(&app, "app/y");
    app.events(&["build"]).ok();
    write(&app, "base/x");
    let before = explained(&app, &[]);
    assert_eq!((&before["waits_for"], &before["skipped"]), (&"base".into(), &Value::Null), "{before}");
    assert_eq!(before["steps_complete"], false, "{before}");
    let text = String::from_utf8(app.slipway(["build", "--explain", "app"]).ok().stdout).unwrap();
    assert!(text.contains("whether it is built depends on what `base` becomes"), "{text}");

    let base = app.events(&["build", "base"]).ok();
    let told = explained(&app, &[]);
    let dependency = told["inputs"].as_array().unwrap().iter().find(|input| input["kind"] == "dependency");
    let dependency = dependency.unwrap_or_else(|| panic!("{told}"));
    assert_eq!((&dependency["name"], &dependency["after"]), (&"base".into(), &base.last("build.done")["digest"]));
    assert_eq!((&told["waits_for"], &told["steps_complete"]), (&Value::Null, &true.into()), "{told}");
    let run = app.events(&["build", "app"]).ok();
    assert_eq!(predicted(&told), ran(&run), "{told}");
    assert_eq!(predicted(&told), BTreeSet::from(["COPY y /y".to_owned()]));
}

#[test]
fn people_read_what_changed_and_what_runs_again() {
    let service = Service::shared();
    let app = app(&service);
    let text = |args: &[&str]| {
        let run = app.slipway([&["build", "--explain"], args].concat()).ok();
        String::from_utf8(run.stdout).unwrap()
    };
    assert_eq!(text(&["app"]), "app: no build of it is known here, so all of its steps may run\n");
    let built = app.events(&["build"]).ok();
    let job = built.last("job.done")["job"].as_str().unwrap();
    write(&app, "docs/d.txt");
    write(&app, "src/new.txt");
    let told = text(&["app", "--var", "COLOUR=secret-colour"]);
    let (first, rest) = told.split_once('\n').unwrap();
    assert!(first.starts_with(&format!("app: built last by job {job}, 20")), "{first}");
    let rest = rest.rsplit_once("RUN echo").unwrap().0;
    assert_eq!(
        rest,
        "changed since then:
  file        docs/d.txt changed
  file        src/new.txt added
  argument    COLOUR changed
steps that run again:
     3  COPY src /app/src  (src/new.txt changed)
     4  FROM base AS made  (stage base changed)
     6  COPY *.cfg /app/  (after line 4)
     7  RUN --mount=type=secret,id=key cat /run/secrets/key >/dev/null && cat /proc/sys/kernel/random/uuid >/app/made  (argument `COLOUR` changed)
     9  FROM base  (stage base changed)
    10  COPY docs /docs  (docs/d.txt changed)
    11  COPY --from=made /app/made /app/made  (stage made may give other files)
    12  RUN cat /app/made  (after line 11)
    13  "
    );
    // What it was built from is noted, but no value.
    let notes = service.data_dir().join("builds").join(&app.team.namespace);
    let notes: Vec<_> =
        fs::read_dir(notes).unwrap().map(|file| fs::read_to_string(file.unwrap().path()).unwrap()).collect();
    assert!(notes.iter().any(|note| note.contains("COLOUR")) && !notes.concat().contains("none"), "{notes:?}");
    // Nothing was built and no job made.
    assert_eq!(app.events(&["build"]).ok().all("build.done").len(), 1);
}

#[test]
fn folders_of_another_namespace_are_not_there() {
    let service = Service::shared();
    let (ours, theirs) = (service.team(), service.team());
    let app = ours.project();
    app.image("FROM scratch\nCOPY f /\n").file("f", "content");
    app.events(&["build"]).ok();
    let tree = SmallTree::new(&[("f", b"content")]);
    let read = |team, namespace: &str| {
        let api = Api::new(team);
        let request = ReadDirectoriesRequest {
            namespace: namespace.to_owned(),
            digests: vec![tree.root.as_bytes().to_vec(), slipway_context::Digest::of(b"content").as_bytes().to_vec()],
        };
        api.wait(async {
            let mut nodes = api.builds().read_directories(request).await?.into_inner();
            let mut found = Vec::new();
            while let Some(node) = nodes.message().await? {
                found.push(node.digest);
            }
            Ok::<_, tonic::Status>(found)
        })
    };
    assert_eq!(read(&ours, &ours.namespace).unwrap(), [tree.root.as_bytes().to_vec()], "folders, and no contents");
    assert!(read(&theirs, &theirs.namespace).unwrap().is_empty());
    assert_eq!(read(&theirs, &ours.namespace).unwrap_err().code(), tonic::Code::NotFound);
}

#[test]
fn a_context_in_the_place_of_a_stage_is_told_with_its_steps() {
    let service = Service::shared();
    let app = service.team().project();
    app.image("FROM scratch AS lib\nCOPY lib /\nFROM scratch\nCOPY own /own\nCOPY --from=lib / /lib\n");
    for path in ["own", "lib/a", "../other/b"] {
        write(&app, path);
    }
    app.events(&["build"]).ok();
    let named = ["--build-context", "lib=../other"];
    let copy = BTreeSet::from(["COPY --from=lib / /lib".to_owned()]);
    let mut told = Vec::new();
    for what in ["context lib", "b"] {
        if what == "b" {
            write(&app, "../other/b");
        }
        let explained = explained(&app, &named);
        let run = app.events(&[&["build", "app"], &named[..]].concat()).ok();
        assert_eq!(ran(&run), copy);
        told.push(predicted(&explained));
    }
    assert_eq!(told, [copy.clone(), copy]);
}
