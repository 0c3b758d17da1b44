//! Packs as several processes use them, and what crashes and bad disks do to them.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use slipway_context::Digest;

use super::pack::{Dirs, Entry, HEADER, index};
use super::recover::recover;
use super::upload::{Upload, UploadError};
use super::{BlobError, Blobs};

/// The blobs of namespace `dev`, as a process of its own would see them.
pub(super) fn blobs(dir: &Path) -> Blobs {
    Blobs::open_alone(dir, &"dev".parse().unwrap()).unwrap()
}

pub(crate) fn record(content: &[u8]) -> Vec<u8> {
    record_at(content, 7)
}

fn record_at(content: &[u8], seconds: i64) -> Vec<u8> {
    let mut record = Digest::of(content).as_bytes().to_vec();
    record.extend_from_slice(&(content.len() as u64).to_be_bytes());
    record.extend_from_slice(&seconds.to_be_bytes());
    record.extend_from_slice(content);
    record
}

/// One pack with these.
pub(crate) fn put(blobs: &Blobs, contents: &[&[u8]]) {
    let mut upload = Upload::new(blobs.clone());
    for content in contents {
        for frame in record(content).chunks(1 << 20) {
            upload.frame(frame).unwrap();
        }
    }
    upload.seal().unwrap();
}

fn only(dir: &Path, extension: &str) -> std::path::PathBuf {
    let mut found = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    found.find(|path| path.extension().is_some_and(|found| found == extension)).unwrap()
}

fn dirs(dir: &Path) -> Dirs {
    Dirs::new(dir.join("blobs/dev"))
}

fn flip(path: &Path, at: usize, bit: u8) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1 << bit;
    fs::write(path, bytes).unwrap();
}

#[test]
fn the_first_upload_fixes_the_time() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = blobs(dir.path());
    for seconds in [1000, 2000] {
        let mut upload = Upload::new(blobs.clone());
        upload.frame(&record_at(b"content", seconds)).unwrap();
        upload.seal().unwrap();
    }
    assert_eq!(blobs.stat(&Digest::of(b"content")).unwrap(), (7, 1000));
    assert_eq!(blobs.read_all(&Digest::of(b"content"), 7).unwrap(), b"content");
    assert!(matches!(blobs.read_all(&Digest::of(b"content"), 6), Err(BlobError::Size { .. })));
}

#[test]
fn a_namespace_sees_only_what_it_uploaded() {
    let dir = tempfile::tempdir().unwrap();
    let open = |namespace: &str| Blobs::open(dir.path(), &namespace.parse().unwrap()).unwrap();
    put(&open("one"), &[b"secret"]);
    let other = open("two");
    assert!(!other.has(&Digest::of(b"secret")));
    assert!(matches!(other.read(&Digest::of(b"secret")), Err(BlobError::Missing(_))));
    put(&other, &[b"secret"]);
    assert!(other.has(&Digest::of(b"secret")), "it has to upload it itself");
}

/// Not by its answers, and not by how long they take: nothing of the other namespace's is there to be looked at.
#[test]
fn what_a_namespace_holds_is_all_that_is_looked_at_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let open = |namespace: &str| Blobs::open_alone(dir.path(), &namespace.parse().unwrap()).unwrap();
    let digest = Digest::of(b"secret");
    put(&open("two"), &[b"own"]);
    let before = files_under(dir.path());
    put(&open("one"), &[b"secret"]);
    // What the upload left behind is below the namespace's own folder: no index, and no pack, is shared.
    let new: Vec<_> = files_under(dir.path()).into_iter().filter(|path| !before.contains(path)).collect();
    assert!(new.iter().any(|path| path.extension().is_some_and(|extension| extension == "pack")), "{new:?}");
    for path in &new {
        assert!(path.starts_with(dir.path().join("blobs/one")), "{path:?}");
    }
    // The other's files can't be what it is answered from: it is answered the same when they can't be read.
    let other = open("two");
    fs::rename(dir.path().join("blobs/one"), dir.path().join("away")).unwrap();
    fs::write(dir.path().join("blobs/one"), "no folder").unwrap();
    for other in [other, open("two")] {
        assert!(!other.has(&digest));
        assert!(matches!(other.read(&digest), Err(BlobError::Missing(_))));
        assert!(other.has(&Digest::of(b"own")));
        put(&other, &[b"more"]);
    }
}

