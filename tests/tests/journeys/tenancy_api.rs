//! One tenant cannot see another: jobs, contents and rights by way of the API.

use slipway_context::Digest;
use slipway_journeys::api::{Api, SmallTree};
use slipway_journeys::{Service, random, unique};
use slipway_proto::v1::{CancelJobRequest, GetJobRequest, ListJobsRequest, WatchRequest};
use tonic::Code;

#[test]
fn another_namespaces_job_does_not_exist_for_us() {
    let service = Service::shared();
    let (theirs, ours) = (service.team(), service.team());
    let app = theirs.project();
    app.deploy(&["echo their secret"]);
    let job = app.events(&["deploy"]).ok().job();

    for args in [
        ["job", "show", &job],
        ["job", "logs", &job],
        ["job", "cancel", &job],
        ["job", "attach", &job],
        ["job", "wait", &job],
    ] {
        let run = ours.slipway(args).expect(3);
        assert!(!run.out().contains("secret") && !run.stderr.contains("secret"), "{}", run.story());
    }
    let listed = ours.slipway(["job", "list", "--output", "json"]).ok();
    assert_eq!(listed.out(), "");
    ours.slipway(["job", "list", "-n", &theirs.namespace]).expect(3);
    ours.slipway(["namespace", "list"]).ok().out().lines().for_each(|line| assert!(!line.contains(&theirs.namespace)));

    // By the API as well, call by call, the sync's once with contents and once with a check alone; and with the very words that a job gets which never was.
    let api = Api::new(&ours);
    let nobody = "01a00000-0000-7000-8000-000000000000";
    let refusals = |job: &str| {
        let id = || job.to_owned();
        let get = api.wait(async { api.jobs().get(GetJobRequest { job: id() }).await }).map(drop);
        let watch =
            api.wait(async { api.jobs().watch(WatchRequest { job: id(), ..Default::default() }).await }).map(drop);
        let cancel =
            api.wait(async { api.jobs().cancel(CancelJobRequest { job: id(), grace_ms: None }).await }).map(drop);
        let (check, send) = (api.check(job).map(drop), api.send(job, &[(Digest::of(b"x"), b"x")]));
        let all = [get, watch, cancel, check, send];
        all.map(|answer| answer.unwrap_err()).map(|status| (status.code(), status.message().replace(job, "JOB")))
    };
    assert_eq!(refusals(&job), refusals(nobody));
    assert!(refusals(&job).iter().all(|(code, _)| *code == Code::NotFound));
    let list = ListJobsRequest { namespace: theirs.namespace.clone(), limit: 0 };
    let refused = api.wait(async { api.jobs().list(list).await }).unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
}

#[test]
fn a_token_opens_its_own_namespaces_only() {
    let service = Service::shared();
    let (theirs, ours) = (service.team(), service.team());
    let app = ours.project();
    app.deploy(&["echo hi"]);
    let into = |namespace: &str| app.slipway(["deploy", "-n", namespace]).status;
    assert_eq!((into(&theirs.namespace), into("dev"), into("okteto"), into(&unique("no"))), (3, 3, 3, 3));
    let request = Api::new(&ours).deploy_request(Digest::of(b"x"), "true");
    let request = slipway_proto::v1::SubmitRequest { namespace: theirs.namespace.clone(), ..request };
    assert_eq!(Api::new(&ours).submit(request).unwrap_err().code(), Code::NotFound);

    for args in
        [["namespace", "create", "mine"].as_slice(), &["token", "list"], &["token", "create", "--user", "x", "--admin"]]
    {
        let run = ours.slipway(args).expect(3);
        assert!(run.stderr.contains("admin"), "{}", run.story());
    }
    ours.slipway(["token", "revoke", &theirs.token_id]).expect(3);
    theirs.slipway(["job", "list"]).ok();
}

#[test]
fn a_digest_that_another_namespace_uploaded_is_missing_for_us() {
    let service = Service::shared();
    let (theirs, ours) = (service.team(), service.team());
    let secret = random(64);
    let tree = SmallTree::new(&[("secret", &secret)]);
    let their_api = Api::new(&theirs);
    let their_job = their_api.syncing(&tree, "wc -c < secret").id;
    their_api.send_tree(&their_job, &tree).unwrap();
    assert!(their_api.check(&their_job).unwrap().is_empty());
    assert_eq!(theirs.attach(&their_job).ok().said(), "64\n");
    // For them it is there now, root and all.
    let again = their_api.submit(their_api.deploy_request(tree.root, "true")).unwrap();
    assert!(again.missing_roots.is_empty());

    let api = Api::new(&ours);
    let job = api.syncing(&tree, "cat secret").id;
    assert_eq!(api.check(&job).unwrap(), [tree.root.as_bytes().to_vec()], "all of it is missing");

    // With the tree's node alone, as one may have seen it, the content is still out of reach.
    api.send(&job, &[(tree.root, tree.blobs.last().unwrap())]).unwrap();
    assert_eq!(api.check(&job).unwrap(), [Digest::of(&secret).as_bytes().to_vec()]);
    assert_eq!(ours.show(&job)["state"], "syncing");
    ours.slipway(["job", "cancel", &job]).ok();
    assert!(!ours.attach(&job).events.iter().any(|event| event["type"] == "command.started"));
}

