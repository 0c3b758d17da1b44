//! From a manifest to images in the namespace's registry.

use std::collections::BTreeMap;

use slipway_journeys::{Run, Service, files, image, on_docker, peer, unique};

/// A dotenv file with plain values.
fn variables(path: &std::path::Path) -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(path).unwrap();
    let pair =
        |line: &str| line.split_once('=').map(|(name, value)| (name.to_owned(), value.trim_matches('"').to_owned()));
    text.lines().filter_map(pair).collect()
}

fn image_of<'a>(run: &'a Run, service: &str) -> &'a str {
    let done = run.all("build.done").into_iter().find(|event| event["service"] == service);
    done.and_then(|event| event["image"].as_str()).unwrap_or_else(|| panic!("{service} was not built\n{}", run.story()))
}

#[test]
fn a_build_ends_as_an_image_that_skopeo_pulls_with_the_namespaces_token() {
    let service = Service::shared();
    let team = service.team();
    let app = team.project();
    app.manifest("build:\n  web-api:\n    context: .\n    target: final\n    args:\n      COLOUR: blue\n")
        .file(
            "Dockerfile",
            "FROM scratch AS final\nARG COLOUR\nENV COLOUR=$COLOUR\nCOPY hello /srv/\nFROM final\nCOPY hello /no\n",
        )
        .file("hello", "hello there");
    let env_file = app.beside("env");
    let run = app.events(&["build", "--env-file", env_file.to_str().unwrap()]).ok();

    let done = run.last("build.done");
    let (reference, digest) = (done["image"].as_str().unwrap(), done["digest"].as_str().unwrap());
    let pulled = image::pull(&team, reference);
    assert_eq!(files::text(&pulled.files, "srv/hello"), "hello there");
    assert_eq!(files::paths(&pulled.files), ["srv/hello"], "the target is the image");
    assert!(pulled.config["config"]["Env"].to_string().contains("COLOUR=blue"), "{}", pulled.config);

    let repository = format!("{}/{}-web-api", team.namespace, app.name);
    let expected = [
        ("IMAGE", format!("{}/{repository}@{digest}", team.registry)),
        ("REGISTRY", team.registry.clone()),
        ("REPOSITORY", repository.clone()),
        ("SHA", format!("okteto@{digest}")),
        ("TAG", digest.to_owned()),
    ];
    let expected = expected.map(|(name, value)| (format!("OKTETO_BUILD_WEB_API_{name}"), value));
    assert_eq!(variables(&env_file), BTreeMap::from(expected));

    let tagged = image::pull(&team, &format!("{}/{repository}:okteto", team.registry));
    assert_eq!(tagged.config, pulled.config, "the default tag is the same image");
}

#[test]
fn an_engine_that_others_reach_too_keeps_no_record_of_a_build() {
    let service = Service::shared();
    let team = service.team();
    let app = team.project();
    let word = unique("said-to-nobody-else");
    app.manifest(&format!("build:\n  app:\n    context: .\n    args:\n      WORD: {word}\n"))
        .file("Dockerfile", "FROM scratch\nARG WORD\nCOPY Dockerfile /\n");
    app.events(&["build"]).ok();
    app.file("Dockerfile", "FROM scratch\nCOPY nothing /\n");
    app.events(&["build"]).expect(1);
    // A name that shows up in the record of the peer's own build.
    let peers = format!("{}.Dockerfile", unique("peer"));
    app.file(&peers, "FROM scratch\nCOPY okteto.yaml /\n");
    peer::build(&app.path(), &peers);
    let history = peer::build_history();
    assert!(history.contains(&peers), "the peer's build is there");
    assert!(!history.contains(&team.namespace) && !history.contains(&word), "{history}");
}

