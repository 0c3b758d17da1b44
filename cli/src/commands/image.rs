//! `slipway image …`

use std::fmt::Write as _;

use anyhow::Result;
use serde::Serialize;
use serde_json::Value;
use slipway_proto::v1::{
    DeleteImageRequest, ImageManifest, ListImagesRequest, ResolvedImage, ShowImageRequest, ShowImageResponse,
};

use crate::args::ImageCommand;
use crate::client::{LONG_CALL, Patience, timed};
use crate::error::ExitStatus;
use crate::output::{self, Table};
use crate::session::Session;
use crate::settings::{Output, Settings};

#[derive(Serialize)]
struct Listed<'a> {
    image: &'a str,
    digest: &'a str,
}

#[derive(Serialize)]
struct Shown<'a> {
    image: &'a str,
    digest: &'a str,
    media_type: &'a str,
    manifests: Vec<Manifest<'a>>,
}

#[derive(Serialize)]
struct Manifest<'a> {
    digest: &'a str,
    platform: Option<&'a str>,
    size: u64,
    layers: u32,
    attestation: bool,
    #[serde(skip_serializing_if = "str::is_empty")]
    attests_to: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    predicate_types: &'a [String],
    config: Value,
}

impl<'a> From<&'a ImageManifest> for Manifest<'a> {
    fn from(manifest: &'a ImageManifest) -> Self {
        let platform = Some(manifest.platform.as_str()).filter(|platform| !platform.is_empty());
        // What is no JSON is somebody else's: shown as nothing.
        let config = serde_json::from_slice(&manifest.config).unwrap_or_default();
        let ImageManifest { digest, size, layers, attestation, attests_to, predicate_types, .. } = manifest;
        let (size, layers, attestation) = (*size, *layers, *attestation);
        Self { digest, platform, size, layers, attestation, attests_to, predicate_types, config }
    }
}

/// Lists, shows or removes images of the namespace.
pub(crate) async fn run(command: ImageCommand, settings: &Settings) -> Result<ExitStatus> {
    let session = Session::open(settings).await?;
    match command {
        ImageCommand::List { repository, all } => list(&session, repository.unwrap_or_default(), all, settings).await?,
        ImageCommand::Show { image } => show(&session, image, settings).await?,
        ImageCommand::Delete { images } => {
            for image in images {
                delete(&session, image).await?;
            }
        }
    }
    Ok(ExitStatus::Done)
}

async fn list(session: &Session, repository: String, all: bool, settings: &Settings) -> Result<()> {
    let client = &session.client;
    let request = ListImagesRequest { namespace: session.namespace.clone(), repository, all };
    let call = || {
        let (mut images, request) = (client.images(), timed(request.clone(), LONG_CALL));
        async move { images.list(request).await }
    };
    let answer = Patience::RESTART.call(call).await.map_err(|status| client.error(&status))?;
    let mut table = Table::new(["IMAGE", "DIGEST"]);
    for ResolvedImage { image, digest } in &answer.images {
        if settings.output == Output::Json {
            output::print_json(&Listed { image, digest })?;
        }
        table.row([image.clone(), digest.clone()]);
    }
    if settings.output == Output::Plain {
        output::print(table)?;
    }
    Ok(())
}

async fn show(session: &Session, image: String, settings: &Settings) -> Result<()> {
    let client = &session.client;
    let request = ShowImageRequest { namespace: session.namespace.clone(), image };
    let call = || {
        let (mut images, request) = (client.images(), timed(request.clone(), LONG_CALL));
        async move { images.show(request).await }
    };
    let answer = Patience::RESTART.call(call).await.map_err(|status| client.error(&status))?;
    let ShowImageResponse { image, digest, media_type, manifests } = &answer;
    let shown = Shown { image, digest, media_type, manifests: manifests.iter().map(Manifest::from).collect() };
    if settings.output == Output::Json {
        output::print_json(&shown)?;
        return Ok(());
    }
    output::print(format_args!("{image}\ndigest      {digest}\nmedia type  {media_type}\n"))?;
    shown.manifests.iter().try_for_each(|manifest| output::print(manifest.text()))?;
    Ok(())
}

impl Manifest<'_> {
    /// What people want to know of it.
    fn text(&self) -> String {
        let what = if self.attestation { "attestation" } else { self.platform.unwrap_or("image") };
        let mut text = format!(
            "\n{what}\n  digest      {}\n  size        {} in {} layers\n",
            self.digest,
            output::size(self.size),
            self.layers
        );
        let mut line = |name: &str, value: Option<String>| {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                // Writing to a String can't fail.
                let _ = writeln!(text, "  {name:<10}  {value}");
            }
        };
        let of = |name: &str| &self.config["config"][name];
        let words = |value: &Value| {
            let words: Vec<_> = value.as_array()?.iter().map(|word| word.as_str().unwrap_or_default()).collect();
            (!words.is_empty()).then(|| serde_json::json!(words).to_string())
        };
        let own = |value: &Value| value.as_str().map(str::to_owned);
        line("of", Some(self.attests_to.to_owned()));
        self.predicate_types.iter().for_each(|predicate| line("says", Some(predicate.clone())));
        line("created", own(&self.config["created"]));
        line("user", own(of("User")));
        line("workdir", own(of("WorkingDir")));
        line("entrypoint", words(of("Entrypoint")));
        line("command", words(of("Cmd")));
        let labels = of("Labels").as_object().into_iter().flatten();
        labels.for_each(|(name, value)| line("label", Some(format!("{name}={}", value.as_str().unwrap_or_default()))));
        text
    }
}

async fn delete(session: &Session, image: String) -> Result<()> {
    let client = &session.client;
    let request = DeleteImageRequest { namespace: session.namespace.clone(), image };
    let answer = client.images().delete(timed(request, LONG_CALL)).await;
    let answer = answer.map_err(|status| client.error(&status))?.into_inner();
    output::note(format_args!("{} is gone", answer.image));
    Ok(())
}
