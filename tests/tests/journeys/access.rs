//! What commands may reach: registries, hosts over SSH, a cluster, certificates of the admin's. And jobs in jobs.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

use aho_corasick::{AhoCorasick, PatternID};
use slipway_journeys::service::Options;
use slipway_journeys::wait::{SOON, until};
use slipway_journeys::{Buildkitd, Project, SectionImage, Service, Team, process, random, unique};

use crate::ssh::key;
use crate::tls_engine::certificates;
use crate::variables::{holds, set};

fn remote(app: &Project, commands: &[&str]) {
    let commands = commands.iter().fold(String::new(), |all, command| all + "  - |\n    " + command + "\n");
    app.manifest(&format!("deploy:\n  remote: true\n  commands:\n{commands}"));
}

#[test]
fn tools_are_logged_in_to_the_registry() {
    let service = Service::shared();
    let app = service.team().project();
    remote(
        &app,
        &[
            "cat $DOCKER_CONFIG/config.json; echo; echo \"$OKTETO_REGISTRY_URL\" | docker-credential-okteto get | grep -c Secret",
            "cd /tmp && helm create chart >/dev/null && helm package chart >/dev/null && helm push chart-0.1.0.tgz \
             oci://$OKTETO_REGISTRY_URL/$OKTETO_NAMESPACE --plain-http 2>&1",
            "helm push /tmp/chart-0.1.0.tgz oci://$OKTETO_REGISTRY_URL/okteto --plain-http 2>&1 && exit 1; true",
        ],
    );
    let told = app.events(&["deploy"]).ok().said();
    assert!(told.starts_with("{\"credHelpers\":{\"") && told.contains("\":\"okteto\"}}\n1\n"), "{told}");
    assert!(told.contains("Pushed: ") && told.contains("Digest: sha256:"), "{told}");
    assert!(told.contains("status code 401"), "not into another namespace: {told}");
}

#[test]
fn commands_use_the_callers_ssh_agent_and_known_hosts() {
    let service = Service::shared();
    let team = service.team();
    let app = team.project();
    let dir = tempfile::tempdir().unwrap();
    let (path, _) = key(dir.path(), "of-the-caller");
    let public = fs::read_to_string(path.with_extension("pub")).unwrap();
    let home = dir.path().join("home");
    fs::create_dir_all(home.join(".ssh")).unwrap();
    fs::write(home.join(".ssh/known_hosts"), format!("git.example {public}")).unwrap();
    remote(
        &app,
        &[
            "ssh-add -L",
            "ssh-keygen -f /etc/ssh/ssh_known_hosts -F git.example | grep -c ^git.example",
            "ssh-keygen -f /etc/ssh/ssh_known_hosts -F other.example || true",
        ],
    );
    let env = [("HOME", home.to_str().unwrap())];
    let agent = format!("default={}", path.display());
    let run = app.events_with(&["deploy", "--ssh", &agent], &env).ok();
    assert_eq!(run.said(), format!("{public}1\n"));
    // Without one there is none.
    let run = app.events(&["deploy"]).expect(1);
    assert!(!run.said().contains("ssh-ed25519"), "{}", run.story());
    let run = app.slipway(["deploy", "--ssh", "default=/no/such/key"]).expect(2);
    assert!(format!("{run:?}").contains("SSH agent `default` of the commands"), "{run:?}");
    let run = app.slipway(["deploy", "--detach", "--ssh", &agent]).expect(2);
    assert!(format!("{run:?}").contains("--detach leaves nobody"), "{run:?}");

    // A key that the service keeps needs nobody.
    set(&team, "namespace", &format!("DEPLOY_KEY={}", fs::read_to_string(&path).unwrap()));
    remote(&app, &["ssh-add -L"]);
    let job = app.detach(&["deploy", "--ssh", "default=variable:DEPLOY_KEY"]);
    team.slipway(["job", "wait", &job]).ok();
    let logs = team.slipway(["job", "logs", &job]).ok().out();
    assert!(logs.contains(public.split(' ').nth(1).unwrap()), "{logs}");
    let private = fs::read_to_string(&path).unwrap();
    assert!(!holds(&service.data_dir(), private.lines().nth(2).unwrap()), "the key is on the disk");
}