fn files_under(dir: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files_under(&path) } else { vec![path] }).collect()
}

#[test]
fn what_one_process_seals_another_sees() {
    let dir = tempfile::tempdir().unwrap();
    let (reader, writer) = (blobs(dir.path()), blobs(dir.path()));
    for n in 0..200u32 {
        let content = n.to_be_bytes();
        assert!(!reader.has(&Digest::of(&content)));
        put(&writer, &[&content]);
        assert_eq!(reader.read_all(&Digest::of(&content), 4).unwrap(), content);
    }
}

#[test]
fn a_damaged_blob_is_missing_for_every_process_until_it_is_sent_again() {
    let dir = tempfile::tempdir().unwrap();
    let (service, job) = (blobs(dir.path()), blobs(dir.path()));
    put(&service, &[b"first", b"second"]);
    let pack = only(&dirs(dir.path()).packs(), "pack");
    flip(&pack, HEADER, 0);
    assert!(!service.has_damage());
    let error = job.read(&Digest::of(b"first")).unwrap_err();
    assert!(matches!(error, BlobError::Damaged { digest, .. } if digest == Digest::of(b"first")), "{error}");
    assert!(matches!(job.read(&Digest::of(b"first")), Err(BlobError::Missing(_))));
    assert!(service.has_damage());
    assert!(!service.has(&Digest::of(b"first")));
    assert!(service.has(&Digest::of(b"second")));
    put(&service, &[b"first", b"second"]);
    assert_eq!(job.read_all(&Digest::of(b"first"), 5).unwrap(), b"first");
    assert_eq!(blobs(dir.path()).read_all(&Digest::of(b"first"), 5).unwrap(), b"first", "a new process");
}

#[test]
fn another_copy_takes_the_place_of_a_damaged_one() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (blobs(dir.path()), blobs(dir.path()));
    let (mut first, mut second) = (Upload::new(one.clone()), Upload::new(two.clone()));
    first.frame(&record(b"same")).unwrap();
    second.frame(&record(b"same")).unwrap();
    first.seal().unwrap();
    second.seal().unwrap();
    assert!(one.has(&Digest::of(b"same")));
    one.catalog().refresh().unwrap();
    let newest = one.catalog().now().packs[0].id;
    flip(&dirs(dir.path()).pack(newest), HEADER + 1, 3);
    assert_eq!(one.read_all(&Digest::of(b"same"), 4).unwrap(), b"same");
    assert!(two.has_damage());
}

#[test]
fn writers_and_readers_work_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let content = |n: u32| [n.to_be_bytes().as_slice(), &vec![n as u8; (n * 37 % 5000) as usize]].concat();
    std::thread::scope(|scope| {
        for writer in 0..2 {
            let blobs = blobs(dir.path());
            scope.spawn(move || {
                // Half of what they send is the same.
                for n in 0..40 {
                    let (own, shared) = (content(n * 2 + writer * 1000), content(n * 2 + 1));
                    put(&blobs, &[&own, &shared]);
                }
            });
        }
        let reader = blobs(dir.path());
        scope.spawn(move || {
            for n in 0..40 {
                let digest = Digest::of(&content(n * 2 + 1));
                let read = loop {
                    match reader.read_all(&digest, 1 << 20) {
                        Err(BlobError::Missing(_)) => std::thread::yield_now(),
                        read => break read.unwrap(),
                    }
                };
                assert_eq!(read, content(n * 2 + 1));
            }
        });
    });
}

#[test]
fn a_pack_without_an_index_is_read_from_its_records() {
    let dir = tempfile::tempdir().unwrap();
    put(&blobs(dir.path()), &[b"first", b"second"]);
    let index = only(&dirs(dir.path()).packs(), "idx");
    let before = fs::read(&index).unwrap();
    fs::remove_file(&index).unwrap();
    let blobs = blobs(dir.path());
    assert_eq!(blobs.read_all(&Digest::of(b"second"), 10).unwrap(), b"second");
    assert!(blobs.has_damage(), "something may be lost");
    assert_eq!(fs::read(&index).unwrap(), before);
}