#[test]
fn images_are_built_in_the_order_of_their_dependencies_and_from_one_another() {
    let service = Service::shared();
    let team = service.team();
    let app = team.project();
    // The roof depends on the base only by way of the walls, and gets the base's variables all the same.
    app.manifest(
        "build:\n  roof:\n    context: roof\n    depends_on: walls\n  walls:\n    context: walls\n    depends_on: [base]\n  base: base\n",
    )
    .file("base/Dockerfile", "FROM scratch\nCOPY Dockerfile /base\n")
    .file("walls/Dockerfile", "ARG OKTETO_BUILD_BASE_IMAGE\nFROM ${OKTETO_BUILD_BASE_IMAGE}\nCOPY Dockerfile /walls\n")
    .file(
        "roof/Dockerfile",
        "ARG OKTETO_BUILD_WALLS_IMAGE\nARG OKTETO_BUILD_BASE_SHA\nFROM ${OKTETO_BUILD_WALLS_IMAGE}\nARG OKTETO_BUILD_BASE_SHA\n\
         COPY Dockerfile /roof\nENV BASE=$OKTETO_BUILD_BASE_SHA\n",
    );
    let run = app.events(&["build"]).ok();

    let order =
        run.events.iter().filter(|event| matches!(event["type"].as_str(), Some("build.started" | "build.done")));
    let order: Vec<_> = order.map(|event| format!("{} {}", event["service"], event["type"]).replace('"', "")).collect();
    assert_eq!(order.len(), 6, "{order:?}");
    let at = |what: &str| order.iter().position(|event| event == what).unwrap();
    assert!(at("base build.done") < at("walls build.started") && at("walls build.done") < at("roof build.started"));

    let pulled = image::pull(&team, image_of(&run, "roof"));
    assert_eq!(files::paths(&pulled.files), ["base", "roof", "walls"]);
    let base = image_of(&run, "base").split_once('@').unwrap().1;
    assert!(pulled.config["config"]["Env"].to_string().contains(&format!("BASE=okteto@{base}")), "{}", pulled.config);

    let one = app.events(&["build", "walls", "--no-cache"]).ok();
    let built: Vec<_> =
        one.all("build.done").iter().map(|event| event["service"].as_str().unwrap().to_owned()).collect();
    assert_eq!(built, ["base", "walls"], "what one service depends on is built with it, and nothing else");
}

#[test]
fn a_failed_step_names_its_line_and_shows_its_output_and_nothing_is_built_after_it() {
    let service = Service::shared();
    let team = service.team();
    let app = team.project();
    app.manifest("build:\n  first: .\n  second:\n    context: .\n    depends_on: first\n").file(
        "Dockerfile",
        "FROM debian:trixie-slim\n# a comment\nRUN echo said-on-stderr >&2; echo said-before; exit 93\n",
    );
    let run = app.events(&["build"]).expect(1);
    let error = &run.last("job.done")["error"];
    assert_eq!(error["code"], "build_failed", "{error}");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("Dockerfile:3") && message.contains("exit code: 93"), "{message}");
    let source = "\n   2 |     # a comment\n   3 | >>> RUN echo said-on-stderr >&2; echo said-before; exit 93\n";
    assert!(message.contains(source), "{message}");
    let (_, last) = message.split_once("its last output:\n").unwrap_or_else(|| panic!("no output: {message}"));
    let mut last: Vec<_> = last.lines().collect();
    last.sort_unstable();
    assert_eq!(last, ["said-before", "said-on-stderr"]);
    let logs = run.all("step.log");
    for (text, stream) in [("said-before", "stdout"), ("said-on-stderr", "stderr")] {
        let said = logs.iter().any(|log| log["stream"] == stream && log["text"].as_str().unwrap().contains(text));
        assert!(said, "{text} on {stream}: {logs:?}");
    }
    assert!(run.all("build.started").iter().all(|event| event["service"] != "second"));
}

#[test]
fn two_builds_of_one_service_at_once_each_get_their_own_bytes() {
    let service = Service::shared();
    let team = service.team();
    let app = team.project();
    app.image("FROM scratch\nCOPY . /\n");
    let other = app.checkout();
    app.file("which", "one");
    other.file("which", "two");
    let (first, second) = (app.start_events(&["build"]), other.start_events(&["build"]));
    for (running, bytes) in [(first, "one"), (second, "two")] {
        let run = running.finish().ok();
        let pulled = image::pull(&team, image_of(&run, "app"));
        assert_eq!(files::text(&pulled.files, "which"), bytes);
    }
}

#[test]
fn okteto_dev_and_okteto_global_name_images_in_manifests() {
    let service = Service::shared();
    let (team, admin) = (service.team(), service.admin());
    let shared = admin.project();
    shared
        .manifest(&format!("build:\n  app:\n    context: .\n    image: okteto.global/{}:v1\n", shared.name))
        .file("Dockerfile", "FROM scratch\nCOPY Dockerfile /shared\n");
    shared.build_app();

    let app = team.project();
    app.manifest(&format!(
        "build:\n  app:\n    context: .\n    image: okteto.dev/mine/{}:v2\n    args:\n      BASE: {}/okteto/{}:v1\n",
        app.name, team.registry, shared.name
    ))
    .file("Dockerfile", "ARG BASE\nFROM $BASE\nCOPY Dockerfile /own\n");
    app.build_app();
    let reference = format!("{}/{}/mine/{}:v2", team.registry, team.namespace, app.name);
    assert_eq!(files::paths(&image::pull(&team, &reference).files), ["own", "shared"]);
}

