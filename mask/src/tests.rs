use proptest::prelude::*;

use super::*;

fn masked(masks: &Masks, pieces: &[&[u8]]) -> String {
    let (mut masker, mut told) = (masks.masker(), Vec::new());
    for piece in pieces {
        masker.push(piece, &mut told);
    }
    masker.finish(&mut told);
    assert_eq!(masker.held(), 0);
    String::from_utf8(told).unwrap()
}

/// A value that every encoding changes.
const ODD: &str = "p\"ä/ß <&> 'x'\\ +~y?>>";

#[test]
fn every_form_is_masked() {
    let masks = Masks::of([ODD]);
    let texts = [
        ODD,
        r#"{"a":"p\"ä/ß <&> 'x'\\ +~y?>>"}"#,
        r#"{"a":"p\"ä/ß \u003c\u0026\u003e 'x'\\ +~y?\u003e\u003e"}"#,
        r#"{"a":"p\"\u00e4/\u00df <&> 'x'\\ +~y?>>"}"#,
        r#"{"a":"p\"ä\/ß <&> 'x'\\ +~y?>>"}"#,
        "p%22%C3%A4%2F%C3%9F%20%3C%26%3E%20%27x%27%5C%20%2B~y%3F%3E%3E",
        "p%22%c3%a4%2f%c3%9f%20%3c%26%3e%20%27x%27%5c%20%2b~y%3f%3e%3e",
        "p%22%C3%A4/%C3%9F%20%3C%26%3E%20%27x%27%5C%20%2B~y%3F%3E%3E",
        "p%22%C3%A4%2F%C3%9F%20%3C%26%3E%20'x'%5C%20%2B~y%3F%3E%3E",
        "p%22%C3%A4%2F%C3%9F+%3C%26%3E+%27x%27%5C+%2B%7Ey%3F%3E%3E",
        "p%22%C3%A4%2F%C3%9F+%3C%26%3E+%27x%27%5C+%2B~y%3F%3E%3E",
        r#"'p"ä/ß <&> '\''x'\''\ +~y?>>'"#,
        "cCLDpC/DnyA8Jj4gJ3gnXCArfnk/Pj4=",
        "cCLDpC_DnyA8Jj4gJ3gnXCArfnk_Pj4",
    ];
    for text in texts {
        let told = masks.text(text);
        assert!(told.contains(MASK) && told.len() <= 12, "{text} gives {told}");
    }
}

#[test]
fn base64_is_found_at_every_place_of_a_longer_text_and_over_line_ends() {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};
    let secret = "correct horse battery staple";
    let masks = Masks::of([secret]);
    for before in 0..150 {
        for after in 0..4 {
            let clear = format!("{}{secret}{}", "b".repeat(before), "a".repeat(after));
            for text in [STANDARD.encode(&clear), URL_SAFE.encode(&clear)] {
                for columns in [76, 64, usize::MAX] {
                    for end in ["\n", "\r\n"] {
                        let lines: Vec<_> = text.as_bytes().chunks(columns.min(text.len())).collect();
                        let wrapped = lines.join(end.as_bytes());
                        let told = masked(&masks, &[&wrapped]);
                        assert!(told.contains(MASK), "{told}");
                        // At most what shares a character with its neighbours, and of two groups a part.
                        let spare = before.div_ceil(3) * 4 + after.div_ceil(3) * 4 + MASK.len() + 8 + 12;
                        assert!(told.len() <= spare, "{before} {after} {columns}: {told}");
                    }
                }
            }
        }
    }
    assert_eq!(masks.text("\"Y29ycmVjdCBob3JzZSBiYXR0ZXJ5IHN0YXBsZQo=\""), "\"***\"", "with a line end");
}

#[test]
fn each_line_is_masked_and_short_ones_are_not() {
    let masks = Masks::of(["first line\n  second: line\nx\nthe third\r\n"]);
    assert_eq!(masks.text("first line\n"), "***\n");
    assert_eq!(masks.text("- second: line!"), "- ***!");
    assert_eq!(masks.text("the third x second"), "*** x second");
    assert_eq!(masks.text("first line\n  second: line\nx\nthe third\n"), "***\n");
    assert!(Masks::of(["12345", "äöüßé", "", "      ", "a\nb"]).is_empty());
    assert_eq!(Masks::of(["123456"]).text("1234567"), "***7");
    assert_eq!(Masks::of(["äöüßéè"]).text("äöüßéèä"), "***ä");
}