#[test]
fn a_pack_that_lost_its_end_keeps_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    put(&blobs(dir.path()), &[b"first", b"second"]);
    let pack = only(&dirs(dir.path()).packs(), "pack");
    let bytes = fs::read(&pack).unwrap();
    fs::write(&pack, &bytes[..bytes.len() - 1]).unwrap();
    let blobs = blobs(dir.path());
    assert!(blobs.has(&Digest::of(b"first")) && !blobs.has(&Digest::of(b"second")));
    assert!(blobs.has_damage());
}

/// A size that no file may exceed stands for the full disk: only a process of its own can have one.
#[test]
fn a_full_disk_during_an_upload_keeps_what_was_written_completely() {
    const INSIDE: &str = "SLIPWAY_TEST_FULL_DISK";
    let large = |n: u8| vec![n; 300_000];
    if let Some(dir) = std::env::var_os(INSIDE) {
        let blobs = blobs(Path::new(&dir));
        let limit = rustix::process::Rlimit { current: Some(650_000), maximum: Some(650_000) };
        rustix::process::setrlimit(rustix::process::Resource::Fsize, limit).unwrap();
        let mut upload = Upload::new(blobs.clone());
        upload.frame(&record(&large(1))).unwrap();
        upload.frame(&record(&large(2))).unwrap();
        let error = upload.frame(&record(&large(3))).unwrap_err();
        assert!(error.to_string().starts_with("write pack "), "{error}");
        let UploadError::Blob(BlobError::Pack { source, .. }) = &error else { panic!("{error}") };
        assert_eq!(source.kind(), std::io::ErrorKind::FileTooLarge);
        drop(upload);
        assert!(blobs.has(&Digest::of(&large(1))) && blobs.has(&Digest::of(&large(2))));
        assert!(!blobs.has(&Digest::of(&large(3))));
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    put(&blobs(dir.path()), &[b"before"]);
    let run = "trap '' XFSZ; exec \"$0\" --exact \"$1\"";
    let output = std::process::Command::new("sh")
        .arg("-c")
        .arg(run)
        .arg(std::env::current_exe().unwrap())
        .arg("store::tests::a_full_disk_during_an_upload_keeps_what_was_written_completely")
        .env(INSIDE, dir.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let blobs = blobs(dir.path());
    put(&blobs, &[b"after", &large(3)]);
    for content in [b"before".as_slice(), b"after", &large(1), &large(2), &large(3)] {
        assert_eq!(blobs.read_all(&Digest::of(content), 1 << 20).unwrap(), content, "a retry succeeds");
    }
}

#[test]
fn a_failed_seal_leaves_what_was_sealed_and_names_what_failed() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = blobs(dir.path());
    put(&blobs, &[b"before"]);
    let mut upload = Upload::new(blobs.clone());
    upload.frame(&record(b"content")).unwrap();
    fs::rename(dirs(dir.path()).tmp(), dir.path().join("away")).unwrap();
    let error = upload.seal().unwrap_err().to_string();
    assert!(error.starts_with("write the index of pack "), "{error}");
    assert!(blobs.has(&Digest::of(b"before")) && !blobs.has(&Digest::of(b"content")));
    drop(upload);
    let error = Upload::new(blobs.clone()).frame(&record(b"content")).unwrap_err();
    assert!(error.to_string().starts_with("create pack "), "{error}");
    assert!(matches!(error, UploadError::Blob(BlobError::Pack { .. })));
    fs::create_dir(dirs(dir.path()).tmp()).unwrap();
    put(&blobs, &[b"content"]);
    assert!(blobs.has(&Digest::of(b"content")), "a retry succeeds");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn after_a_crash_the_records_before_the_cut_are_there_and_no_others(
        contents in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let stream: Vec<u8> = contents.iter().flat_map(|content| record(content)).collect();
        let cut = cut.index(stream.len() + 1);
        let dirs = dirs(dir.path());
        dirs.create().unwrap();
        let id = super::pack::PackId::new();
        fs::write(dirs.tmp().join(format!("{id}.pack")), &stream[..cut]).unwrap();
        fs::write(dirs.tmp().join(format!("{id}.idx")), b"half").unwrap();
        recover(dir.path()).unwrap();
        let blobs = blobs(dir.path());
        let mut end = 0;
        let mut kept = std::collections::HashSet::new();
        for content in &contents {
            end += HEADER + content.len();
            if end <= cut {
                kept.insert(content);
            }
        }
        for content in &contents {
            prop_assert_eq!(blobs.has(&Digest::of(content)), kept.contains(content));
            if kept.contains(content) {
                prop_assert_eq!(&blobs.read_all(&Digest::of(content), 200).unwrap(), content);
            }
        }
        prop_assert_eq!(fs::read_dir(dirs.tmp()).unwrap().count(), 0);
        prop_assert!(!blobs.has_damage());
    }

    #[test]
    fn flipped_bits_never_give_wrong_bytes(
        contents in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..100), 1..6),
        flips in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>(), 0u8..8), 1..4),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let writer = blobs(dir.path());
        put(&writer, &contents.iter().map(Vec::as_slice).collect::<Vec<_>>());
        for (pack, at, bit) in flips {
            let path = only(&dirs(dir.path()).packs(), if pack { "pack" } else { "idx" });
            flip(&path, at.index(fs::metadata(&path).unwrap().len() as usize), bit);
        }
        // With what was known before, and from the disk.
        for blobs in [writer, blobs(dir.path())] {
            for content in &contents {
                match blobs.read_all(&Digest::of(content), 100) {
                    Ok(read) => prop_assert_eq!(&read, content),
                    Err(_) => prop_assert!(blobs.has_damage(), "what is lost is noticed"),
                }
            }
        }
        let again = blobs(dir.path());
        put(&again, &contents.iter().map(Vec::as_slice).collect::<Vec<_>>());
        for content in &contents {
            prop_assert_eq!(&again.read_all(&Digest::of(content), 100).unwrap(), content, "and repaired");
        }
    }
}