#[test]
fn dockerfiles_may_say_okteto_dev_and_okteto_global() {
    let service = Service::shared();
    let (team, admin) = (service.team(), service.admin());
    let shared = admin.project();
    let global = format!("okteto.global/{}:v1", shared.name);
    shared
        .manifest(&format!("build:\n  app:\n    context: .\n    image: {global}\n"))
        .file("Dockerfile", "FROM scratch\nCOPY Dockerfile /shared\n")
        .build_app();
    let base = team.project();
    base.image("FROM scratch\nCOPY Dockerfile /base\n").build_app();
    let own = format!("okteto.dev/{}-app:okteto", base.name);
    let app = team.project();
    app.image(&format!(
        "ARG BASE={own}
FROM debian:trixie-slim AS run
RUN --mount=type=bind,from={own},target=/m --mount=type=bind,from={global},target=/g cat /m/base /g/shared >/mounted
FROM {global} AS global
FROM $BASE
COPY --from={own} /base /copy
COPY --from=global /shared /of-stage
COPY --from={global} /shared /
COPY --from=run /mounted /
"
    ));
    let found = image::pull(&team, &app.build_app()).files;
    assert_eq!(files::paths(&found), ["base", "copy", "mounted", "of-stage", "shared"]);
    let mounted = files::text(&found, "base").to_owned() + files::text(&found, "shared");
    assert_eq!(files::text(&found, "mounted"), mounted);
    assert_eq!(app.events(&["build"]).ok().all("build.skipped").len(), 1, "all of them can be looked at");
}

#[test]
fn heredocs_are_scripts_and_files() {
    let service = Service::shared();
    let app = service.team().project();
    let word = unique("word");
    app.image(&format!(
        "FROM debian:trixie-slim AS made
ARG WORD={word}
RUN <<EOF
echo \"first $WORD\" >/script
echo second >>/script
EOF
RUN cat >/piped <<EOF
COPY no/such /file
EOF
FROM scratch
ARG WORD={word}
COPY --from=made /script /piped /
COPY --chmod=640 <<EOF /file
said by ${{WORD}}
EOF
COPY <<\"plain.txt\" <<expanded.txt /dir/
$WORD
plain.txt
$WORD
expanded.txt
COPY own /own
"
    ));
    app.file("own", "own").file("other", slipway_journeys::random(3 << 20));
    let run = app.events(&["build"]).ok();
    let found = image::pull(&app.team, image_of(&run, "app")).files;
    assert_eq!(files::text(&found, "script"), format!("first {word}\nsecond\n"));
    assert_eq!(files::text(&found, "piped"), "COPY no/such /file\n");
    assert_eq!((files::text(&found, "file"), found["file"].mode), (&*format!("said by {word}\n"), 0o640));
    assert_eq!(files::text(&found, "dir/plain.txt"), "$WORD\n");
    assert_eq!(files::text(&found, "dir/expanded.txt"), format!("{word}\n"));
    // They take nothing from the context, and are inputs as all of the Dockerfile.
    let sent = run.last("sync.done")["sent_bytes"].as_u64().unwrap();
    assert!(sent < 100_000, "{sent} bytes were sent");
    assert_eq!(app.events(&["build"]).ok().all("build.skipped").len(), 1);
    let text = std::fs::read_to_string(app.path().join("Dockerfile")).unwrap();
    app.file("Dockerfile", text.replace("said by", "written by"));
    let run = app.events(&["build"]).ok();
    let found = image::pull(&app.team, image_of(&run, "app")).files;
    assert_eq!(files::text(&found, "file"), format!("written by {word}\n"));
}

