//! What can go wrong while a context is sent: afterwards every snapshot that was acknowledged builds with the right bytes,
//! everything else is a clear error, and another try succeeds.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use slipway_journeys::link::{Link, Shape};
use slipway_journeys::service::{Disk, Options};
use slipway_journeys::wait::{LONG, until};
use slipway_journeys::{Project, Run, Service, Team, files, image, process, random, unique};

/// Slow enough that something can happen half way.
const SLOW: Shape = Shape { bytes_per_second: 8_000_000, delay: Duration::from_millis(5) };
const SIZE: u64 = 20_000_000;

/// A project of one large file and some small ones, none of which gets smaller.
fn project(team: &Team) -> Project {
    let app = team.project();
    app.image("FROM scratch\nCOPY data /data\n").file("data/large", random(SIZE as usize - 400_000));
    for index in 0..40 {
        app.file(&format!("data/small/{index}"), random(10_000));
    }
    app
}

/// By way of a link.
fn through(app: Project, address: std::net::SocketAddr) -> Project {
    let team = app.team.by_way_of(&format!("http://{address}"));
    app.of(&team)
}

fn built_right(app: &Project, run: &Run) {
    let image = image::pull(&app.team, run.last("build.done")["image"].as_str().unwrap());
    let read = |path: &str| fs::read(app.path().join(path)).unwrap();
    assert!(files::bytes(&image.files, "data/large") == read("data/large"), "the large file's bytes");
    for index in 0..40 {
        let path = format!("data/small/{index}");
        assert!(files::bytes(&image.files, &path) == read(&path), "{path}");
    }
}

fn wait_sent(link: &Link, bytes: u64) {
    until(&format!("{bytes} bytes are on their way"), LONG, || (link.sent() >= bytes).then_some(()));
}

#[test]
fn a_client_that_is_killed_in_a_large_file_has_sent_what_it_has_sent() {
    let service = Service::shared();
    let (address, link) = Link::to_tcp(service.address(), SLOW);
    let app = through(project(&service.team()), address);
    let first = app.start_events(&["build"]);
    wait_sent(&link, SIZE * 6 / 10);
    first.signal(Signal::KILL);
    first.finish();
    // What the link still holds arrives, and then nothing more.
    std::thread::sleep(Duration::from_secs(1));
    let before = link.sent();
    let run = app.events(&["build"]).ok();
    let again = link.sent() - before;
    assert!(again < SIZE * 6 / 10, "{again} bytes of {SIZE} were sent again");
    built_right(&app, &run);
}

#[test]
fn a_connection_that_is_cut_goes_on_where_it_was() {
    let service = Service::shared();
    let (address, link) = Link::to_tcp(service.address(), SLOW);
    let app = through(project(&service.team()), address);
    let running = app.start_events(&["build"]);
    for part in 1..=3 {
        wait_sent(&link, SIZE * part / 4);
        link.cut();
    }
    let run = running.finish().ok();
    assert!(run.stderr.contains("lost the connection"), "it says so: {}", run.stderr);
    assert!(link.sent() < SIZE * 15 / 10, "{} bytes were sent for {SIZE}", link.sent());
    assert_eq!(run.all("sync.done").len(), 1);
    built_right(&app, &run);
}

#[test]
fn a_service_that_is_killed_in_mid_sync_gets_the_rest() {
    let service = Service::start();
    let (address, link) = Link::to_tcp(service.address(), SLOW);
    let app = through(project(&service.team()), address);
    let running = app.start_events(&["build"]);
    wait_sent(&link, SIZE * 6 / 10);
    service.crash();
    service.start_again();
    let run = running.finish().ok();
    assert!(link.sent() < SIZE * 14 / 10, "{} bytes were sent for {SIZE}", link.sent());
    built_right(&app, &run);
}

#[test]
fn a_bit_that_flips_on_the_wire_builds_nothing_wrong() {
    let service = Service::shared();
    let (address, link) = Link::to_tcp(service.address(), SLOW);
    for part in 1..=4 {
        let app = through(project(&service.team()), address);
        link.flip_after(SIZE * part / 5 + part * 1009);
        let run = app.events(&["build"]);
        // The client goes on by itself, unless the bit made a message of it that can't be.
        assert_eq!(link.flipped(), part, "a bit was flipped");
        assert!([0, 1, 3].contains(&run.status), "{}", run.story());
        let run = if run.status == 0 { run } else { app.events(&["build"]).ok() };
        built_right(&app, &run);
    }
}

/// All files under a folder.
fn all_files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap().flatten() {
        if entry.file_type().unwrap().is_dir() { all_files(&entry.path(), found) } else { found.push(entry.path()) }
    }
}

/// Flips a bit of these bytes wherever the service keeps them.
fn damage(service: &Service, team: &Team, content: &[u8]) {
    let mut stored = Vec::new();
    all_files(&service.data_dir().join("blobs").join(&team.namespace), &mut stored);
    let mut damaged = 0;
    for path in stored {
        let bytes = fs::read(&path).unwrap();
        if let Some(at) = bytes.windows(content.len()).position(|window| window == content) {
            let file = fs::File::options().write(true).open(&path).unwrap();
            file.write_all_at(&[content[7] ^ 0x10], at as u64 + 7).unwrap();
            damaged += 1;
        }
    }
    assert!(damaged > 0, "the bytes are on disk");
}

