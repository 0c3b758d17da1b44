//! What a pushed image holds, seen by skopeo.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::files::{Tree, add_layer};
use crate::team::Team;

/// An image, pulled.
#[derive(Debug)]
pub struct Image {
    /// All its files, layer over layer.
    pub files: Tree,
    /// Its configuration.
    pub config: Value,
}

/// Pulls an image with a team's token.
///
/// # Panics
/// When that does not work.
pub fn pull(team: &Team, reference: &str) -> Image {
    pull_as("anyone", team, reference)
}

/// Pulls an image as this user.
///
/// # Panics
/// When that does not work.
pub fn pull_as(user: &str, team: &Team, reference: &str) -> Image {
    let dir = tempfile::tempdir().expect("make a folder");
    let answer = copy(user, team, reference, dir.path());
    assert!(answer.status.success(), "skopeo can't pull {reference}: {}", text(&answer));
    let json = |name: &str| -> Value {
        serde_json::from_slice(&fs::read(dir.path().join(name)).expect("read what skopeo wrote")).expect("JSON")
    };
    let file = |descriptor: &Value| descriptor["digest"].as_str().expect("a digest").replace("sha256:", "");
    let manifest = json("manifest.json");
    let mut files = Tree::new();
    for layer in manifest["layers"].as_array().expect("layers") {
        let open = File::open(dir.path().join(file(layer))).expect("open a layer");
        match layer["mediaType"].as_str().expect("a media type") {
            zstd if zstd.ends_with("zstd") => add_layer(&mut files, zstd::Decoder::new(open).expect("zstd")),
            // A seekable layer is many streams one after another.
            gzip if gzip.ends_with("gzip") => add_layer(&mut files, flate2::read::MultiGzDecoder::new(open)),
            _ => add_layer(&mut files, open),
        }
    }
    Image { files, config: json(&file(&manifest["config"])) }
}

/// The manifest or index under a reference.
///
/// # Panics
/// When it is not there.
pub fn manifest(team: &Team, reference: &str) -> Value {
    serde_json::from_slice(&raw(team, reference)).expect("JSON")
}

/// The bytes of the manifest or index under a reference.
///
/// # Panics
/// When it can't be had.
pub fn raw(team: &Team, reference: &str) -> Vec<u8> {
    let (creds, from) = (format!("anyone:{}", team.token), format!("docker://{reference}"));
    let answer = skopeo(&["inspect", "--raw", "--tls-verify=false", "--creds", &creds, &from]);
    assert!(answer.status.success(), "skopeo can't read {reference}: {}", text(&answer));
    answer.stdout
}

/// The manifest of an artifact, and its layers' bytes.
///
/// # Panics
/// When it can't be had.
pub fn artifact(team: &Team, reference: &str) -> (Value, Vec<Vec<u8>>) {
    let dir = tempfile::tempdir().expect("make a folder");
    let answer = copy("anyone", team, reference, dir.path());
    assert!(answer.status.success(), "skopeo can't pull {reference}: {}", text(&answer));
    let read = |name: &str| fs::read(dir.path().join(name)).expect("read what skopeo wrote");
    let manifest: Value = serde_json::from_slice(&read("manifest.json")).expect("JSON");
    let layers = manifest["layers"].as_array().expect("layers").iter();
    let layers =
        layers.map(|layer| read(&layer["digest"].as_str().expect("a digest").replace("sha256:", ""))).collect();
    (manifest, layers)
}

/// What the registry says to a team that pulls this image; none when it gives it.
pub fn pull_refused(team: &Team, reference: &str) -> Option<String> {
    let dir = tempfile::tempdir().expect("make a folder");
    let answer = copy("anyone", team, reference, dir.path());
    (!answer.status.success()).then(|| text(&answer))
}

/// What the registry says to a team that pushes an empty image under this name; none when it takes it.
pub fn push_refused(team: &Team, reference: &str) -> Option<String> {
    let dir = tempfile::tempdir().expect("make a folder");
    let config = br#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#;
    let digest = slipway_context::Digest::of(config);
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": digest.to_string(),
            "size": config.len(),
        },
        "layers": [],
    });
    fs::write(dir.path().join(digest.hex()), config).expect("write a file");
    fs::write(dir.path().join("manifest.json"), manifest.to_string()).expect("write a file");
    fs::write(dir.path().join("version"), "Directory Transport Version: 1.1\n").expect("write a file");
    let from = format!("dir:{}", dir.path().display());
    let creds = format!("anyone:{}", team.token);
    let to = format!("docker://{reference}");
    let answer = skopeo(&["copy", "-q", "--dest-tls-verify=false", "--dest-creds", &creds, &from, &to]);
    (!answer.status.success()).then(|| text(&answer))
}

fn copy(user: &str, team: &Team, reference: &str, dir: &Path) -> Output {
    let (creds, from) = (format!("{user}:{}", team.token), format!("docker://{reference}"));
    let to = format!("dir:{}", dir.display());
    skopeo(&["copy", "-q", "--src-tls-verify=false", "--src-creds", &creds, &from, &to])
}

/// Runs skopeo.
pub fn skopeo(args: &[&str]) -> Output {
    // Its own files of credentials and policies are nothing that a test may depend on.
    let mut command = Command::new("skopeo");
    command.arg("--insecure-policy").args(args).env("HOME", "/nonexistent").env_remove("XDG_RUNTIME_DIR");
    command.output().expect("run skopeo; `make setup` installs it")
}

fn text(answer: &Output) -> String {
    String::from_utf8_lossy(&answer.stderr).into_owned()
}
