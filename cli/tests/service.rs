//! The binary against a service that speaks the wire and does nothing.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail as the test does")]

use std::fs;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use slipway_proto::v1::{
    BuildDone, BuildExported, BuildStarted, CommandLog, JobDone, JobError, JobQueued, JobStatus, OutputStream,
    event::Kind,
};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

#[path = "service/environments.rs"]
mod environments;
#[path = "service/fake.rs"]
mod fake;
#[path = "service/interrupt.rs"]
mod interrupt;
#[path = "service/local.rs"]
mod local;
#[path = "service/logins.rs"]
mod logins;
#[path = "service/okteto.rs"]
mod okteto;
#[path = "service/sections.rs"]
mod sections;
#[path = "service/sync.rs"]
mod sync;

use fake::{Fake, JOB, Script, TOKEN};

const MANIFEST: &str = "name: ex\nbuild:\n  app:\n    context: .\n    args:\n      A: a$$b\ndeploy:\n  remote: true\n  commands:\n  - echo\n";

fn project() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("okteto.yaml"), MANIFEST).unwrap();
    fs::write(dir.path().join("Dockerfile"), "FROM scratch\nCOPY . /\n").unwrap();
    dir
}

fn slipway(fake: &Fake, dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_slipway"));
    command.current_dir(dir).env_clear().env("HOME", dir).env("SLIPWAY_TOKEN", TOKEN).env("SLIPWAY_SERVER", &fake.url);
    command.args(args).kill_on_drop(true);
    command
}

