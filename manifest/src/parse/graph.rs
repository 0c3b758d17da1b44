//! `depends_on`: every target exists, and nothing waits for itself.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    manifest::{Build, Test},
    problem::{Place, Report},
    suggest,
};

/// What depends on others of its kind.
struct Vertex<'m> {
    name: &'m str,
    place: Place,
    /// What it depends on, and where it says so.
    to: Vec<(&'m str, Place)>,
}

pub(super) fn check_builds(builds: &[Build], report: &mut Report) {
    let vertices = builds.iter().map(|build| Vertex {
        name: build.service.as_str(),
        place: build.place,
        to: build.depends_on.iter().map(|to| (to.service.as_str(), to.place)).collect(),
    });
    check(&vertices.collect::<Vec<_>>(), "build", report);
}

pub(super) fn check_tests(tests: &[Test], report: &mut Report) {
    let vertices = tests.iter().map(|test| Vertex {
        name: &test.name,
        place: test.place,
        to: test.depends_on.iter().map(|to| (to.value.as_str(), to.place)).collect(),
    });
    check(&vertices.collect::<Vec<_>>(), "test", report);
}

fn check(vertices: &[Vertex<'_>], section: &str, report: &mut Report) {
    let index: BTreeMap<&str, usize> =
        vertices.iter().enumerate().map(|(index, vertex)| (vertex.name, index)).collect();
    for vertex in vertices {
        for (to, place) in &vertex.to {
            if !index.contains_key(to) && !report.is_full() {
                let others = vertices.iter().map(|other| other.name).filter(|name| *name != vertex.name);
                let hint = suggest::hint(to, others);
                let message = format!("`{}` depends on `{to}`, which is not in `{section}`", vertex.name);
                report.error_with(*place, message, hint);
            }
        }
    }
    let edges =
        |from: usize| -> Vec<usize> { vertices[from].to.iter().filter_map(|(to, _)| index.get(to).copied()).collect() };
    // Reported once each: a cycle is the same whichever of its services it is entered by.
    let mut reported: BTreeSet<BTreeSet<usize>> = BTreeSet::new();
    let mut done = vec![false; vertices.len()];
    let mut left = MAX_CYCLES;
    for start in 0..vertices.len() {
        if left == 0 {
            break;
        }
        let cycles = cycles_from(start, &edges, &mut done, left);
        left -= cycles.len();
        for cycle in cycles {
            if reported.insert(cycle.iter().copied().collect()) {
                report_cycle(vertices, &cycle, report);
            }
        }
    }
}

/// Everything may depend on everything: then there are more cycles than anybody reads.
const MAX_CYCLES: usize = 32;

/// The cycles that a depth-first walk closes, at most `limit` of them. The walk keeps its own stack: a chain of services may be long.
fn cycles_from(start: usize, edges: &dyn Fn(usize) -> Vec<usize>, done: &mut [bool], limit: usize) -> Vec<Vec<usize>> {
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
            if cycles.len() == limit {
                return cycles;
            }
            cycles.push(path.iter().map(|(node, _)| *node).skip_while(|node| *node != next).collect());
        } else if !done[next] {
            on_path.insert(next);
            path.push((next, edges(next)));
        }
    }
    cycles
}

fn report_cycle(vertices: &[Vertex<'_>], cycle: &[usize], report: &mut Report) {
    // From the one that the file names first, so that the message does not depend on where the walk began.
    let Some(first) = cycle.iter().enumerate().min_by_key(|(_, vertex)| **vertex).map(|(position, _)| position) else {
        return;
    };
    let rotated: Vec<&Vertex<'_>> =
        cycle[first..].iter().chain(&cycle[..first]).filter_map(|index| vertices.get(*index)).collect();
    let [vertex, ..] = rotated.as_slice() else { return };
    let next = rotated.get(1).unwrap_or(vertex);
    let place = vertex.to.iter().find(|(to, _)| *to == next.name).map_or(vertex.place, |(_, place)| *place);
    if rotated.len() == 1 {
        report.error(place, format!("`{}` depends on itself", vertex.name));
        return;
    }
    let mut path: Vec<&str> = rotated.iter().map(|vertex| vertex.name).collect();
    path.push(vertex.name);
    report.error(place, format!("dependency cycle: {}", path.join(" -> ")));
}
