use std::fmt::Write;

use proptest::prelude::*;

use crate::{Manifest, Parsed, plan::JobKind};

fn good(text: &str) -> Parsed {
    Manifest::parse(text, "okteto.yaml").unwrap_or_else(|problems| panic!("{problems}"))
}

/// The messages of a manifest, hints included; warnings when there is no error.
fn messages(text: &str) -> String {
    match Manifest::parse(text, "okteto.yaml") {
        Ok(parsed) => {
            parsed.warnings.iter().map(|warning| format!("warning: {warning}")).collect::<Vec<_>>().join("\n")
        }
        Err(problems) => problems.to_string(),
    }
}

#[test]
fn the_contract() {
    let problems = Manifest::parse("name: ex\nbuild:\n  app:\n    contxt: .\n", "okteto.yaml").unwrap_err().into_vec();
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].to_string(), "okteto.yaml:4:5: unknown key `contxt` in `build.app`");
    assert_eq!(problems[0].hint.as_deref(), Some("did you mean `context`?"));
}

#[test]
fn every_form_of_options() {
    let manifest = good(
        "build:
  a:
    labels: {x: 1, y: a=b, z: }
    annotations: ['index:x=1']
    extra_hosts: {one: 10.0.0.1, two: [10.0.0.2, '::1']}
    ulimits: {nofile: {soft: 1, hard: 2}, nproc: 3, core: {soft: 0}}
    network: none
    shm_size: 64m
    no_cache_filter: test
    pull: yes
    provenance: false
    sbom: generator=x
    export: type=image,compression=zstd
    platforms: [linux/amd64, linux/arm64]
    cache_from: okteto.dev/cache:a
    export_cache: [okteto.dev/cache:a, type=inline]
    ssh: [default, key=~/.ssh/id]
  b:
    labels: [x=1, y]
    extra_hosts: ['one:10.0.0.1']
    ulimits: [nofile=1]
    no_cache_filter: [a, b]
    platforms: linux/amd64,linux/arm64
",
    )
    .manifest;
    let mut found = String::new();
    for build in &manifest.build {
        for (key, text) in &build.options {
            writeln!(found, "{} {key} {} ({}:{})", build.service, text.value, text.place.line, text.place.column)
                .unwrap();
        }
        let platforms: Vec<_> = build.platforms.iter().map(|text| text.value.as_str()).collect();
        writeln!(found, "{} platforms {}", build.service, platforms.join(" + ")).unwrap();
    }
    insta::assert_snapshot!(found);
    insta::assert_snapshot!(messages(
        "build:\n  a:\n    labels: x\n    ulimits: {nofile: {hard: 1}}\n    network: [x]\n"
    ));
    insta::assert_snapshot!(messages("build:\n  a: {labels: {x: [y, z], v: {soft: 1}}, ulimits: {nofile: [1]}}\n"));
}

#[test]
fn every_form_of_build() {
    let manifest = good(
        "build:
  short: ./here
  empty: {}
  full:
    context: api
    dockerfile: docker/Dockerfile
    image: okteto.dev/api:1, okteto.dev/api:2
    target: prod
    args: {B: 1.50, A: yes, C: null, D: '', E: 0x10}
    depends_on: short
  list:
    args:
      - X=1=2
      - FROM_ENV
      - Y=
    depends_on: [empty, full, empty]
",
    )
    .manifest;
    let text = |text: &Option<crate::manifest::Text>| text.as_ref().map(|text| text.value.clone()).unwrap_or_default();
    let args = |service: &str| -> Vec<(String, Option<String>)> {
        let build = manifest.build_of(service).unwrap();
        build.args.iter().map(|arg| (arg.name.clone(), arg.value.as_ref().map(|value| value.value.clone()))).collect()
    };
    let some = |name: &str, value: &str| (name.to_owned(), Some(value.to_owned()));
    assert_eq!(
        manifest.build.iter().map(|build| build.service.as_str()).collect::<Vec<_>>(),
        ["short", "empty", "full", "list"]
    );
    assert_eq!(text(&manifest.build[0].context), "./here");
    let full = manifest.build_of("full").unwrap();
    assert_eq!(text(&full.dockerfile), "docker/Dockerfile");
    assert_eq!(text(&full.image), "okteto.dev/api:1, okteto.dev/api:2");
    assert_eq!(text(&full.target), "prod");
    assert_eq!(args("full"), [some("A", "yes"), some("B", "1.50"), some("C", ""), some("D", ""), some("E", "0x10")]);
    assert_eq!(args("list"), [("FROM_ENV".to_owned(), None), some("X", "1=2"), some("Y", "")]);
    let depends: Vec<&str> = manifest.build[3].depends_on.iter().map(|to| to.service.as_str()).collect();
    assert_eq!(depends, ["empty", "full"]);
}

