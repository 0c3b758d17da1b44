//! Contexts that the engine fetches: git repositories and archives.

use std::fs::{self, File};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use slipway_journeys::service::{Options, free_address};
use slipway_journeys::wait::{SOON, until};
use slipway_journeys::{Buildkitd, Project, Service, files, image, unique};

/// A name for this machine that only the engine of these tests knows. The real ones are refused.
const HOST: &str = "fetched.example";

/// Serves repositories (`git http-backend`) and files below a folder. Dropping it ends it.
struct Server {
    child: Child,
    url: String,
}

const SERVER: &str = r#"
import http.server, os, subprocess, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self):
        path, _, query = self.path.partition("?")
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        file = os.path.join(sys.argv[2], path.lstrip("/"))
        if os.path.isfile(file):
            head, rest = b"", open(file, "rb").read()
        else:
            env = dict(os.environ, GIT_PROJECT_ROOT=sys.argv[2], GIT_HTTP_EXPORT_ALL="1", PATH_INFO=path,
                       QUERY_STRING=query, REQUEST_METHOD=self.command, CONTENT_LENGTH=str(len(body)),
                       CONTENT_TYPE=self.headers.get("content-type") or "",
                       HTTP_CONTENT_ENCODING=self.headers.get("content-encoding") or "",
                       GIT_PROTOCOL=self.headers.get("git-protocol") or "")
            out = subprocess.run(["git", "http-backend"], input=body, env=env, stdout=subprocess.PIPE).stdout
            head, _, rest = out.partition(b"\r\n\r\n")
        lines = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if line)
        self.send_response(int(lines.pop("Status", "200").split()[0]))
        for name, value in lines.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(rest)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(rest)
    do_GET = do_POST = do_HEAD = answer
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"#;

impl Server {
    fn start(folder: &Path) -> Self {
        let address = free_address();
        let mut command = Command::new("python3");
        command.args(["-c", SERVER]).arg(address.port().to_string()).arg(folder);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        until("the server listens", SOON, || TcpStream::connect(address).ok());
        Self { child, url: format!("http://{HOST}:{}", address.port()) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn git(folder: &Path, args: &[&str]) {
    let mut command = Command::new("git");
    command.arg("-C").arg(folder).args(["-c", "user.name=n", "-c", "user.email=e@example.com"]).args(args);
    let output = command.output().unwrap();
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

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
    let server = Server::start(published.path());
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
