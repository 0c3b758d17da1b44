//! The image in which commands run: every tool of it, in the version that it says; as a user, too; nothing that nobody reads; and
//! what commands written for Okteto call.

use std::collections::BTreeMap;
use std::io::Write;

use slipway_journeys::{Project, Run, Service, image, program, target_dir};

/// What runs each tool and says its version; the package whose version that is, none where it says none; what else it says.
const TOOLS: [(&str, Option<&str>, &str); 17] = [
    ("bash --version", Some("bash"), "GNU bash"),
    ("cue version", Some("cue"), "cue version"),
    ("curl --version", Some("curl"), "libcurl"),
    ("envsubst --version; echo '$A' | A=substituted envsubst", Some("gettext-base"), "substituted"),
    ("git --version", Some("git"), "git version"),
    ("git init -q /tmp/r && cd /tmp/r && git submodule status && git stash list && echo works", None, "works"),
    ("helm version", Some("helm"), "v3."),
    ("kubectl version --client", Some("kubectl"), "Client Version"),
    // Debian's says `(devel)` when it is asked for its version.
    ("kustomize create --help", None, "kustomization"),
    ("make --version", Some("make"), "GNU Make"),
    ("okteto version", Some("slipway"), "slipway"),
    ("slipway version", Some("slipway"), "slipwayd"),
    ("ssh -V 2>&1", Some("openssh-client"), "OpenSSH"),
    // It knows no version.
    ("wait-for-it -t 5 ${OKTETO_CONTEXT#http://} -- echo waited", None, "waited"),
    ("test -s /etc/ssl/certs/ca-certificates.crt && echo certificates", None, "certificates"),
    ("(ssh-keygen -q -t ed25519 -N '' -f /tmp/k && ssh-agent sh -c 'ssh-add /tmp/k') 2>&1", None, "Identity added"),
    ("touch here && cat /usr/share/slipway/versions.txt", None, "slipway="),
];

/// What commands wrote to stdout, by their place.
fn said(run: &Run) -> Vec<String> {
    let mut said = Vec::new();
    for log in run.all("command.log").into_iter().filter(|log| log["stream"] == "stdout") {
        let index = usize::try_from(log["index"].as_u64().unwrap()).unwrap();
        said.resize(said.len().max(index + 1), String::new());
        said[index] += log["text"].as_str().unwrap();
    }
    said
}

/// The lines of a list of versions.
fn versions(list: &str) -> BTreeMap<&str, &str> {
    list.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('=')).collect()
}

/// Of a package's version, what a program of it says: without an epoch, what Debian did, and the port's number of OpenSSH.
fn upstream(version: &str) -> &str {
    let version = version.split_once(':').map_or(version, |(_, rest)| rest);
    let version = version.rsplit_once('-').map_or(version, |(upstream, _)| upstream);
    version.split(['+', '~', 'p']).next().unwrap_or_default()
}

fn every_tool_runs(run: &Run) {
    let said = said(run);
    let versions = versions(&said[TOOLS.len() - 1]);
    for ((command, package, expected), said) in TOOLS.iter().zip(&said) {
        assert!(said.contains(expected), "{command}: {said}");
        let Some(package) = package else { continue };
        let version = upstream(versions.get(package).unwrap_or_else(|| panic!("{package} is not in {versions:?}")));
        let words = || said.split(|letter: char| !letter.is_alphanumeric() && letter != '.');
        let number = version.trim_start_matches('v');
        let is = |word: &str| {
            word.trim_start_matches('v') == number
                || word.strip_prefix(number).is_some_and(|port| port.starts_with('p'))
        };
        assert!(words().any(is), "{command}: it is not {version}: {said}");
    }
}

