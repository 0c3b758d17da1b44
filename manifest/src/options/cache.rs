//! Caches outside of the engine, as `docker buildx build --cache-from` and `--cache-to` take them.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{InvalidOption, boolean, fields};

/// One cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cache {
    /// What it is.
    pub kind: CacheKind,
    /// The image that it is kept as, a reference as in `image`; none of an inline cache.
    pub reference: Option<String>,
    /// More attributes (`BuildKit`, `cache/remotecache`), checked.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
}

/// Where a local cache is read, and where it is written.
const SRC: &str = "src";
const DEST: &str = "dest";

/// Those that there are, for messages.
const KINDS: &str = "`registry`, `inline`, `local`, `s3`, `azblob` and `gha`";

/// Kinds of caches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CacheKind {
    /// An image of its own in a registry.
    Registry,
    /// Part of the image that is built.
    Inline,
    /// An OCI image layout in a folder of the client's.
    Local,
    /// Objects in a bucket.
    S3,
    /// Blobs in a container of Azure's.
    Azblob,
    /// The cache of GitHub's workflows.
    Gha,
}

/// An attribute that says who one is: it is in no manifest and no plan, but among the secrets of the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credential {
    /// `BuildKit`'s name of it.
    pub attribute: &'static str,
    /// The client's variable that has it, as for the tools of the cache's own field.
    pub variable: &'static str,
    /// Nothing goes without it: the engine would use what its own machine may.
    pub required: bool,
}

/// As `docker buildx` finds them (`util/buildflags/cache.go`).
const OF_S3: [Credential; 3] = [
    Credential { attribute: "access_key_id", variable: "AWS_ACCESS_KEY_ID", required: true },
    Credential { attribute: "secret_access_key", variable: "AWS_SECRET_ACCESS_KEY", required: true },
    Credential { attribute: "session_token", variable: "AWS_SESSION_TOKEN", required: false },
];

/// The variable of Azure's own command.
const OF_AZBLOB: [Credential; 1] =
    [Credential { attribute: "secret_access_key", variable: "AZURE_STORAGE_KEY", required: true }];

/// What the runner of a workflow has for its actions; which of the URLs there is tells the version of its service.
const OF_GHA: [Credential; 3] = [
    Credential { attribute: "token", variable: "ACTIONS_RUNTIME_TOKEN", required: true },
    Credential { attribute: "url_v2", variable: "ACTIONS_RESULTS_URL", required: false },
    Credential { attribute: "url", variable: "ACTIONS_CACHE_URL", required: false },
];

impl CacheKind {
    /// `BuildKit`'s name of it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Registry => "registry",
            Self::Inline => "inline",
            Self::Local => "local",
            Self::S3 => "s3",
            Self::Azblob => "azblob",
            Self::Gha => "gha",
        }
    }

    /// What opens it, beside what opens registries.
    pub fn credentials(self) -> &'static [Credential] {
        match self {
            Self::Registry | Self::Inline | Self::Local => &[],
            Self::S3 => &OF_S3,
            Self::Azblob => &OF_AZBLOB,
            Self::Gha => &OF_GHA,
        }
    }

    /// Where its credentials are not there, it is left out, as by `docker buildx`: a manifest has it for workflows, and is built
    /// elsewhere too.
    pub fn is_left_out_without_credentials(self) -> bool {
        self == Self::Gha
    }

    /// Attributes that it must have.
    fn required(self) -> &'static [&'static str] {
        match self {
            Self::Registry | Self::Inline | Self::Local | Self::Gha => &[],
            Self::S3 => &["region", "bucket"],
            Self::Azblob => &["account_url"],
        }
    }

    /// One attribute of just this kind, as it is handed on.
    fn attribute(self, key: &str, value: &str) -> Result<Option<String>, InvalidOption> {
        let own = match (self, key) {
            (Self::Local, "src" | "dest") if !value.is_empty() => value.to_owned(),
            (Self::Local, "digest") if is_digest(value) => value.to_owned(),
            (Self::Local, "tag") | (Self::S3, "region" | "bucket") | (Self::Azblob, "account_name" | "container") => {
                plain_word(key, value)?
            }
            (Self::S3, "endpoint_url") | (Self::Azblob, "account_url") if is_url(value) => value.to_owned(),
            (Self::S3, "endpoint_url") | (Self::Azblob, "account_url") => {
                return Err(InvalidOption(format!("`{key}={}` is no URL of http or https", value.escape_debug())));
            }
            (Self::S3, "use_path_style") => boolean(value)?.to_string(),
            (Self::S3 | Self::Azblob, "name" | "prefix" | "blobs_prefix" | "manifests_prefix")
            | (Self::S3, "touch_refresh")
            | (Self::Gha, "scope") => value.to_owned(),
            (Self::Gha, "timeout") if is_duration(value) => value.to_owned(),
            (Self::S3, "upload_parallelism") if value.parse::<u8>().is_ok_and(|n| (1..=64).contains(&n)) => {
                value.to_owned()
            }
            _ => return Ok(None),
        };
        Ok(Some(own))
    }
}

