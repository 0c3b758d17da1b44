//! The checked-in code is what the .proto files generate.

#![expect(clippy::expect_used, clippy::unwrap_used, reason = "a test's helper")]

use std::fs;
use std::path::Path;

use prost::Message as _;

const PROTOS: [&str; 10] =
    ["admin", "build", "context", "environment", "event", "image", "job", "plan", "server", "variable"];

/// Of others, and without a description for reflection: BuildKit knows it.
const CONTENT: &str = "containerd/services/content/v1/content.proto";

fn generate(out: &Path) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files: Vec<_> = PROTOS.iter().map(|name| format!("slipway/v1/{name}.proto")).collect();
    let descriptors = protox::compile(&files, [root]).expect("the .proto files compile");
    fs::write(out.join("slipway.v1.bin"), descriptors.encode_to_vec()).unwrap();

    let mut builder = tonic_prost_build::configure()
        .out_dir(out)
        .emit_rerun_if_changed(false)
        .type_attribute("slipway.v1.Event", "#[derive(serde::Serialize)]")
        .type_attribute("slipway.v1.Event.kind", "#[derive(serde::Serialize)] #[serde(tag = \"type\")]")
        .field_attribute("slipway.v1.Event.kind", "#[serde(flatten)]")
        .field_attribute("slipway.v1.Event.time", "#[serde(serialize_with = \"crate::json::timestamp\")]")
        .type_attribute("slipway.v1.JobError", "#[derive(serde::Serialize)]")
        .type_attribute("slipway.v1.JobBefore", "#[derive(serde::Serialize)]")
        .skip_debug([
            "slipway.v1.SecretValue",
            "slipway.v1.SetVariableRequest",
            "slipway.v1.Variable",
            "slipway.v1.MaskedValue",
            "slipway.v1.RegistryLogin",
            "slipway.v1.DependencyPlan",
            "slipway.v1.EnvironmentVariable",
        ])
        .field_attribute("slipway.v1.JobDone.status", "#[serde(serialize_with = \"crate::json::status\")]");
    for (message, field) in [("StepLog", "text"), ("CommandLog", "text")] {
        builder = builder
            .field_attribute(
                format!("slipway.v1.{message}.{field}"),
                "#[serde(flatten, serialize_with = \"crate::json::output\")]",
            )
            .field_attribute(
                format!("slipway.v1.{message}.stream"),
                "#[serde(serialize_with = \"crate::json::stream\")]",
            );
    }
    for field in [
        "JobQueued.behind",
        "StepDone.error",
        "CommandStarted.test",
        "CommandLog.test",
        "CommandDone.test",
        "Warning.place",
        "JobDone.error",
        "JobError.hint",
    ] {
        builder = builder
            .field_attribute(format!("slipway.v1.{field}"), "#[serde(skip_serializing_if = \"Option::is_none\")]");
    }
    for (message, name) in [
        ("JobQueued", "job.queued"),
        ("JobStarted", "job.started"),
        ("SyncProgress", "sync.progress"),
        ("SyncDone", "sync.done"),
        ("BuildStarted", "build.started"),
        ("BuildSkipped", "build.skipped"),
        ("BuildExported", "build.exported"),
        ("ArtifactSaved", "artifact.saved"),
        ("ArtifactsExported", "artifacts.exported"),
        ("TestSkipped", "test.skipped"),
        ("StepStarted", "step.started"),
        ("StepProgress", "step.progress"),
        ("StepDone", "step.done"),
        ("StepLog", "step.log"),
        ("BuildDone", "build.done"),
        ("CommandStarted", "command.started"),
        ("CommandLog", "command.log"),
        ("CommandDone", "command.done"),
        ("Warning", "warning"),
        ("JobDone", "job.done"),
    ] {
        let variant = name.replace('.', "_");
        builder = builder
            .type_attribute(format!("slipway.v1.{message}"), "#[derive(serde::Serialize)]")
            .field_attribute(format!("slipway.v1.Event.kind.{variant}"), format!("#[serde(rename = \"{name}\")]"));
    }
    builder.compile_fds(descriptors).expect("the code generates");

    let descriptors = protox::compile([CONTENT], [root]).expect("containerd's file compiles");
    let builder = tonic_prost_build::configure().out_dir(out).emit_rerun_if_changed(false);
    builder.compile_fds(descriptors).expect("containerd's code generates");
}

#[test]
fn the_generated_code_matches_the_proto_files() {
    let checked_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/generated");
    if std::env::var_os("SLIPWAY_REGENERATE").is_some() {
        generate(&checked_in);
    }
    let fresh = tempfile::tempdir().unwrap();
    generate(fresh.path());
    for name in ["slipway.v1.rs", "slipway.v1.bin", "containerd.services.content.v1.rs"] {
        let (want, have) = (fs::read(fresh.path().join(name)).unwrap(), fs::read(checked_in.join(name)).unwrap());
        assert!(want == have, "{name} is out of date: run `SLIPWAY_REGENERATE=1 cargo test -p slipway-proto`");
    }
}
