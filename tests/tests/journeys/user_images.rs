//! Commands in images that aren't ours: their users, their working directories, their shells.

use slipway_journeys::{Project, SectionImage, Service};

/// A section in an image that the manifest builds from this.
fn deploy_in(app: &Project, dockerfile: &str, commands: &[&str]) {
    let commands: Vec<_> =
        commands.iter().map(|command| format!("  - {}\n", serde_json::Value::from(*command))).collect();
    let commands = commands.concat();
    let manifest = format!(
        "build:\n  tools:\n    context: tools\ndeploy:\n  image: ${{OKTETO_BUILD_TOOLS_IMAGE}}\n  commands:\n{commands}"
    );
    app.manifest(&manifest).file("tools/Dockerfile", dockerfile);
}

#[test]
fn the_images_user_runs_the_commands_and_owns_the_tree() {
    let service = Service::shared();
    let app = service.team().project();
    app.file("given", "given\n").file("folder/inner", "inner\n");
    let look = "id -un; echo $HOME; pwd; echo more >>given; rm folder/inner; echo new >folder/new; mkdir made; cat given; \
                test -r /okteto/agent/slipway-runner-agent && echo readable; echo LEFT=there >>$OKTETO_ENV";
    let dockerfile = "FROM debian:trixie-slim\nRUN useradd --uid 1234 --create-home app\nENTRYPOINT [\"/bin/false\"]\nWORKDIR /elsewhere\nUSER app\n";
    deploy_in(&app, dockerfile, &[look, "echo $LEFT; stat -c %U . folder made; touch /root-only || echo not root"]);
    let run = app.events(&["deploy"]).ok();
    let said = String::from_utf8(run.output("stdout")).unwrap();
    assert_eq!(said, "app\n/home/app\n/okteto/src\ngiven\nmore\nreadable\nthere\napp\napp\napp\nnot root\n");
    // The tree is a copy: the next one finds what was sent.
    let again = app.events(&["deploy"]).ok();
    assert_eq!(String::from_utf8(again.output("stdout")).unwrap(), said);
}

/// As docker has them: with a group there is that one alone, without one there are all that the user is in.
#[test]
fn groups_and_the_path_are_those_of_the_image() {
    let service = Service::shared();
    for (user, groups) in
        [("app:crew", "crew"), ("app:1600", "deckhands"), ("app", "app crew deckhands"), ("1234", "app crew deckhands")]
    {
        let app = service.team().project();
        let dockerfile = format!(
            "FROM debian:trixie-slim\nCOPY passwd group /etc/\nCOPY --chmod=755 greet /opt/tools/\n\
             ENV PATH=/opt/tools:/usr/bin\nUSER {user}\n"
        );
        app.file("tools/passwd", "root:x:0:0::/root:/bin/sh\napp:x:1234:1234::/:/bin/sh\n")
            .file(
                "tools/group",
                "root:x:0:\napp:x:1234:\ncrew:x:1500:app\ndeckhands:x:1600:other,app\nothers:x:1700:other\n",
            )
            .file("tools/greet", "#!/bin/sh\necho greetings\n");
        // After the image's own folders there may be the one of the helper that logs tools in.
        let look = "id -un; id -gn; id -Gn; greet; echo ${PATH%:/tmp/.okteto-login*}; touch made; stat -c %U:%G made";
        deploy_in(&app, &dockerfile, &[look]);
        let group = groups.split(' ').next().unwrap();
        let expected = format!("app\n{group}\n{groups}\ngreetings\n/opt/tools:/usr/bin\napp:{group}\n");
        assert_eq!(app.events(&["deploy"]).ok().said(), expected, "{user}");
    }
}

#[test]
fn a_user_may_be_a_number_that_nobody_knows() {
    let service = Service::shared();
    let app = service.team().project();
    deploy_in(
        &app,
        "FROM debian:trixie-slim\nUSER 4321:8765\n",
        &["id -u; id -g; echo $HOME; touch here; stat -c %u:%g . here; echo A=1 >>$OKTETO_ENV", "echo $A"],
    );
    assert_eq!(app.events(&["deploy"]).ok().said(), "4321\n8765\n/\n4321:8765\n4321:8765\n1\n");
}

#[test]
fn an_image_of_busybox_alone_is_enough() {
    let service = Service::shared();
    for (user, home) in [("0", "/"), ("7", "/"), ("7:7", "/")] {
        // A deploy takes an image that is there.
        let app = service.team().project();
        let first = "id -u; echo $HOME; pwd; echo x >made; echo A=1 >>$OKTETO_ENV; (sleep 0.1; echo late) & wait";
        app.deploy_in(SectionImage::Busybox(user), &[first, "echo $A; cat made; exit 3"]);
        let run = app.events(&["deploy"]).expect(1);
        let uid = user.split(':').next().unwrap();
        assert_eq!(run.said(), format!("{uid}\n{home}\n/okteto/src\nlate\n1\nx\n"), "{}", run.story());
        let codes: Vec<_> = run.all("command.done").iter().map(|done| done["exit_code"].clone()).collect();
        assert_eq!(codes, [0, 3]);
    }
}

#[test]
fn an_image_without_a_shell_is_named_before_anything_is_started() {
    let service = Service::shared();
    let app = service.team().project();
    app.file("tools/marker", "x");
    deploy_in(&app, "FROM scratch\nCOPY marker /marker\n", &["echo never"]);
    let run = app.events(&["deploy"]).expect(1);
    assert!(run.all("command.started").is_empty(), "{}", run.story());
    let error = &run.last("job.done")["error"];
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("commands need `sh`") && message.contains(&format!("{}-tools", app.name)), "{message}");
    assert_eq!(error["code"], "runner_failed");
    assert!(error["hint"].as_str().unwrap().contains("a shell"), "{error}");
    assert!(run.all("warning").is_empty(), "it is tried once: {}", run.story());
}

#[test]
fn a_user_that_the_image_does_not_know_is_an_error_at_once() {
    let service = Service::shared();
    let app = service.team().project();
    deploy_in(&app, "FROM debian:trixie-slim\nUSER nosuchuser\n", &["echo never"]);
    let run = app.events(&["deploy"]).expect(1);
    assert!(run.all("command.started").is_empty(), "{}", run.story());
    let error = &run.last("job.done")["error"];
    assert!(error["message"].as_str().unwrap().contains("nosuchuser"), "{error}");
    assert!(run.all("warning").is_empty(), "it is tried once: {}", run.story());
}
