use proptest::prelude::*;

use super::*;

fn lookup(name: &str) -> Option<String> {
    let value = match name {
        "BAR" => "bar",
        "FOO" => "foo",
        "A_B" => "ab",
        "DOLLAR" => "a$BAR}",
        "EMPTY" => "",
        _ => return None,
    };
    Some(value.to_owned())
}

#[test]
fn every_form() {
    for (text, expected) in [
        ("", ""),
        ("plain", "plain"),
        ("$BAR", "bar"),
        ("${BAR}", "bar"),
        ("x${BAR}y$FOO-z", "xbaryfoo-z"),
        ("$BAR.x", "bar.x"),
        ("$A_B", "ab"),
        ("$NO", ""),
        ("${NO}", ""),
        ("$EMPTY", ""),
        // - and =
        ("${NO-d}", "d"),
        ("${NO=d}", "d"),
        ("${EMPTY-d}", ""),
        ("${EMPTY=d}", ""),
        ("${BAR-d}", "bar"),
        // :- and :=
        ("${NO:-d}", "d"),
        ("${NO:=d}", "d"),
        ("${EMPTY:-d}", "d"),
        ("${EMPTY:=d}", "d"),
        ("${BAR:-d}", "bar"),
        ("${NO:-}", ""),
        ("${NO:--x}", "-x"),
        ("${NO:-a:b=c+d-e}", "a:b=c+d-e"),
        ("${NO:=http://h:80/p?x=1}", "http://h:80/p?x=1"),
        // + and :+ ask whether it is set
        ("${BAR+x}", "x"),
        ("${BAR:+x}", "x"),
        ("${EMPTY+x}", "x"),
        ("${EMPTY:+x}", "x"),
        ("${NO+x}", ""),
        ("${NO:+x}", ""),
        // escapes and what is no expression
        ("$$BAR", "$BAR"),
        ("$${BAR}", "${BAR}"),
        ("$$$BAR", "$bar"),
        ("$$$$", "$$"),
        ("$", "$"),
        ("$ x", "$ x"),
        ("a$-b", "a$-b"),
        ("$_ x", "$_ x"),
        ("${_}", "${_}"),
        ("${}", "${}"),
        ("$1", ""),
        ("${NO:-a}}", "a}"),
        ("${NO:-{x}}", "{x}"),
        // ignored after the name
        ("${BAR }", "bar"),
        ("${BAR?e}", "bar"),
        ("${BAR:x}", "bar"),
        ("${BAR.x}", "bar"),
        // nested, where envsubst gives odd results
        ("${NO:-$BAR}", "bar"),
        ("${NO:-x$BAR/y}", "xbar/y"),
        ("${NO:-${BAR}}", "bar"),
        ("${NO:-${NO:-${NO:-deep}}}", "deep"),
        ("${NO:-$$x}", "$x"),
        // values are not expanded again
        ("$DOLLAR", "a$BAR}"),
        ("${NO:-$DOLLAR}", "a$BAR}"),
        ("é${BAR}ü", "ébarü"),
        ("$BARé", ""),
    ] {
        assert_eq!(expand(text, &lookup).map(|expanded| expanded.text).as_deref(), Ok(expected), "{text:?}");
    }
}