#[test]
fn content_that_does_not_match_its_digest_is_refused() {
    let service = Service::shared();
    let team = service.team();
    let api = Api::new(&team);
    let good = random(50);
    let tree = SmallTree::new(&[("good", &good)]);
    let job = api.syncing(&tree, "true").id;
    let digest = Digest::of(&good);
    let refused = api.send(&job, &[(digest, b"something else")]).unwrap_err();
    assert_eq!(refused.code(), Code::DataLoss, "{refused}");
    assert!(refused.message().contains(&digest.to_string()), "{refused}");
    api.send(&job, &[(tree.root, tree.blobs.last().unwrap())]).unwrap();
    assert_eq!(api.check(&job).unwrap(), [digest.as_bytes().to_vec()], "nothing is stored under that name");

    // A tree that lies about a size, or leads out of itself, is refused as a whole.
    let mut encoded = tree.blobs.last().unwrap().clone();
    let at = encoded.len() - 1;
    encoded.truncate(at);
    let cut = SmallTree { root: Digest::of(&encoded), blobs: vec![encoded] };
    let job = api.syncing(&cut, "true").id;
    api.send_tree(&job, &cut).unwrap();
    assert_eq!(api.check(&job).unwrap_err().code(), Code::InvalidArgument);
}

#[test]
fn a_revoked_token_opens_nothing_any_more() {
    let service = Service::shared();
    let team = service.team();
    team.slipway(["job", "list"]).ok();
    service.admin().slipway(["token", "revoke", &team.token_id]).ok();
    let run = team.slipway(["job", "list"]).expect(3);
    assert!(run.stderr.contains("token"), "{}", run.story());
    let refused = Api::new(&team).submit(Api::new(&team).deploy_request(Digest::of(b"x"), "true")).unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    let nobody = team.with_token("wrong");
    nobody.slipway(["job", "list"]).expect(3);
    let nothing = team.with_token("");
    nothing.slipway(["job", "list"]).expect(3);
}

#[test]
fn a_jobs_own_token_ends_with_the_job_and_opens_its_namespace_only() {
    let service = Service::shared();
    let (team, other) = (service.team(), service.team());
    team.slipway(["variable", "set", "--scope", "namespace", "--secret", "KEPT=1"]).ok();
    let app = team.project();
    app.deploy(&[&format!(
        "echo token=$(echo $OKTETO_TOKEN | sed 's/./&-/g'); slipway job list --output json | grep -c running; slipway -n {} job list >/dev/null 2>&1; \
         echo other=$?; slipway namespace create stolen >/dev/null 2>&1; echo admin=$?; slipway variable list >/dev/null 2>&1; \
         echo variables=$?; mkdir x; printf 'FROM scratch\\nCOPY Dockerfile /\\n' >x/Dockerfile; \
         slipway build -t okteto.dev/x --secret id=a,variable=KEPT x >/dev/null 2>&1; echo kept=$?; \
         slipway build -t okteto.dev/x --secret id=a,variable=ELSE x 2>&1 | grep -o 'there is no variable'",
        other.namespace
    )]);
    let run = app.events(&["deploy"]).ok();
    let said = run.said();
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines[1..], ["1", "other=3", "admin=3", "variables=3", "kept=0", "there is no variable"], "{said}");
    // Nobody reads it as it is.
    let late = team.with_token(&lines[0].strip_prefix("token=").unwrap().replace('-', ""));
    slipway_journeys::wait::until("the job's token ends with it", slipway_journeys::wait::SOON, || {
        (late.slipway(["job", "list"]).status == 3).then_some(())
    });
}

#[test]
fn a_request_id_of_another_namespace_gives_nothing_away() {
    let service = Service::shared();
    let (theirs, ours) = (service.team(), service.team());
    let tree = SmallTree::new(&[("a", &random(10))]);
    let (their_api, api) = (Api::new(&theirs), Api::new(&ours));
    let request = their_api.deploy_request(tree.root, "echo theirs");
    let their_job = their_api.submit(request.clone()).unwrap().job.unwrap();
    let again = their_api.submit(request.clone()).unwrap().job.unwrap();
    assert_eq!(their_job.id, again.id, "the same request is the same job");

    let request = slipway_proto::v1::SubmitRequest { namespace: ours.namespace.clone(), ..request };
    let job = api.submit(request).unwrap().job.unwrap();
    assert_ne!(job.id, their_job.id);
    assert_eq!(job.namespace, ours.namespace);
}