/// Where there is no tool to ask: what tools read is there, and the image's user may read it.
#[test]
fn tokens_agents_and_known_hosts_are_there_in_any_image() {
    let service = Service::shared();
    let team = service.team();
    let dir = tempfile::tempdir().unwrap();
    let (path, _) = key(dir.path(), "of-the-caller");
    let home = dir.path().join("home");
    fs::create_dir_all(home.join(".ssh")).unwrap();
    fs::write(home.join(".ssh/known_hosts"), "git.example ssh-ed25519 AAAA\n").unwrap();
    let agent = format!("default={}", path.display());
    set(&team, "namespace", "FROM_THE_SERVICE=sesame-of-the-service");
    for image in SectionImage::EACH {
        let app = team.project();
        app.deploy_in(
            image,
            &[
                "id -u; test -n \"$OKTETO_TOKEN\" && echo token; echo \"${#FROM_THE_SERVICE} $FROM_THE_SERVICE\"",
                "test -S $SSH_AUTH_SOCK && test -r $SSH_AUTH_SOCK && test -w $SSH_AUTH_SOCK && echo agent",
                "grep -c ^git.example /etc/ssh/ssh_known_hosts",
                "grep -c credHelpers $DOCKER_CONFIG/config.json",
            ],
        );
        let env = [("HOME", home.to_str().unwrap())];
        let said = app.events_with(&["deploy", "--ssh", &agent], &env).ok().said();
        assert_eq!(said, format!("{}\ntoken\n21 ***\nagent\n1\n1\n", image.uid()), "{image:?}");
    }
}

/// Where openssl, git, curl, requests and node look for certificates.
const CA_VARIABLES: [&str; 5] =
    ["SSL_CERT_FILE", "GIT_SSL_CAINFO", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"];

#[test]
fn a_namespace_has_the_admins_kubeconfig_and_everybody_the_ca_bundle() {
    let dir = tempfile::tempdir().unwrap();
    let token = unique("sesame");
    let kube = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: here\nclusters:\n- name: c\n  cluster: {{server: 'https://127.0.0.1:1'}}\nusers:\n- \
         name: u\n  user:\n    token: {token}\ncontexts:\n- name: here\n  context: {{cluster: c, user: u, namespace: shop}}\n"
    );
    fs::write(dir.path().join("kube"), kube).unwrap();
    fs::write(dir.path().join("ca"), "of the admin\n").unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let settings = format!(
        "\n[runner.access]\nca_bundle = \"{}\"\n[runner.access.kubeconfigs]\ndev = \"{}\"\n",
        path("ca"),
        path("kube")
    );
    let service = Service::with(Options { registry: settings, ..Options::default() });
    let deploy = |team: &Team, image: SectionImage| {
        let app = team.project();
        let look = match image {
            SectionImage::Runner => "kubectl config current-context; kubectl config view --raw; okteto kubeconfig",
            SectionImage::Busybox(_) | SectionImage::BusyboxWithSlipway => {
                "sed -n 's/^current-context: //p' $KUBECONFIG; cat $KUBECONFIG"
            }
        };
        let look = format!("test -z \"$KUBECONFIG\" || {{ {look}; stat -f -c %T $KUBECONFIG; }}");
        let bundle = CA_VARIABLES.map(|name| format!("echo {name} $(cat \"${name}\")")).join("; ");
        app.deploy_in(image, &[&bundle, "echo ${KUBECONFIG:-none}", &look]);
        app.events(&["deploy"]).ok().said()
    };
    let bundle = CA_VARIABLES.map(|name| format!("{name} of the admin\n")).concat();
    for image in SectionImage::EACH {
        let told = deploy(&service.admin(), image);
        let expected = format!("{bundle}/okteto/access/kubeconfig\nhere\n");
        assert!(told.starts_with(&expected), "{image:?}: {told}");
        assert!(told.contains("token: '***'") || told.contains("token: ***"), "{image:?}: {told}");
        assert!(!told.contains(&token) && told.ends_with("tmpfs\n"), "{image:?}: {told}");
        assert_eq!(deploy(&service.team(), image), format!("{bundle}none\n"), "{image:?}");
    }
    assert!(!holds(&service.data_dir(), &token));
}

