use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const HOUR: u64 = 60 * 60;
const DAY: u64 = 24 * HOUR;

fn name(number: usize) -> String {
    format!("{number:064x}")
}

/// Writes files: name, size and how long ago they were of use.
fn fill(dir: &Path, files: &[(String, u64, u64)]) {
    for (name, bytes, seconds) in files {
        let file = File::create(dir.join(name)).unwrap();
        file.set_len(*bytes).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(*seconds)).unwrap();
    }
}

fn left(dir: &Path) -> BTreeSet<String> {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn what_was_not_of_use_for_long_goes() {
    let dir = tempfile::tempdir().unwrap();
    let files = [
        (name(1), 1, 0),
        (name(2), 1, 31 * DAY),
        (name(3), 1, 29 * DAY),
        // Being written by somebody, and left by somebody.
        (".tmpAbC".to_owned(), 1, HOUR / 2),
        (".tmpDeF".to_owned(), 1, 2 * HOUR),
    ];
    fill(dir.path(), &files);
    fs::create_dir(dir.path().join("folder")).unwrap();
    ROOM.make(&dir.path().join(name(1)));
    let kept = [name(1), name(3), ".tmpAbC".to_owned(), "folder".to_owned()];
    assert_eq!(left(dir.path()), kept.into_iter().collect());
}

#[test]
fn a_time_in_the_future_ends_when_the_cache_is_used() {
    let dir = tempfile::tempdir().unwrap();
    let file = File::create(dir.path().join(name(1))).unwrap();
    file.set_modified(SystemTime::now() + Duration::from_secs(400 * DAY)).unwrap();
    mark_used(&file, &file.metadata().unwrap());
    assert!(file.metadata().unwrap().modified().unwrap() <= SystemTime::now() + Duration::from_secs(HOUR));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn the_ones_used_last_are_kept_as_far_as_there_is_room(
        sizes in prop::collection::vec(0..100_u64, 1..30),
        written in prop::collection::vec(0..1000_u64, 0..4),
        own: prop::sample::Index,
        files in 1..20_usize,
        bytes in 100..600_u64,
    ) {
        let dir = tempfile::tempdir().unwrap();
        // Number n was of use n hours ago.
        let all: Vec<_> = (0_u64..).zip(&sizes).map(|(n, size)| (name(n as usize), *size, n * HOUR)).collect();
        fill(dir.path(), &all);
        // Others are writing some.
        let written: Vec<_> = written.iter().enumerate().map(|(n, size)| (format!(".tmp{n}"), *size, HOUR / 2)).collect();
        fill(dir.path(), &written);
        let own = own.index(all.len());
        let room = Room { files, bytes };
        // Several at once come to the same as one.
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| room.make(&dir.path().join(name(own))));
            }
        });
        let (mut count, mut total) = (1, all[own].1);
        let mut expected = BTreeSet::from([name(own)]);
        for (_, (name, size, _)) in all.iter().enumerate().filter(|(n, _)| *n != own) {
            // One that finds no room takes none from those that do.
            if count < files && total + size <= bytes {
                (count, total) = (count + 1, total + size);
                expected.insert(name.clone());
            }
        }
        prop_assert!(expected.len() <= files);
        expected.extend(written.into_iter().map(|(name, ..)| name));
        prop_assert_eq!(left(dir.path()), expected);
    }
}