#[test]
fn what_overlaps_goes_together_and_the_rest_stays_apart() {
    let masks = Masks::of(["abcdefgh", "efghijkl", "cdefgh", "mnopqr"]);
    assert_eq!(masks.text("xabcdefghijklz"), "x***z");
    assert_eq!(masks.text("abcdefghmnopqr"), "******");
    assert_eq!(masks.text("abcdefg"), "abcdefg");
    assert_eq!(masks.text("abcdefcdefgh"), "abcdef***");
    let longer = Masks::of(["-abcdef-ghijkl-mnopqr-", "ghijkl", "abcdef"]);
    assert_eq!(longer.text("-abcdef-ghijkl-mnopqr"), "-***-***-mnopqr");
    assert_eq!(masked(&longer, &[b"-abcdef-ghijkl-", b"mnopqr", b"-"]), "***");
}

#[test]
fn only_what_may_become_something_is_held_back() {
    let masks = Masks::of(["open sesame"]);
    let (mut masker, mut told) = (masks.masker(), Vec::new());
    masker.push(b"what is it? open", &mut told);
    assert_eq!((told.as_slice(), masker.held()), (b"what is it? ".as_slice(), 4));
    masker.push(b" the door ", &mut told);
    assert_eq!((told.as_slice(), masker.held()), (b"what is it? open the door ".as_slice(), 0));
    masker.push(b"open sesame", &mut told);
    assert_eq!((told.as_slice(), masker.held()), (b"what is it? open the door ***".as_slice(), 0));
    // A line that ends with the first letters of a base64 form does not wait for the next.
    masker.push(b"b3B\n", &mut told);
    assert!(told.ends_with(b"b3B\n"));
    masker.push(b"b3Bl\n", &mut told);
    assert_eq!(masker.held(), 5);
    masker.push(b"\n\n", &mut told);
    assert!(told.ends_with(b"b3Bl\n\n\n"));
    // What overlaps with itself is no reason to hold everything.
    let masks = Masks::of(["aaaaaa"]);
    let (mut masker, mut told) = (masks.masker(), Vec::new());
    for _ in 0..1000 {
        masker.push(b"aaaa", &mut told);
        assert!(masker.held() < 6);
    }
    masker.finish(&mut told);
    assert_eq!(told, b"***");
}

#[test]
fn long_values_go_by_lines_and_pieces() {
    let line = |n: usize| format!("line {n}: {}", "ä".repeat(n));
    let lines: Vec<_> = (0..300).map(line).collect();
    let masks = Masks::of([lines.join("\n")]);
    assert_eq!(masks.gaps(), Gaps { plain: 0, encoded: 1 });
    assert_eq!(masks.text(&line(299)), MASK);
    for length in [MAX_PATTERN, MAX_PATTERN + 1, MAX_PATTERN + LEAST, 3 * MAX_PATTERN + 7] {
        let text: String = (0..).map(|n| format!("{n:x}é")).take(length).collect::<String>();
        let told = Masks::of([&text]).text(&format!("<{text}>")).replace(MASK, "");
        assert_eq!(told, "<>");
    }
}

const LEAST: usize = 64;

#[test]
fn there_is_an_end_to_it_and_it_is_told() {
    let large: Vec<_> = (0..2 * MAX_PATTERNS / 16).map(|n| format!("{n:015}")).collect();
    let masks = Masks::of(["small secret", &large.join("\n")]);
    assert_eq!(masks.gaps(), Gaps { plain: 1, encoded: 1 });
    assert_eq!(masks.text("small secret c21hbGwgc2VjcmV0"), "*** ***");
    assert!(!format!("{masks:?}").contains("secret"));
}

#[test]
fn what_is_masked_stays_so_whatever_comes_later() {
    let lines =
        |from: usize| (from..from + MAX_PATTERNS / 24).map(|n| format!("{n:015}")).collect::<Vec<_>>().join("\n");
    let masks = Masks::of([lines(1)]);
    assert_eq!(masks.gaps().plain, 0);
    let more = masks.and([lines(90_000).as_str(), "small secret"]);
    assert_eq!(more.gaps().plain, 1);
    let last = 90_000 + MAX_PATTERNS / 24 - 1;
    assert_eq!(more.text(&format!("{:015} small secret {last:015}", 1)), format!("*** *** {last:015}"));
}

#[test]
fn without_values_nothing_changes() {
    let masks = Masks::default();
    assert!(masks.is_empty() && matches!(masks.text("text"), Cow::Borrowed("text")));
    assert_eq!(masked(&masks, &[b"a", b"b"]), "ab");
}

#[test]
fn bytes_that_are_no_text_are_masked_too() {
    let masks = Masks::of([[0xff, 0, 1, 2, 3, 0xfe]]);
    let mut told = Vec::new();
    masks.masker().push(&[9, 0xff, 0, 1, 2, 3, 0xfe, 9], &mut told);
    assert_eq!(told, b"\x09***\x09");
    assert_eq!(masks.text("/wABAgP+"), MASK);
}

/// Values and texts of few letters, so that they meet often.
fn words() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec("[ab\n\"%]{6,14}", 1..5)
}

