//! Options of builds, seen by tools that are not ours.

use std::process::Command;

use serde_json::Value;
use slipway_journeys::foreign::Foreign;
use slipway_journeys::service::Options;
use slipway_journeys::{Project, Service, Team, files, image, on_docker, random, unique};

#[test]
fn the_target_of_the_command_line_counts_and_a_wrong_one_is_named() {
    let service = Service::shared();
    let app = service.team().project();
    app.image("FROM scratch AS first\nCOPY x /first\nFROM scratch\nCOPY x /last\n").file("x", unique("x"));
    let files_of = |args: &[&str]| {
        let run = app.events(args).ok();
        let image = image::pull(&app.team, run.last("build.done")["image"].as_str().unwrap());
        files::paths(&image.files).concat()
    };
    assert_eq!(files_of(&["build"]), "last");
    assert_eq!(files_of(&["build", "--target", "first"]), "first");
    let run = app.events(&["build", "--target", "frist"]).expect(1);
    assert!(run.last("job.done")["error"]["message"].as_str().unwrap().contains("frist"), "{}", run.story());
}

/// The layers, as the manifest has them.
fn media_types(manifest: &Value) -> Vec<String> {
    let layers = manifest["layers"].as_array().unwrap();
    layers.iter().map(|layer| layer["mediaType"].as_str().unwrap().to_owned()).collect()
}

/// The reference that a build ended with.
fn built(app: &Project, args: &[&str]) -> String {
    let run = app.events(&[&["build"], args].concat()).ok();
    assert_eq!(run.all("build.skipped").len(), 0, "{}", run.story());
    run.last("build.done")["image"].as_str().unwrap().to_owned()
}

#[test]
fn labels_and_annotations_are_in_the_image() {
    let service = Service::shared();
    let app = service.team().project();
    app.manifest(
        "build:\n  app:\n    context: .\n    labels: {both: manifest, $OWN: manifest}\n    annotations:\n    - org.a=b:c\n",
    );
    app.file("Dockerfile", "FROM scratch\nCOPY x /\nLABEL both=dockerfile theirs=dockerfile\n").file("x", unique("x"));
    let run = app.events(&["build", "--var", "OWN=own", "--label", "both=flag=1", "--label", "flag"]).ok();
    let reference = run.last("build.done")["image"].as_str().unwrap().to_owned();
    let labels = &image::pull(&app.team, &reference).config["config"]["Labels"];
    let expected = serde_json::json!({"both": "flag=1", "flag": "", "own": "manifest", "theirs": "dockerfile"});
    assert_eq!(labels, &expected);
    assert_eq!(image::manifest(&app.team, &reference)["annotations"], serde_json::json!({"org.a": "b:c"}));

    let both = ["--platform", "linux/amd64,linux/arm64", "--var", "OWN=own"];
    let more = ["--annotation", "index,manifest-descriptor[linux/arm64]:org.b=c"];
    let index = image::manifest(&app.team, &built(&app, &[&both[..], &more].concat()));
    assert_eq!(index["annotations"], serde_json::json!({"org.b": "c"}));
    let of = |architecture: &str| {
        let mut entries = index["manifests"].as_array().unwrap().iter();
        entries.find(|entry| entry["platform"]["architecture"] == architecture).unwrap()["annotations"].clone()
    };
    assert_eq!((of("amd64"), of("arm64")), (Value::Null, serde_json::json!({"org.b": "c"})));
}

