//! Making room while the service is at work: what nothing needs goes from the disk, and what is needed stays.

use std::fs;
use std::path::Path;

use slipway_journeys::service::Options;
use slipway_journeys::wait::{LONG, SOON, until};
use slipway_journeys::{Project, Run, Service, Team, files, image, random, unique};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};

/// Bytes of each project's data.
const SIZE: usize = 3_000_000;
/// Room for two projects, not for three.
const LIMIT: usize = 8_000_000;

/// A service that cleans all the time, with that much room.
fn tidy() -> Service {
    let options = Options::default().set("SLIPWAYD_STORE__CLEAN_INTERVAL_S", "1");
    Service::with(options.set("SLIPWAYD_STORE__NAMESPACE_MAX_BYTES", LIMIT.to_string()))
}

/// A project whose image is its data: a large file, which is cut into chunks, and small ones.
fn project(team: &Team) -> Project {
    let app = team.project();
    app.image("FROM scratch\nCOPY data /data\n").file("data/large", random(SIZE - 100_000));
    for n in 0..10 {
        app.file(&format!("data/{n}"), random(10_000));
    }
    app
}

/// Builds all of it anew, from what the service keeps.
fn build(app: &Project) -> Run {
    let mut command = app.team.command(["build", "--no-cache", "--output", "json"]);
    command.current_dir(app.path()).env("OKTETO_SMART_BUILDS_ENABLED", "false");
    let run = slipway_journeys::command::start(command, None).finish().ok();
    let image = image::pull(&app.team, run.last("build.done")["image"].as_str().unwrap());
    for name in ["large", "0", "9"] {
        let (built, own) = (files::bytes(&image.files, &format!("data/{name}")), app.path().join("data").join(name));
        assert!(built == fs::read(own).unwrap(), "the bytes of {name}");
    }
    run
}

fn sent(run: &Run) -> u64 {
    run.last("sync.done")["sent_bytes"].as_u64().unwrap()
}

/// Every tree of the namespace was last used three hours ago.
fn age(service: &Service, team: &Team) {
    let options = SqliteConnectOptions::new().filename(service.data_dir().join("slipway.db"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut database = options.busy_timeout(SOON).connect().await.unwrap();
        let query = sqlx::query("update snapshots set used = used - 10800000 where namespace = ?");
        let aged = query.bind(&team.namespace).execute(&mut database).await.unwrap();
        assert!(aged.rows_affected() > 0, "no tree");
        database.close().await.unwrap();
    });
}

fn stored(service: &Service, team: &Team) -> Vec<u8> {
    let mut bytes = Vec::new();
    let packs = service.data_dir().join("blobs").join(&team.namespace).join("packs");
    for entry in fs::read_dir(packs).unwrap().flatten() {
        // One may go just now.
        bytes.extend(fs::read(entry.path()).unwrap_or_default());
    }
    bytes
}

/// Waits for the end of a round: it removes folders of the layout that there was before there were packs.
fn round(service: &Service, team: &Team) {
    let old = service.data_dir().join("blobs").join(&team.namespace).join("00");
    fs::create_dir(&old).unwrap();
    until("a round was made", LONG, || (!old.exists()).then_some(()));
}

/// Whether bytes from the middle of a file are anywhere on the service's disk.
fn is_stored(service: &Service, team: &Team, file: &Path) -> bool {
    let content = fs::read(file).unwrap();
    let middle = &content[content.len() / 2..][..64];
    stored(service, team).windows(64).any(|window| window == middle)
}

