use std::collections::HashSet;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;
use slipway_context::Digest;

use super::*;
use crate::store::tests::{blobs, put};

const DAYS: Duration = Duration::from_hours(48);
const POLICY: Policy = Policy {
    young: Duration::from_hours(24),
    spare: u64::MAX,
    charge: u64::MAX,
    small: 1 << 20,
    few: 3,
    most: u64::MAX,
};

fn needed<'a>(contents: impl IntoIterator<Item = &'a [u8]>) -> Reachable {
    let mut needed = Reachable::default();
    needed.blobs.extend(contents.into_iter().map(Digest::of));
    needed
}

fn collect(blobs: &Blobs, needed: &Reachable, policy: &Policy, age: Duration) -> Swept {
    let now = SystemTime::now() + age;
    let packs = prepare(blobs, needed, policy, now).unwrap();
    sweep(blobs, &packs, needed, now).unwrap()
}

#[test]
fn what_nobody_needs_goes_when_it_is_old() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = blobs(dir.path());
    put(&blobs, &[b"one", b"two"]);
    assert_eq!(collect(&blobs, &needed([]), &POLICY, Duration::ZERO), Swept::default(), "young");
    assert!(blobs.has(&Digest::of(b"one")));
    assert_eq!(collect(&blobs, &needed([]), &POLICY, DAYS).packs, 1);
    assert!(!blobs.has(&Digest::of(b"one")));
    assert_eq!(fs::read_dir(dir.path().join("blobs/dev/packs")).unwrap().count(), 0);
}

/// What a small blob counts for.
const LEAST: u64 = 16 << 10;

#[test]
fn a_small_blob_counts_for_more_than_its_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = blobs(dir.path());
    put(&blobs, &[b"1", b"2", b"3"]);
    put(&blobs, &[b"4"]);
    assert_eq!(spare(&blobs, &needed([])), Spare { bytes: 4 * 49, charge: 4 * LEAST });
    assert_eq!(charge_of_all(&blobs), 4 * LEAST);
    let enough = Policy { charge: 4 * LEAST, ..POLICY };
    assert_eq!(collect(&blobs, &needed([]), &enough, Duration::ZERO), Swept::default());
    let less = Policy { charge: 4 * LEAST - 1, ..POLICY };
    assert_eq!(collect(&blobs, &needed([]), &less, Duration::ZERO).packs, 1);
    assert!(blobs.has(&Digest::of(b"4")));
}

#[test]
fn above_a_limit_the_oldest_of_what_nobody_needs_goes_however_young() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = blobs(dir.path());
    let contents: Vec<_> = (0..4u8).map(|n| vec![n; 1000]).collect();
    for content in &contents {
        put(&blobs, &[content]);
    }
    let needed = needed([contents[0].as_slice()]);
    assert_eq!(spare(&blobs, &needed).bytes, 3 * 1048);
    let enough = Policy { spare: 3 * 1048, ..POLICY };
    assert_eq!(collect(&blobs, &needed, &enough, Duration::ZERO), Swept::default());
    let less = Policy { spare: 3 * 1048 - 1, ..POLICY };
    assert_eq!(collect(&blobs, &needed, &less, Duration::ZERO), Swept { packs: 1, bytes: 1048 });
    let left: Vec<_> = contents.iter().map(|content| blobs.has(&Digest::of(content))).collect();
    assert_eq!(left, [true, false, true, true]);
    let none = Policy { spare: 0, ..POLICY };
    assert_eq!(collect(&blobs, &needed, &none, Duration::ZERO).packs, 2);
    assert!(blobs.has(&Digest::of(&contents[0])));
}

#[test]
fn what_is_needed_of_a_sparse_pack_moves() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = blobs(dir.path());
    put(&blobs, &[b"needed", &[1; 1000]]);
    let swept = collect(&blobs, &needed([b"needed".as_slice()]), &POLICY, DAYS);
    assert_eq!((swept.packs, swept.bytes), (1, 1000 + 6 + 96));
    assert_eq!(blobs.bytes(), 6 + 48);
    assert_eq!(blobs.stat(&Digest::of(b"needed")).unwrap(), (6, 7), "with its time");
    assert_eq!(blobs.read_all(&Digest::of(b"needed"), 6).unwrap(), b"needed");
}

#[test]
fn small_packs_become_one() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = blobs(dir.path());
    let contents: Vec<[u8; 4]> = (0..5u32).map(u32::to_be_bytes).collect();
    for content in &contents {
        put(&blobs, &[content]);
    }
    let all = needed(contents.iter().map(<[u8; 4]>::as_slice));
    assert_eq!(collect(&blobs, &all, &POLICY, Duration::ZERO).packs, 5);
    assert_eq!(blobs.catalog().now().packs.len(), 1);
    assert_eq!(collect(&blobs, &all, &POLICY, DAYS), Swept::default(), "nothing more to do");
    assert!(contents.iter().all(|content| blobs.read_all(&Digest::of(content), 4).unwrap() == content));
}

