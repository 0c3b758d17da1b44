//! Images for several platforms, and for others than the engine's.

use slipway_journeys::service::Options;
use slipway_journeys::{Buildkitd, Project, Service, files, image, unique};

#[test]
fn several_platforms_are_one_image() {
    let service = Service::shared();
    let app = service.team().project();
    app.image("FROM scratch\nARG TARGETARCH\nCOPY $TARGETARCH /of\n")
        .file("amd64", unique("x"))
        .file("arm64", unique("y"));
    let run = app.events(&["build", "--platform", "linux/amd64,linux/arm64"]).ok();
    let reference = run.last("build.done")["image"].as_str().unwrap();
    let index = image::manifest(&app.team, reference);
    let repository = reference.split('@').next().unwrap();
    let manifests = index["manifests"].as_array().unwrap();
    let mut found: Vec<&str> =
        manifests.iter().map(|entry| entry["platform"]["architecture"].as_str().unwrap()).collect();
    found.sort_unstable();
    assert_eq!(found, ["amd64", "arm64"], "{index}");
    for entry in manifests {
        let architecture = entry["platform"]["architecture"].as_str().unwrap();
        let one = image::pull(&app.team, &format!("{repository}@{}", entry["digest"].as_str().unwrap()));
        assert_eq!(one.config["architecture"], architecture);
        assert_eq!(files::bytes(&one.files, "of"), std::fs::read(app.path().join(architecture)).unwrap());
    }
    // One of them is another image, and each is found again.
    let one = app.events(&["build", "--platform", "linux/arm64"]).ok();
    assert_eq!(one.all("build.started").len(), 1);
    for platforms in ["linux/arm64", "linux/amd64,linux/arm64"] {
        let run = app.events(&["build", "--platform", platforms]).ok();
        assert_eq!(run.all("build.skipped").len(), 1, "{platforms}: {}", run.story());
    }
}

/// A Linux program for riscv64 (the System V ABI's ELF64) that makes the folder `/ran`, and ends with how that went.
fn riscv64_program() -> Vec<u8> {
    const LOADED_AT: u64 = 0x1_0000;
    const HEADERS: u64 = 64 + 56;
    let code: [u32; 8] = [
        0xf9c0_0513, // li a0, AT_FDCWD
        0x0000_0597, // auipc a1, 0
        0x01c5_8593, // addi a1, a1, 28: the path
        0x1ed0_0613, // li a2, 0755
        0x0220_0893, // li a7, mkdirat
        0x0000_0073, // ecall
        0x05d0_0893, // li a7, exit
        0x0000_0073, // ecall
    ];
    let size = HEADERS + 32 + 5;
    let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
    elf.resize(16, 0);
    let halves = |elf: &mut Vec<u8>, of: &[u16]| elf.extend(of.iter().flat_map(|half| half.to_le_bytes()));
    let words = |elf: &mut Vec<u8>, of: &[u32]| elf.extend(of.iter().flat_map(|word| word.to_le_bytes()));
    let longs = |elf: &mut Vec<u8>, of: &[u64]| elf.extend(of.iter().flat_map(|long| long.to_le_bytes()));
    halves(&mut elf, &[2, 243]); // an executable, for RISC-V
    words(&mut elf, &[1]);
    longs(&mut elf, &[LOADED_AT + HEADERS, 64, 0]); // the entry; the program header behind this one; no sections
    words(&mut elf, &[0]);
    halves(&mut elf, &[64, 56, 1, 0, 0, 0]);
    words(&mut elf, &[1, 5]); // one loaded segment, to be read and executed
    longs(&mut elf, &[0, LOADED_AT, LOADED_AT, size, size, 0x1000]);
    words(&mut elf, &code);
    elf.extend(b"/ran\0");
    elf
}

/// A project whose image runs a program of another platform than this machine's.
fn foreign(app: &Project) {
    app.image("FROM scratch\nCOPY --chmod=755 program /program\nCOPY x /\nRUN [\"/program\"]\n")
        .file("program", riscv64_program())
        .file("x", unique("x"));
}

/// What ran for riscv64 is in its image.
fn ran(app: &Project) {
    let run = app.events(&["build", "--platform", "linux/riscv64"]).ok();
    let image = image::pull(&app.team, run.last("build.done")["image"].as_str().unwrap());
    assert_eq!(image.config["architecture"], "riscv64");
    assert!(image.files.contains_key("ran"), "{:?}", image.files.keys());
}

#[test]
fn a_step_of_another_platform_runs_in_an_emulator() {
    let dir = tempfile::tempdir().unwrap();
    let (_engine, address) = Buildkitd::with_emulator(dir.path());
    let service = Service::with(Options { engines: vec![address], ..Options::default() });
    let app = service.team().project();
    foreign(&app);
    ran(&app);
}

#[test]
fn a_platform_that_the_engine_cannot_run_is_explained() {
    let service = Service::shared();
    let app = service.team().project();
    foreign(&app);
    // Somebody's machine may have an emulator for every engine.
    if std::path::Path::new("/proc/sys/fs/binfmt_misc/qemu-riscv64").exists() {
        return ran(&app);
    }
    let run = app.events(&["build", "--platform", "linux/riscv64"]).expect(1);
    let error = &run.last("job.done")["error"];
    assert!(error["hint"].as_str().unwrap_or_default().contains("emulator"), "{error}");
}
