use std::fs::{File, FileTimes, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use super::*;
use crate::chunk::MAX_CHUNK;
use crate::{Scan, ScanOptions, scan};

/// A directory to scan and one for the cache.
struct Place {
    root: tempfile::TempDir,
    cache: tempfile::TempDir,
}

impl Place {
    fn new(files: &[(&str, &[u8])]) -> Self {
        let place = Self { root: tempfile::tempdir().unwrap(), cache: tempfile::tempdir().unwrap() };
        for (path, content) in files {
            let path = place.root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        place
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    /// With the cache, and as it is.
    fn scan(&self) -> Scan {
        self.scan_after(&Rules::none(), &[])
    }

    fn scan_after(&self, rules: &Rules, only: &[&str]) -> Scan {
        let only: Vec<String> = only.iter().map(|path| (*path).to_owned()).collect();
        let plain = ScanOptions { only, ..ScanOptions::default() };
        let cached = ScanOptions { cache_dir: Some(self.cache.path().to_owned()), ..plain.clone() };
        let cached = scan(self.root.path(), rules, &cached).unwrap();
        let plain = scan(self.root.path(), rules, &plain).unwrap();
        assert_eq!((cached.digest(), cached.nodes()), (plain.digest(), plain.nodes()));
        assert_eq!((cached.sources(), cached.totals()), (plain.sources(), plain.totals()));
        cached
    }

    /// Lets the margin pass: no test waits for it. The times are still those of the files.
    #[expect(clippy::unused_self, reason = "it reads better")]
    fn settle(&self) {
        std::thread::sleep(Duration::from_millis(2_050));
    }

    fn file(&self) -> PathBuf {
        let mut files = fs::read_dir(self.cache.path()).unwrap().map(|entry| entry.unwrap().path());
        let file = files.next().unwrap();
        assert_eq!(files.next(), None);
        file
    }

    fn load(&self) -> StatCache {
        StatCache::load(Some(self.cache.path()), self.root.path(), &Rules::none(), &[])
    }
}

fn big(byte: u8) -> Vec<u8> {
    let mut bytes = vec![byte; MAX_CHUNK as usize];
    bytes.extend(b"more");
    bytes
}

#[test]
fn it_knows_what_it_was_told() {
    let place = Place::new(&[("a", b"a"), ("d/b", b"b"), ("d/e/c", b""), ("é", b"x"), ("large", &big(1))]);
    place.settle();
    let first = place.scan();
    let cache = place.load();
    assert_eq!(cache.entries(), 5);
    let path = place.path("large");
    let stamp = Stamp::from(&fs::metadata(&path).unwrap());
    let mut records = cache.records(Path::new(""));
    assert_eq!(records.find(b"0", &stamp), None);
    let content = records.find(b"large", &stamp).unwrap();
    let list = content.chunks.unwrap();
    assert_eq!(Digest::of(&list), content.digest);
    assert_eq!(&first.nodes()[&content.digest].bytes, &list);
    assert_eq!(records.find(b"z", &stamp), None);
    assert_eq!(cache.records(Path::new("gone")).find(b"large", &stamp), None);
    let later = |time: Time| Time { nanos: time.nanos ^ 1, ..time };
    for other in [
        Stamp { device: 1, ..stamp },
        Stamp { inode: 1, ..stamp },
        Stamp { size: 1, ..stamp },
        Stamp { mode: 0, ..stamp },
        Stamp { modified: later(stamp.modified), ..stamp },
        Stamp { changed: later(stamp.changed), ..stamp },
    ] {
        assert_eq!(cache.records(Path::new("")).find(b"large", &other), None);
    }
    let file = place.file();
    let bytes = fs::read(&file).unwrap();
    assert_eq!(place.scan().digest(), first.digest());
    assert_eq!(fs::read(&file).unwrap(), bytes);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn it_is_written_only_when_something_changed() {
    let place = Place::new(&[("a", b"a"), ("d/b", b"b")]);
    place.settle();
    place.scan();
    let inode = || std::os::unix::fs::MetadataExt::ino(&fs::metadata(place.file()).unwrap());
    let before = inode();
    place.scan();
    assert_eq!(inode(), before);
    fs::remove_file(place.path("a")).unwrap();
    place.scan();
    assert_ne!(inode(), before);
    assert_eq!(place.load().entries(), 1);
}

#[test]
fn an_edit_that_keeps_size_and_modification_time_is_seen() {
    let place = Place::new(&[("a", b"one"), ("b", b"b")]);
    let times = FileTimes::new().set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000));
    File::options().write(true).open(place.path("a")).unwrap().set_times(times).unwrap();
    place.settle();
    let before = place.scan();
    assert_eq!(place.load().entries(), 2);
    fs::write(place.path("a"), "two").unwrap();
    File::options().write(true).open(place.path("a")).unwrap().set_times(times).unwrap();
    assert_ne!(place.scan().digest(), before.digest());
}

#[test]
fn edits_right_after_a_scan_are_seen() {
    let place = Place::new(&[("a", b"0")]);
    let mut last = place.scan().digest();
    for round in 1..40_u8 {
        fs::write(place.path("a"), [b'0' + round]).unwrap();
        let now = place.scan().digest();
        assert_ne!(now, last, "{round}");
        last = now;
    }
    // None of these may be told from a later edit, so none is kept.
    assert_eq!(place.load().entries(), 0);
}

#[test]
fn what_is_too_new_or_from_the_future_is_not_kept() {
    let now = Time { seconds: 1_000, nanos: 5 };
    let settled = Settled { started: now, kept: true };
    let at = |modified: i64, changed: i64, nanos: u32| Stamp {
        modified: Time { seconds: modified, nanos },
        changed: Time { seconds: changed, nanos },
        ..Stamp::default()
    };
    for (stamp, kept) in [
        (at(5, 998, 4), true),
        (at(998, 5, 4), true),
        (at(5, 998, 5), false),
        (at(5, 999, 0), false),
        (at(2_000, 5, 0), false),
        (at(5, i64::MAX, 0), false),
        (at(-5, -5, 0), true),
    ] {
        assert_eq!(settled.includes(&stamp), kept, "{stamp:?}");
    }
    assert!(!Settled { kept: false, ..settled }.includes(&at(5, 5, 0)));
}

#[test]
fn a_damaged_cache_is_never_believed() {
    let place = Place::new(&[("a", b"a"), ("d/b", b"b")]);
    place.settle();
    let whole = place.scan();
    let key = place.load().key;
    let bytes = fs::read(place.file()).unwrap();
    assert!(index(&bytes, &key).is_some());
    assert!(index(&bytes, &Digest::of(b"other")).is_none());
    for at in 0..bytes.len() {
        assert!(index(&bytes[..at], &key).is_none(), "{at}");
        for bit in [1, 0x10, 0x80] {
            let mut damaged = bytes.clone();
            damaged[at] ^= bit;
            assert!(index(&damaged, &key).is_none(), "{at}");
        }
    }
    // Nor is one that somebody has signed without knowing what goes in.
    for damage in [&b""[..], b"x", &[0; 200], &[0xFF; 7]] {
        let body = [MAGIC.as_slice(), key.as_bytes(), damage].concat();
        let signed = [&body[..], Digest::of(&body).as_bytes()].concat();
        let known = index(&signed, &key);
        assert!(known.is_none_or(|(_, entries)| entries == 0), "{damage:?}");
    }
    // Nor one of another version, or of something else, that is whole.
    let (body, _) = bytes.split_last_chunk::<DIGEST>().unwrap();
    for at in [MAGIC.len() - 2, MAGIC.len()] {
        let mut other = body.to_vec();
        other[at] ^= 1;
        other.extend(Digest::of(&other).as_bytes());
        assert!(index(&other, &key).is_none(), "{at}");
    }
    // It is replaced.
    fs::write(place.file(), &bytes[..bytes.len() / 2]).unwrap();
    assert_eq!(place.load().entries(), 0);
    assert_eq!(place.scan().digest(), whole.digest());
    assert_eq!(place.load().entries(), 2);
}

#[test]
fn each_rules_and_narrowing_has_its_own() {
    let place = Place::new(&[("a", b"a"), ("d/b", b"b")]);
    place.settle();
    place.scan();
    place.scan_after(&Rules::from_text(Path::new("r"), b"a").unwrap(), &[]);
    place.scan_after(&Rules::none(), &["a"]);
    place.scan_after(&Rules::none(), &["d"]);
    assert_eq!(fs::read_dir(place.cache.path()).unwrap().count(), 4);
    assert_eq!(place.load().entries(), 2);
}

#[test]
fn without_a_place_for_it_scans_go_on() {
    let place = Place::new(&[("a", b"a"), ("file", b"x")]);
    place.settle();
    let options = ScanOptions { cache_dir: Some(place.path("file")), ..ScanOptions::default() };
    let scanned = scan(place.root.path(), &Rules::none(), &options).unwrap();
    assert_eq!(scanned.digest(), place.scan().digest());
    // A directory in its place, neither.
    fs::remove_file(place.file()).unwrap();
    fs::create_dir(place.cache.path().join(place.load().key.hex())).unwrap();
    assert_eq!(scanned.digest(), place.scan().digest());
    let nested = place.cache.path().join("x/y");
    let options = ScanOptions { cache_dir: Some(nested.clone()), ..ScanOptions::default() };
    scan(place.root.path(), &Rules::none(), &options).unwrap();
    assert_eq!(fs::metadata(nested).unwrap().permissions().mode() & 0o777, 0o700);
    fs::set_permissions(place.path("a"), Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn a_folder_that_cannot_be_written_is_only_read() {
    let place = Place::new(&[("a", b"a"), ("d/b", b"b")]);
    place.settle();
    let before = place.scan();
    let (file, folder) = (place.file(), place.cache.path());
    let bytes = fs::read(&file).unwrap();
    fs::set_permissions(folder, Permissions::from_mode(0o500)).unwrap();
    if tempfile::NamedTempFile::new_in(folder).is_ok() {
        fs::set_permissions(folder, Permissions::from_mode(0o700)).unwrap();
        let test = "snapshot::cache::tests::a_folder_that_cannot_be_written_is_only_read";
        return crate::snapshot::tests::again_as_nobody(test);
    }
    assert_eq!(place.load().entries(), 2);
    fs::write(place.path("a"), "new").unwrap();
    assert_ne!(place.scan().digest(), before.digest());
    assert_eq!(fs::read(&file).unwrap(), bytes);
    // Nor one that can't even be looked into, or read.
    for (path, mode) in [(&*file, 0o000), (folder, 0o000)] {
        fs::set_permissions(folder, Permissions::from_mode(0o700)).unwrap();
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        assert_eq!(place.load().entries(), 0);
        assert_ne!(place.scan().digest(), before.digest());
    }
    fs::set_permissions(folder, Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn one_that_is_too_large_to_be_read_is_not_written() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = CacheWriter::create(dir.path().join("cache"), &Digest::of(b"key")).unwrap();
    writer.left = 150;
    let content = Content { digest: Digest::of(b"x"), stamp: Stamp::default(), chunks: None };
    let mut add = || writer.directory(Path::new("d"), [("file", &content)].into_iter());
    add().unwrap();
    assert_eq!(add().unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    drop(writer);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn several_scans_at_once_agree() {
    let files: Vec<(String, Vec<u8>)> = (0..60_u8).map(|n| (format!("d{}/f{n}", n % 5), vec![n])).collect();
    let files: Vec<(&str, &[u8])> = files.iter().map(|(path, content)| (path.as_str(), content.as_slice())).collect();
    let place = Place::new(&files);
    place.settle();
    let digests: Vec<Digest> = std::thread::scope(|scope| {
        let scans: Vec<_> = (0..8).map(|_| scope.spawn(|| place.scan().digest())).collect();
        scans.into_iter().map(|scan| scan.join().unwrap()).collect()
    });
    assert!(digests.iter().all(|digest| *digest == digests[0]));
    assert_eq!(place.load().entries(), 60);
}

#[test]
fn one_that_is_used_is_kept_though_nothing_changes() {
    let place = Place::new(&[("a", b"a")]);
    place.settle();
    place.scan();
    let days = |days: u64| SystemTime::now() - Duration::from_secs(60 * 60 * 24 * days);
    let used = || fs::metadata(place.file()).unwrap().modified().unwrap();
    let set = |time| File::options().write(true).open(place.file()).unwrap().set_modified(time).unwrap();
    // A use is noted once a day.
    let recently = SystemTime::now() - Duration::from_hours(23);
    set(recently);
    place.scan();
    assert_eq!(used(), recently);
    set(days(29));
    place.scan();
    assert!(used() > days(1));
    // Somebody else's scan makes room, and leaves this one.
    let old = place.cache.path().join("0".repeat(2 * DIGEST));
    File::create(&old).unwrap().set_modified(days(31)).unwrap();
    let other = Place { root: Place::new(&[("b", b"b")]).root, cache: place.cache };
    other.settle();
    other.scan();
    assert!(!old.exists());
    assert_eq!(fs::read_dir(other.cache.path()).unwrap().count(), 2);
}
