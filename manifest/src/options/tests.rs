use proptest::prelude::*;

use super::*;

fn options(given: &[(OptionKey, &str)]) -> Result<BuildOptions, InvalidOption> {
    let mut options = BuildOptions::default();
    given.iter().try_for_each(|(key, text)| options.set(*key, text)).map(|()| options)
}

fn again(options: &BuildOptions) -> BuildOptions {
    let mut read = BuildOptions::default();
    for (key, text) in options.to_pairs() {
        read.set(key.as_str().parse().unwrap(), &text).unwrap();
    }
    read
}

fn refused(key: OptionKey, text: &str) -> String {
    options(&[(key, text)]).unwrap_err().to_string()
}

#[test]
fn what_is_written_is_read_again() {
    let given = [
        (OptionKey::Label, "a=1"),
        (OptionKey::Label, "a=x=y,z"),
        (OptionKey::Label, "empty"),
        (OptionKey::Annotation, "org.a=b:c=d"),
        (OptionKey::Annotation, "index,manifest[linux/amd64]:org.a=e"),
        (OptionKey::ExtraHost, "Db:10.0.0.1"),
        (OptionKey::ExtraHost, "six:[::1]"),
        (OptionKey::ExtraHost, "six:::2"),
        (OptionKey::ExtraHost, "db=10.0.0.1"),
        (OptionKey::Network, "none"),
        (OptionKey::ShmSize, "64m"),
        (OptionKey::Ulimit, "nofile=1024"),
        (OptionKey::Ulimit, "nofile=10:-1"),
        (OptionKey::NoCacheFilter, "build, test"),
        (OptionKey::NoCacheFilter, "build"),
        (OptionKey::Pull, "true"),
        (OptionKey::Attest, "type=provenance,mode=max,version=v1"),
        (OptionKey::Attest, "type=sbom,generator=okteto.dev/scan:1"),
        (OptionKey::Export, "type=image,compression=zstd,compression-level=22,rewrite-timestamp=true"),
        (OptionKey::Push, "false"),
        (OptionKey::Export, "type=docker,compression=gzip"),
        (OptionKey::Export, "type=tar"),
        (OptionKey::Export, "oci-mediatypes=1,type=oci"),
        (OptionKey::Context, "lib=../lib"),
        (OptionKey::Context, "base=docker-image://debian:12"),
        (OptionKey::CacheFrom, "okteto.dev/cache:a"),
        (OptionKey::CacheTo, "type=registry,ref=okteto.dev/cache:a,compression=zstd,ignore-error=1"),
        (OptionKey::CacheTo, "type=inline"),
        (OptionKey::Ssh, "default"),
        (OptionKey::Ssh, "deploy=~/.ssh/id_a,/b"),
        (OptionKey::Secret, "id=npm,env=OLD"),
        (OptionKey::Secret, "id=npm,env=NPM_TOKEN,rotates=true"),
        (OptionKey::Secret, "id=key,\"src=a,b\""),
    ];
    let options = options(&given).unwrap();
    let pairs: Vec<_> = options.to_pairs().into_iter().map(|(key, text)| format!("{key} {text}")).collect();
    insta::assert_snapshot!(pairs.join("\n"), @r#"
    label a=x=y,z
    label empty=
    annotation manifest:org.a=b:c=d
    annotation manifest[linux/amd64]:org.a=e
    annotation index:org.a=e
    add-host db=10.0.0.1
    add-host six=::1
    add-host six=::2
    network none
    shm-size 67108864
    ulimit nofile=10:-1
    no-cache-filter build
    no-cache-filter test
    pull true
    provenance mode=max,version=v1
    sbom generator=okteto.dev/scan:1
    export type=image,oci-mediatypes=true,compression=zstd,compression-level=22,rewrite-timestamp=true
    push false
    export type=docker,oci-mediatypes=false,compression=gzip
    export type=tar
    export type=oci,oci-mediatypes=true
    build-context base=docker-image://debian:12
    build-context lib=../lib
    cache-from type=registry,ref=okteto.dev/cache:a,mode=max
    cache-to type=registry,ref=okteto.dev/cache:a,compression=zstd,ignore-error=true
    cache-to type=inline
    ssh default
    ssh deploy=~/.ssh/id_a,/b
    secret id=key,"src=a,b"
    secret id=npm,env=NPM_TOKEN,rotates=true
    "#);
    assert_eq!(again(&options), options);
    let of_the_image = options.of_the_image();
    let exports: Vec<_> = of_the_image.iter().filter(|(key, _)| *key == OptionKey::Export).collect();
    assert_eq!(exports.len(), 1, "where results go makes no other image");
    let stored = serde_json::to_string(&options).unwrap();
    assert_eq!(serde_json::from_str::<BuildOptions>(&stored).unwrap(), options);
    assert_eq!(BuildOptions::default().to_pairs(), []);
    assert_eq!(serde_json::from_str::<BuildOptions>("{}").unwrap(), BuildOptions::default(), "of an older service");
}

#[test]
fn what_comes_later_counts() {
    let last = |given: &[(OptionKey, &str)]| options(given).unwrap().to_pairs();
    assert_eq!(last(&[(OptionKey::Network, "none"), (OptionKey::Network, "default")]), []);
    assert_eq!(last(&[(OptionKey::Sbom, "true"), (OptionKey::Attest, "type=sbom,disabled=true")]), []);
    assert_eq!(last(&[(OptionKey::Provenance, "mode=max"), (OptionKey::Provenance, "false")]), []);
    let annotations = last(&[(OptionKey::Annotation, "a=1"), (OptionKey::Annotation, "manifest:a=2")]);
    assert_eq!(annotations, [(OptionKey::Annotation, "manifest:a=2".to_owned())]);
}

#[test]
fn what_makes_no_sense_is_named() {
    insta::assert_snapshot!(refused(OptionKey::Label, "=x"), @"`` can't be the name of a label: write NAME=value");
    insta::assert_snapshot!(refused(OptionKey::Annotation, "layer:a=b"), @"`layer` is nothing that is annotated: manifest, index, manifest-descriptor, index-descriptor are");
    insta::assert_snapshot!(refused(OptionKey::Annotation, "index[linux/amd64]:a=b"), @"`index[linux/amd64]`: an index has no platform");
    insta::assert_snapshot!(refused(OptionKey::ExtraHost, "db"), @"`db` is not of the form HOST=IP");
    insta::assert_snapshot!(refused(OptionKey::ExtraHost, "db:host-gateway"), @"`host-gateway` is not allowed: builds don't reach the engine's machine");
    insta::assert_snapshot!(refused(OptionKey::ExtraHost, "db:1.2.3"), @"`1.2.3` is no IP address");
    insta::assert_snapshot!(refused(OptionKey::ExtraHost, "a,b=1.2.3.4"), @"`a,b=1.2.3.4` is not of the form HOST=IP");
    insta::assert_snapshot!(refused(OptionKey::Network, "host"), @"`host` is not allowed: it is the network of the engine's machine; `default` and `none` are");
    insta::assert_snapshot!(refused(OptionKey::ShmSize, "64 q"), @"`64 q` is no size: write bytes, or a unit as in `64m`");
    insta::assert_snapshot!(refused(OptionKey::ShmSize, "0"), @"`0` is no size: write bytes, or a unit as in `64m`");
    insta::assert_snapshot!(refused(OptionKey::ShmSize, "99999999t"), @"`99999999t` is no size: write bytes, or a unit as in `64m`");
    insta::assert_snapshot!(refused(OptionKey::Ulimit, "files=1"), @"`files` is no limit: there are core, cpu, data, fsize, locks, memlock, msgqueue, nice, nofile, nproc, rss, rtprio, rttime, sigpending, stack");
    insta::assert_snapshot!(refused(OptionKey::Ulimit, "nofile=2:1"), @"`nofile=2:1`: the soft limit is above the hard one");
    insta::assert_snapshot!(refused(OptionKey::NoCacheFilter, "a b"), @"`a b` can't be the name of a stage");
    insta::assert_snapshot!(refused(OptionKey::Sbom, ""), @"it is empty: write true, false or options");
    insta::assert_snapshot!(refused(OptionKey::Pull, "yes"), @"`yes` is neither true nor false");
    insta::assert_snapshot!(refused(OptionKey::Provenance, "mode=all"), @"`mode=all` is nothing that can be asked for: `mode=min`, `mode=max`, `version=v1` and `version=v0.2` are");
    insta::assert_snapshot!(refused(OptionKey::Attest, "mode=max"), @"it lacks `type=provenance` or `type=sbom`");
    insta::assert_snapshot!(refused(OptionKey::Export, "compression=gzip"), @"it lacks a type, such as `type=image`");
    insta::assert_snapshot!(refused(OptionKey::Export, "type=image,compresion=gzip"), @"`compresion` is no attribute of an image: did you mean `compression`?");
    insta::assert_snapshot!(refused(OptionKey::Export, "type=image,compression=gzip,compression-level=10"), @"`compression-level=10`: 0 to 9 are there");
    insta::assert_snapshot!(refused(OptionKey::Export, "type=image,compression=zstd,oci-mediatypes=false"), @"`compression=estargz` and `compression=zstd` need `oci-mediatypes=true`");
    insta::assert_snapshot!(refused(OptionKey::CacheTo, "type=registry"), @"it lacks `ref=IMAGE`");
    insta::assert_snapshot!(refused(OptionKey::CacheTo, "type=tar,dest=x"), @"`type=tar` is no cache: `registry`, `inline`, `local`, `s3`, `azblob` and `gha` are");
    insta::assert_snapshot!(refused(OptionKey::CacheTo, "type=registry,ref=x,mode=most"), @"`mode=most` says nothing about a cache");
    insta::assert_snapshot!(refused(OptionKey::CacheFrom, "type=inline"), @"an inline cache is taken from its image: `type=registry,ref=IMAGE`");
    insta::assert_snapshot!(refused(OptionKey::Export, "type=registry"), @"`type=registry`: `image`, `oci`, `docker`, `local` and `tar` are there");
    insta::assert_snapshot!(refused(OptionKey::Export, "type=tar,compression=gzip"), @"`compression`: `type=tar` has no such attribute");
    insta::assert_snapshot!(refused(OptionKey::Export, "type=image,name=x"), @"`name`: the image goes where its `image` in the manifest says");
    assert!("labels".parse::<OptionKey>().is_err());
}

#[test]
fn what_can_not_be_had_together_is_named() {
    let check = |given: &[(OptionKey, &str)], platforms: &[&str]| {
        let platforms: Vec<String> = platforms.iter().map(ToString::to_string).collect();
        options(given).unwrap().check(&platforms, false).err().map(|error| error.to_string()).unwrap_or_default()
    };
    let docker = (OptionKey::Export, "type=image,oci-mediatypes=false");
    assert_eq!(check(&[docker, (OptionKey::Sbom, "true")], &[]), "attestations need `oci-mediatypes=true`");
    assert_eq!(check(&[docker, (OptionKey::Annotation, "a=b")], &[]), "");
    let index = (OptionKey::Annotation, "index:a=b");
    assert_eq!(check(&[docker, index], &["linux/amd64", "linux/arm64"]), "`index:a=b` needs `oci-mediatypes=true`");
    assert_eq!(check(&[index], &["linux/amd64"]), "`index:a=b`: an image of one platform has no index");
    assert_eq!(check(&[index], &["linux/amd64", "linux/arm64"]), "");
    assert_eq!(check(&[index, (OptionKey::Provenance, "true")], &[]), "", "which make an index");
    let arm = (OptionKey::Annotation, "manifest[linux/arm64]:a=b");
    assert_eq!(check(&[arm], &["linux/amd64"]), "`manifest[linux/arm64]:a=b`: `linux/arm64` is not built");
    assert_eq!(check(&[arm], &[]), "");
}

#[test]
fn an_archive_of_dockers_is_of_one_platform() {
    let check = |kinds: &[&str], platforms: &[&str]| {
        let platforms: Vec<String> = platforms.iter().map(ToString::to_string).collect();
        let given: Vec<_> = kinds.iter().map(|kind| (OptionKey::Export, *kind)).collect();
        options(&given).unwrap().check(&platforms, false).err().map(|error| error.to_string()).unwrap_or_default()
    };
    let two = ["linux/amd64", "linux/arm64"];
    insta::assert_snapshot!(check(&["type=oci", "type=docker"], &two), @"`type=docker`, which `--load` takes, holds one platform: name one with `--platform`, or export `type=oci`, which `docker load` takes where Docker has the containerd image store");
    assert_eq!(check(&["type=docker"], &two[1..]), "");
    assert_eq!(check(&["type=docker"], &[]), "", "the engine's own");
    assert_eq!(check(&["type=oci", "type=tar"], &two), "");
    let attested = options(&[(OptionKey::Export, "type=docker"), (OptionKey::Sbom, "true")]).unwrap();
    assert_eq!(attested.check(&[], false), Ok(()), "which Docker may know how to load");
    assert!(attested.is_attested() && !options(&[(OptionKey::Provenance, "false")]).unwrap().is_attested());
}

#[test]
fn a_long_text_costs_little() {
    let levels = vec!["index"; 10_000].join(",");
    assert!(refused(OptionKey::Annotation, &format!("{levels}:a=b")).starts_with("`index` is there twice"));
    let stages: Vec<String> = (0..20_000).map(|n| format!("s{n}")).collect();
    assert_eq!(refused(OptionKey::NoCacheFilter, &stages.join(",")), "more than 1000 of them");
    assert_eq!(refused(OptionKey::Label, &"a".repeat(200_000)), "it is longer than 196608 bytes");
}

#[test]
fn sizes() {
    for (text, bytes) in [("1", 1), ("2b", 2), ("3k", 3 << 10), ("4 MiB", 4 << 20), ("5GB", 5 << 30), ("1t", 1 << 40)] {
        assert_eq!(shm::parse(text), Ok(bytes), "{text}");
    }
}

proptest! {
    #[test]
    fn whatever_is_taken_is_read_again(key in 0usize..12, text in "[ -~é]{0,40}|[a-z]{1,6}[=:][ -~]{0,20}|type=(image|sbom|provenance)(,[a-z-]{1,18}=[a-z0-9]{1,5}){0,3}") {
        let keys = ["label", "annotation", "add-host", "network", "shm-size", "ulimit", "no-cache-filter", "pull",
            "provenance", "sbom", "attest", "export"];
        let mut options = BuildOptions::default();
        if options.set(keys[key].parse().unwrap(), &text).is_ok() {
            prop_assert_eq!(&again(&options), &options);
        }
    }
}