#[test]
fn steps_run_with_the_hosts_limits_and_network_that_were_asked_for() {
    let service = Service::shared();
    let app = service.team().project();
    app.manifest(
        "build:
  app:
    context: .
    extra_hosts: {db.example: 10.1.2.3}
    shm_size: 32m
    ulimits: {nofile: {soft: 512, hard: 1024}}
    network: none
",
    );
    app.file(
        "Dockerfile",
        "FROM debian:trixie-slim AS run\nCOPY x /x\n\
         RUN mkdir /out && cat /etc/hosts > /out/hosts && ls /sys/class/net > /out/net \\\n\
         && df -B1 --output=size /dev/shm | tail -1 > /out/shm && (ulimit -Sn; ulimit -Hn) > /out/limits\n\
         FROM scratch\nCOPY --from=run /out /\n",
    );
    app.file("x", unique("x"));
    let found = image::pull(&app.team, &built(&app, &["--add-host", "two.example:10.1.2.4"])).files;
    let hosts: Vec<_> = files::text(&found, "hosts").lines().map(str::split_whitespace).map(Vec::from_iter).collect();
    assert!(hosts.contains(&vec!["10.1.2.3", "db.example"]), "{hosts:?}");
    assert!(hosts.contains(&vec!["10.1.2.4", "two.example"]), "{hosts:?}");
    assert_eq!(files::text(&found, "net").trim(), "lo");
    assert_eq!(files::text(&found, "shm").trim(), (32 << 20).to_string());
    assert_eq!(files::text(&found, "limits"), "512\n1024\n");
}

/// Two teams whose builds are equal but for an address, at the same time: the engine runs equal steps once.
#[test]
fn nobody_gets_a_step_that_ran_with_somebody_elses_hosts() {
    let service = Service::shared();
    let teams = [service.team(), service.team(), service.team()];
    let dockerfile = format!(
        "FROM debian:trixie-slim AS run\nRUN echo {} && sleep 3 && cp /etc/hosts /hosts\nFROM scratch\nCOPY --from=run /hosts /\n",
        unique("step")
    );
    let addresses = ["10.0.0.1", "10.0.0.2", "10.0.0.2"];
    let apps: Vec<_> = teams.iter().map(Team::project).collect();
    let running = apps.iter().zip(addresses).map(|(app, address)| {
        app.image(&dockerfile);
        app.start_events(&["build", "--add-host", &format!("db={address}")])
    });
    for ((app, address), running) in apps.iter().zip(addresses).zip(running.collect::<Vec<_>>()) {
        let run = running.finish().ok();
        let found = image::pull(&app.team, run.last("build.done")["image"].as_str().unwrap()).files;
        let hosts = files::text(&found, "hosts");
        let line = hosts.lines().find(|line| line.ends_with("db")).unwrap_or_default();
        assert!(line.starts_with(address), "{hosts}");
    }
}

#[test]
fn the_steps_of_a_stage_run_again_when_that_is_asked_for() {
    let service = Service::shared();
    let app = service.team().project();
    let run = |name: &str| format!("FROM debian:trixie-slim AS {name}\nRUN echo {} && date +%N > /{name}\n", app.name);
    app.image(&format!("{}{}FROM scratch\nCOPY --from=one /one /\nCOPY --from=two /two /\n", run("one"), run("two")));
    let contents = |args: &[&str]| {
        let found = image::pull(&app.team, &built(&app, args)).files;
        ["one", "two"].map(|name| files::text(&found, name).to_owned())
    };
    let first = contents(&[]);
    let second = contents(&["--no-cache-filter", "two"]);
    assert_eq!(first[0], second[0]);
    assert_ne!(first[1], second[1]);
    let third = contents(&["--no-cache"]);
    assert!(third[0] != second[0] && third[1] != second[1]);
}

/// What makes a bill of materials is an image like any other: it writes where BuildKit says. Each one is new.
fn scanner(team: &Team, name: &str) {
    let scanner = team.project();
    scanner.manifest(&format!("build:\n  scanner:\n    context: .\n    image: okteto.dev/{name}\n"));
    scanner.file("Dockerfile", "FROM debian:trixie-slim\nCOPY --chmod=755 scan /scan\nENTRYPOINT [\"/scan\"]\n");
    let statement = r#"{"_type":"https://in-toto.io/Statement/v0.1","predicateType":"https://spdx.dev/Document","predicate":{"name":"ours"}}"#;
    let to = "$BUILDKIT_SCAN_DESTINATION/sbom.spdx.json";
    scanner.file("scan", format!("#!/bin/sh\n# {}\necho '{statement}' > {to}\n", scanner.name));
    scanner.events(&["build"]).ok();
}

