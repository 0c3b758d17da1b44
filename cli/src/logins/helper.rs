//! Credential helpers: `docker-credential-NAME get`, with the registry on its standard input
//! (docker/docker-credential-helpers, `client` and `credentials`).

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use slipway_proto::v1::LoginKind;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use super::Login;

/// What a helper's program is called, before its name.
pub(super) const PREFIX: &str = "docker-credential-";
/// How long one may take: some ask a service of their own, and some a person.
const DEADLINE: Duration = Duration::from_secs(30);
/// The most bytes of an answer.
const MAX_ANSWER: u64 = 256 << 10;
/// What a helper says that has nothing for a registry.
const NOT_FOUND: &str = "credentials not found";
/// The user's name that stands for an identity token.
const IDENTITY: &str = "<token>";
/// The most characters of what a helper says when it fails.
const MAX_MESSAGE: usize = 200;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

/// What the helper has for a registry, if anything.
pub(super) async fn get(name: &str, key: &str) -> Result<Option<Login>, String> {
    // A path would be another program than one of that name.
    if name.is_empty() || name.contains('/') {
        return Err("that is no helper's name".to_owned());
    }
    ask_program(format!("{PREFIX}{name}").as_ref(), DEADLINE, key).await
}

pub(super) async fn ask_program(program: &Path, limit: Duration, key: &str) -> Result<Option<Login>, String> {
    let (status, answer) = match tokio::time::timeout(limit, ask(program, key)).await {
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err("there is no such program on PATH".to_owned());
        }
        Ok(answer) => answer.map_err(|error| error.to_string())?,
        Err(_) => return Err(format!("no answer within {} s", limit.as_secs())),
    };
    if answer.len() as u64 > MAX_ANSWER {
        return Err(format!("it answers more than {MAX_ANSWER} bytes"));
    }
    if !status.success() {
        return failed(status, &String::from_utf8_lossy(&answer));
    }
    // The parse error would quote the secret.
    let Answer { username, secret } =
        serde_json::from_slice(&answer).map_err(|_| "its answer is malformed".to_owned())?;
    Ok(match username.as_str() {
        _ if secret.is_empty() => None,
        IDENTITY => Some(Login::identity(secret)),
        _ => Some(Login { username, secret, kind: LoginKind::Password }),
    })
}

async fn ask(program: &Path, key: &str) -> std::io::Result<(std::process::ExitStatus, Vec<u8>)> {
    let mut command = Command::new(program);
    command.arg("get").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let mut child = command.spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that doesn't read it has an answer for everything, or fails by itself.
        let _ = stdin.write_all(key.as_bytes()).await;
    }
    let mut answer = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(MAX_ANSWER + 1).read_to_end(&mut answer).await?;
    }
    if answer.len() as u64 > MAX_ANSWER {
        // It would not end by itself.
        child.start_kill()?;
    }
    Ok((child.wait().await?, answer))
}

/// It says why on its standard output.
fn failed(status: std::process::ExitStatus, said: &str) -> Result<Option<Login>, String> {
    let said = said.trim();
    if said.starts_with(NOT_FOUND) {
        return Ok(None);
    }
    // What looks like an answer may hold a secret.
    let said = if said.contains('{') { "" } else { said };
    let said: String = said.chars().filter(|c| !c.is_control()).take(MAX_MESSAGE).collect();
    Err(if said.is_empty() { format!("it failed ({status})") } else { format!("it failed ({status}): {said}") })
}
