//! What each service of a namespace was built from last, for people who ask why it is built again. Nothing depends on it.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use slipway_manifest::ServiceName;
use slipway_manifest::plan::BuildPlan;
use slipway_registry_client::ImageRef;

use super::Pipeline;
use super::input::pieces::{Piece, PieceKind};
use crate::jobs::spec::BuildRoots;
use crate::names::{JobId, Namespace};
use crate::private_file::{create_private_dir, write_private};
use crate::store::db::now_ms;

/// Records of one namespace; the oldest go.
const MAX_RECORDS: usize = 1000;
/// The largest that is read.
const MAX_BYTES: u64 = 4 << 20;

/// One build that was done.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// The job that it was part of.
    pub job: JobId,
    /// When it was done, in milliseconds since 1970.
    pub time: i64,
    /// The image, by digest.
    pub image: String,
    /// Its trees.
    pub roots: BuildRoots,
    /// Its other inputs.
    pub pieces: Vec<Piece>,
}

/// The records of one namespace.
#[derive(Debug, Clone)]
pub struct Records(PathBuf);

impl Pipeline {
    /// Notes what an image was built from. Nothing depends on it.
    pub(super) fn record(&self, build: &BuildPlan, roots: &BuildRoots, image: &ImageRef, pieces: Vec<Piece>) {
        let records = Records::new(&self.data_dir, &self.spec.namespace);
        let (job, time, image) = (self.spec.job, now_ms(), image.to_string());
        let record = Record { job, time, image, roots: roots.clone(), pieces };
        if let Err(error) = records.write(&self.spec.plan.name, &build.service, &record) {
            tracing::warn!(build.service = %build.service, %error, "can't note what `{}` was built from", build.service);
        }
    }
}

// === impl Record ===

impl Record {
    /// The Dockerfile's name in its tree.
    pub fn file_name(&self) -> &str {
        let piece = self.pieces.iter().find(|piece| piece.kind == PieceKind::Dockerfile);
        piece.and_then(|piece| piece.value.get()).unwrap_or("Dockerfile")
    }
}

// === impl Records ===

impl Records {
    /// Those under this data directory.
    pub fn new(data_dir: &Path, namespace: &Namespace) -> Self {
        Self(data_dir.join("builds").join(namespace.as_str()))
    }

    /// That of a service of an application, if it is known.
    pub fn read(&self, application: &str, service: &ServiceName) -> io::Result<Option<Record>> {
        read(&self.file(application, service))
    }

    /// Takes the place of the one before.
    pub fn write(&self, application: &str, service: &ServiceName, record: &Record) -> io::Result<()> {
        create_private_dir(&self.0)?;
        let file = self.file(application, service);
        let is_new = !file.exists();
        write_private(&file, &serde_json::to_vec(record)?)?;
        if is_new { self.bound() } else { Ok(()) }
    }

    /// The images of all that can be read, by digest.
    pub fn images(&self) -> io::Result<Vec<String>> {
        let records = self.files()?.into_iter().filter_map(|(_, path)| read(&path).ok().flatten());
        Ok(records.map(|record| record.image).collect())
    }

    fn bound(&self) -> io::Result<()> {
        let mut files = self.files()?;
        files.sort_unstable();
        let excess = files.len().saturating_sub(MAX_RECORDS);
        files.iter().take(excess).try_for_each(|(_, path)| fs::remove_file(path))
    }

    fn files(&self) -> io::Result<Vec<(std::time::SystemTime, PathBuf)>> {
        let dir = match fs::read_dir(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            dir => dir?,
        };
        let mut files = Vec::new();
        for entry in dir {
            let entry = entry?;
            if entry.path().extension().is_some_and(|extension| extension == "json") {
                files.push((entry.metadata()?.modified()?, entry.path()));
            }
        }
        Ok(files)
    }

    fn file(&self, application: &str, service: &ServiceName) -> PathBuf {
        let mut hash = Sha256::new();
        hash.update(application.as_bytes());
        hash.update([0]);
        hash.update(service.as_str().as_bytes());
        self.0.join(format!("{}.json", hex::encode(&hash.finalize()[..16])))
    }
}

fn read(path: &Path) -> io::Result<Option<Record>> {
    let file = match fs::File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut content = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut content)?;
    // Another version may have written it: then nothing is known.
    Ok(serde_json::from_slice(&content).ok())
}

#[cfg(test)]
mod tests {
    use slipway_context::Digest;

    use super::*;
    use crate::pipeline::input::pieces::Value;

    #[test]
    fn the_last_one_of_a_service_is_kept_and_each_namespace_has_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let of = |namespace: &str| Records::new(dir.path(), &namespace.parse().unwrap());
        let record = |value: &str| Record {
            job: JobId::new(),
            time: 1,
            image: "r/dev/app@sha256:1".to_owned(),
            roots: BuildRoots::new(Digest::of(b"c"), Vec::new(), Digest::of(b"d")),
            pieces: vec![Piece { kind: PieceKind::Argument, name: "A".to_owned(), value: Value::known(value) }],
        };
        let service = |name: &str| ServiceName::new(name).unwrap();
        let dev = of("dev");
        assert!(dev.read("shop", &service("web")).unwrap().is_none());
        dev.write("shop", &service("web"), &record("1")).unwrap();
        dev.write("shop", &service("web"), &record("2")).unwrap();
        dev.write("shop", &service("api"), &record("3")).unwrap();
        assert_eq!(dev.read("shop", &service("web")).unwrap().unwrap().pieces[0].value, Value::known("2"));
        assert!(dev.read("other", &service("web")).unwrap().is_none());
        assert!(of("ops").read("shop", &service("web")).unwrap().is_none());
        assert_eq!((dev.images().unwrap().len(), of("ops").images().unwrap().len()), (2, 0));
        fs::write(dev.file("shop", &service("web")), "{").unwrap();
        assert!(dev.read("shop", &service("web")).unwrap().is_none(), "of another version");
    }
}
