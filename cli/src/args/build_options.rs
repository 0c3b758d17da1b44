//! What `build` hands on to BuildKit.

use clap::Args;
use slipway_manifest::options::OptionKey;

/// What `build` hands on to BuildKit, for every service built. The manifest has keys for the same.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Options for every service built, on top of the manifest's")]
pub(crate) struct OptionArgs {
    /// Set a label of the image (repeatable)
    #[arg(long = "label", value_name = "K=V")]
    labels: Vec<String>,
    /// Set an annotation, of manifests or of what stands before a colon: manifest, index, manifest-descriptor,
    /// index-descriptor (repeatable)
    #[arg(long = "annotation", value_name = "[LEVEL:]K=V")]
    annotations: Vec<String>,
    /// What the Dockerfile finds under this name instead of an image or a stage: a folder, docker-image://REF, or the URL of a
    /// git repository (repeatable)
    #[arg(long = "build-context", value_name = "NAME=CONTEXT")]
    contexts: Vec<String>,
    /// Add a line to /etc/hosts of RUN steps (repeatable)
    #[arg(long = "add-host", value_name = "HOST=IP")]
    extra_hosts: Vec<String>,
    /// The network of RUN steps: default or none
    #[arg(long, value_name = "MODE")]
    network: Option<String>,
    /// The size of /dev/shm in RUN steps, such as 64m
    #[arg(long, value_name = "SIZE")]
    shm_size: Option<String>,
    /// Limit processes of RUN steps (repeatable)
    #[arg(long = "ulimit", value_name = "NAME=SOFT[:HARD]")]
    ulimits: Vec<String>,
    /// Run the steps of these stages again (repeatable)
    #[arg(long = "no-cache-filter", value_name = "STAGE")]
    no_cache_filter: Vec<String>,
    /// Take steps' results from this cache, where the service allows that: type=registry,ref=IMAGE, or an image (repeatable)
    #[arg(long = "cache-from", value_name = "OPTIONS")]
    cache_from: Vec<String>,
    /// Leave steps' results there: type=registry,ref=IMAGE,mode=max, type=inline, or an image (repeatable)
    #[arg(long = "cache-to", value_name = "OPTIONS", alias = "export-cache")]
    cache_to: Vec<String>,
    /// Resolve base images at their registries, whatever the engine has
    #[arg(long)]
    pull: bool,
    /// Add a record of how the image was built: true, false, mode=min (as true), mode=max
    #[arg(long, value_name = "BOOL|OPTIONS")]
    provenance: Option<String>,
    /// Add a bill of materials: true, false, generator=IMAGE
    #[arg(long, value_name = "BOOL|OPTIONS")]
    sbom: Option<String>,
    /// Add an attestation: type=provenance,… or type=sbom,… (repeatable)
    #[arg(long = "attest", value_name = "OPTIONS")]
    attestations: Vec<String>,
    /// The form of the image: type=image,compression=zstd,compression-level=3,force-compression=true,oci-mediatypes=true,
    /// rewrite-timestamp=true. Or what to bring here: type=oci|docker|tar,dest=FILE and type=local,dest=FOLDER, of one service
    /// (repeatable)
    #[arg(long = "export", value_name = "OPTIONS")]
    pub(crate) exports: Vec<String>,
}

impl OptionArgs {
    /// The options that were given, in an order in which later ones count more.
    pub(crate) fn to_pairs(&self) -> Vec<(OptionKey, String)> {
        let pull = self.pull.then(|| "true".to_owned());
        let given: [(OptionKey, Vec<&String>); 14] = [
            (OptionKey::Label, self.labels.iter().collect()),
            (OptionKey::Annotation, self.annotations.iter().collect()),
            (OptionKey::Context, self.contexts.iter().collect()),
            (OptionKey::ExtraHost, self.extra_hosts.iter().collect()),
            (OptionKey::Network, self.network.iter().collect()),
            (OptionKey::ShmSize, self.shm_size.iter().collect()),
            (OptionKey::Ulimit, self.ulimits.iter().collect()),
            (OptionKey::NoCacheFilter, self.no_cache_filter.iter().collect()),
            (OptionKey::CacheFrom, self.cache_from.iter().collect()),
            (OptionKey::CacheTo, self.cache_to.iter().collect()),
            (OptionKey::Pull, pull.iter().collect()),
            (OptionKey::Attest, self.attestations.iter().collect()),
            (OptionKey::Provenance, self.provenance.iter().collect()),
            (OptionKey::Sbom, self.sbom.iter().collect()),
        ];
        given.into_iter().flat_map(|(key, texts)| texts.into_iter().map(move |text| (key, text.clone()))).collect()
    }
}
