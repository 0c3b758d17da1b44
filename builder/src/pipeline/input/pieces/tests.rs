use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use slipway_manifest::expand::Template;
use slipway_manifest::options::OptionKey;
use slipway_manifest::plan::{BuildPlan, JobKind, Plan};

use super::PieceKind::{Argument, Context, Dependency, Image, Platform};
use super::*;
use crate::jobs::spec::BuildRoots;
use crate::pipeline::input::Before;
use crate::pipeline::input::tests::plain_build;
use crate::registry::mirrors::Mirrors;
use crate::registry::{Config, Registry};

fn piece(kind: PieceKind, name: &str, value: &str) -> Piece {
    Piece { kind, name: name.to_owned(), value: Value::known(value) }
}

fn unknown(kind: PieceKind, name: &str, why: &str) -> Piece {
    Piece { kind, name: name.to_owned(), value: Value::unknown(why) }
}

type Told<'c> = (PieceKind, &'c str, Option<&'c str>, Option<&'c str>, Option<&'c str>);

fn told(changes: &[PieceChange]) -> Vec<Told<'_>> {
    let all = changes.iter();
    all.map(|c| (c.kind, &*c.name, c.before.as_deref(), c.after.as_deref(), c.unknown.as_deref())).collect()
}

/// On a port that nobody has.
const NO_REGISTRY: &str = "127.0.0.1:9";

/// The inputs of a build of this Dockerfile, with this registry.
async fn pieces(registry: &str, text: &str, change: impl FnOnce(&mut BuildPlan, &mut Before)) -> Vec<Piece> {
    pieces_of("ann", registry, text, change).await
}

async fn pieces_of(
    owner: &str,
    registry: &str,
    text: &str,
    change: impl FnOnce(&mut BuildPlan, &mut Before),
) -> Vec<Piece> {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { listen: registry.parse().unwrap(), ..Config::default() };
    let registry = Arc::new(Registry::open(&config, dir.path()).unwrap());
    let bases = BaseImages::new(registry, Mirrors::parse(&BTreeMap::new()).unwrap()).unwrap();
    let scope = CacheScope::open(dir.path()).unwrap();
    let (mut build, mut before) = (plain_build("app"), Before::default());
    change(&mut build, &mut before);
    let plan = Plan { builds: vec![build.clone()], ..Plan::empty(JobKind::Build, "app") };
    let root = slipway_context::Digest::of(b"root");
    let (namespace, roots) = ("dev".parse().unwrap(), BuildRoots::new(root, Vec::new(), root));
    let (namespace, plan, build, roots, before) = (&namespace, &plan, &build, &roots, &before);
    let inputs = Inputs { namespace, plan, build, roots, dockerfile: text, platform: None, before, secrets: &[] };
    let name = "registry.example/dev/app:1".parse().unwrap();
    inputs.pieces(&bases, &scope, Some(&name), owner).await
}

#[test]
fn what_came_went_and_changed_is_told() {
    let before = [piece(Image, "debian", "1"), piece(Image, "gone", "1"), piece(Argument, "A", "x")];
    let now = [piece(Argument, "A", "x"), piece(Argument, "debian", "2"), piece(Image, "debian", "2")];
    let expected = [
        (Image, "debian", Some("1"), Some("2"), None),
        (Image, "gone", Some("1"), None, None),
        (Argument, "debian", None, Some("2"), None),
    ];
    assert_eq!(told(&compare(&before, &now)), expected);
    assert!(compare(&now, &now).is_empty());
}

#[test]
fn what_is_not_known_is_not_told_as_a_change() {
    let known = [piece(Image, "a", "1"), piece(Image, "b", "1")];
    let silent = [unknown(Image, "a", "no answer"), piece(Image, "b", "1")];
    let now = compare(&known, &silent);
    assert_eq!(told(&now), [(Image, "a", Some("1"), None, Some("no answer"))]);
    assert_eq!(told(&compare(&silent, &known)), [(Image, "a", None, Some("1"), Some(NOT_KNOWN_THEN))]);
    // Which others there are is not known.
    let hidden = [unknown(Image, "", "line 1: hidden"), piece(Image, "b", "2")];
    let now = compare(&known, &hidden);
    assert_eq!(told(&now), [(Image, "", None, None, Some("line 1: hidden")), (Image, "b", Some("1"), Some("2"), None)]);
    // Records hold the one as the other, and those of before there was an other are read.
    let read: Vec<Piece> = serde_json::from_str(&serde_json::to_string(&hidden).unwrap()).unwrap();
    assert_eq!(read, hidden);
    assert_eq!(serde_json::to_string(&Value::known("1")).unwrap(), "\"1\"");
}