impl Cache {
    /// Names of attributes with a URL that an engine is sent to.
    pub const URLS: [&'static str; 4] = ["endpoint_url", "account_url", "url", "url_v2"];

    /// One that steps' results are taken from.
    pub fn source(text: &str) -> Result<Self, InvalidOption> {
        let cache: Self = text.parse()?;
        if cache.kind == CacheKind::Inline {
            return Err(InvalidOption::new("an inline cache is taken from its image: `type=registry,ref=IMAGE`"));
        }
        cache.with_place(SRC, DEST)
    }

    /// One that steps' results are left in.
    pub fn destination(text: &str) -> Result<Self, InvalidOption> {
        text.parse::<Self>()?.with_place(DEST, SRC)
    }

    fn with_place(self, here: &str, there: &str) -> Result<Self, InvalidOption> {
        if self.kind == CacheKind::Local && !self.attributes.contains_key(here) {
            return Err(InvalidOption(format!("it lacks `{here}=FOLDER`")));
        }
        match self.attributes.get(there) {
            Some(folder) => Err(InvalidOption(format!("`{there}={folder}`: expected `{here}`"))),
            None => Ok(self),
        }
    }

    /// The folder of a local one, as it is written; relative to the manifest.
    pub fn folder(&self) -> Option<&str> {
        self.attributes.get(SRC).or_else(|| self.attributes.get(DEST)).map(String::as_str)
    }

    /// The same in another folder.
    #[must_use]
    pub fn with_folder(mut self, folder: &str) -> Self {
        let place = if self.attributes.contains_key(SRC) { SRC } else { DEST };
        self.attributes.insert(place.to_owned(), folder.to_owned());
        self
    }

    /// The name of a local one among others in its folder.
    pub fn tag(&self) -> &str {
        self.attributes.get("tag").map_or("latest", String::as_str)
    }

    /// Says what exactly is taken from a local one, `sha256:…`.
    pub fn set_digest(&mut self, digest: &str) {
        self.attributes.insert("digest".to_owned(), digest.to_owned());
    }

    /// What exactly is taken from a local one, `sha256:…`.
    pub fn digest(&self) -> Option<&str> {
        self.attributes.get("digest").map(String::as_str)
    }
}

impl FromStr for Cache {
    type Err = InvalidOption;