/// Every occurrence of a pattern, and what overlaps goes together.
fn by_hand(patterns: &BTreeSet<Vec<u8>>, text: &[u8]) -> Vec<u8> {
    let mut hidden = vec![false; text.len()];
    let mut starts = vec![false; text.len() + 1];
    let mut found: Vec<(usize, usize)> = Vec::new();
    for (start, _) in text.iter().enumerate() {
        found.extend(
            patterns.iter().filter(|pattern| text[start..].starts_with(pattern)).map(|p| (start, start + p.len())),
        );
    }
    found.sort_unstable();
    let mut end = 0;
    for (from, to) in found {
        starts[from] |= from >= end;
        end = end.max(to);
        hidden[from..to].fill(true);
    }
    let mut told = Vec::new();
    for (at, byte) in text.iter().enumerate() {
        if starts[at] {
            told.extend_from_slice(MASK.as_bytes());
        }
        if !hidden[at] {
            told.push(*byte);
        }
    }
    told
}

proptest! {
    #[test]
    fn any_split_gives_the_same(values in words(), pieces in prop::collection::vec("[abYWJi\n\"%]{0,20}", 0..8)) {
        let masks = Masks::of(&values);
        let whole = masks.text(&pieces.concat()).into_owned();
        let split: Vec<_> = pieces.iter().map(String::as_bytes).collect();
        prop_assert_eq!(masked(&masks, &split), whole);
    }

    #[test]
    fn plain_forms_are_found_as_by_hand(values in words(), text in "[ab\n\"%]{0,80}", cut in 0..80_usize) {
        let parts = values.iter().flat_map(|value| forms::parts(value.as_bytes()));
        let patterns: BTreeSet<_> = parts.flat_map(|part| [forms::escaped(&part), [part].into()]).flatten().collect();
        let found = Patterns::new(&patterns, false).unwrap();
        prop_assume!(found.is_some());
        let (found, longest) = (found.unwrap(), patterns.iter().map(Vec::len).max().unwrap_or(0));
        let (mut scan, mut told) = (Scan::default(), Vec::new());
        let (first, second) = text.as_bytes().split_at(cut.min(text.len()));
        for piece in [first, second] {
            scan.push(&found, piece, &mut told);
            prop_assert!(scan.held() < longest);
        }
        scan.finish(&mut told);
        prop_assert_eq!(told, by_hand(&patterns, text.as_bytes()));
    }

    #[test]
    fn no_form_survives(
        value in "[a-zA-Z0-9 /+\"'\\\\ä€\n-]{6,120}",
        around in "[a-z0-9 ]{0,40}",
        which in any::<prop::sample::Index>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let parts = forms::parts(value.as_bytes());
        prop_assume!(!parts.is_empty());
        let every = |part: &Vec<u8>| [forms::escaped(part), forms::base64(part), [part.clone()].into()].into_iter().flatten();
        let all: Vec<Vec<u8>> = parts.iter().flat_map(every).collect();
        let form = which.get(&all);
        let text = [around.as_bytes(), form, around.as_bytes()].concat();
        let (first, second) = text.split_at(cut.index(text.len() + 1));
        let (mut masker, mut told) = (Masks::of([&value]).masker(), Vec::new());
        masker.push(first, &mut told);
        masker.push(second, &mut told);
        masker.finish(&mut told);
        for form in &all {
            prop_assert!(!told.windows(form.len()).any(|window| window == form), "{}", String::from_utf8_lossy(&told));
        }
    }
}

#[test]
fn what_cannot_be_looked_for_lets_nothing_through() {
    let masks = Masks(Some(Arc::new(Inner::default().looking_for(Err(Unbuildable), Ok(None)))));
    assert!(masks.is_blind() && !masks.is_empty());
    assert_eq!((masks.text("say open sesame"), masks.text("")), (MASK.into(), "".into()));
    let (mut masker, mut told) = (masks.masker(), Vec::new());
    for piece in ["say open ", "sesame\n", "and more"] {
        masker.push(piece.as_bytes(), &mut told);
    }
    masker.finish(&mut told);
    masker.finish(&mut told);
    assert_eq!(told, MASK.as_bytes());
    assert!(masks.and(["more values"]).is_blind());
    assert!(!Masks::of(["open sesame"]).is_blind());
}

#[test]
fn values_are_added_to_those_before_but_not_what_is_spared() {
    let spared = Masks::sparing(["my-application".to_owned()]);
    assert!(spared.is_empty());
    let some = spared.and(["open sesame", " my-application\n"]);
    assert_eq!(some.text("my-application: open sesame, second"), "my-application: ***, second");
    let more = some.and(["second", "my-application"]);
    assert_eq!(more.text("my-application: open sesame, second"), "my-application: ***, ***");
    assert_eq!(some.text("second"), "second");
    assert!(Arc::ptr_eq(more.0.as_ref().unwrap(), more.and(["second", "x"]).0.as_ref().unwrap()), "nothing is new");
}