/// Serves a folder by https, as `server`.
const HTTPS: &str = "import functools, http.server, ssl, sys
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1] + '/server.pem', sys.argv[1] + '/server.key')
handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=sys.argv[1])
server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler)
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_port, flush=True)
server.serve_forever()";

#[test]
fn tools_trust_who_has_a_certificate_of_the_admins_ca() {
    let dir = tempfile::tempdir().unwrap();
    certificates(dir.path(), &["server"]);
    fs::write(dir.path().join("hello"), "over TLS\n").unwrap();
    let mut python = Command::new("python3");
    python.args(["-c", HTTPS]).arg(dir.path()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut server = process::Server(python.spawn().unwrap());
    let mut port = String::new();
    BufReader::new(server.0.stdout.take().unwrap()).read_line(&mut port).unwrap();
    let host = format!("127.0.0.1:{}", port.trim());
    let settings = format!(
        "\n[runner.access]\nca_bundle = \"{}\"\n[runner.network]\nmode = \"restricted\"\nallow = \"{host}\"\n",
        dir.path().join("ca.pem").display()
    );
    let service = Service::with(Options { registry: settings, ..Options::default() });
    let app = service.team().project();
    let get = format!("curl -sS --noproxy '' https://{host}/hello");
    app.deploy(&[&get, &format!("env -u CURL_CA_BUNDLE -u SSL_CERT_FILE {get} 2>&1 || echo not without it: $?")]);
    let said = app.events(&["deploy"]).ok().said();
    // curl's 60: nobody known has signed it.
    assert!(said.starts_with("over TLS\n") && said.ends_with("not without it: 60\n"), "{said}");
}

fn runs(argv: &[&str]) -> Vec<process::Process> {
    until(&format!("{argv:?} runs"), SOON, || Some(process::running(argv)).filter(|found| !found.is_empty()))
}

#[test]
fn a_job_in_a_job_ends_with_it() {
    let service = Service::shared();
    for (image, cancelled) in [
        (SectionImage::Runner, false),
        (SectionImage::Runner, true),
        (SectionImage::BusyboxWithSlipway, false),
        (SectionImage::BusyboxWithSlipway, true),
    ] {
        ends_with_its_parent(&service.team(), image, cancelled);
    }
}

/// The parent's command waits in a `sleep` of its own, so that the child's step runs for sure when the parent ends.
fn ends_with_its_parent(team: &Team, image: SectionImage, cancelled: bool) {
    let app = team.project();
    let [step, held] = [(); 2].map(|()| process::unique_seconds());
    // Not the step's last command, which the shell would become.
    let slow = format!("FROM debian:trixie-slim\nRUN sleep {step}; : {}\n", unique("m"));
    app.file("inner/okteto.yaml", "build:\n  app: .\n").file("inner/Dockerfile", slow);
    app.deploy_in(image, &[&format!("cd inner && slipway build --detach && sleep {held}; true")]);
    let parent = app.start_events(&["deploy"]);
    runs(&["sleep", &step]);
    let waiting = runs(&["sleep", &held]);
    if cancelled {
        team.slipway(["job", "cancel", &parent.job()]).ok();
    } else {
        for process in waiting {
            process::kill(process.pid);
        }
    }
    let run = parent.finish().expect(i32::from(cancelled));
    assert_eq!(run.last("job.done")["status"], if cancelled { "cancelled" } else { "succeeded" }, "{}", run.story());
    until("the child's step has ended", SOON, || process::running(&["sleep", &step]).is_empty().then_some(()));
    let told = run.said();
    let child = told.split_whitespace().find(|word| word.len() == 36).unwrap_or_else(|| panic!("{}", run.story()));
    until("the child is cancelled", SOON, || (team.show(child)["state"] == "cancelled").then_some(()));
    assert_eq!(team.show(child)["parent"], run.job());
}

/// Which of these texts an engine's files hold, links not followed.
fn found_in(dir: &Path, texts: &AhoCorasick, found: &mut BTreeSet<PatternID>) {
    // What goes away meanwhile is looked for afterwards.
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found_in(&entry.path(), texts, found),
            Ok(kind) if kind.is_file() => {
                let content = fs::read(entry.path()).unwrap_or_default();
                found.extend(texts.find_iter(&content).map(|found| found.pattern()));
            }
            _ => {}
        }
    }
}