    fn from_str(text: &str) -> Result<Self, InvalidOption> {
        if !text.contains('=') {
            // An image's name alone; everything is kept, as Okteto does.
            let attributes = BTreeMap::from([("mode".to_owned(), "max".to_owned())]);
            return Ok(Self { kind: CacheKind::Registry, reference: Some(text.trim().to_owned()), attributes });
        }
        let kind = fields(text).filter(|(key, _)| *key == "type").last();
        let kind = match kind.map(|(_, kind)| kind) {
            Some("registry") => CacheKind::Registry,
            Some("inline") => CacheKind::Inline,
            Some("s3") => CacheKind::S3,
            Some("azblob") => CacheKind::Azblob,
            Some("gha") => CacheKind::Gha,
            Some("local") => CacheKind::Local,
            Some(other) => {
                return Err(InvalidOption(format!("`type={}` is no cache: {KINDS} are", other.escape_debug())));
            }
            None => return Err(InvalidOption(format!("it lacks a type: {KINDS} are there"))),
        };
        let (mut reference, mut attributes) = (None, BTreeMap::new());
        for (key, value) in fields(text).filter(|(key, _)| *key != "type") {
            if let Some(secret) = kind.credentials().iter().find(|secret| secret.attribute == key) {
                let variable = secret.variable;
                return Err(InvalidOption(format!("`{key}` is a secret: it is taken from the variable `{variable}`")));
            }
            let value = match (key, value) {
                ("ref", value) if kind == CacheKind::Registry && !value.is_empty() => {
                    reference = Some(value.to_owned());
                    continue;
                }
                ("ref", _) if kind == CacheKind::Inline => {
                    return Err(InvalidOption::new("an inline cache has no `ref`"));
                }
                ("mode", "min" | "max") | ("compression", "uncompressed" | "gzip" | "estargz" | "zstd") => {
                    value.to_owned()
                }
                ("image-manifest" | "oci-mediatypes" | "force-compression" | "ignore-error", value) => {
                    boolean(value)?.to_string()
                }
                ("compression-level", level) if level.parse::<u8>().is_ok_and(|level| level <= 22) => level.to_owned(),
                (key, value) => kind.attribute(key, value)?.ok_or_else(|| {
                    let field = format!("{key}={value}");
                    InvalidOption(format!("`{}` says nothing about a cache", field.escape_debug()))
                })?,
            };
            attributes.insert(key.to_owned(), value);
        }
        if kind == CacheKind::Registry && reference.is_none() {
            return Err(InvalidOption::new("it lacks `ref=IMAGE`"));
        }
        match kind.required().iter().find(|key| !attributes.contains_key(**key)) {
            Some(missing) => Err(InvalidOption(format!("it lacks `{missing}=…`"))),
            None => Ok(Self { kind, reference, attributes }),
        }
    }
}

/// A word that can be part of a host's name: nothing in it leads elsewhere.
fn plain_word(key: &str, value: &str) -> Result<String, InvalidOption> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    if !value.is_empty() && value.len() <= 255 && value.bytes().all(plain) {
        return Ok(value.to_owned());
    }
    Err(InvalidOption(format!("`{key}={}`: expected letters, digits, `.`, `-` and `_`", value.escape_debug())))
}

fn is_digest(text: &str) -> bool {
    let hex = text.strip_prefix("sha256:").unwrap_or_default();
    hex.len() == 64 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// A number and a unit, as in `90s` (Go, `time.ParseDuration`, as far as anybody needs it).
fn is_duration(text: &str) -> bool {
    let number = text.trim_end_matches(|character: char| character.is_ascii_lowercase());
    let unit = text.get(number.len()..).unwrap_or_default();
    !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) && matches!(unit, "ms" | "s" | "m" | "h")
}

fn is_url(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let plain = |character: char| character.is_ascii_graphic() && !matches!(character, '@' | '\\' | '#' | '?');
    rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/') && rest.chars().all(plain))
}