#[test]
fn every_form_of_deploy() {
    let list = good("deploy:\n- echo one\n- name: two\n  command: echo 2\n- true\n").manifest.deploy.unwrap().run;
    let commands: Vec<(&str, &str)> =
        list.commands.iter().map(|command| (command.name.as_str(), command.command.as_str())).collect();
    assert_eq!(commands, [("echo one", "echo one"), ("two", "echo 2"), ("true", "true")]);
    assert_eq!(list.remote, None);
    for (word, remote) in
        [("yes", Some(true)), ("off", Some(false)), ("true", Some(true)), ("n", Some(false)), ("~", None)]
    {
        let deploy = good(&format!("deploy:\n  image: i\n  context: c\n  remote: {word}\n  commands: [a]\n"));
        assert_eq!(deploy.manifest.deploy.unwrap().run.remote, remote, "{word}");
    }
    assert_eq!(good("name: x\ndeploy:\n").manifest.deploy, None);
}

/// As yaml.v2 has it: the later of two counts, but in a list of mappings the first.
#[test]
fn anchors_and_merges() {
    let manifest = good(
        "build:
  a: &base
    context: .
    target: one
  b:
    <<: *base
    target: two
  c:
    target: three
    <<: [*base, {dockerfile: D, target: four}]
  d: *base
",
    )
    .manifest;
    let fields: Vec<[Option<&str>; 3]> = manifest
        .build
        .iter()
        .map(|build| {
            [&build.context, &build.dockerfile, &build.target].map(|text| text.as_ref().map(|t| t.value.as_str()))
        })
        .collect();
    assert_eq!(
        fields,
        [
            [Some("."), None, Some("one")],
            [Some("."), None, Some("two")],
            [Some("."), Some("D"), Some("one")],
            [Some("."), None, Some("one")],
        ]
    );
}

