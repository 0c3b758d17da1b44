//! A project of four services: for Slipway a manifest, for buildx a bake file.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::json;

use crate::tree;

/// What images start from; `make setup` has put it where every engine finds it.
pub(crate) const BASE: &str = "debian:trixie-slim";

/// `api` is built from `lib`; the others are independent.
const SERVICES: [&str; 4] = ["lib", "api", "web", "docs"];
/// The one that is built from another, and that.
const USER: &str = "api";
const USED: &str = "lib";
const FILES: u64 = 500;

/// A folder for each service, with a Dockerfile and small files.
pub(crate) fn write(tree: &Path, seed: u64) -> Result<()> {
    for (number, service) in SERVICES.iter().enumerate() {
        let folder = tree.join(service);
        fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        tree::many(&folder.join("src"), FILES, seed.wrapping_add(number as u64))?;
        // Work as of a linter or a bundler: everything is read, and something small comes of it.
        let dockerfile = format!(
            "ARG BASE={BASE}\nFROM $BASE\nCOPY src /{service}\n\
             RUN find /{service} -type f | sort | xargs sha256sum > /{service}.sums\n\
             RUN tar -C / -czf /{service}.tar.gz {service}\n"
        );
        fs::write(folder.join("Dockerfile"), dockerfile).context("write a Dockerfile")?;
    }
    Ok(())
}

/// `okteto.yaml` in this folder, beside the tree.
pub(crate) fn write_manifest(folder: &Path) -> Result<()> {
    let build = SERVICES.map(|service| {
        let mut build = json!({"context": format!("tree/{service}")});
        if service == USER {
            build["additional_contexts"] = json!({USED: format!("service:{USED}")});
            build["args"] = json!({"BASE": USED});
        }
        (service.to_owned(), build)
    });
    // JSON is YAML.
    let manifest = json!({"name": "bench", "build": serde_json::Map::from_iter(build)});
    fs::write(folder.join("okteto.yaml"), manifest.to_string()).context("write okteto.yaml")
}

/// `bake.json` in this folder, beside the tree; `image` names a service's image.
pub(crate) fn write_bake(folder: &Path, image: impl Fn(&str) -> String) -> Result<PathBuf> {
    let target = |service: &&str| {
        let context = format!("tree/{service}");
        let target = if *service == USER {
            json!({
                "context": context, "tags": [image(service)],
                "contexts": {USED: format!("target:{USED}")}, "args": {"BASE": USED},
            })
        } else {
            json!({"context": context, "tags": [image(service)]})
        };
        ((*service).to_owned(), target)
    };
    let targets: serde_json::Map<_, _> = SERVICES.iter().map(target).collect();
    let file = json!({"group": {"default": {"targets": SERVICES}}, "target": targets});
    let path = folder.join("bake.json");
    fs::write(&path, file.to_string()).context("write bake.json")?;
    Ok(path)
}