#[test]
fn a_bit_that_flips_on_disk_is_found_and_mended_by_the_next_build() {
    let service = Service::start();
    let app = project(&service.team());
    app.detach(&["build"]);
    let run = app.events(&["build", "--no-cache"]).ok();
    built_right(&app, &run);
    damage(&service, &app.team, &fs::read(app.path().join("data/small/7")).unwrap());
    // Another file too, so that the engine asks again, and for all of it: it has a tree of this project already.
    let copy = app.team.project();
    files_of(&app, &copy);
    let run = copy.events(&["build", "--no-cache"]);
    assert_eq!(run.status, 1, "{}", run.story());
    let error = &run.last("job.done")["error"];
    assert!(error["message"].as_str().unwrap().contains("damaged"), "{error}");
    let run = copy.events(&["build", "--no-cache"]).ok();
    built_right(&copy, &run);
}

/// The same files in a project of another name.
fn files_of(from: &Project, to: &Project) {
    slipway_journeys::team::copy_tree(&from.path().join("data"), &to.path().join("data"));
    to.image("FROM scratch\nCOPY data /data\n");
}

#[test]
fn verify_finds_damage_and_the_next_sync_repairs_it() {
    let service = Service::start();
    let app = project(&service.team());
    built_right(&app, &app.events(&["build"]).ok());
    let sound = service.verify().expect(0);
    assert!(sound.out().contains(&app.team.namespace), "{}", sound.out());
    damage(&service, &app.team, &fs::read(app.path().join("data/small/7")).unwrap());
    let found = service.verify().expect(1);
    let digest = slipway_context::Digest::of(&fs::read(app.path().join("data/small/7")).unwrap());
    assert!(found.out().contains(&digest.hex()), "it names the blob: {}", found.out());
    // A project of another name: nothing of it is with the engine, all of it comes from the store.
    let copy = app.team.project();
    files_of(&app, &copy);
    let run = copy.events(&["build"]).ok();
    assert_eq!(run.last("sync.done")["sent_bytes"].as_u64(), Some(10_000), "only what was damaged");
    built_right(&copy, &run);
}

#[test]
fn two_clients_with_the_same_new_content_do_not_disturb_each_other() {
    let service = Service::shared();
    let app = project(&service.team());
    let apps: Vec<Project> = (0..3).map(|_| app.team.project()).collect();
    for one in &apps {
        files_of(&app, one);
    }
    let running: Vec<_> = apps.iter().map(|one| one.start_events(&["build"])).collect();
    for (one, running) in apps.iter().zip(running) {
        built_right(one, &running.finish().ok());
    }
}

#[test]
fn a_full_disk_is_said_and_room_helps() {
    let service = Service::with(Options { disk: Some(Disk::Blobs(48 << 20)), ..Options::default() });
    let small = service.team().project();
    small.image("FROM scratch\nCOPY x /\n").file("x", unique("x")).build_app();
    let ballast = service.blobs_dir().join("ballast");
    let _ = fs::write(&ballast, vec![0; 40 << 20]);
    let app = project(&small.team);
    let run = app.events(&["build"]);
    assert!([1, 3].contains(&run.status), "{}", run.story());
    assert!(run.stderr.to_lowercase().contains("disk is full"), "{}", run.story());
    // What was acknowledged before is whole.
    small.events(&["build", "--no-cache"]).ok();
    fs::remove_file(&ballast).unwrap();
    let run = app.events(&["build"]).ok();
    built_right(&app, &run);
    assert!(process::is_alive(service.pid()), "the service went on");
}

#[test]
fn nothing_is_lost_when_the_disk_of_everything_is_full() {
    let service = Service::with(Options { disk: Some(Disk::Data(256 << 20)), ..Options::default() });
    let small = service.team().project();
    small.image("FROM scratch\nCOPY x /\n").file("x", unique("x"));
    let before = small.build_app();
    let ballast = service.data_dir().join("ballast");
    // To the last byte: not even a row can be written.
    let mut file = fs::File::create(&ballast).unwrap();
    while std::io::Write::write_all(&mut file, &[0; 4096]).is_ok() {}
    let app = project(&small.team);
    let run = app.events(&["build"]);
    assert!([1, 3].contains(&run.status), "{}", run.story());
    assert!(run.stderr.to_lowercase().contains("full"), "{}", run.story());
    // What is there can be had: the image, and what is said of it.
    assert_eq!(image::pull(&small.team, &before).files.len(), 1);
    drop(file);
    fs::remove_file(&ballast).unwrap();
    let run = app.events(&["build"]).ok();
    built_right(&app, &run);
    assert_eq!(small.events(&["build"]).ok().all("build.skipped").len(), 1);
    assert!(process::is_alive(service.pid()), "the service went on");
}