#[test]
fn all_problems_in_order() {
    insta::assert_snapshot!(messages(
        "nmae: ex
build:
  a:
    image: [x]
    dockerFile: D
    args: 5
    depends_on: [b, c-c, a]
  b:
    depends_on: a
    context: {}
  c_c: .
  c-c: .
  d:
  A/B: .
  e:
    args: ['=x', {A: 1}]
    target: one
    target: two
deploy:
  remote: 'yes'
  commands:
  - name: x
  - a: b: c
"
    ), @"
    okteto.yaml:18:5: duplicate key `target`, first on line 17
    okteto.yaml:23:9: not valid YAML: mapping values are not allowed in this context
      hint: a text with `: ` in it needs quotes around it
    ");
    insta::assert_snapshot!(messages(
        "nmae: ex
build:
  a:
    image: [x]
    dockerFile: D
    args: 5
    depends_on: [b, c-d, a, zzz]
  b:
    depends_on: a
    context: {}
  c_c: .
  c-c: .
  d:
  A/B: .
  e:
    args: ['=x', {A: 1}]
    target: one
    target: two
deploy:
  remote: 'yes'
  commands:
  - name: x
  - echo: b
  - [a]
  image: 5
"
    ));
}

#[test]
fn messages_of_single_mistakes() {
    let cases = [
        "",
        "# nothing\n",
        "~",
        "- a\n",
        "text",
        "name: [a]",
        "name: a\nname: b",
        "build: .",
        "build: [a]",
        "build: {a: [x]}",
        "build: {a: {args: x}}",
        "build: {a: {depends_on: {b: c}}}",
        "build: {a: {depends_on: a}}",
        "build: {a: {depends_on: b}, b: {depends_on: c}, c: {depends_on: a}, x: {depends_on: c}}",
        "build: {api: ., web: {depends_on: aip}}",
        "build: {[a]: .}",
        "deploy: make",
        "deploy: {commands: make}",
        "deploy: ['']",
        "deploy: {remote: maybe}",
        "deploy: {comands: []}",
        "dev: {x: 1}\ntest: {}\nbuild: {a: {secrets: {}, cache_from: {x: y}}}\ndeploy: {compose: x}",
        "build: {My_App: .}",
        "build: {My_App: ., my-app: .}",
        "a: *b",
        "a: &a [*a]",
        "<<: x",
        "x-anchors: {}",
        "name: !thing x",
        "name: a\n---\nname: [",
        "name: \"a",
        "name: a\n\tb: c",
        "name: 'é'\nnäme: x",
    ];
    let all: Vec<String> = cases.into_iter().map(|case| format!("{case:?}\n{}\n", messages(case))).collect();
    insta::assert_snapshot!(all.join("\n"));
}

fn lines(count: usize, line: impl Fn(usize) -> String) -> String {
    (0..count).map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn bombs_end_quickly() {
    let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let previous = format!("*a{}, ", level - 1).repeat(10);
        let _ = writeln!(laughs, "a{level}: &a{level} [{previous}]");
    }
    let mut chain = "a0: &a0 [x]\n".to_owned();
    for level in 1..2000 {
        let _ = writeln!(chain, "a{level}: &a{level} [*a{}]", level - 1);
    }
    let flow = "[".repeat(100_000);
    let block = lines(2000, |level| format!("{}a:", " ".repeat(level)));
    let text = format!("a: &a {}\nb: [{}]", "x".repeat(500_000), "*a,".repeat(1000));
    let anchors = format!("{}x{}", lines(60, |n| format!("&a{n} [")), ",x".repeat(50_000));
    let wide = format!("name: [{}]", "a,".repeat(400_000));
    let large = format!("name: {}", "x".repeat(2_000_000));
    let unknown = lines(50_000, |n| format!("key{n}: x"));
    let services = format!("build:\n{}", lines(20_000, |n| format!("  s{n}: .")));
    let mut merges = "a0: &a0 {x: y}\n".to_owned();
    for level in 1..40 {
        let _ = writeln!(merges, "a{level}: &a{level} {{b{level}: z, <<: [*a{0}, *a{0}]}}", level - 1);
    }
    // Names are part of every message about what is in them.
    let key = "k".repeat(400_000);
    let named = format!("dev:\n  {key}:\n    environment:\n{}", lines(20_000, |n| format!("    - [{n}]")));
    let line = format!("build: {{a: {{{}}}}}", lines(50_000, |n| format!("k{n}: x,")).replace('\n', " "));
    let all = lines(256, |n| format!("s{n}, ")).replace('\n', "");
    let graph = format!("build:\n{}", lines(256, |n| format!("  s{n}: {{depends_on: [{all}]}}")));
    let tests = format!("test:\n{}", lines(10_000, |n| format!("  t{n}: {{commands: [a], depends_on: [t{}]}}", n + 1)));
    let repositories = format!("dependencies:\n{}", lines(20_000, |n| format!("- x/{n}")));
    let again = format!("{repositories}{}", lines(20_000, |n| format!("- x/{}", 20_000 - n)));
    // A key of more than 1024 characters is written like this.
    let long = "n".repeat(900_000);
    let unknown_tests = lines(220, |n| format!("{}{n},", "u".repeat(60))).replace('\n', "");
    let depends =
        format!("test:\n  ? {long}\n  : {{commands: [a]}}\n  t: {{commands: [a], depends_on: [{unknown_tests}]}}\n");
    let long = "n".repeat(80_000);
    let several = lines(10, |n| format!("  ? {long}{n}\n  : {{commands: [a]}}"));
    let many = format!("test:\n{several}  t: {{commands: [a], depends_on: [{unknown_tests}]}}\n");
    // Each line is found by itself.
    let left = format!("name: \"{}\nnmae: x", lines(100_000, |_| "x".to_owned()));
    let bombs = [laughs, chain, flow, block, text, anchors, wide, large, unknown, services, left];
    for bomb in bombs.into_iter().chain([merges, named, line, graph, tests, repositories, again, depends, many]) {
        let start = std::time::Instant::now();
        let problems = Manifest::parse(&bomb, "okteto.yaml").and_then(Parsed::for_everybody).expect_err(&bomb[..40]);
        assert!(problems.render(&bomb).len() < 200_000, "{}", &bomb[..40]);
        assert!(start.elapsed().as_secs() < 10, "{} took {:?}", &bomb[..40], start.elapsed());
    }
}

const SAMPLE: &str = "name: ex\nbuild:\n  base: &b\n    context: .\n    args: [A=1, B]\n  app:\n    <<: *b\n    image: \"a:$X\"\n    depends_on: [base]\ndeploy:\n  remote: yes\n  commands:\n  - name: x\n    command: |\n      echo\n  - 'two'\n";

/// Text in quotes whose lines begin at the left: places are those of the file, and what is wrong is said as elsewhere.
#[test]
fn continued_lines_may_begin_at_the_left() {
    let long = format!("name: \"{}\"\nnmae: x", lines(300, |_| "x".to_owned()));
    assert_eq!(messages(&long), "okteto.yaml:301:1: unknown key `nmae`\n  hint: did you mean `name`?");
    // In a block far to the right.
    let right = format!("{}\"x\ny\"\n", "- ".repeat(60));
    assert_eq!(messages(&right), "okteto.yaml:1:1: the manifest must be a mapping, not a list");
    let after = "build:\n  web:\n    args: {A: \"x\ny\", B: {c: d}}\n";
    assert_eq!(messages(after), "okteto.yaml:4:8: `build.web.args.B` must be a string, not a mapping");
    let bad = "name: \"a\nb\"\nname: c\n";
    assert_eq!(messages(bad), "okteto.yaml:3:1: duplicate key `name`, first on line 1");
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "(?s).{0,200}") {
        let _ = Manifest::parse(&text, "f");
    }

    #[test]
    fn yaml_like_text_is_read_or_refused(parts in prop::collection::vec(prop::sample::select(vec![
        "build", "deploy", ":", ": ", "\n", "  ", "- ", "[", "]", "{", "}", ",", "&a ", "*a", "<<: ", "!!str ", "|", ">", "'", "\"", "#",
        "a", "args", "depends_on", "~", "? ", "%", "---\n", "\t", "\u{feff}", "é", "\r\n",
    ]), 0..40)) {
        let _ = Manifest::parse(&parts.concat(), "f");
    }

    /// One edit of a good manifest: every problem lies inside the file and shows its place.
    #[test]
    fn mutated_manifests_are_read_or_refused(at in 0..SAMPLE.len(), cut in 0_usize..6, insert in "[ :\\[\\]{}&*a\n\"'-]{0,3}") {
        let end = (at + cut).min(SAMPLE.len());
        let text = format!("{}{insert}{}", &SAMPLE[..at], &SAMPLE[end..]);
        if let Err(problems) = Manifest::parse(&text, "f") {
            let lines = text.lines().count() + 1;
            for problem in problems.iter() {
                prop_assert!(problem.line >= 1 && problem.line <= lines && problem.column >= 1, "{problem}\n{text}");
            }
        }
    }
}