#[test]
fn an_argument_without_a_value_has_the_callers() {
    let service = Service::shared();
    let app = service.team().project();
    app.manifest(
        "build:\n  app:\n    context: .\n    args:\n    - LISTED=a=b\n    - LISTED_ALONE\n    - LISTED_UNSET\n",
    );
    let names = ["LISTED", "LISTED_ALONE", "LISTED_UNSET", "FLAG", "FLAG_UNSET", "FLAG_LITERAL"];
    let declared = names.map(|name| format!("ARG {name}=default\n")).concat();
    let told = names.map(|name| format!("${name}")).join(",");
    app.file("Dockerfile", format!("FROM scratch\n{declared}ENV TOLD=\"{told}\"\nCOPY x /\n")).file("x", &app.name);
    let build = |flag: &str| {
        let args = ["--build-arg", "FLAG", "--build-arg", "FLAG_UNSET", "--build-arg", "FLAG_LITERAL=x=y"];
        let env = [("LISTED", "not this"), ("LISTED_ALONE", "from the list"), ("FLAG", flag)];
        app.events_with(&[&["build"], &args[..]].concat(), &env).ok()
    };
    for flag in ["of a flag", "of another"] {
        let pulled = image::pull(&app.team, image_of(&build(flag), "app"));
        let told = format!("TOLD=a=b,from the list,default,{flag},default,x=y");
        assert!(pulled.config["config"]["Env"].as_array().unwrap().contains(&told.into()), "{}", pulled.config);
        assert_eq!(build(flag).all("build.skipped").len(), 1);
    }
}

/// How often it says that.
fn times(run: &Run, text: &str) -> usize {
    run.out().matches(text).count() + run.stderr.matches(text).count()
}

#[test]
fn what_the_linter_finds_is_shown_once_with_its_line() {
    let service = Service::shared();
    let app = service.team().project();
    app.image("FROM scratch as last\nCOPY x /\n\nMAINTAINER somebody\n").file("x", &app.name);
    let run = app.slipway(["build", "--output", "plain"]).ok();
    // Docker Engine 26 has a BuildKit of before there was a linter.
    let expected = usize::from(!on_docker());
    for place in ["Dockerfile:1", "Dockerfile:4"] {
        assert_eq!(times(&run, place), expected, "{place}: {}", run.story());
    }
    // Also where each platform is looked at.
    let run = app.events(&["build", "--platform", "linux/amd64,linux/arm64"]).ok();
    let warnings = run.all("warning");
    for (line, rule) in [(1, "casing"), (4, "maintainer")] {
        let place = format!("Dockerfile:{line}");
        let here = warnings.iter().filter(|event| event["place"].as_str().is_some_and(|it| it.ends_with(&place)));
        let told: Vec<_> = here.map(|event| event["message"].as_str().unwrap()).collect();
        assert_eq!(told.len(), expected, "{place}: {warnings:?}");
        assert!(told.iter().all(|message| message.to_lowercase().contains(rule)), "{told:?}");
    }
}

#[test]
fn a_file_that_an_ignore_rule_leaves_out_is_named_with_its_rule() {
    let service = Service::shared();
    let app = service.team().project();
    app.image("FROM scratch\nCOPY dist/app /app\n");
    app.file("dist/app", "x").file(".dockerignore", "# built elsewhere\n\n/dist\n");
    let hint = |app: &slipway_journeys::Project| {
        let run = app.events(&["build"]).expect(1);
        run.last("job.done")["error"]["hint"].as_str().unwrap_or_default().to_owned()
    };
    // Old engines name the folder.
    let found = hint(&app);
    assert!(found.starts_with("`dist") && found.contains("is left out by `dist` (.dockerignore:3): `!dist"), "{found}");
    // The Dockerfile's own rules take the place of the context's.
    app.file("Dockerfile.dockerignore", "dist/*\n");
    assert_eq!(
        hint(&app),
        "`dist/app` is left out by `dist/*` (Dockerfile.dockerignore:1): `!dist/app` after it lets it in"
    );
    app.file("Dockerfile.dockerignore", "").file("Dockerfile", "FROM scratch\nCOPY dist/other /app\n");
    assert!(hint(&app).contains("slipway files"), "it is not there at all");
}

#[test]
fn the_tags_of_an_image_that_is_not_there_are_named() {
    let service = Service::shared();
    let team = service.team();
    let base = team.project();
    base.manifest("build:\n  app:\n    context: .\n    image: okteto.dev/base:1.20,okteto.dev/base:latest\n");
    base.file("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
    base.build_app();
    let app = team.project();
    let hint = |from: &str| {
        app.image(&format!("FROM {from}\nCOPY Dockerfile /\n"));
        let run = app.events(&["build"]).expect(1);
        run.last("job.done")["error"]["hint"].as_str().unwrap_or_default().to_owned()
    };
    let repository = format!("{}/base", team.namespace);
    assert_eq!(hint("okteto.dev/base:1.2"), format!("`{repository}` has no tag `1.2`; it has `1.20`, `latest`"));
    assert!(hint("okteto.dev/bsae:1.20").starts_with(&format!("`{}/bsae` has no tag at all", team.namespace)));
    assert!(hint("debian:no-such").contains("`trixie-slim`"), "through the engine's mirror");
}
