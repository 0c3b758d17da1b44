//! The managed registry with other people's tools, and an external one.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

use slipway_journeys::foreign::Foreign;
use slipway_journeys::service::Options;
use slipway_journeys::{Service, files, image, on_docker, program};

#[test]
fn docker_logs_in_with_a_token_pulls_and_runs() {
    let service = Service::shared();
    let (team, other) = (service.team(), service.team());
    let app = team.project();
    // One layer that no other image has. Docker 26 pushes a layer by mounting it from a repository that it noted with the
    // layer, and gives up when that one is not ours; a base image's list of repositories is full after some ninety pushes.
    app.image("FROM scratch\nCOPY . /\nCMD [\"/program\", \"--version\"]\n").file("x", &app.name);
    fs::copy(program("slipway-runner-agent"), app.path().join("program")).unwrap();
    let image = app.build_app();
    let home = tempfile::tempdir().unwrap();
    let docker = |args: &[&str], input: &str| {
        let mut command = Command::new("docker");
        command.args(args).env("DOCKER_CONFIG", home.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("run docker; `make setup` installs it");
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let answer = child.wait_with_output().unwrap();
        let text = [answer.stdout, answer.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
        (answer.status.success(), text)
    };
    if !on_docker() {
        // The journey is Docker's own; on another engine skopeo stands for whoever is not us.
        let auth = home.path().join("auth.json");
        let login = ["login", "--authfile", auth.to_str().unwrap(), "--tls-verify=false", "-u", "me", "-p"];
        let answer = image::skopeo(&[login.as_slice(), &[&team.token, &team.registry]].concat());
        assert!(answer.status.success(), "{}", String::from_utf8_lossy(&answer.stderr));
        let answer = image::skopeo(&[login.as_slice(), &["wrong", &team.registry]].concat());
        assert!(!answer.status.success());
        return;
    }
    let wrong = docker(&["login", "-u", "me", "--password-stdin", &team.registry], "wrong");
    assert!(!wrong.0, "{}", wrong.1);
    let login = docker(&["login", "-u", "me", "--password-stdin", &team.registry], &team.token);
    assert!(login.0, "{}", login.1);
    let run = docker(&["run", "--rm", "--pull", "always", &image], "");
    assert!(run.0 && run.1.contains("slipway-runner-agent"), "{}", run.1);
    let mine = format!("{}/{}/pushed:1", team.registry, team.namespace);
    let theirs = format!("{}/{}/pushed:1", other.registry, other.namespace);
    for name in [&mine, &theirs] {
        assert!(docker(&["tag", &image, name], "").0);
    }
    let pushed = docker(&["push", "-q", &mine], "");
    assert!(pushed.0, "{}", pushed.1);
    let refused = docker(&["push", "-q", &theirs], "");
    assert!(!refused.0, "{}", refused.1);
    docker(&["rmi", "-f", &image, &mine, &theirs], "");
}

#[test]
fn an_external_registry_is_used_with_the_services_credentials_and_namespaces_stay_apart() {
    let foreign = Foreign::start();
    let host = foreign.address.to_string();
    let options = Options::default()
        .set("SLIPWAYD_REGISTRY__KIND", "external")
        .set("SLIPWAYD_REGISTRY__HOST", &host)
        .set("SLIPWAYD_REGISTRY__USERNAME", "robot")
        .set("SLIPWAYD_REGISTRY__PASSWORD", "external-secret");
    let service = Service::with(options);
    let (theirs, ours) = (service.team(), service.team());
    let app = theirs.project();
    app.image("FROM scratch\nCOPY x /x\n").file("x", "theirs");
    let reference = app.build_app();
    assert!(reference.starts_with(&format!("{host}/{}/", theirs.namespace)), "{reference}");
    let robot = theirs.with_token("external-secret");
    assert!(image::pull_refused(&theirs, &reference).is_some(), "a Slipway token is nothing there");
    assert_eq!(files::text(&image::pull_as("robot", &robot, &reference).files, "x"), "theirs");

    // The fixed credentials could pull it: the policy is what keeps namespaces apart.
    let from = ours.project();
    from.image(&format!("FROM {reference}\n"));
    let run = from.events(&["build"]).expect(1);
    assert!(run.last("job.done")["error"]["message"].as_str().unwrap().contains("denied by policy"), "{}", run.story());
    let own = theirs.project();
    own.image(&format!("FROM {reference}\nCOPY Dockerfile /y\n")).build_app();

    // Deploy commands, `env` and the skip work with it too.
    let section = slipway_journeys::team::deploy_section(&["echo $OKTETO_BUILD_APP_REGISTRY"]);
    app.manifest(&format!("build:\n  app: .\n{section}"));
    let run = app.events(&["deploy"]).ok();
    assert_eq!(run.all("build.skipped").len(), 1);
    assert_eq!(run.said().trim(), host);
    assert_eq!(app.slipway(["env"]).ok().out().lines().count(), 5);
}

#[test]
fn a_build_starts_from_the_base_image_that_was_looked_at() {
    // Where the service looks, and where the engine goes: there the name is another image by now.
    let (looked_at, gone_to) = (Foreign::open(), Foreign::open());
    let settings = format!("mirrors = {{ \"{}\" = [\"http://{}\"] }}\n", gone_to.address, looked_at.address);
    let service = Service::with(Options { registry: settings, ..Options::default() });
    let team = service.team();
    let base = team.project();
    let push = |content: &str, places: &[(&Foreign, &str)]| {
        base.image("FROM scratch\nCOPY x /x\n").file("x", content);
        let built = base.build_app();
        for (registry, name) in places {
            registry.take(&team, &built, name);
        }
    };
    push("before", &[(&looked_at, "team/base:1"), (&gone_to, "team/base:old")]);
    push("after", &[(&gone_to, "team/base:1")]);
    let app = team.project();
    app.image(&format!("FROM {0}/team/base:1\nCOPY --from={0}/team/base:1 /x /y\n", gone_to.address));
    let built = image::pull(&team, &app.build_app());
    assert_eq!(files::text(&built.files, "x"), "before");
    assert_eq!(files::text(&built.files, "y"), "before");
    assert_eq!(app.events(&["build"]).ok().all("build.skipped").len(), 1, "it is found again as what it is");
}