/// What is wrong in a section stops those who use it, and no others.
#[test]
fn sections_stop_only_their_own_jobs() {
    let text = "build: {web: .}
deploy: {commands: [make], divert: {}}
destroy: [make]
test: {a: {commands: [make], depends_on: b}, b: {commands: [make], depends_on: [a, c]}}
dependencies: {api: {repository: -x}}
dev: {api: {imagePullPolicy: always, replicas: 2, secrets: [a], remote: 70000, persistentVolume: {size: big},
  initContainer: {resources: {limits: {cpu: lots}}}}}
forward: [70000:api:80]
";
    let found = |kinds: &[JobKind]| match good(text).for_jobs(kinds) {
        Ok((manifest, warnings)) => {
            assert!(manifest.build_of("web").is_some());
            let warnings: Vec<String> = warnings.iter().map(|warning| format!("warning: {warning}")).collect();
            warnings.join("\n")
        }
        Err(problems) => problems.to_string(),
    };
    let all = [&[][..], &[JobKind::Deploy], &[JobKind::Test], &[JobKind::Test, JobKind::Deploy]];
    let all: Vec<String> = all.iter().map(|kinds| format!("{kinds:?}\n{}\n", found(kinds))).collect();
    insta::assert_snapshot!(all.join("\n"));
    assert_eq!(found(&[JobKind::Build, JobKind::Destroy]), found(&[]));
    assert_eq!(good(text).for_everybody().unwrap_err().iter().count(), good(text).problems.len());
}