#[test]
fn every_tool_has_the_version_that_the_image_says() {
    let service = Service::shared();
    let app = service.team().project();
    app.deploy(&TOOLS.map(|(command, _, _)| command));
    let run = app.events(&["deploy"]).ok();
    every_tool_runs(&run);

    // The list that is pinned, unless setup had to take the newest.
    let said = said(&run);
    let list = &said[TOOLS.len() - 1];
    if !list.starts_with("# packages: pinned\n") {
        let skipped =
            "not compared with runner-image/packages.txt: setup built the runner image with the newest packages";
        let _ = writeln!(std::io::stderr(), "{skipped}");
        return;
    }
    let found = versions(list);
    let pinned = std::fs::read_to_string(target_dir().parent().unwrap().join("runner-image/packages.txt")).unwrap();
    let architecture = if std::env::consts::ARCH == "x86_64" { "amd64" } else { "arm64" };
    for (name, version) in versions(&pinned) {
        let (name, of) = name.split_once(':').unwrap_or((name, architecture));
        if of != architecture {
            continue;
        }
        let found = found.get(name).unwrap_or_else(|| panic!("{name} is not in the image"));
        assert_eq!(*found, version, "{name}");
    }
}

#[test]
fn a_user_who_is_not_root_has_the_same() {
    let service = Service::shared();
    let app = service.team().project();
    let from = format!("FROM okteto.global/runner:{}\nUSER okteto\n", env!("CARGO_PKG_VERSION"));
    let commands = TOOLS.iter().fold(String::new(), |all, (command, _, _)| all + "  - |\n    " + command + "\n");
    app.file("tools/Dockerfile", from).manifest(&format!(
        "build:\n  tools: tools\ndeploy:\n  image: ${{OKTETO_BUILD_TOOLS_IMAGE}}\n  commands:\n{commands}  - id -un; echo $HOME\n"
    ));
    let run = app.events(&["deploy"]).ok();
    every_tool_runs(&run);
    assert_eq!(said(&run)[TOOLS.len()], "okteto\n/home/okteto\n");
}

#[test]
fn nothing_is_in_it_that_nobody_reads() {
    let service = Service::shared();
    let app = service.team().project();
    app.deploy(&[
        "find /usr/share/doc /usr/share/man /usr/share/locale /usr/share/lintian -type f ! -name copyright",
        "find /var/lib/apt/lists /var/cache/apt /var/log /tmp /root -type f ! -path '/tmp/.okteto-*' ! -name '.bashrc' ! -name '.profile'",
        "find / -xdev \\( -name '*.pod' -o -name '__pycache__' \\) -print",
        "echo the end",
    ]);
    let run = app.events(&["deploy"]).ok();
    assert_eq!(run.said(), "the end\n");
}

/// Every service imports it, and every engine pulls it before its first command.
#[test]
fn its_archive_is_small() {
    const MOST: u64 = 135_000_000;
    let archive = program("runner-image.oci.tar");
    let bytes = archive.metadata().unwrap().len();
    assert!(
        bytes <= MOST,
        "{} has {bytes} bytes, more than {MOST}: see what grew with `tar -tvf` (its layers) and `find / -xdev -size +1M` in a \
         deploy command; what may be left out is for runner-image/Dockerfile and runner-image/dpkg.cfg to say. Where it has to \
         be larger, change this bound and the sizes in docs/operations.md",
        archive.display(),
    );
}

/// A project in a folder of the project, for nested jobs.
fn with_inner<'a>(app: &'a Project, commands: &[&str]) -> &'a Project {
    app.file("inner/okteto.yaml", INNER)
        .file("inner/Dockerfile", "FROM scratch\nCOPY Dockerfile /\n")
        .file("inner/other.Dockerfile", "FROM scratch\nCOPY other.Dockerfile /\n")
        .deploy(commands)
}

const INNER: &str = "name: inner
build:
  app: .
deploy:
- echo deployed $OKTETO_NAME in $OKTETO_NAMESPACE, $A
destroy:
- echo destroyed
test:
  unit:
    commands: [echo tested]
";