#[test]
fn attestations_are_beside_the_image() {
    let service = Service::shared();
    let team = service.team();
    scanner(&team, "scanner:1");
    let app = team.project();
    app.manifest(
        "build:\n  app:\n    context: .\n    provenance: mode=max\n    sbom: generator=okteto.dev/scanner:1\n",
    );
    app.file("Dockerfile", "FROM scratch\nARG SAID\nCOPY x /\n").file("x", unique("x"));
    let predicates = |args: &[&str]| {
        let reference = built(&app, args);
        let repository = reference.split('@').next().unwrap().to_owned();
        let index = image::manifest(&team, &reference);
        let entries = index["manifests"].as_array().unwrap_or_else(|| panic!("no index: {index}")).clone();
        let attached = |entry: &&Value| entry["annotations"]["vnd.docker.reference.type"] == "attestation-manifest";
        let entry = entries.iter().find(attached).unwrap_or_else(|| panic!("nothing attached: {index}"));
        let attached = format!("{repository}@{}", entry["digest"].as_str().unwrap());
        let (attestations, statements) = image::artifact(&team, &attached);
        let layers = attestations["layers"].as_array().unwrap().iter();
        let types = layers.map(|layer| layer["annotations"]["in-toto.io/predicate-type"].as_str().unwrap().to_owned());
        (types.collect::<Vec<_>>(), String::from_utf8(statements.concat()).unwrap())
    };
    let (types, text) = predicates(&["--build-arg", "SAID=something"]);
    assert!(types.iter().any(|kind| kind.starts_with("https://slsa.dev/provenance/")), "{types:?}");
    assert!(types.contains(&"https://spdx.dev/Document".to_owned()), "{types:?}");
    assert!(text.contains("ours") && text.contains("something"), "{text}");

    // By default it does not say what the arguments were.
    let args = ["--build-arg", "SAID=something", "--provenance", "true", "--attest", "type=sbom,disabled=true"];
    let (types, text) = predicates(&args);
    assert_eq!(types.len(), 1, "{types:?}");
    assert!(!text.contains("something"), "{text}");
    let plain = built(&app, &["--provenance", "false", "--sbom", "false"]);
    assert!(image::manifest(&team, &plain)["layers"].is_array());
}

#[test]
fn the_image_has_the_form_that_was_asked_for() {
    let service = Service::shared();
    let app = service.team().project();
    app.image("FROM scratch\nCOPY x /\n");
    let form = |export: &str| {
        // A layer that the engine has stays as it is, unless it is forced.
        app.file("x", unique("x").repeat(10_000));
        let found = image::manifest(&app.team, &built(&app, &["--export", export]));
        (
            found["mediaType"].as_str().unwrap().to_owned(),
            media_types(&found).concat(),
            found["layers"][0]["size"].clone(),
        )
    };
    let oci = "application/vnd.oci.image.manifest.v1+json";
    let layer = "application/vnd.oci.image.layer.v1.tar";
    let (kind, layers, plain) = form("type=image,compression=uncompressed");
    assert_eq!((kind.as_str(), layers.as_str()), (oci, layer));
    assert!(plain.as_u64().unwrap() > 100_000);
    let (_, layers, small) = form("type=image,compression=zstd,compression-level=19");
    assert_eq!(layers, format!("{layer}+zstd"));
    assert!(small.as_u64().unwrap() < 10_000);
    let (kind, layers, _) = form("type=image,oci-mediatypes=false,compression=gzip,force-compression=true");
    assert_eq!(kind, "application/vnd.docker.distribution.manifest.v2+json");
    assert_eq!(layers, "application/vnd.docker.image.rootfs.diff.tar.gzip");
}

