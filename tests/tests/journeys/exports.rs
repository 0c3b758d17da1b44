//! What of an image comes to the caller: `--export`, `--load`, `--push=false`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use slipway_journeys::service::Options;
use slipway_journeys::{Project, Service, files, image, unique};

fn app(service: &Service) -> (Project, String) {
    let (app, mark) = (service.team().project(), unique("m"));
    app.image("FROM debian:trixie-slim AS made\nRUN mkdir -p /x/d && chmod 750 /x/d && ln -s mark /x/d/link\nFROM scratch\nCOPY --from=made /x /\nCOPY mark /d/\nLABEL mark=yes\n");
    app.file("mark", &mark);
    (app, mark)
}

/// What skopeo says of an image that it finds there.
fn inspected(place: &str, more: &[&str]) -> Value {
    let answer = image::skopeo(&[&["inspect"], more, &[place]].concat());
    assert!(answer.status.success(), "{place}: {}", String::from_utf8_lossy(&answer.stderr));
    serde_json::from_slice(&answer.stdout).unwrap()
}

fn docker(args: &[&str]) -> String {
    let output = Command::new("docker").args(args).output().unwrap();
    assert!(output.status.success(), "docker {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn archives_come_to_the_caller_and_nothing_is_pushed() {
    let service = Service::shared();
    let (app, mark) = app(&service);
    let dest = |kind: &str, name: &str| format!("type={kind},dest={name}");
    let run = app
        .events(&[
            "build",
            "--push=false",
            "--export",
            &dest("oci", "o.tar"),
            "--export",
            &dest("docker", "d.tar"),
            "--export",
            &dest("tar", "files.tar"),
            "--export",
            &dest("local", "out"),
            "--export",
            "type=oci,tar=false,dest=layout,compression=zstd,force-compression=true",
        ])
        .ok();
    let done = run.last("build.done");
    assert!(image::pull_refused(&app.team, done["image"].as_str().unwrap()).is_some(), "it is not in the registry");

    let at = |name: &str| app.path().join(name).display().to_string();
    let oci = inspected(&format!("oci-archive:{}", at("o.tar")), &[]);
    assert_eq!(oci["Digest"], done["digest"], "the very image");
    for place in [format!("docker-archive:{}", at("d.tar")), format!("oci:{}", at("layout"))] {
        assert_eq!(inspected(&place, &["--config"])["config"]["Labels"]["mark"], "yes", "{place}");
    }
    let layers = inspected(&format!("oci:{}", at("layout")), &["--raw"])["layers"].to_string();
    assert!(layers.contains("tar+zstd"), "{layers}");

    let mut tree = files::Tree::new();
    files::add_layer(&mut tree, fs::File::open(app.path().join("files.tar")).unwrap());
    assert_eq!(files::text(&tree, "d/mark"), mark);
    let out = app.path().join("out");
    assert_eq!(fs::read_to_string(out.join("d/link")).unwrap(), mark, "a link is one");
    assert_eq!(fs::read_link(out.join("d/link")).unwrap(), Path::new("mark"));
    assert_eq!(fs::metadata(out.join("d")).unwrap().permissions().mode() & 0o7777, 0o750);

    // The service keeps none of it.
    let left = service.data_dir().join("exports").join(run.job());
    assert!(!left.exists(), "{}", left.display());
}

#[test]
fn an_image_is_loaded_into_docker_and_pushed_too() {
    let service = Service::shared();
    let (app, _) = app(&service);
    app.image("FROM debian:trixie-slim\nCOPY mark /mark\nCMD [\"cat\", \"/mark\"]\n");
    let mark = fs::read_to_string(app.path().join("mark")).unwrap();
    // It is there: it is built all the same.
    app.build_app();
    let run = app.events(&["build", "--load"]).ok();
    let names = &run.last("build.done")["names"];
    let name = names[0].as_str().unwrap();
    assert_eq!(docker(&["run", "--rm", "--pull=never", name]).trim(), mark);
    docker(&["image", "rm", name]);
    image::pull(&app.team, name);

    let nowhere = app.events_with(&["build", "--load"], &[("DOCKER_HOST", "unix:///nowhere")]).expect(1);
    assert!(nowhere.stderr.contains("docker image load"), "{}", nowhere.stderr);
}

#[test]
fn what_others_use_is_pushed() {
    let service = Service::shared();
    let app = service.team().project();
    app.manifest("build:\n  base: base\n  user:\n    context: user\n    depends_on: base\n");
    app.file("base/Dockerfile", format!("FROM scratch\nCOPY Dockerfile /base\n# {}\n", unique("m")));
    app.file("user/Dockerfile", "ARG OKTETO_BUILD_BASE_IMAGE\nFROM $OKTETO_BUILD_BASE_IMAGE\nCOPY Dockerfile /own\n");
    let run = app.slipway(["build", "--push=false", "--export", "out", "user"]).ok();
    assert!(app.path().join("out/base").exists() && app.path().join("out/own").exists(), "{}", run.story());
    let run = app.events(&["build", "--push=false"]).ok();
    assert!(run.stderr.contains("`base` is pushed all the same"), "{}", run.stderr);
    let refused = |made: &Value| image::pull_refused(&app.team, made["image"].as_str().unwrap()).is_some();
    // The first build has pushed `base`.
    assert_eq!((refused(run.last("build.skipped")), refused(run.last("build.done"))), (false, true));
    // By its name, which only the service understands.
    app.manifest("build:\n  base: base\n  user: user\n");
    app.file("user/Dockerfile", format!("FROM okteto.dev/{}-base:okteto\n", app.name));
    let run = app.events(&["build", "--push=false"]).expect(1);
    let error = &run.last("job.done")["error"];
    assert_eq!(error["message"], "service `user` uses the image of `base`, which is not pushed");
    assert!(error["hint"].as_str().unwrap().contains("--push=false user"), "{error}");
}

#[test]
fn places_are_looked_at_before_anything_is_built() {
    let service = Service::shared();
    let (app, _) = app(&service);
    app.file("file", "");
    for (to, problem) in [("type=oci,dest=none/x.tar", "there is no folder none"), ("file", "file is no folder")] {
        let run = app.events(&["build", "--export", to]).expect(2);
        assert!(run.stderr.contains(problem), "{}", run.stderr);
    }
    let run = app.events_with(&["build", "--load"], &[("PATH", "/nonexistent")]).expect(2);
    assert!(run.stderr.contains("`docker` command"), "{}", run.stderr);
}

#[test]
fn a_large_archive_is_refused_and_nothing_is_written() {
    let service = Service::with(Options::default().set("SLIPWAYD_JOBS__MAX_EXPORT_BYTES", "1000"));
    let (app, _) = app(&service);
    let run = app.events(&["build", "--export", "type=oci,dest=x.tar"]).expect(1);
    let message = run.last("job.done")["error"]["message"].as_str().unwrap();
    assert!(message.contains("jobs.max_export_bytes"), "{message}");
    assert!(!app.path().join("x.tar").exists());
}