#[test]
fn oktetos_verbs_work_in_commands() {
    let service = Service::shared();
    let team = service.team();
    let app = team.project();
    with_inner(
        &app,
        &[
            "okteto version",
            "okteto registrytoken install --force --log-output=json && echo $OKTETO_REGISTRY_URL | okteto registrytoken get | grep -c Secret",
            "okteto namespace use $OKTETO_NAMESPACE && okteto ns $OKTETO_NAMESPACE && okteto context use $OKTETO_CONTEXT && okteto namespace ls",
            "okteto kubeconfig; echo status $?",
            "okteto namespace use other; echo status $?; okteto namespace delete $OKTETO_NAMESPACE; echo status $?; okteto pipeline deploy; echo status $?",
            "cd inner && okteto build -f okteto.yaml --no-cache app -n $OKTETO_NAMESPACE --progress plain",
            "okteto build -t okteto.dev/two:1 -f inner/other.Dockerfile inner --log-output plain",
            "cd inner && okteto deploy --wait --timeout 5m -v A=b -n $OKTETO_NAMESPACE --name one",
            "cd inner && okteto test unit --no-cache --timeout 5m",
            "cd inner && okteto destroy -v --name one -c $OKTETO_CONTEXT",
        ],
    );
    let run = app.events(&["deploy"]).ok();
    let said = said(&run);
    let has =
        |index: usize, what: &str| assert!(said[index].contains(what), "{what}: {}\n{}", said[index], run.story());
    has(0, "slipway ");
    assert_eq!(said[1], "1\n");
    has(2, &team.namespace);
    assert_eq!((said[3].as_str(), said[4].as_str()), ("status 2\n", "status 2\nstatus 2\nstatus 2\n"));
    let errors = String::from_utf8(run.output("stderr")).unwrap();
    for text in [
        "under `[runner.access.kubeconfigs]`",
        "other can't be used",
        "the manifest's `dependencies`",
        "kubectl rollout status",
    ] {
        assert!(errors.contains(text), "{text}: {errors}");
    }
    has(7, &format!("deployed one in {}, b", team.namespace));
    has(8, "tested");
    has(9, "destroyed");
    // With the job's rights: it is in the registry.
    for (name, file) in [("inner-app:okteto", "Dockerfile"), ("two:1", "other.Dockerfile")] {
        let pulled = image::pull(&team, &format!("{}/{}/{name}", service.registry(), team.namespace));
        assert!(pulled.files.contains_key(file), "{name}");
    }
}

#[test]
fn a_build_in_a_command_cannot_touch_another_namespace() {
    let service = Service::shared();
    let (team, other) = (service.team(), service.team());
    let theirs = other.project();
    theirs.file("Dockerfile", "FROM scratch\nCOPY okteto.yaml /theirs\n");
    theirs.manifest("build:\n  app:\n    context: .\n    image: okteto.dev/app:1\n");
    theirs.events(&["build"]).ok();
    let before = image::raw(&other, &format!("{}/{}/app:1", service.registry(), other.namespace));

    let app = team.project();
    let (registry, namespace) = (service.registry(), &other.namespace);
    let ours = format!(
        "okteto build -n {namespace} -f inner/okteto.yaml; echo status $?
    okteto build -n {namespace} -t okteto.dev/app:1 inner; echo status $?
    okteto build -t {registry}/{namespace}/app:1 inner >/dev/null; echo status $?
    okteto build -t okteto.global/app:1 inner >/dev/null; echo status $?
    OKTETO_NAMESPACE={namespace} SLIPWAY_NAMESPACE={namespace} okteto deploy -f inner/okteto.yaml; echo status $?
    slipway environment delete x -n {namespace}; echo status $?
    printf 'FROM {registry}/{namespace}/app:1\\n' >inner/Dockerfile; okteto build -t okteto.dev/stolen inner >/dev/null; echo status $?
    okteto build -t okteto.dev/app:1 -f inner/other.Dockerfile inner >/dev/null; echo status $?"
    );
    with_inner(&app, &[&ours]);
    let run = app.events(&["deploy"]).ok();
    let said = run.said();
    let statuses: Vec<_> = said.lines().filter_map(|line| line.strip_prefix("status ")).collect();
    assert_eq!(statuses.len(), 8, "{said}");
    assert!(statuses[..7].iter().all(|status| *status != "0"), "{said}\n{}", run.story());
    assert_eq!((statuses[0], statuses[1], statuses[7]), ("3", "3", "0"), "{said}\n{}", run.story());
    assert_eq!(image::raw(&other, &format!("{registry}/{namespace}/app:1")), before, "it is as it was");
}