/// A key that is unknown or of the wrong kind stops everybody, and then all that is wrong is said.
#[test]
fn a_wrong_shape_stops_everybody() {
    let text = "build: {web: .}\ntest: {a: {commands: [make], depends_on: a}}\ndev: {api: {mode: fast, imge: x}}\n";
    insta::assert_snapshot!(messages(text), @"
    okteto.yaml:2:42: `a` depends on itself
    okteto.yaml:3:19: `dev.api.mode` must be `sync` or `hybrid`, not `fast`
    okteto.yaml:3:25: unknown key `imge` in `dev.api`
      hint: did you mean `image`?
    ");
}

/// One error, and not one for each key.
#[test]
fn a_compose_file_is_no_manifest() {
    let message = |text: &str, file: &str| Manifest::parse(text, file).unwrap_err().to_string();
    let text = "version: '3'\nname: x\nservices:\n  web: {build: .}\nvolumes: {}\n";
    insta::assert_snapshot!(message(text, "okteto.yaml"), @"
    okteto.yaml:3:1: `okteto.yaml` looks like a compose file, which is not a manifest here: compose files are not deployed yet
      hint: write an okteto.yaml that says what is built (`build:`, then `  app: FOLDER`) and how it is deployed (`deploy:`, a list of commands)
    ");
    let named = message("include: [a.yaml]\n", "x/docker-compose.yml");
    assert!(named.starts_with("x/docker-compose.yml:1:1: `x/docker-compose.yml` looks like a compose file"), "{named}");
    assert!(message("include: [a.yaml]\n", "okteto.yaml").contains("unknown key `include`"));
    assert!(message("services: {web: .}\nbuild: {a: .}\n", "okteto.yaml").contains("unknown key `services`"));
    assert!(good("name: x\n").manifest.build.is_empty());
}

#[test]
fn what_stops_nobody_hides_nothing() {
    let text = format!("dev:\n{}\nbuild:\n  web: {{contxt: .}}\n", lines(500, |n| format!("  d{n}: {{mode: fast}}")));
    assert!(messages(&text).contains("unknown key `contxt`"));
}