#[test]
fn layers_are_compressed_as_it_was_asked_for() {
    let service = Service::shared();
    let app = service.team().project();
    app.image("FROM scratch\nCOPY x /\n");
    let layer = |export: &str| {
        // A layer that is compressed in this way already stays as it is, whatever its level.
        let words = random(40_000).into_iter().map(|byte| format!("word{} ", (byte % 16) * 7));
        app.file("x", words.collect::<String>());
        let reference = built(&app, &["--export", &format!("type=image,{export}")]);
        let found = image::manifest(&app.team, &reference)["layers"][0].clone();
        assert_eq!(found["mediaType"], "application/vnd.oci.image.layer.v1.tar+gzip", "{export}");
        let pulled = image::pull(&app.team, &reference).files;
        assert_eq!(files::bytes(&pulled, "x"), std::fs::read(app.path().join("x")).unwrap(), "{export}");
        found
    };
    let size = |layer: &Value| layer["size"].as_u64().unwrap();
    let [stored, quick, small] =
        [0, 1, 9].map(|level| size(&layer(&format!("compression=gzip,compression-level={level}"))));
    assert!(stored > 200_000 && quick < stored / 2 && small < quick * 9 / 10, "{stored}, {quick}, {small}");
    // What finds a file without the rest: beside the layer, and after its files.
    let seekable = layer("compression=estargz");
    let toc = &seekable["annotations"]["containerd.io/snapshot/stargz/toc.digest"];
    assert!(toc.as_str().is_some_and(|digest| digest.starts_with("sha256:")), "{seekable}");
}

#[test]
fn an_annotation_of_the_index_is_beside_its_name_in_an_archive() {
    let service = Service::shared();
    let app = service.team().project();
    app.image("FROM scratch\nARG TARGETARCH\nCOPY x /$TARGETARCH\n").file("x", unique("x"));
    let form = ["--platform", "linux/amd64,linux/arm64", "--export", "type=oci,tar=false,dest=layout"];
    built(&app, &[&form[..], &["--annotation", "index-descriptor:org.c=d"]].concat());
    let index = std::fs::read(app.path().join("layout/index.json")).unwrap();
    let index: Value = serde_json::from_slice(&index).unwrap();
    let descriptor = &index["manifests"][0];
    assert_eq!(descriptor["mediaType"], "application/vnd.oci.image.index.v1+json", "{index}");
    assert_eq!(descriptor["annotations"]["org.c"], "d", "{index}");
    let raw = image::skopeo(&["inspect", "--raw", &format!("oci:{}", app.path().join("layout").display())]);
    assert!(raw.status.success() && !String::from_utf8_lossy(&raw.stdout).contains("org.c"), "only there: {raw:?}");
}

/// One flag after another: each is built, and found again after that.
#[test]
fn another_option_is_another_image() {
    let service = Service::shared();
    let app = service.team().project();
    scanner(&app.team, "scanner:1");
    app.image("FROM scratch\nCOPY x /\n").file("x", unique("x"));
    let scan = |scanner: &str| format!("generator=okteto.dev/{scanner}");
    let (one, two) = (scan("scanner:1"), scan("scanner:2"));
    scanner(&app.team, "scanner:2");
    let options: &[&[&str]] = &[
        &[],
        &["--label", "a=1"],
        &["--label", "a=2"],
        &["--label", "b=2"],
        &["--add-host", "db=10.0.0.1"],
        &["--add-host", "db=10.0.0.2"],
        &["--network", "none"],
        &["--shm-size", "32m"],
        &["--shm-size", "64m"],
        &["--ulimit", "nofile=512"],
        &["--ulimit", "nofile=512:1024"],
        &["--ulimit", "nproc=512"],
        &["--provenance", "mode=min"],
        &["--provenance", "mode=max"],
        &["--sbom", &one],
        &["--sbom", &two],
    ];
    for option in options {
        let reference = built(&app, option);
        let again = app.events(&[&["build"], *option].concat()).ok();
        assert_eq!(again.all("build.skipped").len(), 1, "{option:?}: {}", again.story());
        assert_eq!(again.last("build.skipped")["image"], *reference, "{option:?}");
    }
    // What they were all found by is not forgotten, and what says the same is the same.
    let same: &[&[&str]] =
        &[&[], &["--provenance", "true"], &["--shm-size", "33554432"], &["--ulimit", "nofile=512:512"]];
    for option in same {
        let run = app.events(&[&["build"], *option].concat()).ok();
        assert_eq!(run.all("build.skipped").len(), 1, "{option:?}: {}", run.story());
    }
    // The scanner's name has another image now.
    scanner(&app.team, "scanner:1");
    built(&app, &["--sbom", &one]);
}

