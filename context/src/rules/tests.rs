use std::os::unix::fs::symlink;

use super::*;

fn patterns(rules: &Rules) -> Vec<(String, String, usize)> {
    let name = |file: &Path| file.file_name().unwrap().to_str().unwrap().to_owned();
    rules.patterns().map(|(pattern, file, line)| (pattern.to_owned(), name(file), line)).collect()
}

fn expect(lines: &[(&str, &str, usize)]) -> Vec<(String, String, usize)> {
    lines.iter().map(|(pattern, file, line)| ((*pattern).to_owned(), (*file).to_owned(), *line)).collect()
}

#[test]
fn docker_file_beside_the_dockerfile_comes_first() {
    let dir = tempfile::tempdir().unwrap();
    let (context, build) = (dir.path().join("context"), dir.path().join("build"));
    fs::create_dir_all(&context).unwrap();
    fs::create_dir_all(&build).unwrap();
    let dockerfile = build.join("App.Dockerfile");
    assert_eq!(patterns(&Rules::docker(&context, &dockerfile).unwrap()), expect(&[]));
    fs::write(context.join(".dockerignore"), "# c\nx/\n").unwrap();
    // One beside the Dockerfile, outside the context, is none.
    fs::write(build.join(".dockerignore"), "no").unwrap();
    assert_eq!(patterns(&Rules::docker(&context, &dockerfile).unwrap()), expect(&[("x", ".dockerignore", 2)]));
    fs::write(build.join("App.Dockerfile.dockerignore"), "y").unwrap();
    assert_eq!(
        patterns(&Rules::docker(&context, &dockerfile).unwrap()),
        expect(&[("y", "App.Dockerfile.dockerignore", 1)])
    );
    fs::write(build.join("App.Dockerfile.dockerignore"), "").unwrap();
    assert_eq!(patterns(&Rules::docker(&context, &dockerfile).unwrap()), expect(&[]));
}

#[test]
fn dockerignore_links_stay_in_the_context() {
    let dir = tempfile::tempdir().unwrap();
    let context = dir.path().join("context");
    fs::create_dir_all(context.join("sub/deep")).unwrap();
    fs::write(dir.path().join("outside"), "outside").unwrap();
    fs::write(context.join("sub/rules"), "inside").unwrap();
    let ignore = context.join(".dockerignore");
    let load = |target: &str| {
        let _ = fs::remove_file(&ignore);
        symlink(target, &ignore).unwrap();
        Rules::docker(&context, &context.join("Dockerfile")).unwrap()
    };
    for target in ["sub/rules", "/sub/rules", "../../sub/rules", "sub/deep/../rules", "./sub/./rules"] {
        assert_eq!(patterns(&load(target)), expect(&[("inside", ".dockerignore", 1)]), "{target}");
    }
    symlink("deep/..", context.join("sub/up")).unwrap();
    assert_eq!(patterns(&load("sub/up/rules")), expect(&[("inside", ".dockerignore", 1)]));
    let outside = dir.path().join("outside");
    for target in ["../outside", outside.to_str().unwrap(), ".dockerignore", "sub/up/../../outside"] {
        let rules = load(target);
        assert_eq!(patterns(&rules), expect(&[]), "{target}");
        assert_eq!(rules.warnings(), [Warning::IgnoreFileOutside { file: ignore.clone() }], "{target}");
    }
    // A directory of that name is no ignore file, as for BuildKit.
    fs::remove_file(&ignore).unwrap();
    fs::create_dir(&ignore).unwrap();
    assert_eq!(patterns(&Rules::docker(&context, Path::new("Dockerfile")).unwrap()), expect(&[]));
}

#[test]
fn okteto_sections() {
    let dir = tempfile::tempdir().unwrap();
    let (context, cwd) = (dir.path().join("context"), dir.path().join("cwd"));
    fs::create_dir_all(&context).unwrap();
    fs::create_dir_all(&cwd).unwrap();
    fs::write(context.join(".dockerignore"), "no").unwrap();
    fs::write(context.join(".oktetoignore"), ".git\n[deploy]\na\n[test]\nb\n[test.unit]\nc\n[oops]\nd\n").unwrap();
    let load = |section| {
        let tests = ["unit".to_owned()];
        Rules::okteto(&OktetoContext { context_dir: &context, working_dir: &cwd, section, tests: &tests }).unwrap()
    };
    let name = ".oktetoignore";
    let deploy = load(Section::Deploy);
    assert_eq!(patterns(&deploy), expect(&[(".git", name, 1), ("a", name, 3)]));
    let [Warning::UnknownSection { line: 8, .. }] = deploy.warnings() else { panic!("{:?}", deploy.warnings()) };
    assert!(deploy.warnings()[0].place().ends_with(".oktetoignore:8"));
    assert!(deploy.warnings()[0].to_string().contains("[oops]"));
    let unit = load(Section::Test("unit".into()));
    assert_eq!(patterns(&unit), expect(&[(".git", name, 1), ("b", name, 5), ("c", name, 7)]));
    fs::write(cwd.join(".oktetodeployignore"), "old\n").unwrap();
    let destroy = load(Section::Destroy);
    assert_eq!(patterns(&destroy), expect(&[("old", ".oktetodeployignore", 1), (".git", name, 1)]));
    assert!(matches!(destroy.warnings(), [Warning::DeprecatedFile { .. }, _]));
    assert_eq!(patterns(&load(Section::Test("x".into()))).len(), 2);
}

#[test]
fn errors_name_file_and_line() {
    let error = |text: &[u8]| Rules::from_text(Path::new("dir/.dockerignore"), text).unwrap_err().to_string();
    assert_eq!(error(b"ok\n\n!\n"), "dir/.dockerignore:3: bad pattern `!`: `!` has to be followed by a pattern");
    assert!(error(b"[x").starts_with("dir/.dockerignore:1: bad pattern `[x`: "));
    assert_eq!(error(&vec![b'a'; 70_000]), "dir/.dockerignore:1: line is too long");
    let rules = Rules::from_text(Path::new("f"), b"x\n[z-a]").unwrap();
    let late = rules.filter().walk::<()>().enter("a", None).unwrap_err();
    assert!(rules.locate(late).to_string().starts_with("f:2: bad pattern `[z-a]`"));
}

#[test]
fn the_rule_that_leaves_a_path_out_is_the_last_that_changes_it() {
    let text = b"# comment\n*.log\n!keep.log\nkeep.*\n\ndist\n!dist/app\n";
    let rules = Rules::from_text(Path::new(".dockerignore"), text).unwrap();
    let line = |path: &str| rules.ignoring(path).map(|(pattern, _, line)| (pattern.to_owned(), line));
    assert_eq!(line("a.log"), Some(("*.log".to_owned(), 2)));
    assert_eq!(line("keep.log"), Some(("keep.*".to_owned(), 4)));
    assert_eq!(line("dist/deep/x"), Some(("dist".to_owned(), 6)));
    assert_eq!(line("dist/app"), None);
    assert_eq!(line("src"), None);
}
