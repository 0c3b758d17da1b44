use crate::{
    ImageEnv, Manifest, Plan, Selection, ServiceName, Variables,
    options::OptionKey,
    plan::{Asked, BuildMode, BuildPlan, JobKind, PlanError, Section, remote_decision},
    print::{Digests, PrintedPlan},
};

fn manifest(text: &str) -> Manifest {
    Manifest::parse(text, "okteto.yaml").unwrap_or_else(|problems| panic!("{problems}")).manifest
}

fn environment(variables: &[(&str, &str)]) -> Variables {
    Variables::default()
        .with_environment(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
}

fn plan(text: &str, selection: &Selection, variables: &Variables) -> (Plan, String) {
    let (plan, warnings) = Plan::new(&manifest(text), selection, variables).unwrap();
    plan.validate().unwrap();
    (plan, warnings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}

fn order(plan: &Plan) -> Vec<&str> {
    plan.builds.iter().map(|build| build.service.as_str()).collect()
}

fn asked(services: &[&str]) -> Selection {
    Selection::build("dir", services.iter().map(ToString::to_string).collect())
}

const CHAIN: &str = "build:
  web: {depends_on: api}
  tools: .
  api: {depends_on: [base]}
  base: .
  other: .
";

#[test]
fn dependencies_come_first_and_come_along() {
    for (services, expected) in [
        (&[][..], &["tools", "base", "api", "web", "other"][..]),
        (&["web"], &["base", "api", "web"]),
        (&["other", "base"], &["base", "other"]),
        (&["API"], &["base", "api"]),
    ] {
        assert_eq!(order(&plan(CHAIN, &asked(services), &Variables::default()).0), expected);
    }
    let error = Plan::new(&manifest(CHAIN), &asked(&["wbe"]), &Variables::default()).unwrap_err();
    insta::assert_snapshot!(error, @"there is no service `wbe` in the `build` section of okteto.yaml: did you mean `web`?");
}

const EXPANDED: &str = "name: ${APP:-ex}
build:
  base: {image: 'okteto.dev/base:${TAG}'}
  app:
    context: ${DIR}
    dockerfile: $FILE
    depends_on: base
    args:
    - BASE=${OKTETO_BUILD_BASE_IMAGE}
    - BOTH=$TAG-${OKTETO_BUILD_BASE_TAG}
    - HOST
    - ABSENT
    - GONE=${GONE}
    - MONEY=$$5 $MONEY
  late:
    args: {X: '${OKTETO_BUILD_BASE_SHA}', Y: '${OKTETO_BUILD_NONE_IMAGE}'}
    image: reg.example/x:$OKTETO_BUILD_APP_TAG
";

fn expanded() -> (Plan, String) {
    let variables = environment(&[("TAG", "v1"), ("DIR", "src"), ("FILE", "D"), ("HOST", "here"), ("MONEY", "$HOST")]);
    let mut selection = asked(&[]);
    selection.build_args = vec![("HOST".to_owned(), "flag".to_owned())];
    plan(EXPANDED, &selection, &variables)
}

#[test]
fn a_plan_is_expanded() {
    let (plan, warnings) = expanded();
    insta::assert_snapshot!(warnings);
    let printed =
        PrintedPlan::new(&plan, |build| Digests { context: Some(format!("digest of {}", build.context)), input: None });
    insta::assert_snapshot!(serde_json::to_string_pretty(&printed).unwrap());
    let stored = serde_json::to_string(&plan).unwrap();
    assert_eq!(serde_json::from_str::<Plan>(&stored).unwrap(), plan);
}

const OPTIONS: &str = "build:
  a:
    labels: {both: manifest, own: $V}
    extra_hosts: {db: $V}
    platforms: [linux/amd64, $P]
    no_cache_filter: test
";

#[test]
fn flags_come_on_top_of_the_manifests_options() {
    let variables = environment(&[("V", "10.0.0.1"), ("P", "linux/arm64,linux/amd64"), ("SOURCE_DATE_EPOCH", "7")]);
    let mut selection = asked(&[]);
    let texts = |build: &BuildPlan| {
        build.options.to_pairs().into_iter().map(|(key, text)| format!("{key} {text}")).collect::<Vec<_>>()
    };
    let (plan, _) = self::plan(OPTIONS, &selection, &variables);
    let hidden = ["label both=manifest", "label own=10.0.0.1", "add-host db=10.0.0.1", "no-cache-filter test"];
    assert_eq!(texts(&plan.builds[0]), hidden);
    assert_eq!(plan.builds[0].platforms, ["linux/amd64", "linux/arm64"]);
    assert!(plan.builds[0].no_skip, "a step that runs again is no image that is there");
    let args = plan.builds[0].complete_args(&ImageEnv::default()).unwrap();
    assert!(args.contains(&("SOURCE_DATE_EPOCH".to_owned(), "7".to_owned())), "{args:?}");

    selection.options = vec![
        (OptionKey::Label, "both=flag".to_owned()),
        (OptionKey::ExtraHost, "db=10.0.0.2".to_owned()),
        (OptionKey::Pull, "true".to_owned()),
    ];
    selection.platforms = vec!["linux/riscv64".to_owned()];
    selection.build_args = vec![("SOURCE_DATE_EPOCH".to_owned(), "8".to_owned())];
    let (plan, _) = self::plan(OPTIONS, &selection, &variables);
    let added = ["label both=flag", "label own=10.0.0.1", "add-host db=10.0.0.2", "no-cache-filter test", "pull true"];
    assert_eq!(texts(&plan.builds[0]), added);
    assert_eq!(plan.builds[0].platforms, ["linux/riscv64"]);
    let args = plan.builds[0].complete_args(&ImageEnv::default()).unwrap();
    assert!(args.contains(&("SOURCE_DATE_EPOCH".to_owned(), "8".to_owned())), "{args:?}");

    let wrong = |text: &str| Plan::new(&manifest(text), &asked(&[]), &environment(&[("V", "x y")])).unwrap_err();
    insta::assert_snapshot!(wrong(OPTIONS), @"okteto.yaml:4:23: `build.a.extra_hosts`: `x y` is no IP address");
    insta::assert_snapshot!(wrong("build:\n  a:\n    platforms: [linux/amd64, $V]\n"), @"okteto.yaml:3:30: `build.a.platforms`: `x y` is no platform");
    insta::assert_snapshot!(wrong("build:\n  a:\n    annotations: [index:b=c]\n"), @"okteto.yaml:2:3: service `a`: `index:b=c`: an image of one platform has no index");
    insta::assert_snapshot!(wrong("build:\n  a:\n    export: type=oci\n"), @"
    okteto.yaml:3:13: `build.a.export` is about the image that is pushed: `type=image`, not `type=oci`
      hint: `slipway build --export type=oci a` brings that form of it
    ");
    let unset =
        "build:\n  a: {sbom: $NONE, provenance: $NONE, network: $NONE, pull: $NONE, export: '${NONE}', labels: }\n";
    let (plan, _) = self::plan(unset, &asked(&[]), &environment(&[("SOURCE_DATE_EPOCH", "")]));
    assert_eq!(plan.builds[0].options, crate::BuildOptions::default());
    let args = plan.builds[0].complete_args(&ImageEnv::default()).unwrap();
    assert!(args.iter().all(|(name, _)| name != "SOURCE_DATE_EPOCH"), "{args:?}");
    let timestamps = "build:\n  a: {export: 'type=image,rewrite-timestamp=true'}\n";
    let (_, warnings) = self::plan(timestamps, &asked(&[]), &environment(&[]));
    insta::assert_snapshot!(warnings, @"okteto.yaml:2:3: service `a`: `rewrite-timestamp` needs `SOURCE_DATE_EPOCH`");
    selection.options = vec![(OptionKey::Network, "host".to_owned())];
    let wrong = Plan::new(&manifest(OPTIONS), &selection, &variables).unwrap_err();
    insta::assert_snapshot!(wrong, @"--network: `host` is not allowed: it is the network of the engine's machine; `default` and `none` are");
}

#[test]
fn the_service_completes_arguments() {
    let (plan, _) = expanded();
    let mut images = ImageEnv::default();
    images.extend(&ServiceName::new("base").unwrap(), "r.io/dev/base@sha256:b").unwrap();
    let args = plan.builds[1].complete_args(&images).unwrap();
    let text: Vec<String> = args.iter().map(|(name, value)| format!("{name}={value}")).collect();
    insta::assert_snapshot!(text.join("\n"), @"
    BASE=r.io/dev/base@sha256:b
    BOTH=v1-sha256:b
    GONE=
    HOST=flag
    MONEY=$5 $HOST
    OKTETO_BUILD_BASE_IMAGE=r.io/dev/base@sha256:b
    OKTETO_BUILD_BASE_REGISTRY=r.io
    OKTETO_BUILD_BASE_REPOSITORY=dev/base
    OKTETO_BUILD_BASE_SHA=okteto@sha256:b
    OKTETO_BUILD_BASE_TAG=sha256:b
    OKTETO_SMART_BUILDS_ENABLED=true
    ");
    assert_eq!(plan.builds[0].images(&plan.name, &images).unwrap(), ["okteto.dev/base:v1"]);
    assert_eq!(plan.builds[1].images(&plan.name, &images).unwrap(), ["okteto.dev/ex-app:okteto"]);
    images.extend(&ServiceName::new("app").unwrap(), "r.io/dev/app:7").unwrap();
    assert_eq!(plan.builds[2].images(&plan.name, &images).unwrap(), ["reg.example/x:7"]);
}

#[test]
fn which_value_of_an_argument_counts() {
    let text = "build:
  base: .
  app: {depends_on: base, args: {OKTETO_BUILD_BASE_TAG: mine, OKTETO_BUILD_BASE_SHA: mine}}
";
    let mut selection = asked(&[]);
    selection.build_args = vec![("OKTETO_BUILD_BASE_SHA".to_owned(), "flag".to_owned())];
    let (plan, _) = plan(text, &selection, &environment(&[("OKTETO_SMART_BUILDS_ENABLED", "false")]));
    let mut images = ImageEnv::default();
    images.extend(&ServiceName::new("base").unwrap(), "r.io/dev/base:1").unwrap();
    let args = plan.builds[1].complete_args(&images).unwrap();
    let value = |name: &str| args.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    assert_eq!(value("OKTETO_BUILD_BASE_TAG"), Some("1"));
    assert_eq!(value("OKTETO_BUILD_BASE_SHA"), Some("flag"));
    assert_eq!(value("OKTETO_SMART_BUILDS_ENABLED"), Some("false"));
}

#[test]
fn deploy_builds_what_is_missing() {
    let text = "name: ex
build: {app: .}
deploy:
  image: ${OKTETO_BUILD_APP_IMAGE}
  commands: ['echo $NOT_EXPANDED']
";
    let variables = Variables::default()
        .with_dotenv([("FROM_FILE".to_owned(), "1".to_owned()), ("ODD".to_owned(), "file".to_owned())])
        .with_flags([("ODD".to_owned(), "a 'b'\n$c".to_owned())])
        .unwrap();
    for (mode, builds) in
        [(BuildMode::IfMissing, Some(true)), (BuildMode::Always, Some(false)), (BuildMode::Never, None)]
    {
        let (plan, warnings) = plan(text, &Selection::deploy("dir", mode), &variables);
        assert_eq!(plan.builds.first().map(|build| build.only_if_missing), builds);
        // Without its build the image's variable has to come from somewhere else.
        assert_eq!(warnings.is_empty(), builds.is_some(), "{warnings}");
        let [commands] = plan.commands.as_slice() else { panic!("{:?}", plan.commands) };
        assert_eq!(commands.commands[0].command, "echo $NOT_EXPANDED");
        assert_eq!(commands.env.len(), 2);
        assert_eq!(commands.env[1], ("ODD".to_owned(), "a 'b'\n$c".to_owned()));
    }
}

#[test]
fn why_there_is_no_plan() {
    let errors: Vec<String> = [
        ("name: x", asked(&[])),
        ("name: x", Selection::deploy("dir", BuildMode::Always)),
        ("build: {a: .}", Selection::test("dir", Vec::new())),
        ("build: {a: .}", Selection::build("!!", Vec::new())),
        ("{name: \"/\\t -\", build: {a: .}}", asked(&[])),
        ("build: {a: .}", asked(&["b\x1b[2J"])),
        ("build: {a: {context: '${', image: '${ x}', dockerfile: $NO}}", asked(&[])),
    ]
    .into_iter()
    .map(|(text, selection)| Plan::new(&manifest(text), &selection, &Variables::default()).unwrap_err().to_string())
    .collect();
    insta::assert_snapshot!(errors.join("\n"), @r"
    okteto.yaml: there is no `build` section, so there is nothing to build
    okteto.yaml: there is nothing to deploy: it has neither images (`build`) nor commands (`deploy`), and no `dependencies` or `external`
    okteto.yaml: there is no `test` section, so there is nothing to test
    `!!` can't be the name of an application: it holds no letter and no digit
    `/\t -` can't be the name of an application: it holds no letter and no digit
    there is no service `b\u{1b}[2J` in the `build` section of okteto.yaml: known here: `a`
    okteto.yaml:1:22: closing brace expected in `${`
    okteto.yaml:1:35: not a variable: `${ x}`
    okteto.yaml:1:56: `dockerfile` is `$NO`, of which nothing is left after expansion
      hint: set the variable, or give it a default: `${NAME:-path}`
    ");
    let mut circle = manifest("build: {a: {depends_on: b}, b: .}");
    circle.build[1].depends_on = circle.build[0].depends_on.clone();
    circle.build[1].depends_on[0].service = ServiceName::new("a").unwrap();
    assert_eq!(Plan::new(&circle, &asked(&[]), &Variables::default()), Err(PlanError::Cycle { section: "build" }));
}

/// Nothing looks at all for each.
#[test]
fn long_lists_have_plans_quickly() {
    let list = |item: &dyn Fn(usize) -> String| (0..10_000).map(item).collect::<Vec<_>>().join(", ");
    let different = list(&|n| format!("linux/a{n}"));
    let same = list(&|_| "linux/amd64".to_owned());
    let stages = list(&|n| format!("s{n}"));
    let args = list(&|n| format!("A{n}=$A{n}"));
    let commands = list(&|n| format!("echo {n}"));
    let endpoints = list(&|n| format!("{{name: e{n}, url: u}}"));
    let repositories = list(&|n| format!("https://git.example/r{n}"));
    for text in [
        format!("build: {{a: {{platforms: [{different}]}}}}"),
        format!("build: {{a: {{platforms: [{same}], labels: [{args}]}}}}"),
        format!("build: {{a: {{no_cache_filter: [{stages}], args: [{args}]}}}}"),
        format!("build: {{a: {{cache_from: [{stages}], annotations: [{args}], depends_on: []}}}}"),
        format!("deploy: [{commands}]"),
        format!("external: {{a: {{endpoints: [{endpoints}]}}}}\ndeploy: [make]"),
        format!("dependencies: [{repositories}]\ndeploy: [make]"),
        format!("test: {{a: {{commands: [{commands}], caches: [{stages}], artifacts: [{stages}]}}}}"),
    ] {
        let start = std::time::Instant::now();
        if let Ok(parsed) = Manifest::parse(&text, "okteto.yaml") {
            let selection = Selection::build("dir", Vec::new());
            for kind in [JobKind::Build, JobKind::Deploy, JobKind::Test] {
                let plan = Plan::new(&parsed.manifest, &Selection { kind, ..selection.clone() }, &Variables::default());
                let _ = plan.map(|(plan, _)| plan.validate());
            }
        }
        assert!(start.elapsed().as_secs() < 10, "{} took {:?}", &text[..40], start.elapsed());
    }
}

/// As in Okteto: what is deployed may be images alone, and what ends an environment may be nothing at all.
#[test]
fn sections_may_be_left_out() {
    let variables = Variables::default();
    for (text, kind, builds) in [
        ("build: {a: ., b: {depends_on: a}}", JobKind::Deploy, 2),
        ("build: {a: .}\ndeploy: []", JobKind::Deploy, 1),
        ("build: {a: .}\ndeploy: {compose: x, context: gone, image: i}", JobKind::Deploy, 1),
        ("deploy: []", JobKind::Deploy, 0),
        ("dependencies: ['https://git.example/y']", JobKind::Deploy, 0),
        ("external: {a: {endpoints: [{name: b, url: c}]}}", JobKind::Deploy, 0),
        ("build: {a: .}", JobKind::Destroy, 0),
        ("name: x", JobKind::Destroy, 0),
        ("build: {a: .}\ndestroy: {image: \"$OKTETO_BUILD_A_IMAGE\"}", JobKind::Destroy, 0),
    ] {
        let selection = match kind {
            JobKind::Deploy => Selection::deploy("dir", BuildMode::IfMissing),
            _ => Selection::destroy("dir"),
        };
        let (plan, _) = plan(text, &selection, &variables);
        assert_eq!((plan.kind, plan.builds.len(), plan.commands.len()), (kind, builds, 0), "{text}");
        assert_eq!(plan.validate(), Ok(()), "{text}");
    }
}

/// Something that a client of ill will does to a plan.
type Change = fn(&mut Plan);

#[test]
fn a_sent_plan_is_checked() {
    let (good, _) = plan(
        "name: ex\nbuild: {a: ., b: {depends_on: a, image: i, args: {A: 1}}}\ndeploy: [x]",
        &Selection::deploy("d", BuildMode::Always),
        &Variables::default(),
    );
    let changes: [(&str, Change); 20] = [
        ("name", |plan| plan.name = "--".to_owned()),
        ("order", |plan| plan.builds.reverse()),
        ("twice", |plan| plan.builds[1] = plan.builds[0].clone()),
        ("many", |plan| plan.builds = vec![plan.builds[0].clone(); 300]),
        ("context", |plan| plan.builds[0].context = String::new()),
        ("dockerfile", |plan| plan.builds[0].dockerfile = "a\nb".to_owned()),
        ("target", |plan| plan.builds[0].target = Some("x".repeat(1000))),
        ("arg name", |plan| plan.builds[1].args[0].0 = "A B".to_owned()),
        ("arg value", |plan| plan.builds[0].build_args = vec![("A".to_owned(), "x".repeat(200_000))]),
        ("arg template", |plan| plan.builds[1].args[0].1 = crate::expand::Template::from_source("${")),
        ("image", |plan| plan.builds[1].image = Some(crate::expand::Template::literal("No Image"))),
        ("platform", |plan| plan.builds[0].platforms = vec!["linux/a b".to_owned()]),
        ("kind", |plan| plan.kind = JobKind::Build),
        ("section", |plan| plan.kind = JobKind::Destroy),
        ("no commands", |plan| {
            plan.kind = JobKind::Test;
            plan.commands.clear();
        }),
        ("commands twice", |plan| plan.commands.push(plan.commands[0].clone())),
        ("test of a deploy", |plan| plan.commands[0].test = Some("t".to_owned())),
        ("test without a name", |plan| {
            (plan.kind, plan.commands[0].section) = (JobKind::Test, Section::Test);
        }),
        ("test twice", |plan| {
            plan.kind = JobKind::Test;
            (plan.commands[0].section, plan.commands[0].test) = (Section::Test, Some("t".to_owned()));
            plan.commands.push(plan.commands[0].clone());
        }),
        ("reserved", |plan| {
            plan.commands[0].env = vec![("OKTETO_TOKEN".to_owned(), "x".to_owned())];
        }),
    ];
    let errors: Vec<String> = changes
        .into_iter()
        .map(|(what, change)| {
            let mut plan = good.clone();
            change(&mut plan);
            format!("{what}: {}", plan.validate().unwrap_err())
        })
        .collect();
    insta::assert_snapshot!(errors.join("\n"));
}

#[test]
fn where_commands_run() {
    let mut lines = Vec::new();
    let each = |of: &[Option<bool>], run: &mut dyn FnMut(Option<bool>)| of.iter().for_each(|one| run(*one));
    let tri = [None, Some(true), Some(false)];
    let mut row = |section: Section, image: bool, says: Option<bool>, asked: Asked| {
        let image_text = if image { "  image: i\n" } else { "" };
        let remote_text = says.map(|says| format!("  remote: {says}\n")).unwrap_or_default();
        let text = format!("{section}:\n  commands: [x]\n{image_text}{remote_text}");
        let selection = match section {
            Section::Destroy => Selection::destroy("dir"),
            _ => Selection::deploy("dir", BuildMode::IfMissing),
        };
        let decision = remote_decision(&plan(&text, &selection, &Variables::default()).0.commands[0], asked);
        // The rules as okteto-semantics.md words them.
        let without_force = asked.flag == Some(true) || image || says == Some(true);
        let mut expected = if asked.force { asked.flag != Some(false) && says != Some(false) } else { without_force };
        expected &= section != Section::Destroy || !asked.in_runner;
        assert_eq!(decision.remote, expected, "{section} {image} {says:?} {asked:?}");
        assert_eq!(decision.forced, expected && asked.force && !without_force, "{section} {image} {says:?} {asked:?}");
        let word = |value: Option<bool>| value.map_or("-".to_owned(), |value| value.to_string());
        lines.push(format!(
            "{:<7} image {:<5} remote {:<5} flag {:<5} force {:<5} in a runner {:<5} -> {}: {}{}",
            section.as_str(),
            image,
            word(says),
            word(asked.flag),
            asked.force,
            asked.in_runner,
            if decision.remote { "remote" } else { "local" },
            decision.reason,
            if decision.forced { " (forced)" } else { "" },
        ));
    };
    for section in [Section::Deploy, Section::Destroy] {
        for (image, force, in_runner) in (0..8).map(|bits: u8| (bits & 4 != 0, bits & 2 != 0, bits & 1 != 0)) {
            each(&tri, &mut |says| {
                each(&tri, &mut |flag| row(section, image, says, Asked { flag, force, in_runner }));
            });
        }
    }
    insta::assert_snapshot!(lines.join("\n"));
    let test = plan("test: {t: {commands: [x]}}", &Selection::test("dir", Vec::new()), &Variables::default()).0;
    for flag in tri {
        assert!(remote_decision(&test.commands[0], Asked { flag, force: false, in_runner: true }).remote);
    }
}

const TESTS: &str = "name: ex
build:
  base: .
  app: {depends_on: base}
  other: .
destroy:
  image: reg.example/tools
  commands: [gone]
test:
  e2e: {image: '${OKTETO_BUILD_OTHER_IMAGE}', context: e2e, commands: [run e2e], depends_on: [unit, lint]}
  unit: {image: 'x-${OKTETO_BUILD_APP_TAG:-y}', commands: [{name: Units, command: 'run $OKTETO_BUILD_OTHER_TAG'}], caches: [c], hosts: ['a:10.0.0.1']}
  lint: {commands: [run lint], skipIfNoFileChanges: true}
  alone: {commands: [run alone], depends_on: lint}
";

#[test]
fn tests_come_in_their_order_with_the_images_that_they_refer_to() {
    let planned = |names: &[&str]| {
        let names = names.iter().map(ToString::to_string).collect();
        let (plan, warnings) = plan(TESTS, &Selection::test("dir", names), &Variables::default());
        let tests: Vec<_> = plan.commands.iter().map(|commands| commands.test.clone().unwrap()).collect();
        assert!(plan.builds.iter().all(|build| build.only_if_missing));
        (order(&plan).join(" "), tests.join(" "), warnings)
    };
    assert_eq!(planned(&["alone"]).0, "");
    for (names, builds, tests) in [
        (&[][..], "base app other", "unit lint e2e alone"),
        (&["e2e"], "base app other", "unit lint e2e"),
        (&["unit"], "base app", "unit"),
        (&["alone", "lint"], "", "lint alone"),
    ] {
        let (planned_builds, planned_tests, _) = planned(names);
        assert_eq!((planned_builds.as_str(), planned_tests.as_str()), (builds, tests), "{names:?}");
    }
    assert_eq!(planned(&[]).2, "");
    let unknown = Plan::new(&manifest(TESTS), &Selection::test("d", vec!["unti".to_owned()]), &Variables::default());
    insta::assert_snapshot!(unknown.unwrap_err(), @"there is no test `unti` in okteto.yaml: did you mean `unit`?");

    let (plan, _) = plan(TESTS, &Selection { keep_going: true, ..Selection::destroy("dir") }, &Variables::default());
    assert!(plan.builds.is_empty() && plan.commands[0].keep_going);
    assert_eq!(plan.commands[0].label(), "destroy");
}

#[test]
fn what_tests_have_is_expanded_and_within_its_bounds() {
    let variables = environment(&[("OUT", "out"), ("DB", "db"), ("UP", "../up")]);
    let options = |text: &str| {
        let text = format!("test:\n  a: {{commands: [x]}}\n  b:\n    commands: [x]\n    depends_on: a\n{text}");
        let selection = Selection { no_cache: true, ..Selection::test("d", Vec::new()) };
        Plan::new(&manifest(&text), &selection, &variables).map(|(plan, _)| plan.commands[1].testing.clone())
    };
    let known = options(
        "    artifacts: [./$OUT/*.xml, {path: a/, destination: '${OUT}/'}]
    caches: [node_modules, ./node_modules, /root/.cache]
    hosts: ['$DB:10.0.0.1', {hostname: six, ip: '::1'}]
    skipIfNoFileChanges: true
",
    )
    .unwrap();
    let artifacts: Vec<_> =
        known.artifacts.iter().map(|found| (found.path.as_str(), found.destination.as_deref())).collect();
    assert_eq!(artifacts, [("out/*.xml", None), ("a", Some("out/"))]);
    assert_eq!(known.caches, ["/okteto/src/node_modules", "/root/.cache"]);
    let hosts: Vec<_> = known.hosts.iter().map(ToString::to_string).collect();
    assert_eq!((hosts.join(" ").as_str(), known.depends_on.as_slice()), ("db=10.0.0.1 six=::1", &["a".to_owned()][..]));
    assert!(known.skip_unchanged && known.no_cache);

    let error = options(
        "    artifacts: [$UP, {path: a, destination: /etc}, $NONE]
    caches: [., /proc/x]
    hosts: ['$UP:10.0.0.1']
",
    )
    .unwrap_err();
    insta::assert_snapshot!(error, @"
    okteto.yaml:6:17: `../up` in `test.b.artifacts` has `..`: it could lead out of the folder
    okteto.yaml:6:45: `/etc` in `test.b.artifacts` is absolute: it has to be within the test's folder
    okteto.yaml:6:52: `artifacts` is `$NONE`, of which nothing is left after expansion
      hint: set the variable, or give it a default: `${NAME:-path}`
    okteto.yaml:7:14: `.` in `test.b.caches` would hide what the test is about
    okteto.yaml:7:17: `/proc/x` in `test.b.caches` is the service's own
    okteto.yaml:8:13: `test.b.hosts`: `../up=10.0.0.1` is not of the form HOST=IP
    ");
}

#[test]
fn tests_know_that_nobody_watches_them() {
    let ci = |variables: &Variables| {
        let (plan, _) = plan(TESTS, &Selection::test("dir", vec!["lint".to_owned()]), variables);
        plan.commands[0].env.clone()
    };
    let own = |value: &str| vec![("CI".to_owned(), value.to_owned())];
    assert_eq!(ci(&Variables::default()), own("true"));
    assert_eq!(ci(&environment(&[("CI", "")])), own("true"));
    assert_eq!(ci(&environment(&[("CI", "gitlab")])), own("gitlab"));
    let flags = environment(&[("CI", "gitlab")]).with_flags(own("")).unwrap();
    assert_eq!(ci(&flags), own(""));
}

#[test]
fn what_only_the_service_knows_expands_nothing() {
    let text = "build:
  app:
    image: reg/${ORG}/app:$SECRET
    context: ${SECRET}
    args: [SECRET, 'A=${SECRET:-none}', 'B=${ORG:-$SECRET}']
deploy:
  commands: ['echo $SECRET']
";
    let variables = environment(&[("ORG", "org")]).with_write_only(["SECRET".to_owned(), "OTHER".to_owned()]);
    let error = Plan::new(&manifest(text), &asked(&[]), &variables).unwrap_err();
    insta::assert_snapshot!(error, @"
    okteto.yaml:3:12: `SECRET` is write-only: its value never leaves the service, so nothing is expanded with it
      hint: give it to a build as a secret (`secrets: {ID: {variable: SECRET}}`), or use `$SECRET` in a command, whose environment has it
    okteto.yaml:4:14: `SECRET` is write-only: its value never leaves the service, so nothing is expanded with it
      hint: give it to a build as a secret (`secrets: {ID: {variable: SECRET}}`), or use `$SECRET` in a command, whose environment has it
    okteto.yaml:5:12: `SECRET` is write-only: its value never leaves the service, so nothing is expanded with it
      hint: give it to a build as a secret (`secrets: {ID: {variable: SECRET}}`), or use `$SECRET` in a command, whose environment has it
    okteto.yaml:5:20: `SECRET` is write-only: its value never leaves the service, so nothing is expanded with it
      hint: give it to a build as a secret (`secrets: {ID: {variable: SECRET}}`), or use `$SECRET` in a command, whose environment has it
    ");
    let own = variables.with_dotenv([("SECRET".to_owned(), "mine".to_owned())]);
    assert!(Plan::new(&manifest(text), &asked(&[]), &own).is_ok());
    let command = "deploy: {commands: ['echo $SECRET']}";
    let variables = Variables::default().with_write_only(["SECRET".to_owned()]);
    assert!(Plan::new(&manifest(command), &Selection::deploy("dir", BuildMode::IfMissing), &variables).is_ok());
}
