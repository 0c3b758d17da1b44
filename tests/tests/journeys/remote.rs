//! Contexts that the engine fetches: git repositories and archives.

use std::fs::{self, File};
use std::path::Path;

use slipway_journeys::git::{GitServer, git};
use slipway_journeys::service::Options;
use slipway_journeys::{Buildkitd, Project, Service, files, image, unique};

/// A name for this machine that only the engine of these tests knows. The real ones are refused.
const HOST: &str = "fetched.example";

/// A repository `app.git` with an image in `sub`, and another one on the branch `other`; the same as `app.tar.gz`.
fn publish(folder: &Path, mark: &str) {
    let work = folder.join("work");
    fs::create_dir_all(work.join("sub")).unwrap();
    fs::write(work.join("sub/Dockerfile"), "FROM scratch\nCOPY mark /\n").unwrap();
    git(folder, &["init", "-q", "-b", "main", "work"]);
    for branch in ["main", "other"] {
        fs::write(work.join("sub/mark"), format!("{mark} {branch}")).unwrap();
        if branch != "main" {
            git(&work, &["checkout", "-q", "-b", branch]);
        }
        git(&work, &["add", "."]);
        git(&work, &["commit", "-q", "-m", branch]);
    }
    git(folder, &["clone", "-q", "--bare", "work", "app.git"]);
    let archive =
        flate2::write::GzEncoder::new(File::create(folder.join("app.tar.gz")).unwrap(), flate2::Compression::fast());
    let mut archive = tar::Builder::new(archive);
    archive.append_dir_all(".", work.join("sub")).unwrap();
    archive.into_inner().unwrap().finish().unwrap();
}

fn built(app: &Project, args: &[&str]) -> String {
    let run = app.events(args).ok();
    let image = image::pull(&app.team, run.last("build.done")["image"].as_str().unwrap());
    files::text(&image.files, "mark").to_owned()
}

#[test]
fn the_engine_fetches_repositories_and_archives() {
    let (published, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mark = unique("m");
    publish(published.path(), &mark);
    let server = GitServer::start(published.path(), HOST);
    let (_engine, address) = Buildkitd::with_names(dir.path(), HOST);
    let service = Service::with(Options { engines: vec![address], ..Options::default() });
    let app = service.team().project();

    app.manifest(&format!("build:\n  app:\n    context: {}/app.git#main:sub\n", server.url));
    assert_eq!(built(&app, &["build"]), format!("{mark} main"));
    // It may be another one each time, so it is looked at each time.
    assert_eq!(built(&app, &["build"]), format!("{mark} main"));
    // Without a manifest; the Dockerfile is within what is fetched.
    let other = format!("{}/app.git#other", server.url);
    app.file("Dockerfile", "FROM scratch\n");
    let refused = app.events(&["build", "-t", "okteto.dev/x:1", &other]).expect(1);
    assert!(
        refused.last("job.done")["error"]["message"].as_str().unwrap().contains("Dockerfile"),
        "{}",
        refused.story()
    );
    assert_eq!(built(&app, &["build", "-t", "okteto.dev/x:1", &format!("{other}:sub")]), format!("{mark} other"));

    app.manifest(&format!("build:\n  app:\n    context: {}/app.tar.gz\n", server.url));
    assert_eq!(built(&app, &["build"]), format!("{mark} other"));

    // Nobody can tell what it uses: not that it uses what isn't pushed.
    app.file("beside/Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
    app.manifest(&format!("build:\n  beside: beside\n  app:\n    context: {}/app.tar.gz\n", server.url));
    app.events(&["build", "--push=false"]).ok();

    // As a named context, and beside a folder.
    app.manifest(&format!(
        "build:\n  app:\n    context: .\n    additional_contexts:\n      theirs: {}/app.git#main:sub\n",
        server.url
    ));
    app.file("Dockerfile", "FROM scratch\nCOPY --from=theirs mark /\n");
    assert_eq!(built(&app, &["build"]), format!("{mark} main"));
}

#[test]
fn the_engines_own_host_and_the_callers_agent_are_out_of_reach() {
    let service = Service::shared();
    let app = service.team().project();
    let refused = |context: &str| {
        app.manifest(&format!("build:\n  app:\n    context: {context}\n"));
        let run = app.events(&["build"]).expect(1);
        let message = run.last("job.done")["error"]["message"].as_str().unwrap().to_owned();
        assert!(
            message.contains("denied by policy") || message.contains("not allowed by policy"),
            "{context}: {message}"
        );
    };
    for host in ["127.0.0.1", "localhost", "ip6-localhost"] {
        refused(&format!("http://{host}:{}/app.tar.gz", service.address().port()));
        refused(&format!("http://{host}:{}/app.git", service.address().port()));
    }
    app.image("FROM scratch\nADD git@fetched.invalid:org/app.git /\n");
    let run = app.events(&["build"]).expect(1);
    let error = &run.last("job.done")["error"];
    assert!(error["message"].as_str().unwrap().contains("policy"), "{error}");
    assert!(error["hint"].as_str().unwrap().contains("--mount=type=ssh"), "{error}");
    for (context, problem) in [
        ("git@example.com:org/app.git", "over ssh is not supported"),
        ("https://me:word@example.com/app.git", "a user or a password"),
        ("docker-image://debian", "can only be a named context"),
    ] {
        app.manifest(&format!("build:\n  app:\n    context: {context}\n"));
        let run = app.events(&["build"]).expect(2);
        assert!(run.stderr.contains(problem), "{}", run.stderr);
    }
}
