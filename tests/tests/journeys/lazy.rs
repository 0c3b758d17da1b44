//! Equal layers of two namespaces, pulled at the same time.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use slipway_context::Digest;
use slipway_journeys::{Service, files, image, random, unique};

#[test]
fn namespaces_that_pull_equal_layers_at_once_do_not_depend_on_each_other() {
    let service = Service::shared();
    let teams: Vec<_> = (0..3).map(|_| service.team()).collect();
    for round in 0..4 {
        // Layers that no engine has seen.
        let base = tempfile::tempdir().unwrap();
        let archive = format!("dir:{}", base.path().display());
        unseen_image(base.path());
        for team in &teams {
            let creds = format!("anyone:{}", team.token);
            let to = format!("docker://{}/{}/base:{round}", team.registry, team.namespace);
            let copied =
                image::skopeo(&["copy", "-q", "--dest-tls-verify=false", "--dest-creds", &creds, &archive, &to]);
            assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
        }
        let apps: Vec<_> = teams.iter().map(slipway_journeys::Team::project).collect();
        for app in &apps {
            app.file("mark", unique("m")).image(&format!("FROM okteto.dev/base:{round}\nCOPY mark /\n"));
        }
        let running: Vec<_> = apps.iter().map(|app| app.start_events(&["build"])).collect();
        for (app, running) in apps.iter().zip(running) {
            let run = running.finish().ok();
            let built = image::pull(&app.team, run.last("build.done")["image"].as_str().unwrap());
            assert!(!files::text(&built.files, "mark").is_empty());
        }
    }
}

/// An image of some random layers, as skopeo keeps it in a folder.
fn unseen_image(dir: &Path) {
    let blob = |bytes: Vec<u8>| {
        let digest = Digest::of(&bytes);
        let size = bytes.len();
        fs::write(dir.join(digest.hex()), bytes).unwrap();
        (digest.to_string(), size)
    };
    let (mut layers, mut diffs) = (Vec::new(), Vec::new());
    for layer in 0..4 {
        let mut archive = tar::Builder::new(Vec::new());
        let data = random(3_000_000);
        let mut header = tar::Header::new_gnu();
        header.set_size(data.len() as u64);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_cksum();
        archive.append_data(&mut header, format!("data-{layer}"), data.as_slice()).unwrap();
        let archive = archive.into_inner().unwrap();
        diffs.push(Digest::of(&archive).to_string());
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(&archive).unwrap();
        let (digest, size) = blob(packed.finish().unwrap());
        let media_type = "application/vnd.oci.image.layer.v1.tar+gzip";
        layers.push(serde_json::json!({"mediaType": media_type, "digest": digest, "size": size}));
    }
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": diffs},
    });
    let (digest, size) = blob(config.to_string().into_bytes());
    let media_type = "application/vnd.oci.image.config.v1+json";
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": media_type, "digest": digest, "size": size}, "layers": layers,
    });
    fs::write(dir.join("manifest.json"), manifest.to_string()).unwrap();
    fs::write(dir.join("version"), "Directory Transport Version: 1.1\n").unwrap();
}
