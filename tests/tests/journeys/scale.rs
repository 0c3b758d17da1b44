//! Many files, and long links.

use std::fs;

use slipway_journeys::link::{Link, Shape};
use slipway_journeys::service::Options;
use slipway_journeys::{Project, Run, Service, Team, engine_socket, files, image, on_docker};

fn context(team: &Team, many: usize, size: usize) -> (Project, u64) {
    let app = team.project();
    app.manifest("build:\n  app:\n    context: .\n    dockerfile: D\n").file("D", "FROM scratch\nCOPY src /src\n");
    let bytes = files::many(&app.path().join("src"), many, size);
    (app, bytes)
}

fn bytes(run: &Run, kind: &str, field: &str) -> u64 {
    run.last(kind)[field].as_u64().unwrap()
}

#[test]
fn sixty_thousand_files_are_built() {
    let service = Service::shared();
    let (app, size) = context(&service.team(), 60_000, 40);
    let run = app.events(&["build"]).ok();
    assert_eq!(bytes(&run, "build.done", "engine_bytes"), size);
    let image = image::pull(&app.team, run.last("build.done")["image"].as_str().unwrap());
    assert_eq!(files::paths(&image.files).len(), 60_000);
    // Nothing was retried on the way: a session that h2 kills shows as a warning.
    assert!(run.all("warning").is_empty(), "{:?}", run.all("warning"));
}

#[test]
fn a_client_far_away_sends_each_byte_once() {
    let service = Service::shared();
    let (address, link) = Link::to_tcp(service.address(), Shape::FAR);
    let team = service.team().by_way_of(&format!("http://{address}"));
    let (app, size) = context(&team, 3000, 5000);
    let run = app.events(&["build"]).ok();
    assert_eq!(bytes(&run, "build.done", "engine_bytes"), size);
    let first = link.sent();
    assert!(first > size && first < size + size / 5, "{first} bytes for {size}");

    // A fresh checkout with one new file: little more than that file.
    let copy = app.checkout();
    copy.file("src/new", slipway_journeys::random(10_000));
    let run = copy.events(&["build"]).ok();
    assert_eq!(bytes(&run, "sync.done", "sent_bytes"), 10_000);
    let second = link.sent() - first;
    assert!(second < 300_000, "{second} bytes for one file of 10,000");
}

#[test]
fn what_files_have_in_common_travels_once_over_a_slow_link() {
    let service = Service::shared();
    let (address, link) = Link::to_tcp(service.address(), Shape { bytes_per_second: 1_500_000, ..Shape::FAR });
    let app = service.team().by_way_of(&format!("http://{address}")).project();
    app.image("FROM scratch\nCOPY data /data\n");
    let (mut size, mut common) = (0, Vec::new());
    for n in 0..100 {
        // Four in a row differ in their first bytes only. Each is as long as a frame, so none holds two of them.
        common = if n % 4 == 0 { slipway_journeys::random(256 << 10) } else { common };
        let content = [n.to_string().as_bytes(), &common].concat();
        size += content.len() as u64;
        app.file(&format!("data/{n:02}"), content);
    }
    let run = app.events(&["build"]).ok();
    let image = image::pull(&app.team, run.last("build.done")["image"].as_str().unwrap());
    for n in 0..100 {
        let name = format!("data/{n:02}");
        assert!(files::bytes(&image.files, &name) == fs::read(app.path().join(&name)).unwrap(), "{name}");
    }
    // A quarter, and what goes before it is known that the link is slow, and whenever the machine is slower than that.
    assert!(link.sent() < size * 4 / 5, "{} bytes for {size}", link.sent());
    progress_was_told(&run, size);
}

/// Nobody waits for seconds without hearing how far it is.
fn progress_was_told(run: &Run, size: u64) {
    let told = run.all("sync.progress");
    assert!(told.len() >= 2, "{told:?}");
    let mut before = 0;
    for event in told {
        let field = |name: &str| event[name].as_u64().unwrap_or_else(|| panic!("no {name} in {event}"));
        assert!(field("scanned_bytes") >= size, "{event}");
        assert_eq!(field("new_bytes") + field("reused_bytes"), field("scanned_bytes"), "{event}");
        assert!(before < field("sent_bytes") && field("sent_bytes") <= field("new_bytes"), "{event}");
        assert!(field("bytes_per_second") > 0, "{event}");
        assert!(field("left_ms") > 0 || field("sent_bytes") == field("new_bytes"), "{event}");
        before = field("sent_bytes");
    }
}

#[test]
fn an_engine_far_away_gets_twenty_thousand_files() {
    let dir = tempfile::tempdir().unwrap();
    let (address, link) = if on_docker() {
        let socket = dir.path().join("docker.sock");
        let link = Link::unix_to_unix(&socket, &engine_socket(), Shape::FAR);
        (format!("docker://unix://{}", socket.display()), link)
    } else {
        let (address, link) = Link::to_unix(&engine_socket(), Shape::FAR);
        (format!("tcp://{address}"), link)
    };
    let service = Service::with(Options::default().set("SLIPWAYD_ENGINE__ADDRESS", address));
    let (app, size) = context(&service.team(), 20_000, 100);
    let run = app.events(&["build"]).ok();
    assert_eq!(bytes(&run, "build.done", "engine_bytes"), size);
    assert!(run.all("warning").is_empty(), "{:?}", run.all("warning"));
    assert!(link.sent() > size);

    let before = link.sent();
    let run = app.events(&["build", "--no-cache"]).ok();
    assert_eq!(bytes(&run, "build.done", "engine_bytes"), 0);
    let again = link.sent() - before;
    assert!(again < link.sent() / 2, "{again} bytes for nothing new");
}