async fn run(fake: &Fake, dir: &Path, args: &[&str]) -> Output {
    let output = slipway(fake, dir, args).env("SLIPWAY_NAMESPACE", "dev").output();
    tokio::time::timeout(Duration::from_mins(1), output).await.unwrap().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn done(status: JobStatus) -> Kind {
    let error = JobError {
        code: "build_failed".to_owned(),
        message: "Dockerfile:2: exit code: 93".to_owned(),
        hint: Some("look at it".to_owned()),
    };
    Kind::JobDone(JobDone { status: status.into(), error: (status == JobStatus::Failed).then_some(error) })
}

fn build_events() -> Vec<Kind> {
    let image = "reg:1/dev/ex-app@sha256:1".to_owned();
    vec![
        Kind::JobQueued(JobQueued { position: 1, behind: None }),
        Kind::BuildStarted(BuildStarted { service: "app".to_owned(), engine: String::new() }),
        Kind::BuildDone(BuildDone {
            service: "app".to_owned(),
            image,
            digest: "sha256:1".to_owned(),
            duration_ms: 1,
            engine_bytes: 0,
            ..BuildDone::default()
        }),
        done(JobStatus::Succeeded),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_over_a_bad_connection() {
    let script = Script {
        events: build_events(),
        cut_after: Some(2),
        lose_submit: true,
        cut_syncs: vec![2],
        ..Script::default()
    };
    let fake = Fake::start(script).await;
    let dir = project();
    // More than one frame in one piece, and a content that is there twice.
    let large: Vec<u8> = (0..2_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for (name, content) in [("large", large.as_slice()), ("twin-a", b"same"), ("twin-b", b"same"), ("empty", b"")] {
        fs::write(dir.path().join(name), content).unwrap();
    }
    let args = ["build", "--output", "json", "--env-file", "out.env", "--build-arg", "B=$x"];
    let output = run(&fake, dir.path(), &args).await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));

    let lines: Vec<serde_json::Value> =
        text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let seqs: Vec<_> = lines.iter().map(|line| line["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, [1, 2, 3, 4], "every event once, in order");
    assert_eq!(lines[0]["job"], JOB);
    let env = fs::read_to_string(dir.path().join("out.env")).unwrap();
    assert!(env.contains("OKTETO_BUILD_APP_IMAGE=reg:1/dev/ex-app@sha256:1\n"), "{env}");

    let told = fake.told();
    assert_eq!(told.submits.len(), 2);
    assert_eq!(told.submits[0], told.submits[1], "a lost answer is asked for again with the same request");
    let plan = told.submits[0].plan.as_ref().unwrap();
    let build = &plan.builds[0];
    assert_eq!((build.context_root.as_str(), build.dockerfile_root.as_str()), ("context:app", "dockerfile:app"));
    assert_eq!((build.dockerfile.as_str(), build.only_if_missing), ("Dockerfile", false));
    assert_eq!((build.args[0].value.as_str(), build.build_args[0].value.as_str()), ("a$$b", "$x"));
    assert_eq!(told.watches, [0, 2], "the watch goes on where it was cut");
    // All nodes and a check, then what is missing: cut after the second frame. A check, and what is still missing.
    assert_eq!((told.syncs, told.checks), (2, 3));
    assert!(told.received.values().all(|times| *times <= 2), "only what was under way goes again");
    let contents: Vec<&[u8]> = told.blobs.values().map(|(_, content)| content.as_slice()).collect();
    for content in [large.as_slice(), b"same", b"", MANIFEST.as_bytes(), b"FROM scratch\nCOPY . /\n"] {
        assert!(contents.contains(&content));
    }
    for root in &told.submits[0].roots {
        assert!(told.blobs.contains_key(&root.digest), "the root's own directory was sent");
    }
}

/// A service whose build of `app` left this archive, and says that it has this digest.
async fn exporting(archive: &[u8], digest: String) -> Fake {
    let mut events = build_events();
    let (service, kind, bytes) = ("app".to_owned(), "oci".to_owned(), archive.len() as u64);
    events.insert(2, Kind::BuildExported(BuildExported { service, index: 0, kind, bytes, digest }));
    Fake::start(Script { events, archive: archive.to_vec(), ..Script::default() }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_comes_over_a_bad_connection_and_is_what_was_announced() {
    let archive: Vec<u8> = (0..100_000u32).map(|n| (n % 251) as u8).collect();
    let digest = slipway_context::Digest::of(&archive).to_string();
    let fake = exporting(&archive, digest.clone()).await;
    let dir = project();
    let output = run(&fake, dir.path(), &["build", "--export", "type=oci,dest=x.tar", "--push=false"]).await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(fs::read(dir.path().join("x.tar")).unwrap(), archive);
    {
        let told = fake.told();
        assert_eq!((told.reads.as_slice(), told.forgotten), ([0, 50_000].as_slice(), 1), "it goes on where it was cut");
        let options = &told.submits[0].plan.as_ref().unwrap().builds[0].options;
        let options: Vec<_> = options.iter().map(|option| (option.key.as_str(), option.value.as_str())).collect();
        assert_eq!(
            options,
            [("push", "false"), ("export", "type=oci,oci-mediatypes=true")],
            "where it goes is ours to know"
        );
    }
    // On standard output there is nothing else.
    let output = run(&fake, dir.path(), &["build", "--export", "type=oci,dest=-"]).await;
    assert_eq!((output.status.code(), output.stdout == archive), (Some(0), true));

    let fake = exporting(&archive, slipway_context::Digest::of(b"another").to_string()).await;
    fs::write(dir.path().join("x.tar"), "before").unwrap();
    let output = run(&fake, dir.path(), &["build", "--export", "type=oci,dest=x.tar"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains(&digest), "{}", text(&output.stderr));
    assert_eq!(fs::read_to_string(dir.path().join("x.tar")).unwrap(), "before");
    assert_eq!(fake.told().forgotten, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_needs_one_place_for_each_image() {
    let fake = Fake::start(Script::default()).await;
    let dir = project();
    fs::write(dir.path().join("okteto.yaml"), "name: ex\nbuild:\n  a: .\n  b: .\n").unwrap();
    for (args, expected) in [
        (["--export", "type=oci,dest=x.tar"].as_slice(), "--export: 2 services would go to the same place\n"),
        (&["--export", "type=oci,dest=x.tar", "--detach"], "--detach leaves nobody here"),
        (&["--export", "type=oci,dest=-", "--output", "json"], "standard output takes one thing only"),
        (&["--export", "type=zip,dest=x"], "`type=zip`: `image`, `oci`, `docker`, `local` and `tar` are there"),
    ] {
        let output = run(&fake, dir.path(), &[&["build"], args].concat()).await;
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).contains(expected), "{}", text(&output.stderr));
    }
    assert!(fake.told().submits.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_docker_can_not_load_is_said_before_it_is_built() {
    let fake = Fake::start(Script { events: build_events(), ..Script::default() }).await;
    let dir = project();
    let build = ["build", "--export", "type=docker,dest=x.tar"].as_slice();
    let output = run(&fake, dir.path(), &[build, &["--platform", "linux/amd64,linux/arm64"]].concat()).await;
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    assert!(said.contains("service `app`: `type=docker`, which `--load` takes, holds one platform"), "{said}");
    assert!(fake.told().submits.is_empty());
    // What some can is a warning.
    let output = run(&fake, dir.path(), &[build, &["--sbom", "true"]].concat()).await;
    let said = text(&output.stderr);
    assert!(said.contains("`app`: attestations come in an index, which only a Docker with"), "{said}");
    assert_eq!(fake.told().submits.len(), 1, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_job_is_status_1_with_its_reason() {
    let mut events = build_events();
    events.splice(2.., [done(JobStatus::Failed)]);
    let fake = Fake::start(Script { events, ..Script::default() }).await;
    let dir = project();
    for output in ["plain", "json"] {
        let output = run(&fake, dir.path(), &["build", "--output", output, "--env-file", "out.env"]).await;
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(text(&output.stderr), "error: Dockerfile:2: exit code: 93\nhint: look at it\n");
    }
    assert!(!dir.path().join("out.env").exists());
    let output = run(&fake, dir.path(), &["job", "wait", JOB]).await;
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn detach_prints_the_id_alone() {
    let fake = Fake::start(Script::default()).await;
    let dir = project();
    let output = run(&fake, dir.path(), &["deploy", "--detach", "--var", "ODD=a $b `c`\n\"d\" 'e' \\ é"]).await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), format!("{JOB}\n"));
    let told = fake.told();
    assert_eq!((told.checks, told.watches.len()), (1, 0));
    let plan = told.submits[0].plan.as_ref().unwrap();
    let commands = &plan.commands[0];
    assert_eq!((commands.env[0].key.as_str(), commands.env[0].value.as_str()), ("ODD", "a $b `c`\n\"d\" 'e' \\ é"));
    assert_eq!(commands.root, "context:app", "one directory with equal rules is one root");
    assert!(plan.builds[0].only_if_missing);
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_cancels_the_job_and_waits_for_its_end() {
    let log = CommandLog {
        section: "deploy".to_owned(),
        test: None,
        index: 0,
        stream: OutputStream::Stdout.into(),
        text: b"going\n".to_vec(),
    };
    let fake = Fake::start(Script { events: vec![Kind::CommandLog(log)], ..Script::default() }).await;
    let dir = project();
    let mut command = slipway(&fake, dir.path(), &["deploy", "-n", "dev"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next_line().await.unwrap().unwrap(), "going");
    let start = Instant::now();
    let pid = child.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().await.unwrap().success());
    let mut rest = Vec::new();
    while let Some(line) = lines.next_line().await.unwrap() {
        rest.push(line);
    }
    assert_eq!(child.wait().await.unwrap().code(), Some(130));
    assert!(start.elapsed() < Duration::from_secs(5));
    assert!(fake.told().cancelled);
    assert_eq!(rest.last().unwrap(), "job cancelled");
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_in_the_middle_of_a_sync_cancels_the_job() {
    let fake = Fake::start(Script { stall: true, ..Script::default() }).await;
    let dir = project();
    // More than the connection takes without being read.
    let noise: Vec<u8> = (0..20_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    fs::write(dir.path().join("noise"), noise).unwrap();
    let mut command = slipway(&fake, dir.path(), &["build", "-n", "dev", "--detach"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    while fake.told().syncs == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let (start, pid) = (Instant::now(), child.id().unwrap().to_string());
    assert!(Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
    let output = child.wait_with_output().await.unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", text(&output.stderr));
    assert!(start.elapsed() < Duration::from_secs(5));
    let told = fake.told();
    assert_eq!((told.cancelled, told.checks), (true, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn attach_leaves_the_job_alone() {
    let fake = Fake::start(Script { events: build_events()[..1].to_vec(), ..Script::default() }).await;
    let dir = project();
    let mut command = slipway(&fake, dir.path(), &["job", "attach", JOB]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next_line().await.unwrap().unwrap(), format!("job {JOB}"));
    let pid = child.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().await.unwrap().success());
    let output = child.wait_with_output().await.unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert!(text(&output.stderr).contains("left job"), "{}", text(&output.stderr));
    assert!(!fake.told().cancelled);
    let output = run(&fake, dir.path(), &["job", "logs", JOB, "--output", "json"]).await;
    assert_eq!((output.status.code(), text(&output.stdout).lines().count()), (Some(0), 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_refuses_is_status_3() {
    let script = Script { namespaces: vec!["dev".to_owned()], ..Script::default() };
    let fake = Fake::start(script).await;
    let dir = project();
    let output = run(&fake, dir.path(), &["--token", "wrong", "build"]).await;
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains("the service refuses: no such token"), "{}", text(&output.stderr));
    assert_eq!(run(&fake, dir.path(), &["job", "show", "another"]).await.status.code(), Some(3));

    let old = Fake::start(Script { min_client: "99.0.0".to_owned(), ..Script::default() }).await;
    let output = run(&old, dir.path(), &["build"]).await;
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(text(&output.stderr).lines().count(), 1, "{}", text(&output.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn login_remembers_what_works() {
    let fake = Fake::start(Script { namespaces: vec!["team".to_owned()], ..Script::default() }).await;
    let dir = project();
    let alone = |args: &[&str]| {
        let mut command = slipway(&fake, dir.path(), args);
        command.env_remove("SLIPWAY_SERVER").env_remove("SLIPWAY_TOKEN").stdin(Stdio::null());
        command
    };
    let file = dir.path().join(".config/slipway/contexts.json");
    let output = alone(&["login", &fake.url, "--token", "wrong"]).output().await.unwrap();
    assert_eq!((output.status.code(), file.exists()), (Some(3), false));
    assert_eq!(alone(&["login", &fake.url]).output().await.unwrap().status.code(), Some(2));
    let output = alone(&["login", &fake.url, "--token", TOKEN]).output().await.unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let output = alone(&["context", "list", "--output", "json"]).output().await.unwrap();
    let context: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(context, serde_json::json!({"server": fake.url, "user": "ann", "current": true}));
    // The only namespace that the token opens is the one.
    let output = alone(&["env", "--format", "shell"]).output().await.unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let stdout = text(&output.stdout);
    assert!(stdout.contains("export OKTETO_BUILD_APP_IMAGE=reg:1/team/ex-app@sha256:1\n"), "{stdout}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_build_takes_the_images_that_are_there() {
    let fake = Fake::start(Script { events: vec![done(JobStatus::Succeeded)], ..Script::default() }).await;
    let dir = project();
    let output = run(&fake, dir.path(), &["deploy", "--no-build"]).await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    {
        let told = fake.told();
        let plan = told.submits[0].plan.as_ref().unwrap();
        assert!(plan.builds.is_empty());
        let env = &plan.commands[0].env;
        assert!(env.iter().any(|pair| pair.key == "OKTETO_BUILD_APP_SHA" && pair.value == "okteto@sha256:1"));
    }
    fs::write(dir.path().join("okteto.yaml"), MANIFEST.replace("name: ex", "name: gone")).unwrap();
    let output = run(&fake, dir.path(), &["deploy", "--no-build"]).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("okteto.dev/gone-app:okteto, is not there"), "{}", text(&output.stderr));
}

/// Peak of a process's anonymous memory, in kB, sampled until it ends.
async fn peak_anonymous(pid: u32) -> u64 {
    let mut peak = 0;
    loop {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let Some(line) = status.lines().find(|line| line.starts_with("RssAnon:")) else { return peak };
        peak = peak.max(line.split_whitespace().nth(1).unwrap().parse().unwrap());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_does_not_grow_with_the_context() {
    const LARGE: u64 = 64 << 20;
    const SMALL: usize = 5_000;
    let script = Script { events: vec![done(JobStatus::Succeeded)], discard: true, ..Script::default() };
    let fake = Fake::start(script).await;
    let dir = project();
    // No two chunks alike, or only one would be sent; and none that gets smaller.
    let noise = |n: u64| {
        let mixed = n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9).rotate_left(27).to_be_bytes()
    };
    let large: Vec<u8> = (0..LARGE / 8).flat_map(noise).collect();
    fs::write(dir.path().join("large"), large).unwrap();
    for number in 0..SMALL {
        fs::write(dir.path().join(format!("small-{number}")), format!("{number}").repeat(300)).unwrap();
    }
    let mut child = slipway(&fake, dir.path(), &["build", "-n", "dev"]).stdout(Stdio::null()).spawn().unwrap();
    let peak = peak_anonymous(child.id().unwrap());
    let (peak, status) = tokio::join!(peak, child.wait());
    assert_eq!(status.unwrap().code(), Some(0));
    assert!(fake.told().discarded > usize::try_from(LARGE).unwrap() + SMALL * 48);
    // Far below what is sent, and above what compressors, frames under way and the allocator take on a busy machine.
    assert!(peak < 60_000, "{peak} kB");
    println!("peak of anonymous memory: {peak} kB");
}

#[tokio::test(flavor = "multi_thread")]
async fn narrowing_has_a_switch_of_its_own() {
    let fake = Fake::start(Script { events: build_events(), ..Script::default() }).await;
    let dir = project();
    fs::write(dir.path().join("Dockerfile"), "FROM scratch\nCOPY okteto.yaml /\n").unwrap();
    for (name, narrowed) in [("OKTETO_SMART_BUILDS_ENABLED", true), ("SLIPWAY_NARROW", false)] {
        let mut command = slipway(&fake, dir.path(), &["build"]);
        let output = command.env("SLIPWAY_NAMESPACE", "dev").env(name, "false").output().await.unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let told = fake.told();
        let context = told.submits.last().unwrap().roots.iter().find(|root| root.name == "context:app").unwrap();
        assert_eq!(context.narrowed_to.contains(&"okteto.yaml".to_owned()), narrowed, "{name}");
    }
}
