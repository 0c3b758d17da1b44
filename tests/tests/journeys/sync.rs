//! Content, not clocks: what is sent, to the service and to the engine.

use std::fs::{self, FileTimes};
use std::time::{Duration, SystemTime};

use slipway_journeys::{Project, Run, Service, Team, files, image, noise, random};

fn sent(run: &Run) -> (u64, u64) {
    let bytes = |kind: &str, field: &str| run.last(kind)[field].as_u64().unwrap();
    (bytes("sync.done", "sent_bytes"), bytes("build.done", "engine_bytes"))
}

/// A project whose image is its folder, with content that nobody sent before.
fn project(team: &Team) -> Project {
    let app = team.project();
    app.manifest("build:\n  app:\n    context: src\n").file("src/Dockerfile", "FROM scratch\nCOPY . /\n");
    for n in 0..100 {
        app.file(&format!("src/a/{}/{n}.bin", n % 7), random(1000 + n));
    }
    app.file("src/run.sh", "#!/bin/sh\n").mode("src/run.sh", 0o755).link("src/link", "a/0/0.bin");
    app
}

fn date(path: &std::path::Path, seconds: u64) {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_times(FileTimes::new().set_modified(time).set_accessed(time)).unwrap();
}

#[test]
fn a_fresh_checkout_sends_nothing_to_the_service_and_nothing_to_the_engine() {
    let service = Service::shared();
    let app = project(&service.team());
    let bytes = files::tree_size(&app.path().join("src"));
    let first = app.events(&["build"]).ok();
    let dockerfile = fs::metadata(app.path().join("src/Dockerfile")).unwrap().len();
    assert_eq!(sent(&first), (bytes, bytes), "the first time everything travels, once");
    assert!(dockerfile > 0 && first.last("sync.done")["reused_bytes"].as_u64().unwrap() <= dockerfile);

    let copy = app.checkout();
    date(&copy.path().join("src/a/0/0.bin"), 1_000_000_000);
    let second = copy.events(&["build", "--no-cache"]).ok();
    assert_eq!(sent(&second), (0, 0));
    let reference = second.last("build.done")["image"].as_str().unwrap();
    let image = image::pull(&app.team, reference);
    assert_eq!(files::bytes(&image.files, "a/3/3.bin"), fs::read(app.path().join("src/a/3/3.bin")).unwrap());
}

#[test]
fn a_change_that_keeps_size_and_time_is_built() {
    let service = Service::shared();
    let app = service.team().project();
    app.image("FROM scratch\nCOPY a /a\n");
    for content in ["XXX", "YYY", "XXX", "ZZZ"] {
        app.file("a", content);
        for name in ["a", "Dockerfile", "okteto.yaml"] {
            date(&app.path().join(name), 1_577_836_800);
        }
        let reference = app.build_app();
        assert_eq!(files::text(&image::pull(&app.team, &reference).files, "a"), content);
    }
}

#[test]
fn one_changed_file_sends_its_own_bytes_and_no_others() {
    let service = Service::shared();
    let app = project(&service.team());
    app.events(&["build"]).ok();
    let copy = app.checkout();
    copy.file("src/a/2/2.bin", random(777));
    let run = copy.events(&["build"]).ok();
    assert_eq!(sent(&run), (777, 777));

    // A new mode, a renamed file, a new link: no contents travel to the service, and the image has them.
    fs::rename(copy.path().join("src/a/2/2.bin"), copy.path().join("src/renamed.bin")).unwrap();
    copy.mode("src/a/1/1.bin", 0o600).link("src/other", "renamed.bin");
    let run = copy.events(&["build"]).ok();
    assert_eq!(sent(&run).0, 0);
    let image = image::pull(&copy.team, run.last("build.done")["image"].as_str().unwrap());
    assert_eq!(files::bytes(&image.files, "renamed.bin").len(), 777);
    assert_eq!(image.files["a/1/1.bin"].mode, 0o600);
    assert!(!image.files.contains_key("a/2/2.bin"));
}

#[test]
fn a_byte_inserted_into_a_large_file_sends_a_part_of_it() {
    let service = Service::shared();
    let app = service.team().project();
    let (before, mut content) = (noise(1, 3_000_000), noise(2, 20_000_000));
    app.image("FROM scratch\nCOPY data /data\n").file("data/large", &content);
    app.build_app();
    content.insert(content.len() / 2, b'!');
    app.file("data/large", &content);
    // As much again in a file of its own, behind something new.
    let other = [before, content.clone()].concat();
    app.file("data/other", &other);
    let run = app.events(&["build"]).ok();
    // A chunk has 2 MiB at most, and two of them around the byte are new; then what is new in the other file, and one chunk on
    // the border. With other bytes it can take some chunks more until both are cut at the same places again.
    assert!(sent(&run).0 < 3_000_000 + 3 * (2 << 20), "{} bytes", sent(&run).0);
    let image = image::pull(&app.team, run.last("build.done")["image"].as_str().unwrap());
    assert!(files::bytes(&image.files, "data/large") == content, "the bytes of the file");
    assert!(files::bytes(&image.files, "data/other") == other, "the bytes of the other");
}

#[test]
fn a_file_that_turns_into_a_folder_or_a_link_is_built_as_what_it_is() {
    let service = Service::shared();
    let app = service.team().project();
    app.image("FROM scratch\nCOPY x /x\n").file("x/thing", "file");
    app.build_app();
    fs::remove_file(app.path().join("x/thing")).unwrap();
    app.file("x/thing/inside", "folder");
    let image = image::pull(&app.team, &app.build_app());
    assert_eq!(files::text(&image.files, "x/thing/inside"), "folder");
    fs::remove_dir_all(app.path().join("x/thing")).unwrap();
    app.link("x/thing", "nowhere");
    let image = image::pull(&app.team, &app.build_app());
    assert_eq!(image.files["x/thing"].node, files::Node::Symlink("nowhere".to_owned()));
}

#[test]
fn deploy_and_build_of_one_tree_send_it_once() {
    let service = Service::shared();
    let app = service.team().project();
    let blob = random(50_000);
    let section = slipway_journeys::team::deploy_section(&["wc -c < blob"]);
    app.manifest(&format!("build:\n  app:\n    context: .\n{section}"))
        .file("Dockerfile", "FROM scratch\nCOPY blob /\n")
        .file("blob", &blob);
    let run = app.events(&["deploy"]).ok();
    assert_eq!(run.said().trim(), "50000");
    assert_eq!(run.all("sync.done").len(), 1);
    let sync = run.last("sync.done");
    let total = files::tree_size(&app.path());
    assert_eq!(sync["sent_bytes"], total, "each content once: {sync}");
}
