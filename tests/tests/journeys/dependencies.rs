//! `dependencies`: other repositories, which are cloned and deployed first.
//!
//! The server of the repositories listens on this machine's loopback, which a runner reaches on an engine of the host's network.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;
use slipway_journeys::git::{GitServer, PASSWORD, USER, commit, git, repository};
use slipway_journeys::service::Options;
use slipway_journeys::wait::{SOON, until};
use slipway_journeys::{Buildkitd, Project, Run, Service, Team, files, process, unique};
use tempfile::TempDir;

/// A service whose runners reach a server of repositories.
struct Place {
    service: Service,
    server: GitServer,
    published: TempDir,
    _engine: (Buildkitd, TempDir),
}

impl Place {
    fn new() -> Self {
        Self::with(Options::default())
    }

    fn with(options: Options) -> Self {
        let (published, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let server = GitServer::start(published.path(), "127.0.0.1");
        let (engine, address) = Buildkitd::with_mirrors(dir.path());
        let service = Service::with(Options { engines: vec![address], ..options });
        Self { service, server, published, _engine: (engine, dir) }
    }

    /// Publishes a repository with this manifest.
    fn publish(&self, name: &str, manifest: &str) -> String {
        let path = self.published.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        repository(self.published.path(), &format!("{name}.git"), &[("okteto.yaml", manifest)]);
        format!("{}/{name}.git", self.server.url)
    }
}

fn state(team: &Team, environment: &str) -> Option<String> {
    let run = team.slipway(["environment", "show", environment, "--output", "json"]);
    let shown: Value = serde_json::from_str(run.out().trim()).ok()?;
    Some(shown["state"].as_str()?.to_owned())
}

/// The output of the section's commands.
fn said(run: &Run, section: &str) -> String {
    let logs = run.all("command.log").into_iter().filter(|event| event["section"] == section);
    logs.filter_map(|event| event["text"].as_str()).collect()
}

fn error(run: &Run) -> String {
    run.last("job.done")["error"]["message"].as_str().unwrap_or_default().to_owned()
}

/// A remote deploy of these commands, after the dependencies.
fn manifest(app: &Project, dependencies: &str, command: &str) {
    app.manifest(&format!("dependencies:\n{dependencies}deploy:\n  remote: true\n  commands: ['{command}']\n"));
}

#[test]
fn a_dependency_is_deployed_first_and_its_variables_are_there() {
    let place = Place::new();
    let team = place.service.team();
    let url = place.publish(
        "movies",
        "name: not-this\nbuild:\n  api:\n    context: .\n    dockerfile: Api\ndeploy:\n  remote: false\n  commands:\n  - cat mark; echo \"GREETING='hello ${NAME} of ${OKTETO_NAME}, $OKTETO_ORIGIN'\" >>$OKTETO_ENV\n",
    );
    let work = place.published.path().join("movies.git-work");
    commit(&work, &[("Api", "FROM scratch\nCOPY mark /\n"), ("mark", "of main\n")]);
    git(&work, &["push", "-q", "origin", "main"]);
    git(&work, &["checkout", "-q", "-b", "release"]);
    commit(&work, &[("mark", "of release\n")]);
    git(&work, &["tag", "v1"]);
    git(&work, &["push", "-q", "origin", "release", "v1"]);

    let app = team.project();
    let dependency = |branch: &str| {
        format!(
            "  My movies:\n    repository: {url}\n    wait: true\n    timeout: 2m\n    variables: {{NAME: $WHO}}\n{branch}"
        )
    };
    let command = "echo \"$OKTETO_DEPENDENCY_MY_MOVIES_VARIABLE_GREETING\"; echo \"$OKTETO_DEPENDENCY_MY_MOVIES_BUILD_API_REPOSITORY\"";
    manifest(&app, &dependency("    branch: release\n"), command);
    let run = app.events(&["deploy", "--var", "WHO=world"]).ok();
    let expected = format!("hello world of My movies, okteto-deploy\n{}/my-movies-api\n", team.namespace);
    assert_eq!(said(&run, "deploy"), expected);
    assert!(said(&run, "dependencies").contains("of release"), "{}", run.story());
    let started: Vec<&str> = run.all("command.started").iter().filter_map(|event| event["section"].as_str()).collect();
    assert_eq!(started, ["dependencies", "deploy"]);
    assert_eq!(run.all("command.started")[0]["name"], format!("My movies ({url}#release)"));
    // By a job of its own, which knows whose it is.
    let list = team.slipway(["job", "list", "--output", "json"]).ok().out();
    let jobs: Vec<Value> = list.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let child = jobs.iter().find(|job| job["environment"] == "My movies").unwrap();
    assert_eq!((child["kind"].as_str(), child["state"].as_str()), (Some("deploy"), Some("succeeded")));
    assert_eq!(team.show(child["job"].as_str().unwrap())["parent"], run.job());
    assert!(team.show(&run.job())["parent"].is_null());

    // What is deployed stays as it is, but where it is asked for; its variables are there all the same.
    manifest(&app, &dependency("    branch: v1\n"), command);
    let run = app.events(&["deploy", "--var", "WHO=nobody"]).ok();
    assert_eq!(said(&run, "deploy"), expected);
    assert!(said(&run, "dependencies").contains("deployed already"), "{}", run.story());
    manifest(&app, &dependency(""), command);
    // Whatever the repository or its variables say, its commands run on the service.
    commit(&work, &[(".env", "OKTETO_FORCE_REMOTE=true\n")]);
    git(&work, &["push", "-q", "origin", "HEAD:main", "--force"]);
    let run = app.events(&["deploy", "--dependencies", "--var", "WHO=you"]).ok();
    assert!(said(&run, "deploy").starts_with("hello you"), "{}", run.story());
    assert!(said(&run, "dependencies").contains("of release"), "{}", run.story());

    // Commands on the caller's machine get the same; their dependencies are the service's all the same.
    app.manifest(&format!("dependencies:\n{}deploy: ['{command}; pwd']\n", dependency("")));
    let run = app.slipway(["deploy", "--var", "WHO=nobody"]).ok();
    assert!(run.out().contains("hello you of My movies"), "{}", run.out());
    assert!(run.out().contains(&app.path().canonicalize().unwrap().display().to_string()), "{}", run.out());
}

#[test]
fn tests_and_destroy_have_the_variables_that_the_deploy_had() {
    let place = Place::new();
    let team = place.service.team();
    let url = place.publish("db", "deploy: ['echo URL=postgres >>$OKTETO_ENV']\n");
    let app = team.project();
    let command = "echo \"$OKTETO_NAME: $OKTETO_DEPENDENCY_DB_VARIABLE_URL\"";
    app.manifest(&format!(
        "dependencies:\n  db: {{repository: {url}, wait: true}}\ndeploy:\n  remote: true\n  commands: [\"true\"]\ndestroy:\n  remote: true\n  commands: ['{command}']\ntest:\n  unit:\n    commands: ['{command}']\n"
    ));
    app.events(&["deploy"]).ok();
    let expected = format!("{}: postgres\n", app.name);
    assert_eq!(said(&app.events(&["test"]).ok(), "test"), expected);
    assert_eq!(said(&app.events(&["destroy"]).ok(), "destroy"), expected);
}

#[test]
fn another_version_has_its_own_images() {
    let place = Place::new();
    let team = place.service.team();
    let url = place.publish("api", "build:\n  api:\n    context: .\n    dockerfile: Api\ndeploy: ['cat mark']\n");
    let work = place.published.path().join("api.git-work");
    let push = |mark: &str, to: &[&str]| {
        commit(&work, &[("Api", "FROM scratch\nCOPY mark /\n"), ("mark", mark)]);
        git(&work, &[&["push", "-q", "origin"], to].concat());
    };
    push("one\n", &["main"]);
    let app = team.project();
    let deploy = |branch: &str| {
        let dependency = format!("  api: {{repository: {url}, wait: true{branch}}}\n");
        manifest(&app, &dependency, "echo $OKTETO_DEPENDENCY_API_BUILD_API_SHA");
        let run = app.events(&["deploy", "--dependencies"]).ok();
        (said(&run, "dependencies"), said(&run, "deploy"))
    };
    let (one, of_one) = deploy("");
    git(&work, &["tag", "v1"]);
    push("two\n", &["main", "v1"]);
    let (two, of_two) = deploy("");
    assert!(one.contains("one\n") && two.contains("two\n"), "{one}{two}");
    assert!(of_one.starts_with("okteto@sha256:") && of_one != of_two, "{of_one}{of_two}");
    // A tag is as good as a branch.
    let (tagged, of_tag) = deploy(", branch: v1");
    assert!(tagged.contains("one\n") && of_tag == of_one, "{tagged}{of_tag}");
}

#[test]
fn what_a_dependency_leaves_is_masked_and_its_clone_is_gone() {
    let place = Place::new();
    let team = place.service.team();
    let secret = unique("sesame");
    let (begin, end) = secret.split_at(4);
    let db = place.publish("db", &format!("deploy: ['echo DB_PASSWORD={begin}\"\"{end} >>$OKTETO_ENV']\n"));
    let steals = "build:\n  a:\n    context: ../..\n    dockerfile: Steals\ndeploy: ['true']\n";
    let thief = place.publish("thief", steals);
    let work = place.published.path().join("thief.git-work");
    commit(
        &work,
        &[("Steals", "FROM debian:trixie-slim\nCOPY . /all\nRUN find /all -name okteto.yaml | sed s/^/FOUND:/\n")],
    );
    git(&work, &["push", "-q", "origin", "main"]);
    let app = team.project();
    let print = "d=$OKTETO_DEPENDENCY_DB_VARIABLE_DB_PASSWORD; echo plain $d.; printf %.8s \"$d\"; sleep 1; printf '%s\\n' \"${d#????????}\"; printf %s $d | base64 -w0";
    app.manifest(&format!(
        "dependencies:\n  db: {{repository: {db}, wait: true}}\n  thief: {{repository: {thief}, wait: true}}\ndeploy:\n  remote: true\n  commands:\n  - |-\n    {print}\ndestroy:\n  remote: true\n  commands:\n  - |-\n    {print}\ntest:\n  unit:\n    commands:\n    - |-\n      {print}\n"
    ));
    for section in ["deploy", "test", "destroy"] {
        let run = app.events(&[section]).ok();
        assert_eq!(said(&run, section), "plain ***.\n***\n***");
        assert!(!format!("{run:?}").contains(&secret));
        if section == "deploy" {
            let told = said(&run, "dependencies");
            let found: BTreeSet<_> = told.split_whitespace().filter(|word| word.starts_with("FOUND:/all")).collect();
            assert_eq!(found.len(), 1, "its own only: {told}");
        }
    }
    nowhere(&place.service.data_dir(), &secret);
}

#[test]
fn one_that_is_not_waited_for_goes_on_by_itself_and_one_that_is_has_its_time() {
    let place = Place::new();
    let team = place.service.team();
    let seconds = process::unique_seconds();
    let slow = place.publish("slow", &format!("deploy: [sleep {seconds}]\n"));
    let app = team.project();
    manifest(&app, &format!("- {slow}\n"), "echo deployed");
    let run = app.events(&["deploy"]).ok();
    assert_eq!(said(&run, "deploy"), "deployed\n");
    let children = || {
        let list = team.slipway(["job", "list", "--output", "json"]).ok().out();
        let jobs = list.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        jobs.filter(|job| job["environment"] == "slow").collect::<Vec<_>>()
    };
    let is_running = || (!process::running(&["sleep", &seconds]).is_empty()).then_some(());
    until("it runs, after its parent has ended", SOON, is_running);
    let job = children()[0]["job"].as_str().unwrap().to_owned();
    team.slipway(["job", "cancel", &job]).ok();

    let dependency = format!("  slow: {{repository: {slow}, wait: true, timeout: 8s}}\n");
    manifest(&app, &dependency, "echo deployed");
    let run = app.events(&["deploy"]).expect(1);
    assert!(error(&run).contains("slow was not deployed in time"), "{}", error(&run));
    assert_eq!(said(&run, "deploy"), "");
    until("the child has ended", SOON, || (children()[0]["state"] == "cancelled").then_some(()));
    assert_eq!(process::running(&["sleep", &seconds]).len(), 0);
    // A cancel reaches it, too.
    manifest(&app, &dependency.replace("8s", "5m"), "echo deployed");
    let running = app.start_events(&["deploy"]);
    until("it runs again", SOON, is_running);
    team.slipway(["job", "cancel", &running.job()]).ok();
    running.finish().expect(1);
    until("the child has ended", SOON, || (children()[0]["state"] == "cancelled").then_some(()));
}

#[test]
fn one_that_another_job_deploys_is_waited_for_and_a_manifest_may_be_anywhere() {
    let place = Place::new();
    let team = place.service.team();
    let other = team.named_project("shared");
    other.manifest(
        "deploy:\n  remote: true\n  commands: ['echo begun; sleep 6; echo FROM=the-other-job >>$OKTETO_ENV']\n",
    );
    let deploying = other.start_events(&["deploy"]);
    deploying.says("begun");
    let shared = place.publish("shared", "deploy: [exit 1]\n");
    let nested = [("deploy/okteto.yaml", "deploy: [ls]\n"), ("deploy/beside", ""), ("not-there", "")];
    repository(place.published.path(), "nested.git", &nested);
    let app = team.project();
    let nested = format!("{}/nested.git, manifest: deploy/okteto.yaml", place.server.url);
    let dependencies =
        format!("  shared: {{repository: {shared}, wait: true}}\n  nested: {{repository: {nested}, wait: true}}\n");
    manifest(&app, &dependencies, "echo $OKTETO_DEPENDENCY_SHARED_VARIABLE_FROM");
    let run = app.events(&["deploy"]).ok();
    let told = said(&run, "dependencies");
    assert!(told.contains("waiting for that") && told.contains("shared is deployed already"), "{told}");
    assert!(told.contains("beside") && !told.contains("not-there"), "{told}");
    assert_eq!(said(&run, "deploy"), "the-other-job\n");
    deploying.finish().ok();
}

#[test]
fn one_whose_deploy_waits_for_the_place_of_who_needs_it_is_deployed_at_once() {
    let place = Place::with(Options::default().set("SLIPWAYD_JOBS__MAX_RUNNING", "1"));
    let team = place.service.team();
    let slow = place.publish("slow", "deploy: ['echo begun; sleep 5']\n");
    let api = place.publish("api", "deploy: ['true']\n");
    let app = team.project();
    let dependencies =
        format!("  slow: {{repository: {slow}, wait: true}}\n  api: {{repository: {api}, wait: true, timeout: 60s}}\n");
    manifest(&app, &dependencies, "echo deployed");
    let running = app.start_events(&["deploy"]);
    running.says("begun");
    let other = team.project();
    other.manifest("deploy:\n  remote: true\n  commands: ['true']\n");
    let queued = other.slipway(["deploy", "--name", "api", "--detach"]).ok().out();
    assert_eq!(said(&running.finish().ok(), "deploy"), "deployed\n");
    team.slipway(["job", "wait", queued.trim()]).ok();
}

#[test]
fn submodules_come_along_and_get_no_credentials() {
    let place = Place::new();
    let app = place.service.team().project();
    let config = app.beside("gitconfig");
    let helper = format!("!f() {{ echo username={USER}; echo password={PASSWORD}; }}; f");
    fs::write(&config, format!("[credential]\n\thelper = \"{helper}\"\n")).unwrap();
    let with_git = [("GIT_CONFIG_GLOBAL", config.to_str().unwrap())];
    for (module, is_private) in [("part", false), ("private/part", true)] {
        let part = place.publish(module, "deploy: [\"true\"]\n");
        let whole = place.publish(&format!("{module}-whole"), "deploy: [ls part]\n");
        let work = place.published.path().join(format!("{module}-whole.git-work"));
        let url = part.replace("://", &format!("://{USER}:{PASSWORD}@"));
        git(&work, &["submodule", "--quiet", "add", &url, "part"]);
        git(&work, &["config", "--file=.gitmodules", "submodule.part.url", &part]);
        commit(&work, &[]);
        git(&work, &["push", "-q", "origin", "main"]);
        manifest(&app, &format!("  whole: {{repository: {whole}, wait: true}}\n"), "echo done");
        let run = app.events_with(&["deploy", "--dependencies"], &with_git);
        if is_private {
            assert!(error(&run).contains("the submodules of whole can't be cloned"), "{}", run.story());
        } else {
            assert!(said(&run, "dependencies").contains("okteto.yaml"), "{}", run.story());
        }
    }
}

#[test]
fn what_fails_is_told_and_a_circle_is_refused() {
    let place = Place::new();
    let team = place.service.team();
    let app = team.project();
    let failing = place.publish("failing", "deploy: [\"echo last words; exit 7\"]\n");
    manifest(&app, &format!("  failing: {{repository: {failing}, wait: true}}\n"), "echo deployed");
    let run = app.events(&["deploy"]).expect(1);
    assert!(error(&run).contains("failing") && error(&run).contains("last words"), "{}", error(&run));
    assert_eq!(state(&team, "failing").as_deref(), Some("failed"));

    manifest(&app, &format!("- {}/gone.git\n", place.server.url), "echo deployed");
    let run = app.events(&["deploy"]).expect(1);
    assert!(error(&run).contains("gone can't be cloned from"), "{}", error(&run));

    // api depends on the application that depends on it.
    let own = place.publish("own", "deploy: [\"true\"]\n");
    let api = format!("dependencies:\n  {}: {{repository: {own}, wait: true}}\ndeploy: [\"true\"]\n", app.name);
    let api = place.publish("api", &api);
    manifest(&app, &format!("  api: {{repository: {api}, wait: true}}\n"), "echo deployed");
    let run = app.events(&["deploy"]).expect(1);
    let path = format!("{} → api → {}", app.name, app.name);
    assert!(error(&run).contains(&path), "{}", error(&run));
    // A command that would wait for its own job is refused as well.
    app.deploy(&["slipway deploy --remote --name $OKTETO_NAME"]);
    let run = app.events(&["deploy"]).expect(1);
    assert!(error(&run).contains(&format!("{} → {}", app.name, app.name)), "{}", error(&run));
}

/// The data directory, as far as it is not encrypted, holds this nowhere.
fn nowhere(dir: &Path, text: &str) {
    files::each(dir, &mut |path| {
        let content = fs::read(path).unwrap_or_default();
        assert!(!content.windows(text.len()).any(|bytes| bytes == text.as_bytes()), "{}", path.display());
    });
}

#[test]
fn a_private_repository_opens_to_the_callers_git_and_to_the_namespaces_token() {
    let place = Place::new();
    let team = place.service.team();
    let url = place.publish("private/books", "deploy: [\"echo deployed books\"]\n");
    let app = team.project();
    let dependency = format!("  books: {{repository: {url}, wait: true}}\n");
    manifest(&app, &dependency, "echo done");
    let run = app.events(&["deploy"]).expect(1);
    let hint = format!("{run:?}");
    assert!(hint.contains("books can't be cloned") && hint.contains("GIT_AUTH_TOKEN_127_0_0_1"), "{hint}");

    // The caller's git knows a user and a password.
    let config = app.beside("gitconfig");
    let helper = format!("!f() {{ echo username={USER}; echo password={PASSWORD}; }}; f");
    fs::write(&config, format!("[credential]\n\thelper = \"{helper}\"\n")).unwrap();
    let with_git = [("GIT_CONFIG_GLOBAL", config.to_str().unwrap())];
    let run = app.events_with(&["deploy"], &with_git).ok();
    assert!(said(&run, "dependencies").contains("deployed books"), "{}", run.story());
    assert!(!format!("{run:?}").contains(PASSWORD));

    // Where it has been cloned, nothing is left of that, whatever the repository's manifest reads.
    let stolen = "build:\n  a:\n    context: .\n    dockerfile: Steals\n    secrets: {environ: /proc/self/environ}\ndeploy: [\"true\"]\n";
    place.publish("private/thief", stolen);
    let work = place.published.path().join("private/thief.git-work");
    let steals = "FROM debian:trixie-slim\nRUN --mount=type=secret,id=environ,required grep -c OKTETO_TOKEN /run/secrets/environ && \\\n\
                  ! grep -e GIT_AUTH -e SLIPWAY_GIT -e WORD-OF /run/secrets/environ -i\n";
    commit(&work, &[("Steals", steals)]);
    git(&work, &["push", "-q", "origin", "main"]);
    let thief = format!("  thief: {{repository: {}/private/thief.git, wait: true}}\n", place.server.url);
    manifest(&app, &format!("{thief}{dependency}"), "echo done");
    app.events_with(&["deploy"], &with_git).ok();

    // The namespace has a token. What depends on it depends on others that are private, and on variables of the namespace.
    let host = place.server.url.trim_start_matches("http://").replace(['.', ':'], "_");
    let variable = format!("GIT_AUTH_TOKEN_{host}={PASSWORD}");
    team.slipway(["variable", "set", "--scope", "namespace", "--secret", &variable]).ok();
    team.slipway(["variable", "set", "--scope", "namespace", "--plain", "SHELF=upper"]).ok();
    let library = format!(
        "dependencies:\n{dependency}build:\n  a:\n    context: .\n    dockerfile: D\n    args: {{SHELF: $SHELF}}\ndeploy:\n- echo \"on the $SHELF \
         shelf, $OKTETO_GIT_BRANCH\"; env | grep GIT_AUTH || true\n"
    );
    place.publish("private/library", &library);
    let work = place.published.path().join("private/library.git-work");
    commit(&work, &[("D", "FROM debian:trixie-slim\nARG SHELF\nRUN test $SHELF = upper\n")]);
    git(&work, &["push", "-q", "origin", "main"]);
    let library = format!("  library: {{repository: {}/private/library.git, wait: true}}\n", place.server.url);
    team.slipway(["environment", "delete", "books"]).ok();
    manifest(&app, &library, "env | grep -c GIT_AUTH || true");
    let run = app.events(&["deploy"]).ok();
    assert!(said(&run, "dependencies").contains("on the upper shelf, main"), "{}", run.story());
    assert!(said(&run, "dependencies").contains("deployed books"), "{}", run.story());
    assert_eq!(said(&run, "deploy"), "0\n");
    assert!(!format!("{run:?}").contains(PASSWORD));
    nowhere(&place.service.data_dir(), PASSWORD);
}