#[test]
fn old_contents_go_while_builds_run_and_come_back_when_they_are_built() {
    let service = tidy();
    let team = service.team();
    let (old, new) = (project(&team), project(&team));
    build(&old);
    age(&service, &team);
    build(&new);
    // There is room for both.
    for _ in 0..2 {
        // The first one may have begun before.
        round(&service, &team);
    }
    assert!(is_stored(&service, &team, &old.path().join("data/large")), "nothing had to go");
    assert_eq!(sent(&build(&new)), 0);

    // A third project needs the room of the first.
    let newest = project(&team);
    let first = build(&newest);
    assert!(sent(&first) >= SIZE as u64, "all of it is new");
    // Builds go on meanwhile, each with a change.
    until("what was used longest ago is gone", LONG, || {
        new.file("data/0", random(10_000));
        build(&new);
        (!is_stored(&service, &team, &old.path().join("data/large"))).then_some(())
    });
    until("all is within the limit", LONG, || (stored(&service, &team).len() <= LIMIT).then_some(()));
    for app in [&new, &newest] {
        assert_eq!(sent(&build(app)), 0, "what was used since is still there");
    }

    // What is gone is sent again, once.
    let again = build(&old);
    assert!(sent(&again) >= SIZE as u64, "all of it came back");
    build(&newest);
}

#[test]
fn what_belongs_to_no_tree_goes_before_trees_do() {
    let service = tidy();
    let team = service.team();
    let app = project(&team);
    build(&app);
    age(&service, &team);
    // The content of no job's tree, sent a moment ago.
    let api = slipway_journeys::api::Api::new(&team);
    let tree = slipway_journeys::api::SmallTree::new(&[("a", unique("a").as_bytes())]);
    let job = api.syncing(&tree, "true").id;
    let stray: Vec<_> = (0..8).map(|_| random(1_000_000)).collect();
    let blobs: Vec<_> = stray.iter().map(|blob| (slipway_context::Digest::of(blob), blob.as_slice())).collect();
    api.send(&job, &blobs).unwrap();
    assert!(stored(&service, &team).len() > LIMIT);
    team.slipway(["job", "cancel", &job]).ok();
    until("it is gone", LONG, || (stored(&service, &team).len() <= LIMIT).then_some(()));
    assert_eq!(sent(&build(&app)), 0, "the tree, which was used before, is still there");
}

#[test]
fn a_service_that_has_too_much_of_no_tree_says_what_to_do() {
    let options = Options::default().set("SLIPWAYD_STORE__NAMESPACE_MAX_PENDING_BYTES", "2000000");
    let service = Service::with(options);
    let team = service.team();
    let app = project(&team);
    // A blob counts when all of it is there, and may have 2 MiB: much more than the limit and that.
    app.file("data/larger", random(8_000_000));
    let run = app.events(&["build"]).expect(3);
    assert!(run.stderr.contains("store.namespace_max_pending_bytes"), "{}", run.story());
    // What it has left makes room for one that fits.
    fs::remove_file(app.path().join("data/larger")).unwrap();
    app.file("data/large", random(1_500_000));
    build(&app);
}

#[test]
fn a_service_that_is_killed_while_it_cleans_has_lost_nothing_that_is_needed() {
    let service = tidy();
    let team = service.team();
    let app = project(&team);
    build(&app);
    for round in 0..4u32 {
        // What goes, and small packs beside what stays: there is something to copy and something to remove.
        let (old, other) = (project(&team), project(&team));
        build(&old);
        build(&other);
        age(&service, &team);
        for n in 0..3 {
            app.file(&format!("data/{n}"), random(10_000));
            build(&app);
        }
        let blobs = service.data_dir().join("blobs").join(&team.namespace);
        // The last that a round does is to remove this; and nobody uploads, so what is in the other is a copy of what stays.
        let (old_layout, tmp) = (blobs.join("00"), blobs.join("tmp"));
        fs::create_dir_all(&old_layout).unwrap();
        let is_cleaning = || fs::read_dir(&tmp).unwrap().next().is_some() || !old_layout.exists();
        let began = std::time::Instant::now();
        while !is_cleaning() {
            assert!(began.elapsed() < LONG, "round {round}: nothing is cleaned\n{}", service.log());
            std::thread::yield_now();
        }
        // Somewhere in what follows.
        std::thread::sleep(std::time::Duration::from_millis(u64::from(round) * 5));
        service.crash();
        service.start_again();
        assert_eq!(sent(&build(&app)), 0, "round {round}: all that the last build needed is there");
    }
    service.stop();
    service.verify().expect(0);
}