#[tokio::test]
async fn verify_finds_what_is_damaged_and_forgets_what_is_incomplete() {
    use super::db::Db;
    use slipway_context::{Directory, Entry, Node};

    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(dir.path()).await.unwrap();
    let namespace = "dev".parse().unwrap();
    let writer = blobs(dir.path());
    let mut roots = Vec::new();
    for content in [b"first".as_slice(), b"second"] {
        let node = Node::File { digest: Digest::of(content), size: content.len() as u64, chunked: false };
        let entry = Entry { name: "file".to_owned(), mode: 0o644, node };
        let directory = Directory::new(vec![entry]).unwrap();
        put(&writer, &[content, &directory.encode()]);
        db.add_snapshot(&namespace, &directory.digest(), 1, 6, super::db::now_ms() + 60_000).await.unwrap();
        roots.push(directory.digest());
    }
    let mut output = Vec::new();
    super::verify::run(dir.path(), &mut output).await.unwrap();
    assert_eq!(String::from_utf8(output).unwrap(), "dev: 2 packs, 4 blobs, 331 bytes, 0 damaged\n");

    let (pack, entry) = writer.catalog().find(&Digest::of(b"second"), &[]).unwrap();
    flip(&dirs(dir.path()).pack(pack.id), entry.offset as usize, 7);
    let other = writer.catalog().find(&Digest::of(b"first"), &[]).unwrap().0;
    fs::remove_file(dirs(dir.path()).index(other.id)).unwrap();
    let mut output = Vec::new();
    let error = super::verify::run(dir.path(), &mut output).await.unwrap_err();
    assert_eq!(error.to_string(), "damage was found");
    let (digest, output) = (Digest::of(b"second"), String::from_utf8(output).unwrap());
    let expected = format!(
        "dev: 2 packs, 4 blobs, 331 bytes, 1 damaged\n\
         dev: blob {digest} in pack {} at 48 is damaged\n\
         dev: the index of pack {} was damaged and is made anew\n\
         dev: tree {} is not complete: the next sync sends what is missing\n",
        pack.id, other.id, roots[1]
    );
    assert_eq!(output, expected);
    assert!(writer.has_damage() && !writer.has(&digest), "for a service that runs beside it");
    assert!(db.snapshot_row(&namespace, &roots[0]).await.unwrap().is_some());
    assert!(db.snapshot_row(&namespace, &roots[1]).await.unwrap().is_none());

    super::verify::run(dir.path(), &mut Vec::new()).await.unwrap();
}

