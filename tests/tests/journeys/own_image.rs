//! The service's own image: built with Slipway itself, from the manifest at the root, and run.

use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use slipway_journeys::service::{free_address, http_status};
use slipway_journeys::wait::{LONG, until};
use slipway_journeys::{Service, command, engine, engine_socket, target_dir, unique};

/// `docker`, with credentials of its own.
struct Docker(tempfile::TempDir);

impl Docker {
    fn run(&self, args: &[&str], input: &str) -> String {
        let mut command = Command::new("docker");
        command.args(args).env("DOCKER_CONFIG", self.0.path());
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("run docker; `make setup` installs it");
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let answer = child.wait_with_output().unwrap();
        let [out, errors] = [answer.stdout, answer.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
        assert!(answer.status.success(), "docker {}: {out}{errors}", args.join(" "));
        out.trim().to_owned()
    }
}

/// A container that is gone when this is.
struct Container<'a>(&'a Docker, String);

impl Drop for Container<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = writeln!(std::io::stderr(), "{}", self.0.run(&["logs", &self.1], ""));
        }
        self.0.run(&["rm", "--force", "--volumes", &self.1], "");
    }
}

#[test]
fn slipway_builds_the_image_of_the_service_and_the_image_serves() {
    let service = Service::shared();
    let team = service.team();
    let root = target_dir().parent().map(Path::to_path_buf).unwrap();
    let mut build = team.command(["build", "--var", "BINARIES=prebuilt", "--output", "json"]);
    build.current_dir(root);
    let run = command::start(build, None).finish().ok();
    let image = run.last("build.done")["image"].as_str().unwrap().to_owned();

    let docker = Docker(tempfile::tempdir().unwrap());
    docker.run(&["login", "-u", "anyone", "--password-stdin", &team.registry], &team.token);
    docker.run(&["pull", "-q", &image], "");
    let in_image = |args: &[&str]| docker.run(&[&["run", "--rm", &image], args].concat(), "");
    for program in ["slipwayd", "slipway"] {
        assert_eq!(in_image(&[program, "--version"]), format!("{program} {}", env!("CARGO_PKG_VERSION")));
    }
    assert_eq!(in_image(&["id", "-u"]), "1000", "not root");

    let (listen, registry, socket) = (free_address(), free_address(), engine_socket());
    let (name, group) = (unique("own-image"), std::fs::metadata(&socket).unwrap().gid().to_string());
    let mount = format!("{0}:{0}", socket.display());
    let env = [
        format!("SLIPWAYD_LISTEN={listen}"),
        format!("SLIPWAYD_REGISTRY__LISTEN={registry}"),
        format!("SLIPWAYD_ENGINE__ADDRESS={}", engine()),
    ];
    let mut args = vec!["run", "-d", "--name", &name, "--network", "host", "-v", &mount, "--group-add", &group];
    args.extend(env.iter().flat_map(|variable| ["-e", variable]));
    args.extend([image.as_str(), "slipwayd", "--dev"]);
    docker.run(&args, "");
    let container = Container(&docker, name);
    until("the service in the container", LONG, || (http_status(listen, "/readyz") == Some(200)).then_some(()));

    let token = docker.run(&["exec", &container.1, "cat", "/var/lib/slipway/admin.token"], "");
    let mut inside = team.by_way_of(&format!("http://{listen}")).with_token(&token);
    inside.namespace = "dev".to_owned();
    let app = inside.project();
    app.image("FROM scratch\nCOPY x /x\n").file("x", "built by a service in a container");
    assert!(app.build_app().starts_with(&format!("{registry}/dev/")));
    drop(container);
    docker.run(&["rmi", "-f", &image], "");
}
