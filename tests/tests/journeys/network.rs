//! What a deploy command reaches.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::process::Command;

use slipway_journeys::service::Options;
use slipway_journeys::team::deploy_section;
use slipway_journeys::{SectionImage, Service, process};

/// A server on an address that says hello to whoever comes.
fn greeter(listen: &str) -> SocketAddr {
    let listener = TcpListener::bind(listen).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 1024];
            let _ = stream.read(&mut request);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello");
        }
    });
    address
}

/// This machine's IPv4 addresses.
fn own_addresses() -> Vec<String> {
    let told = Command::new("ip").args(["-json", "-4", "address"]).output().unwrap();
    let links: Vec<serde_json::Value> = serde_json::from_slice(&told.stdout).unwrap();
    let addresses = links.iter().flat_map(|link| link["addr_info"].as_array().unwrap());
    addresses.map(|address| address["local"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn commands_reach_the_service_and_the_registry_under_their_usual_names() {
    let service = Service::shared();
    let team = service.team();
    let app = team.project();
    let registry = service.registry();
    app.manifest(&format!("build:\n  app: .\n{}", deploy_section(&[
        "curl -s -o /dev/null -w '%{http_code}\\n' $OKTETO_CONTEXT/healthz",
        &format!("curl -s -o /dev/null -w '%{{http_code}}\\n' http://{registry}/v2/"),
        &format!("T=$(curl -s -u x:$OKTETO_TOKEN \"$OKTETO_CONTEXT/token?service=slipway-registry\" | sed 's/.*\"token\":\"\\([^\"]*\\)\".*/\\1/'); curl -s -o /dev/null -w '%{{http_code}}\\n' -H \"Authorization: Bearer $T\" http://{registry}/v2/"),
        "repo=${OKTETO_BUILD_APP_REPOSITORY}; T=$(curl -s -u x:$OKTETO_TOKEN \"$OKTETO_CONTEXT/token?scope=repository:$repo:pull\" | sed 's/.*\"token\":\"\\([^\"]*\\)\".*/\\1/'); curl -s -o /dev/null -w '%{http_code}\\n' -H \"Authorization: Bearer $T\" http://$OKTETO_REGISTRY_URL/v2/$repo/manifests/$OKTETO_BUILD_APP_TAG -H 'Accept: application/vnd.oci.image.manifest.v1+json'",
        "okteto version | tail -1; slipway job list --output json | head -1",
        "for i in $(seq 20); do curl -s -o /dev/null $OKTETO_CONTEXT/healthz & done; wait; echo all",
    ])))
    .file("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
    let run = app.events(&["deploy"]).ok();
    let said = run.said();
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines[..4], ["200", "401", "200", "200"], "{said}");
    assert!(said.contains(&run.job()), "slipway inside sees its own job: {said}");
    assert!(said.ends_with("all\n"));
}

#[test]
fn commands_do_not_reach_other_servers_on_the_hosts_loopback() {
    let service = Service::shared();
    let address = greeter("127.0.0.1:0");
    assert_eq!(slipway_journeys::service::http_status(address, "/"), Some(200), "it does answer here");
    let app = service.team().project();
    let port = address.port();
    app.deploy(&[
        &format!("curl -s -m 3 http://127.0.0.1:{port}/ && echo REACHED; echo \"127.0.0.1: $?\""),
        &format!("curl -s -m 3 http://localhost:{port}/ && echo REACHED; echo over"),
        &format!("gw=$(awk '$2==\"00000000\" {{print $3}}' /proc/net/route | sed 's/\\(..\\)\\(..\\)\\(..\\)\\(..\\)/0x\\4.0x\\3.0x\\2.0x\\1/'); curl -s -m 3 http://$gw:{port}/ && echo REACHED; echo \"gateway $gw: $?\""),
    ]);
    let said = app.events(&["deploy"]).ok().said();
    assert!(!said.contains("REACHED") && !said.contains("hello"), "{said}");
    // curl ran, and could not connect (7) or waited in vain (28).
    assert!(said.contains("127.0.0.1: 7\n") || said.contains("127.0.0.1: 28\n"), "{said}");
    // There is a gateway, which is asked.
    let (gateway, status) = said.lines().last().unwrap().strip_prefix("gateway ").unwrap().split_once(": ").unwrap();
    let parts: Vec<_> =
        gateway.split('.').filter_map(|part| u8::from_str_radix(part.strip_prefix("0x")?, 16).ok()).collect();
    let gateway = parts.iter().map(u8::to_string).collect::<Vec<_>>().join(".");
    assert!(own_addresses().contains(&gateway), "{gateway} is this machine: {said}");
    assert!(["7", "28"].contains(&status), "{said}");
}

#[test]
fn the_same_is_so_in_images_that_are_not_ours() {
    let service = Service::shared();
    let port = greeter("127.0.0.1:0").port();
    for image in [SectionImage::Busybox("0"), SectionImage::Busybox("1000:1000")] {
        let app = service.team().project();
        app.deploy_in(
            image,
            &[
                "wget -q -O /dev/null $OKTETO_CONTEXT/healthz && echo service",
                "wget -O /dev/null http://$OKTETO_REGISTRY_URL/v2/ 2>&1 | grep -c '401 Unauthorized'",
                &format!("wget -T 3 -O - http://127.0.0.1:{port}/ 2>&1 || echo out of reach"),
            ],
        );
        let said = app.events(&["deploy"]).ok().said();
        assert!(said.starts_with("service\n1\n") && said.ends_with("out of reach\n"), "{image:?}: {said}");
        assert!(!said.contains("hello"), "{image:?}: {said}");
    }
}

#[test]
fn build_steps_do_not_reach_the_hosts_loopback_either() {
    let service = Service::shared();
    let address = greeter("127.0.0.1:0");
    let app = service.team().project();
    let port = address.port();
    // Nothing but a shell is in there: bash's own /dev/tcp.
    app.image(&format!(
        "FROM debian:trixie-slim\nRUN bash -c 'exec 3<>/dev/tcp/127.0.0.1/{port} && echo REA''CHED || echo not-''there'\n"
    ));
    let run = app.events(&["build", "--no-cache"]).ok();
    let said: String = run.all("step.log").iter().map(|log| log["text"].as_str().unwrap()).collect();
    assert!(said.contains("not-there") && !said.contains("REACHED"), "{said}");
}

#[test]
fn an_add_from_the_engines_own_loopback_is_denied() {
    let service = Service::shared();
    let address = greeter("127.0.0.1:0");
    let app = service.team().project();
    app.image(&format!("FROM scratch\nADD http://127.0.0.1:{}/ /fetched\n", address.port()));
    let run = app.slipway(["build"]).expect(1);
    assert!(run.stderr.contains("denied by policy"), "{}", run.story());
}

#[test]
fn nothing_of_the_service_is_left_when_its_jobs_are_over() {
    let service = Service::shared();
    let app = service.team().project();
    app.deploy(&["true"]);
    let run = app.events(&["deploy"]).ok();
    let job = run.job();
    slipway_journeys::wait::until("the job's process ends", slipway_journeys::wait::SOON, || {
        service.job_processes(&job).is_empty().then_some(())
    });
    assert!(
        !service.job_dir(&job).join("spec.json").exists() || {
            slipway_journeys::wait::until("the job's values are forgotten", slipway_journeys::wait::SOON, || {
                (!service.job_dir(&job).join("spec.json").exists()).then_some(true)
            })
        }
    );
    assert!(!service.job_dir(&job).join("token.json").exists(), "its token is gone");
    assert!(process::mentioning(&job).is_empty());
}

#[test]
fn restricted_commands_reach_the_service_its_registry_and_what_an_admin_allows() {
    let [open, closed] = ["127.0.0.1:0"; 2].map(greeter);
    let settings = format!(
        "\n[runner.network]\nmode = \"restricted\"\nallow = [\"{open}\", \"localhost\"]\n[runner.network.namespaces.dev]\nmode = \"open\"\n"
    );
    let service = Service::with(Options { registry: settings, ..Options::default() });
    let registry = service.registry();
    let app = service.team().project();
    let port = open.port();
    let commands = [
        "ls /sys/class/net; echo; curl -s -o /dev/null -w '%{http_code}\\n' $OKTETO_CONTEXT/healthz; slipway job list --output json | grep -c running".to_owned(),
        format!("curl -s -o /dev/null -w '%{{http_code}}\\n' http://{registry}/v2/"),
        // Through the proxy, although it is this machine's.
        format!("curl -s --noproxy '' http://{open}/; echo; curl -s --noproxy '' -p http://{open}/; echo"),
        format!("printf 'GET / HTTP/1.0\\r\\n\\r\\n' | $(ssh -G git.example | sed -n 's/^proxycommand //p;' | sed 's/%h/127.0.0.1/; s/%p/{port}/') | tail -1; echo"),
        format!("curl -s --noproxy '' http://{closed}/; curl -s --noproxy '' -p http://{closed}/ || echo refused"),
        // Where a name leads to an address that is on the list itself, it may.
        format!(
            "curl -s --noproxy '' http://localhost:{}/; curl -sf --noproxy '' http://localhost:{port}/ >/dev/null && curl -s -m 3 http://{open}/ || echo \"not directly: $?\"",
            closed.port()
        ),
        "ssh -o BatchMode=yes git.example true 2>&1; curl -s --noproxy '*' -m 3 http://192.0.2.1/ || echo \"nor elsewhere: $?\"".to_owned(),
    ];
    app.manifest(&deploy_section(&commands.each_ref().map(String::as_str)));
    let run = app.events(&["deploy"]).ok();
    let said = run.said();
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines[..7], ["lo", "", "200", "1", "401", "hello", "hello"], "{said}");
    assert_eq!(lines[7], "hello", "ssh's way: {said}");
    assert!(lines[8].starts_with(&format!("slipway: {closed} is not among the hosts")), "{said}");
    assert_eq!(lines[9], "refused", "{said}");
    assert!(lines[10].contains("leads to an address that is the service's own"), "{said}");
    assert_eq!(lines[11], "not directly: 7", "{said}");
    assert!(lines[12].starts_with("slipway: git.example:22 is not among the hosts"), "{said}");
    assert_eq!(lines.last(), Some(&"nor elsewhere: 7"), "{said}");
    let warnings: Vec<_> =
        run.all("warning").iter().map(|event| event["message"].as_str().unwrap().to_owned()).collect();
    for refused in [closed.to_string(), "git.example:22".to_owned()] {
        let told = warnings.iter().filter(|text| text.contains(&format!("{refused} is not among the hosts"))).count();
        assert_eq!(told, 1, "{refused}: {warnings:?}");
    }

    let app = service.admin().project();
    app.deploy(&["ls /sys/class/net | grep -vxc lo; echo ${HTTP_PROXY:-none}"]);
    let said = app.events(&["deploy"]).ok().said();
    let (interfaces, proxy) = said.trim_end().split_once('\n').unwrap();
    assert!(interfaces.parse::<u32>().unwrap() > 0, "another namespace has more than its loopback: {said}");
    assert_eq!(proxy, "none", "another namespace's network is open: {said}");
}

#[test]
fn restricted_commands_of_any_image_and_user_have_the_proxy() {
    let open = greeter("127.0.0.1:0");
    let settings = format!("\n[runner.network]\nmode = \"restricted\"\nallow = \"{open}\"\n");
    let service = Service::with(Options { registry: settings, ..Options::default() });
    for image in SectionImage::EACH {
        let app = service.team().project();
        let get = if image == SectionImage::Runner { "curl -sSf --noproxy ''" } else { "wget -qO-" };
        app.deploy_in(image, &["id -u", &format!("{get} http://{open}/; echo; {get} http://b.example/ 2>&1 || true")]);
        let said = app.events(&["deploy"]).ok().said();
        let expected = format!("{}\nhello\n", image.uid());
        assert!(said.starts_with(&expected) && said.contains("403"), "{image:?}: {said}");
    }
}