#[test]
fn what_is_committed_during_the_work_stays() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = blobs(dir.path());
    put(&blobs, &[b"needed later", &[1; 1000]]);
    let now = SystemTime::now() + DAYS;
    let packs = prepare(&blobs, &needed([]), &POLICY, now).unwrap();
    assert_eq!(packs.len(), 1);
    let swept = sweep(&blobs, &packs, &needed([b"needed later".as_slice()]), now).unwrap();
    assert_eq!(swept, Swept::default());
    assert!(blobs.has(&Digest::of(b"needed later")));
}

#[test]
fn a_reader_goes_on_while_packs_are_merged() {
    let dir = tempfile::tempdir().unwrap();
    let writer = blobs(dir.path());
    let contents: Vec<Vec<u8>> = (0..60u32).map(|n| n.to_be_bytes().repeat(50)).collect();
    let all = needed(contents.iter().map(Vec::as_slice));
    for content in &contents[..30] {
        put(&writer, &[content]);
    }
    let over = AtomicBool::new(false);
    let policy =
        Policy { young: Duration::ZERO, spare: u64::MAX, charge: u64::MAX, small: 1 << 20, few: 2, most: 1000 };
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let reader = blobs(dir.path());
                while !over.load(Ordering::Relaxed) {
                    for content in &contents[..30] {
                        assert_eq!(&reader.read_all(&Digest::of(content), 200).unwrap(), content);
                    }
                }
            });
        }
        let mut merged = 0;
        for content in &contents[30..] {
            put(&writer, &[content]);
            merged += collect(&writer, &all, &policy, DAYS).packs;
        }
        over.store(true, Ordering::Relaxed);
        assert!(merged > 60, "{merged}");
    });
}

#[test]
fn folders_of_the_old_layout_go() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = blobs(dir.path());
    fs::create_dir(dir.path().join("blobs/dev/0f")).unwrap();
    fs::write(dir.path().join("blobs/dev/0f/rest"), b"old").unwrap();
    collect(&blobs, &needed([]), &POLICY, Duration::ZERO);
    assert!(!dir.path().join("blobs/dev/0f").exists());
    assert!(dir.path().join("blobs/dev/packs").exists());
}

/// One of a few contents.
fn content(n: usize) -> Vec<u8> {
    vec![n as u8; n * 31]
}

#[derive(Debug, Clone)]
enum Step {
    Upload(Vec<usize>),
    Damage(usize),
    Collect { needed: Vec<usize>, old: bool },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let some = || prop::collection::vec(0usize..12, 0..8);
    let step = prop_oneof![
        some().prop_map(Step::Upload),
        (0usize..12).prop_map(Step::Damage),
        (some(), any::<bool>()).prop_map(|(needed, old)| Step::Collect { needed, old }),
    ];
    prop::collection::vec(step, 1..16)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_happens_what_is_needed_stays(steps in steps()) {
        let dir = tempfile::tempdir().unwrap();
        let blobs = blobs(dir.path());
        let mut present = HashSet::new();
        for step in steps {
            match step {
                Step::Upload(which) => {
                    let contents: Vec<_> = which.iter().map(|n| content(*n)).collect();
                    put(&blobs, &contents.iter().map(Vec::as_slice).collect::<Vec<_>>());
                    present.extend(which);
                }
                Step::Damage(n) => {
                    let digest = Digest::of(&content(n));
                    if n > 0 && let Some((pack, entry)) = blobs.catalog().find(&digest, &[]) {
                        let path = blobs.catalog().dirs().pack(pack.id);
                        let file = fs::OpenOptions::new().write(true).open(path).unwrap();
                        file.write_all_at(&[255], u64::from(entry.offset)).unwrap();
                        // Another copy may be left.
                        if blobs.read_all(&digest, 1000).is_err() {
                            present.remove(&n);
                        }
                    }
                }
                Step::Collect { needed: which, old } => {
                    let contents: Vec<_> = which.iter().map(|n| content(*n)).collect();
                    let needed = needed(contents.iter().map(Vec::as_slice));
                    collect(&blobs, &needed, &POLICY, if old { DAYS } else { Duration::ZERO });
                    if old {
                        present.retain(|n| which.contains(n) || blobs.has(&Digest::of(&content(*n))));
                        let live: u64 = blobs
                            .catalog()
                            .now()
                            .packs
                            .iter()
                            .flat_map(|pack| &pack.entries)
                            .filter(|entry| needed.blobs.contains(&entry.digest))
                            .map(|entry| 48 + u64::from(entry.size))
                            .sum();
                        prop_assert!(blobs.bytes() <= 2 * live + 1, "{} bytes, {live} needed", blobs.bytes());
                    }
                }
            }
            for other in [&blobs, &crate::store::tests::blobs(dir.path())] {
                for n in 0..12 {
                    let read = other.read_all(&Digest::of(&content(n)), 1000).ok();
                    prop_assert_eq!(read.is_some(), present.contains(&n), "content {}", n);
                    prop_assert!(read.is_none_or(|read| read == content(n)));
                }
            }
        }
    }
}
