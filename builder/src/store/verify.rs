//! `slipwayd verify`: reads every blob of every namespace. A service may be running meanwhile.

use std::io::{self, Write};
use std::path::Path;

use anyhow::Context as _;
use slipway_context::Digest;

use super::catalog::names;
use super::pack::{Dirs, PackId, index};
use super::snapshots::check_again;
use super::{BlobError, Blobs, Db};
use crate::names::Namespace;

/// What is in a namespace's packs.
#[derive(Debug, Default)]
struct Found {
    packs: u64,
    blobs: u64,
    bytes: u64,
    /// Digest, pack and offset of the content.
    damaged: Vec<(Digest, PackId, u64)>,
    /// Packs that were read from their records.
    reindexed: Vec<PackId>,
    unreadable: Vec<(PackId, String)>,
}

/// Looks through everything under this data directory and says what it has found. An error when there is damage.
pub async fn run(data_dir: &Path, output: &mut dyn Write) -> anyhow::Result<()> {
    let blobs_dir = data_dir.join("blobs");
    anyhow::ensure!(data_dir.join("slipway.db").is_file(), "{} holds no slipway.db", data_dir.display());
    let db = Db::open(data_dir).await?;
    let mut problems = 0;
    let mut namespaces: Vec<Namespace> = if blobs_dir.is_dir() {
        names(&blobs_dir)?.iter().filter_map(|name| name.parse().ok()).collect()
    } else {
        Vec::new()
    };
    namespaces.sort_unstable();
    for namespace in &namespaces {
        let (data_dir, own) = (data_dir.to_owned(), namespace.clone());
        let read = move || verify(&data_dir, &own);
        let read = tokio::task::spawn_blocking(read).await?;
        let (blobs, found) = read.with_context(|| format!("read the blobs of {namespace}"))?;
        problems += found.report(namespace, output)?;
        for row in db.snapshots(namespace).await? {
            if !check_again(&db, &blobs, namespace, &row).await? {
                problems += 1;
                let root = row.root;
                writeln!(output, "{namespace}: tree {root} is not complete: the next sync sends what is missing")?;
            }
        }
    }
    anyhow::ensure!(problems == 0, "damage was found");
    Ok(())
}

/// Reads all packs of a namespace.
fn verify(data_dir: &Path, namespace: &Namespace) -> io::Result<(Blobs, Found)> {
    let dirs = Dirs::new(data_dir.join("blobs").join(namespace.as_str()));
    dirs.create()?;
    let mut found = Found::default();
    let mut ids: Vec<_> =
        names(&dirs.packs())?.iter().filter_map(|name| PackId::from_file_name(name, "pack")).collect();
    ids.sort_unstable();
    for id in &ids {
        if let Ok(None) = index::read(&dirs, *id) {
            found.reindexed.push(*id);
        }
    }
    // Makes the indexes that are missing.
    let blobs = Blobs::open_alone(data_dir, namespace)?;
    let known = blobs.catalog().now();
    for id in ids {
        let Some(pack) = known.packs.iter().find(|pack| pack.id == id) else {
            if dirs.pack(id).exists() {
                found.unreadable.push((id, "it can't be read".to_owned()));
            }
            continue;
        };
        found.packs += 1;
        found.bytes += pack.bytes;
        found.blobs += pack.entries.len() as u64;
        let mut entries: Vec<_> = pack.entries.iter().collect();
        entries.sort_unstable_by_key(|entry| entry.offset);
        for entry in entries {
            if known.is_damaged(&entry.digest, id) {
                continue; // Marked before.
            }
            match blobs.read_copy(pack, entry) {
                Ok(_) => {}
                // The service has removed it meanwhile.
                Err(BlobError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => break,
                Err(_) if blobs.catalog().now().is_damaged(&entry.digest, id) => {
                    found.damaged.push((entry.digest, id, u64::from(entry.offset)));
                }
                Err(error) => {
                    found.unreadable.push((id, error.to_string()));
                    break;
                }
            }
        }
    }
    Ok((blobs, found))
}

impl Found {
    /// The number of problems.
    fn report(&self, namespace: &Namespace, output: &mut dyn Write) -> io::Result<usize> {
        let Self { packs, blobs, bytes, damaged, reindexed, unreadable } = self;
        writeln!(output, "{namespace}: {packs} packs, {blobs} blobs, {bytes} bytes, {} damaged", damaged.len())?;
        for (digest, pack, offset) in damaged {
            writeln!(output, "{namespace}: blob {digest} in pack {pack} at {offset} is damaged")?;
        }
        for pack in reindexed {
            writeln!(output, "{namespace}: the index of pack {pack} was damaged and is made anew")?;
        }
        for (pack, why) in unreadable {
            writeln!(output, "{namespace}: pack {pack}: {why}")?;
        }
        Ok(damaged.len() + reindexed.len() + unreadable.len())
    }
}