#[test]
fn errors() {
    let deep = "${A:-".repeat(40);
    let errors: Vec<String> = ["${BAR", "${", "a ${NO:-x\ny}", "${ BAR}", "${{ x }}", "${-x}", &deep]
        .into_iter()
        .map(|text| expand(text, &lookup).unwrap_err().to_string())
        .collect();
    insta::assert_snapshot!(errors.join("\n"), @"
    closing brace expected in `${BAR`
    closing brace expected in `${`
    closing brace expected in `${NO:-x`
    not a variable: `${ BAR}`
    not a variable: `${{ x }}`
    not a variable: `${-x}`
    defaults are nested deeper than 16 levels
    ");
    let large = |_: &str| Some("x".repeat(100_000));
    assert_eq!(expand(&"$A".repeat(100), &large), Err(ExpandError::TooLong));
}

#[test]
fn undefined_variables_are_named_once() {
    let undefined = |text| expand(text, &lookup).unwrap().undefined;
    assert_eq!(undefined("$B$A${B}$BAR$EMPTY"), ["B", "A"]);
    assert_eq!(undefined("${A:-x}${A-$B}${A+$C}${A:=}"), ["B"]);
    assert!(undefined("$$A").is_empty());
    assert_eq!(variables("${A:-$B}$A$$C").unwrap(), ["A", "B"]);
}

#[test]
fn templates_keep_only_what_is_known_later() {
    let later = |name: &str| name.starts_with("OKTETO_BUILD_");
    let images = |name: &str| (name == "OKTETO_BUILD_A_IMAGE").then(|| "reg/a$1@sha256:1".to_owned());
    for (text, source, finally) in [
        ("${OKTETO_BUILD_A_IMAGE}", "${OKTETO_BUILD_A_IMAGE}", "reg/a$1@sha256:1"),
        ("$BAR/$OKTETO_BUILD_A_IMAGE", "bar/${OKTETO_BUILD_A_IMAGE}", "bar/reg/a$1@sha256:1"),
        ("$DOLLAR", "a$$BAR}", "a$BAR}"),
        ("$$x", "$$x", "$x"),
        ("${OKTETO_BUILD_B_TAG:-$DOLLAR}", "${OKTETO_BUILD_B_TAG:-a$$BAR$}}", "a$BAR}"),
        ("${OKTETO_BUILD_A_IMAGE+$BAR}", "${OKTETO_BUILD_A_IMAGE+bar}", "bar"),
        ("${NO:-${OKTETO_BUILD_A_IMAGE}}", "${OKTETO_BUILD_A_IMAGE}", "reg/a$1@sha256:1"),
        ("${BAR:-${OKTETO_BUILD_A_IMAGE}}", "bar", "bar"),
        ("${OKTETO_BUILD_B_TAG}", "${OKTETO_BUILD_B_TAG}", ""),
    ] {
        let (template, _) = Template::expand_now(text, &lookup, &later).unwrap();
        assert_eq!(template.source(), source, "{text}");
        assert_eq!(template.expand(&images).unwrap().text, finally, "{text}");
        assert_eq!(template.complete().is_some(), !source.contains("OKTETO"), "{text}");
    }
    let (template, undefined) = Template::expand_now("$NO${OKTETO_BUILD_A_TAG}", &lookup, &later).unwrap();
    assert_eq!(undefined, ["NO"]);
    assert_eq!(template.variables(), ["OKTETO_BUILD_A_TAG"]);
    assert_eq!(Template::literal("a$b").to_string(), "a$b");
    assert!(Template::from_source("${").check().is_err());
}

/// Texts that are full of what matters here.
fn odd_text() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec![
        "$", "{", "}", "${", "A", "BAR", ":-", "-", "+", "=", ":", "$$", "_", " ", "\n", "é", "x",
    ]);
    prop::collection::vec(part, 0..30).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn nothing_panics(text in odd_text(), any in ".{0,200}") {
        for dialect in [Dialect::Envsubst, Dialect::Compose, Dialect::Template] {
            let _ = expand_as(dialect, &text, &lookup);
            let _ = expand_as(dialect, &any, &lookup);
        }
    }

    #[test]
    fn literals_mean_themselves(text in ".{0,100}", odd in odd_text()) {
        for text in [text, odd] {
            prop_assert_eq!(Template::literal(&text).complete(), Some(text));
        }
    }

    /// Expanding in two steps gives what expanding at once gives.
    #[test]
    fn two_steps_are_one(text in odd_text()) {
        if let Ok(expected) = expand(&text, &lookup) {
            let (template, _) = Template::expand_now(&text, &lookup, &|name| name == "BAR").unwrap();
            prop_assert_eq!(template.expand(&lookup).unwrap().text, expected.text, "{}", template.source());
        }
    }
}