#[test]
fn what_commands_get_is_nowhere_on_the_engine() {
    let dir = tempfile::tempdir().unwrap();
    let (_engine, address) = Buildkitd::with_mirrors(dir.path());
    let (kube, value) = (unique("sesame-of-the-cluster"), unique("sesame-of-the-caller"));
    let config = dir.path().join("kube");
    fs::write(&config, format!("apiVersion: v1\nkind: Config\nusers:\n- name: u\n  user:\n    token: {kube}\n"))
        .unwrap();
    let settings = format!("\n[runner.access.kubeconfigs]\ndev = \"{}\"\n", config.display());
    let service = Service::with(Options { registry: settings, engines: vec![address], ..Options::default() });
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    for image in SectionImage::EACH {
        let (app, mark) = (service.admin().project(), unique("m"));
        let ask = if image == SectionImage::Runner { "curl -sS" } else { "wget -q -O -" };
        // Backwards it is no secret's text, which would be masked.
        let look = "echo $(grep -c sesame-of-the-cluster $KUBECONFIG) ${#VALUE} $(echo $OKTETO_TOKEN | rev) end";
        // What a command writes is there: that shows where to look.
        let write = format!("echo written-$((40 + 2))-{mark} >written");
        app.deploy_in(image, &[&format!("{look}; {write}; {ask} http://127.0.0.1:{port}/"), "true"]);
        let deploying = app.start_events(&["deploy", "--var", &format!("VALUE={value}")]);
        deploying.says("end");
        let (mut waits, _) = listener.accept().unwrap();
        let said = deploying.says("end")["text"].as_str().unwrap().to_owned();
        let words: Vec<_> = said.split_whitespace().collect();
        assert_eq!((words.len(), words[0], words[1]), (4, "1", &*value.len().to_string()), "{said}");
        let token: String = words[2].chars().rev().collect();
        assert!(token.len() >= 20, "{said}");
        let texts = [format!("written-42-{mark}"), kube.clone(), value.clone(), token];
        let root = dir.path().join("root");
        let look = || {
            let mut found = BTreeSet::new();
            found_in(&root, &AhoCorasick::new(&texts).unwrap(), &mut found);
            found.into_iter().map(|found| texts[found].as_str()).collect::<Vec<_>>()
        };
        assert_eq!(look(), [texts[0].as_str()], "{image:?}, while the command runs");
        waits.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
        drop(waits);
        deploying.finish().ok();
        assert!(look().iter().all(|found| *found == texts[0]), "{image:?}, afterwards: {:?}", look());
    }
}

#[test]
fn a_build_in_a_job_sends_nothing_of_the_jobs_own_tree() {
    let service = Service::shared();
    let build = "slipway build -t okteto.dev/nested . --output json";
    let grow = format!("head -c 777 /dev/urandom >new && {build}");
    for image in [SectionImage::Runner, SectionImage::BusyboxWithSlipway] {
        let app = service.team().project();
        app.file("Dockerfile", "FROM scratch\nCOPY Dockerfile blob ne[w] /\n").file("blob", random(50_000));
        app.deploy_in(image, &[build, &grow]);
        let run = app.events(&["deploy"]).ok();
        assert!(run.last("sync.done")["sent_bytes"].as_u64().unwrap() > 50_000, "{}", run.story());
        let nested = run.said();
        let nested = nested.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let sent = nested.filter(|event| event["type"] == "sync.done").map(|event| event["sent_bytes"].as_u64());
        // The second shows that its builds do send what the job has not.
        assert_eq!(sent.collect::<Vec<_>>(), [Some(0), Some(777)], "{image:?}: {}", run.story());
    }
}
