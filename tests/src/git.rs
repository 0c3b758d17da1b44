//! Git repositories, and a server of them.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::process::Server;
use crate::service::free_address;
use crate::wait::{SOON, until};

/// Who may read what is below `private`.
pub const USER: &str = "x-access-token";
/// With this password.
pub const PASSWORD: &str = "word-of-the-git-server";

/// Serves repositories (`git http-backend`) and files below a folder, those below `private` to [`USER`] only. Dropping it ends
/// it.
#[derive(Debug)]
pub struct GitServer {
    _child: Server,
    /// Of the folder, without a slash at its end.
    pub url: String,
}

const SERVER: &str = r#"
import http.server, os, subprocess, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self):
        path, _, query = self.path.partition("?")
        if path.startswith("/private/") and self.headers.get("authorization") != "Basic " + sys.argv[3]:
            self.send_response(401)
            self.send_header("www-authenticate", 'Basic realm="private"')
            self.send_header("content-length", "0")
            self.end_headers()
            return
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

impl GitServer {
    /// Starts it. The URL names this machine as `host`.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start(folder: &Path, host: &str) -> Self {
        let address = free_address();
        let mut command = Command::new("python3");
        command.args(["-c", SERVER]).arg(address.port().to_string()).arg(folder);
        command.arg(STANDARD.encode(format!("{USER}:{PASSWORD}")));
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("run python3");
        until("the server listens", SOON, || TcpStream::connect(address).ok());
        Self { _child: Server(child), url: format!("http://{host}:{}", address.port()) }
    }
}

/// Runs git in a folder.
///
/// # Panics
/// When it fails.
pub fn git(folder: &Path, args: &[&str]) {
    let mut command = Command::new("git");
    command.arg("-C").arg(folder).args(["-c", "user.name=n", "-c", "user.email=e@example.com"]).args(args);
    let output = command.output().expect("run git");
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A bare repository `folder/name` of one commit with these files, on the branch `main`.
///
/// # Panics
/// When it can't be made.
pub fn repository(folder: &Path, name: &str, files: &[(&str, &str)]) -> PathBuf {
    let (bare, work) = (folder.join(name), folder.join(format!("{name}-work")));
    fs::create_dir_all(&work).expect("make a folder");
    git(&work, &["init", "-q", "-b", "main"]);
    commit(&work, files);
    let target = bare.to_str().expect("UTF-8");
    git(&work, &["clone", "-q", "--bare", ".", target]);
    git(&work, &["remote", "add", "origin", target]);
    work
}

/// Commits these files in a work tree.
///
/// # Panics
/// When they can't be written.
pub fn commit(work: &Path, files: &[(&str, &str)]) {
    for (path, text) in files {
        let path = work.join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("make a folder");
        fs::write(path, text).expect("write a file");
    }
    git(work, &["add", "."]);
    git(work, &["commit", "-q", "-m", "files"]);
}