#[tokio::test]
async fn what_waits_for_a_build_is_not_known_and_all_else_is() {
    let text = "ARG OKTETO_BUILD_BASE_IMAGE\nFROM ${OKTETO_BUILD_BASE_IMAGE}\nARG OWN\nARG FIXED\n";
    let found = pieces(NO_REGISTRY, text, |build, before| {
        before.add_pending(&ServiceName::new("base").unwrap(), Vec::new(), None);
        build.depends_on = vec![ServiceName::new("base").unwrap()];
        build.args = vec![("OWN".to_owned(), Template::from_source("x-${OKTETO_BUILD_BASE_IMAGE}"))];
        build.build_args = vec![("FIXED".to_owned(), "1".to_owned())];
        for context in ["lib=service:base", "other=https://git.example/o.git", "here=../here"] {
            build.options.set(OptionKey::Context, context).unwrap();
        }
    })
    .await;
    let value = |kind, name: &str| {
        let piece = found.iter().find(|piece| piece.kind == kind && piece.name == name);
        piece.unwrap_or_else(|| panic!("no {kind:?} {name} in {found:?}")).value.clone()
    };
    let is_known = |kind, name: &str| value(kind, name).get().is_some();
    assert_eq!(value(Argument, "OKTETO_BUILD_BASE_IMAGE"), Value::unknown("`base` is built first"));
    assert_eq!(value(Argument, "OWN"), Value::unknown("`base` is built first"));
    assert!(is_known(Argument, "FIXED") && !is_known(Context, "lib") && !is_known(Dependency, "base"));
    assert_eq!(value(Context, "other"), Value::known("https://git.example/o.git"));
    assert_eq!(value(Context, "here"), Value::known("a folder"));
    // That it starts from an image which is not known says nothing of those that it started from.
    assert!(!is_known(Image, "") && !is_known(Platform, ""));
}

#[tokio::test]
async fn the_repository_counts_where_steps_can_have_cache_mounts() {
    let told = async |text: &str| {
        let found = pieces(NO_REGISTRY, text, |_, _| ()).await;
        found.into_iter().find(|piece| piece.kind == PieceKind::Mounts).map(|piece| piece.value)
    };
    assert_eq!(told("FROM scratch\nRUN make\n").await, None);
    assert_eq!(told("FROM scratch\nRUN --mount=type=cache,target=/c make\n").await, Some(Value::known("dev/app")));
}

#[tokio::test]
async fn who_builds_counts_where_steps_may_ask_agents() {
    let told = async |owner: &str, ssh: bool| {
        let add = |build: &mut BuildPlan, _: &mut Before| {
            if ssh {
                build.options.set(slipway_manifest::options::OptionKey::Ssh, "default").unwrap();
            }
        };
        // Of the same scope, or every hash is another one.
        let found = pieces_of(owner, NO_REGISTRY, "FROM scratch\nRUN make\n", add).await;
        found.into_iter().find(|piece| piece.kind == PieceKind::Agents).map(|piece| piece.value)
    };
    assert_eq!(told("ann", false).await, None);
    let (ann, bob) = (told("ann", true).await, told("bob", true).await);
    assert!(ann.is_some() && ann != bob, "{ann:?} {bob:?}");
}

#[tokio::test]
async fn of_a_dockerfile_that_is_not_known_nothing_is_told() {
    let found = pieces(NO_REGISTRY, "", |_, _| ()).await;
    for kind in [Argument, Image, PieceKind::Mounts] {
        assert!(found.iter().any(|piece| piece.kind == kind && piece.name.is_empty() && piece.value.get().is_none()));
    }
}

#[tokio::test]
async fn failures_are_no_values() {
    let found = pieces(NO_REGISTRY, "FROM 127.0.0.1:9/dev/x:1\n", |_, _| ()).await;
    let image = found.iter().find(|piece| piece.kind == Image).unwrap();
    assert!(image.value.get().is_none(), "{image:?}");
}

#[tokio::test]
async fn few_images_are_looked_at_at_a_time() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let open = Arc::new(AtomicUsize::new(0));
    let counted = open.clone();
    let silent = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((connection, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::Relaxed);
            held.push(connection);
        }
    });
    let copies: Vec<String> = (0..50).map(|n| format!("COPY --from={host}/dev/x:{n} / /")).collect();
    let text = format!("FROM scratch\n{}\n", copies.join("\n"));
    let looking = tokio::time::timeout(Duration::from_secs(1), pieces(&host, &text, |_, _| ())).await;
    let open = open.load(Ordering::Relaxed);
    assert!(looking.is_err() && open > 0 && open <= AT_A_TIME, "{open}");
    silent.abort();
}
