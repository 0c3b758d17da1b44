//! `depends_on`: every target exists, and nothing waits for itself.

use std::collections::{BTreeMap, BTreeSet};

use crate::{manifest::Build, problem::Report, suggest};

pub(super) fn check(builds: &[Build], report: &mut Report) {
    let index: BTreeMap<&str, usize> =
        builds.iter().enumerate().map(|(index, build)| (build.service.as_str(), index)).collect();
    for build in builds {
        for dependency in &build.depends_on {
            if !index.contains_key(dependency.service.as_str()) && !report.is_full() {
                let others =
                    builds.iter().map(|other| other.service.as_str()).filter(|name| *name != build.service.as_str());
                let hint = suggest::hint(dependency.service.as_str(), others);
                let message =
                    format!("`{}` depends on `{}`, which is not in `build`", build.service, dependency.service);
                report.error_with(dependency.place, message, hint);
            }
        }
    }
    let edges = |from: usize| -> Vec<usize> {
        builds[from].depends_on.iter().filter_map(|to| index.get(to.service.as_str()).copied()).collect()
    };
    // Reported once each: a cycle is the same whichever of its services it is entered by.
    let mut reported: BTreeSet<BTreeSet<usize>> = BTreeSet::new();
    let mut done = vec![false; builds.len()];
    for start in 0..builds.len() {
        for cycle in cycles_from(start, &edges, &mut done) {
            if reported.insert(cycle.iter().copied().collect()) {
                report_cycle(builds, &cycle, report);
            }
        }
    }
}

/// The cycles that a depth-first walk closes. The walk keeps its own stack: a chain of services may be long.
fn cycles_from(start: usize, edges: &dyn Fn(usize) -> Vec<usize>, done: &mut [bool]) -> Vec<Vec<usize>> {
    let mut cycles = Vec::new();
    if done[start] {
        return cycles;
    }
    let mut path = vec![(start, edges(start))];
    let mut on_path = BTreeSet::from([start]);
    while let Some((node, rest)) = path.last_mut() {
        let node = *node;
        if rest.is_empty() {
            done[node] = true;
            on_path.remove(&node);
            path.pop();
            continue;
        }
        let next = rest.remove(0);
        if on_path.contains(&next) {
            cycles.push(path.iter().map(|(node, _)| *node).skip_while(|node| *node != next).collect());
        } else if !done[next] {
            on_path.insert(next);
            path.push((next, edges(next)));
        }
    }
    cycles
}

fn report_cycle(builds: &[Build], cycle: &[usize], report: &mut Report) {
    // From the service that the file names first, so that the message does not depend on where the walk began.
    let Some(first) = cycle.iter().enumerate().min_by_key(|(_, build)| **build).map(|(position, _)| position) else {
        return;
    };
    let rotated: Vec<&Build> =
        cycle[first..].iter().chain(&cycle[..first]).filter_map(|index| builds.get(*index)).collect();
    let [build, ..] = rotated.as_slice() else { return };
    let next = rotated.get(1).unwrap_or(build);
    let place = build.depends_on.iter().find(|to| to.service == next.service).map_or(build.place, |to| to.place);
    if rotated.len() == 1 {
        report.error(place, format!("`{}` depends on itself", build.service));
        return;
    }
    let mut path: Vec<&str> = rotated.iter().map(|build| build.service.as_str()).collect();
    path.push(build.service.as_str());
    report.error(place, format!("dependency cycle: {}", path.join(" -> ")));
}
