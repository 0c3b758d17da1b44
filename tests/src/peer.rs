//! The same work by the engine's own client, to compare with.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use crate::files::{Tree, of_archive};
use crate::{on_docker, setup_tool};

/// The files of an image that `docker buildx build` or `buildctl` makes of a folder on the engine under test.
///
/// # Panics
/// When it can't.
pub fn build(dir: &Path, dockerfile: &str) -> Tree {
    let out = tempfile::Builder::new().suffix(".tar").tempfile().expect("make a file");
    let output = format!("type=tar,dest={}", out.path().display());
    let mut command;
    if on_docker() {
        command = Command::new("docker");
        command.args(["buildx", "build", "--builder", "default", "-q", "-f"]).arg(dir.join(dockerfile));
        command.args(["--output", &output]).arg(dir);
    } else {
        let place = format!("={}", dir.display());
        command = Command::new(buildctl());
        command.args(["--addr", &crate::engine(), "build", "--progress", "quiet", "--frontend", "dockerfile.v0"]);
        command.args(["--local", &format!("context{place}"), "--local", &format!("dockerfile{place}")]);
        command.args(["--opt", &format!("filename={dockerfile}"), "--output", &output]);
    }
    let answer = command.output().unwrap_or_else(|error| panic!("run {command:?}: {error}; run `make setup`"));
    assert!(answer.status.success(), "{command:?}: {}", String::from_utf8_lossy(&answer.stderr));
    of_archive(out.path())
}

/// The engine's records of builds, as JSON, with their options: what anyone sees who reaches it.
///
/// # Panics
/// When it can't be asked.
pub fn build_history() -> String {
    let address = if on_docker() { format!("tcp://{}", dial_docker()) } else { crate::engine() };
    let mut command = Command::new(buildctl());
    let answer = command.args(["--addr", &address, "debug", "histories", "--format", "{{json .}}"]).output();
    let answer = answer.unwrap_or_else(|error| panic!("run {command:?}: {error}; run `make setup`"));
    assert!(answer.status.success(), "{command:?}: {}", String::from_utf8_lossy(&answer.stderr));
    String::from_utf8_lossy(&answer.stdout).into_owned()
}

/// An address where connections lead to the BuildKit within Docker Engine.
fn dial_docker() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for connection in listener.incoming() {
            let there = connection.expect("accept");
            thread::spawn(move || dial(there));
        }
    });
    address
}

/// Connects the two until one of them ends.
fn dial(mut there: TcpStream) {
    let mut back = there.try_clone().expect("a second handle");
    let mut docker = Command::new("docker");
    docker.args(["buildx", "--builder", "default", "dial-stdio"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut docker = docker.spawn().expect("run docker; `make setup` installs it");
    let (mut input, mut output) = (docker.stdin.take().expect("piped"), docker.stdout.take().expect("piped"));
    thread::spawn(move || pass_on(&mut output, &mut back));
    let _ = pass_on(&mut there, &mut input);
    drop(input);
    let _ = docker.wait();
}

/// As `io::copy`, which waits for a pipeful between a pipe and a socket.
fn pass_on(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut buffer = [0; 16 << 10];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(()),
            read => to.write_all(&buffer[..read])?,
        }
    }
}

/// The one that `make setup` compiled, else the one on PATH.
fn buildctl() -> PathBuf {
    setup_tool("buildctl").unwrap_or_else(|| "buildctl".into())
}