#[test]
fn with_pull_a_base_image_is_what_its_registry_has_now() {
    let service = Service::shared();
    let team = service.team();
    // A registry on this machine that no admin has named is nothing that the service asks: it is the engine that finds the image.
    let foreign = Foreign::open();
    let base = team.project();
    base.image("FROM scratch\nCOPY x /x\n");
    let push = |content: &str| {
        base.file("x", content);
        foreign.take(&team, &base.build_app(), "base:1")
    };
    let (first, second) = (unique("one"), unique("two"));
    let name = push(&first);
    let app = team.project();
    app.image(&format!("FROM {name}\nCOPY y /y\n")).file("y", unique("y"));
    let based_on = |args: &[&str]| files::text(&image::pull(&team, &built(&app, args)).files, "x").to_owned();
    assert_eq!(based_on(&["--pull"]), first);
    push(&second);
    assert_eq!(based_on(&["--pull"]), second);
    if !on_docker() {
        // A buildkitd has no store of images to find one in.
        return;
    }
    let docker = |args: &[&str]| Command::new("docker").args(args).output().unwrap();
    let pulled = docker(&["pull", "-q", &name]);
    assert!(pulled.status.success(), "{}", String::from_utf8_lossy(&pulled.stderr));
    drop(foreign);
    let stored = app.events(&["build"]);
    app.manifest("build:\n  app:\n    context: .\n    pull: true\n");
    let asked = app.events(&["build"]);
    docker(&["rmi", &name]);
    let image = stored.ok().last("build.done")["image"].as_str().unwrap().to_owned();
    assert_eq!(files::text(&image::pull(&team, &image).files, "x"), second);
    let asked = asked.expect(1);
    assert!(asked.last("job.done")["error"]["message"].as_str().unwrap().contains(&name), "{}", asked.story());
}

#[test]
fn the_same_inputs_give_the_same_image_at_any_time_and_place() {
    let service = Service::shared();
    let team = service.team();
    let app = team.project();
    app.manifest("build:\n  app:\n    context: .\n    export: type=image,rewrite-timestamp=true\n");
    app.file("Dockerfile", "FROM debian:trixie-slim\nARG A\nCOPY . /src\nRUN touch /made\nENV A=$A\n");
    app.file("x", unique("x")).file(".env", "SOURCE_DATE_EPOCH=1700000000\n").file(".dockerignore", "okteto.yaml\n");
    let other = app.checkout();
    let digest = |app: &Project, args: &[&str]| {
        let reference = built(app, &[&["--no-cache"], args].concat());
        (reference.split('@').nth(1).unwrap().to_owned(), reference)
    };
    let (first, reference) = digest(&app, &[]);
    let (second, _) = digest(&other, &[]);
    assert_eq!(first, second, "built again, in another folder, later");
    let config = image::pull(&team, &reference).config;
    assert_eq!(config["created"], "2023-11-14T22:13:20Z");
    // Without --no-cache it is found.
    let run = other.events(&["build"]).ok();
    assert_eq!(run.all("build.skipped").len(), 1, "{}", run.story());
    assert_ne!(digest(&other, &["--build-arg", "A=1"]).0, first);
    assert_ne!(digest(&other, &["--build-arg", "SOURCE_DATE_EPOCH=1700000001"]).0, first);
    other.file("x", "something else");
    assert_ne!(digest(&other, &[]).0, first);
}