impl fmt::Display for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "type={}", self.kind.as_str())?;
        self.reference.iter().try_for_each(|reference| write!(f, ",ref={reference}"))?;
        self.attributes.iter().try_for_each(|(key, value)| write!(f, ",{key}={value}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_read_and_written_again() {
        for text in [
            "okteto.dev/cache:a",
            "type=registry,ref=okteto.dev/cache:a,mode=max",
            "type=inline",
            "type=local,src=../a b,tag=main",
            "type=local,dest=/cache,mode=max,compression=zstd,oci-mediatypes=true",
            "type=gha,scope=main,timeout=90s,mode=max",
            "type=azblob,account_url=https://me.blob.example.net,container=caches,name=a,mode=max",
            "type=s3,region=eu-west-1,bucket=caches,name=a;b,prefix=p/,mode=max,ignore-error=true",
            "endpoint_url=https://minio.example:9000,type=s3,region=us-east-1,bucket=b,use_path_style=true",
        ] {
            let cache: Cache = text.parse().unwrap();
            assert_eq!(cache.to_string().parse(), Ok(cache), "{text}");
        }
        let cache: Cache = "type=s3,region=r,bucket=b,use_path_style=1".parse().unwrap();
        assert_eq!((cache.kind, cache.attributes["use_path_style"].as_str()), (CacheKind::S3, "true"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, problem) in [
            ("ref=a", "lacks a type"),
            ("type=registry", "lacks `ref=IMAGE`"),
            ("type=inline,ref=x", "has no `ref`"),
            ("type=floppy,ref=x", "is no cache"),
            ("type=local,src=", "`src=` says nothing"),
            ("type=local,src=x,digest=sha256:1", "says nothing about a cache"),
            ("type=local,src=x,tag=a/b", "expected letters"),
            ("type=local,src=x,region=y", "`region=y` says nothing"),
            ("type=gha,token=x", "variable `ACTIONS_RUNTIME_TOKEN`"),
            ("type=gha,timeout=soon", "`timeout=soon` says nothing"),
            ("type=registry,ref=x,region=y", "`region=y` says nothing"),
            ("type=s3,bucket=b", "lacks `region=…`"),
            ("type=s3,region=r", "lacks `bucket=…`"),
            ("type=s3,region=r/x,bucket=b", "expected letters"),
            ("type=s3,region=r,bucket=b,secret_access_key=x", "variable `AWS_SECRET_ACCESS_KEY`"),
            ("type=s3,region=r,bucket=b,endpoint_url=ftp://x", "is no URL"),
            ("type=s3,region=r,bucket=b,endpoint_url=http://user@x", "is no URL"),
            ("type=azblob,container=c", "lacks `account_url=…`"),
            ("type=azblob,account_url=https://x,secret_access_key=y", "variable `AZURE_STORAGE_KEY`"),
            ("type=azblob,account_url=https://x,region=y", "`region=y` says nothing"),
            ("type=s3,region=r,bucket=b,upload_parallelism=0", "says nothing"),
        ] {
            let error = text.parse::<Cache>().unwrap_err().to_string();
            assert!(error.contains(problem), "{text}: {error}");
        }
    }

    #[test]
    fn a_local_one_is_read_or_written() {
        let source = Cache::source("type=local,src=a").unwrap();
        assert_eq!((source.folder(), source.tag(), source.digest()), (Some("a"), "latest", None));
        assert_eq!(source.with_folder("/b").to_string(), "type=local,src=/b");
        let written = Cache::destination("type=local,dest=a,tag=x").unwrap();
        assert_eq!(written.tag(), "x");
        assert_eq!(written.with_folder("/b").to_string(), "type=local,dest=/b,tag=x");
        for (read, problem) in [
            (Cache::source("type=local,dest=a"), "lacks `src=FOLDER`"),
            (Cache::source("type=local"), "lacks `src=FOLDER`"),
            (Cache::source("type=inline"), "taken from its image"),
            (Cache::source("type=local,src=a,dest=b"), "`dest=b`: expected `src`"),
            (Cache::destination("type=local,src=a"), "lacks `dest=FOLDER`"),
        ] {
            let error = read.unwrap_err().to_string();
            assert!(error.contains(problem), "{error}");
        }
        assert!(Cache::destination("type=inline").is_ok());
    }
}