#[test]
fn what_comes_late_beneath_a_tree_is_needed_too_and_so_are_chunks() {
    use slipway_context::{Chunk, ChunkList, Directory, Entry, Node};

    let dir = tempfile::tempdir().unwrap();
    let writer = blobs(dir.path());
    let parts = [b"one chunk".as_slice(), b"another"];
    let chunks = parts.iter().map(|part| Chunk { digest: Digest::of(part), size: part.len() as u32 });
    let list = ChunkList::new(chunks.collect()).unwrap();
    let large = Node::File { digest: Digest::of(&list.encode()), size: list.size(), chunked: true };
    let entry = |name: &str, node| Entry { name: name.to_owned(), mode: 0o755, node };
    let below = Directory::new(vec![entry("large", large)]).unwrap();
    let root = Directory::new(vec![entry("below", Node::Directory { digest: below.digest() })]).unwrap();
    put(&writer, &[&root.encode(), parts[0], parts[1]]);
    let mut needed = super::trees::Reachable::default();
    needed.add(&writer, &root.digest()).unwrap();
    assert!(!needed.blobs.contains(&Digest::of(parts[0])), "not known yet");

    put(&writer, &[&below.encode()]);
    needed.look_again();
    needed.add(&writer, &root.digest()).unwrap();
    assert!(!needed.blobs.contains(&Digest::of(parts[0])), "its list is still missing");
    put(&writer, &[&list.encode()]);
    needed.look_again();
    needed.add(&writer, &root.digest()).unwrap();
    assert!(parts.iter().all(|part| needed.blobs.contains(&Digest::of(part))));
}

/// Their number counts, not what a pause makes of them: nothing is written that need not be.
fn tiny_packs(dirs: &Dirs, count: u32) {
    dirs.create().unwrap();
    for n in 0..count {
        let (id, record) = (super::pack::PackId::new(), record(&n.to_be_bytes()));
        let entry = Entry { digest: Digest::of(&n.to_be_bytes()), offset: HEADER as u32, size: 4, seconds: 7 };
        fs::write(dirs.pack(id), &record).unwrap();
        index::write(&dirs.index(id), record.len() as u64, &[entry]).unwrap();
    }
}

#[test]
fn thousands_of_packs_are_not_searched_one_by_one() {
    use slipway_context::{Directory, Entry, Node};

    let dir = tempfile::tempdir_in(memory()).unwrap();
    tiny_packs(&dirs(dir.path()), 5000);
    let blobs = blobs(dir.path());
    let file = |n: u32| {
        let node = Node::File { digest: Digest::of(&(n + 4000).to_be_bytes()), size: 4, chunked: false };
        Entry { name: format!("{n:05}"), mode: 0o644, node }
    };
    let root = Directory::new((0..10_000).map(file).collect()).unwrap();
    put(&blobs, &[&root.encode()]);
    let checked = super::trees::check(&blobs, &root.digest()).unwrap();
    assert_eq!(checked.missing.len(), 9_000);
    let known = blobs.catalog().now();
    assert!(known.packs.len() > 5000 && known.fresh.len() <= super::catalog::FRESH, "{}", known.fresh.len());
}

#[test]
fn packs_that_come_and_go_are_found_as_they_are() {
    let dir = tempfile::tempdir_in(memory()).unwrap();
    tiny_packs(&dirs(dir.path()), 30);
    let (reader, writer) = (blobs(dir.path()), blobs(dir.path()));
    let has = |n: u32| reader.has(&Digest::of(&n.to_be_bytes()));
    assert!((0..30).all(has) && !has(30));
    // More than are searched one by one.
    for n in 100..120u32 {
        put(&writer, &[&n.to_be_bytes()]);
        assert!((100..=n).all(has) && (0..30).all(has) && !has(n + 1));
    }
    let gone = reader.catalog().find(&Digest::of(&3u32.to_be_bytes()), &[]).unwrap().0.id;
    fs::remove_file(dirs(dir.path()).pack(gone)).unwrap();
    reader.catalog().reload().unwrap();
    assert!(!has(3) && has(4) && has(119));
}

/// A folder where an `fsync` costs nothing, if there is one.
fn memory() -> std::path::PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() }
}