#[test]
fn a_cache_mount_belongs_to_one_repository_of_one_namespace() {
    let service = Service::shared();
    let (one, two) = (service.team(), service.team());
    let id = unique("id");
    // BuildKit takes equal steps for equal, whatever the ids of their mounts are.
    let step = unique("step");
    let run = |id: &str, commands: &str| {
        format!(
            "FROM debian:trixie-slim AS run\n\
             RUN --mount=type=cache,id={id},target=/cache {commands}; ls /cache > /list; : {step}\n\
             FROM scratch\nCOPY --from=run /list /\n"
        )
    };
    let list = |app: &Project, dockerfile: String| {
        app.file("Dockerfile", dockerfile);
        let reference = built(app, &["--build-arg", "BUILDKIT_CACHE_MOUNT_NS=x", "--no-cache-filter", "none"]);
        files::text(&image::pull(&app.team, &reference).files, "list").split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let app = one.project();
    app.image("");
    let (same, other) = (app.checkout(), one.project());
    other.image("");
    let theirs = app.checkout().of(&two);
    assert_eq!(list(&app, run(&id, "touch /cache/first")), "first");
    // It is a cache: one that is still held by the build before is not waited for, and another one is made.
    let found =
        (0..5).map(|n| list(&same, run(&id, &format!("touch /cache/second{n}")))).find(|list| list.contains("first"));
    assert!(found.is_some(), "it is a cache");
    let held = list(&app, run(&id, "true"));
    assert_eq!(list(&other, run(&id, "touch /cache/other")), "other", "another repository's");
    assert_eq!(list(&theirs, run(&id, "true")), "", "another namespace's, by the very same step; ours has `{held}`");
    // The other repository's mount has nothing of ours, whatever the same step gave here.
    list(&app, run(&id, "touch /cache/again"));
    assert!(!list(&other, run(&id, "touch /cache/again")).contains("first"));
    // Whatever is made up as an id.
    let guess = format!("../../{}/{}-app/{id}", one.namespace, app.name);
    assert_eq!(list(&theirs, run(&guess, "true;true")), "");
    assert_eq!(list(&theirs, run(&id, "touch /cache/theirs")), "theirs");
    let end = list(&app, run(&id, "touch /cache/third"));
    assert!(end.contains("third") && !end.contains("theirs") && !end.contains("other"), "{end}");
}

#[test]
fn the_metadata_file_says_what_was_pushed() {
    let service = Service::shared();
    let app = service.team().project();
    app.manifest("build:\n  app:\n    context: .\n    image: okteto.dev/app:1,okteto.dev/app:2\n");
    app.file("Dockerfile", "FROM scratch\nCOPY x /\n").file("x", unique("x"));
    let (file, names) = (
        app.beside("metadata.json"),
        ["1", "2"].map(|tag| format!("{}/{}/app:{tag}", app.team.registry, app.team.namespace)),
    );
    let build = |args: &[&str]| {
        let file = file.to_str().unwrap();
        app.slipway([&["build", "--metadata-file", file], args].concat()).ok();
        let found: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        std::fs::remove_file(file).unwrap();
        found["app"].clone()
    };
    let made = build(&[]);
    let digest = made["containerimage.digest"].as_str().unwrap().to_owned();
    assert_eq!(made["image.name"], names.join(","));
    let pushed = image::manifest(&app.team, &names[1]);
    assert_eq!(made["containerimage.config.digest"], pushed["config"]["digest"]);
    let raw = image::raw(&app.team, &names[0]);
    assert_eq!(slipway_context::Digest::of(&raw).to_string(), digest);
    let descriptor = serde_json::json!({"mediaType": pushed["mediaType"], "digest": digest, "size": raw.len()});
    assert_eq!(made["containerimage.descriptor"], descriptor);
    // The same image, found.
    let found = build(&[]);
    assert_eq!(
        (&found["containerimage.digest"], &found["image.name"]),
        (&made["containerimage.digest"], &made["image.name"])
    );
}

#[test]
fn one_image_is_built_without_a_manifest() {
    let service = Service::shared();
    let app = service.team().project();
    app.file("src/x", unique("x"))
        .file("src/y", "y")
        .file("src/.dockerignore", "y\n")
        .file("my.Dockerfile", "FROM scratch\nCOPY . /\n");
    let run = app
        .events(&["build", "-t", "okteto.dev/one:1", "-t", "okteto.dev/one:2", "--dockerfile", "my.Dockerfile", "src"])
        .ok();
    let done = run.last("build.done");
    assert_eq!(done["service"], "one");
    for tag in ["1", "2"] {
        let image = image::pull(&app.team, &format!("{}/{}/one:{tag}", app.team.registry, app.team.namespace));
        assert_eq!(files::paths(&image.files), [".dockerignore", "x"]);
        assert_eq!(files::bytes(&image.files, "x"), std::fs::read(app.path().join("src/x")).unwrap());
    }
    let again = app.events(&["build", "-t", "okteto.dev/one:3", "--dockerfile", "my.Dockerfile", "src"]).ok();
    assert_eq!(again.last("build.skipped")["digest"], done["digest"], "another name of the same image");
}

/// BuildKit's cache does not know what a proxy has given.
#[test]
fn nobody_gets_what_a_step_had_from_somebody_elses_proxy() {
    let service = Service::shared();
    let step = unique("step");
    let dockerfile = format!(
        "FROM debian:trixie-slim AS run\nRUN echo $http_proxy > /proxy; : {step}\nFROM scratch\nCOPY --from=run /proxy /\n"
    );
    let proxy = |args: &[&str]| {
        let app = service.team().project();
        app.image(&dockerfile);
        files::text(&image::pull(&app.team, &built(&app, args)).files, "proxy").trim().to_owned()
    };
    assert_eq!(proxy(&["--build-arg", "http_proxy=http://evil.example"]), "http://evil.example");
    assert_eq!(proxy(&[]), "");
}

#[test]
fn a_dockerfile_is_read_by_dockers_frontend_or_not_at_all() {
    let service = Service::shared();
    let app = service.team().project();
    let dockerfile = |syntax: &str| format!("# syntax={syntax}\nFROM scratch\nCOPY x /\n");
    // The engine's own takes the place of an old one.
    app.image(&dockerfile("docker/dockerfile:1.2")).file("x", unique("x"));
    built(&app, &[]);
    // A newer one is asked for; not every machine that runs this can have it.
    app.image(&dockerfile("docker/dockerfile:1"));
    let run = app.events(&["build"]);
    let message = run.last("job.done")["error"]["message"].as_str().unwrap_or_default().to_owned();
    let fetched =
        run.all("step.started").iter().any(|step| step["name"].as_str().unwrap().contains("docker/dockerfile:1"));
    assert!(fetched || message.contains("docker.io/docker/dockerfile:1"), "{}", run.story());
    let refused = |args: &[&str]| {
        let run = app.events(&[&["build"], args].concat()).expect(1);
        let error = run.last("job.done")["error"].clone();
        assert!(error["hint"].as_str().unwrap_or_default().contains("jobs.frontends"), "{error}");
        error["message"].as_str().unwrap().to_owned()
    };
    app.image("FROM scratch\nCOPY x /\n");
    assert!(refused(&["--build-arg", "BUILDKIT_SYNTAX=okteto.dev/frontend:1"]).contains("okteto.dev/frontend:1"));
    app.image(&dockerfile("evil.example/frontend"));
    assert!(refused(&[]).contains("the frontend `evil.example/frontend` is not allowed"));

    let any = Service::with(Options::default().set("SLIPWAYD_JOBS__FRONTENDS", "any"));
    let app = app.checkout().of(&any.team());
    let run = app.events(&["build"]).expect(1);
    let message = run.last("job.done")["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("evil.example") && !message.contains("not allowed"), "it is looked for: {message}");
}

#[test]
fn a_dockerfile_may_come_from_standard_input() {
    let service = Service::shared();
    let app = service.team().project();
    app.file("x", unique("x"));
    let build = || {
        let args = ["build", "-t", "okteto.dev/piped:1", "--dockerfile", "-"];
        app.events_reading("FROM scratch\nCOPY x /\n", &args).ok()
    };
    let made = build();
    let image = image::pull(&app.team, made.last("build.done")["image"].as_str().unwrap());
    assert_eq!(files::paths(&image.files), ["x"]);
    assert_eq!(build().all("build.skipped").len(), 1, "the same is found again");
}
