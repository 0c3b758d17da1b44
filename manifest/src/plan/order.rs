//! Build order.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
};

use crate::manifest::Build;

/// The builds that are asked for and all that they depend on, dependencies first; of those that could come next, the one
/// that the manifest names first. `None`: there is a cycle.
pub(super) fn build_order<'m>(builds: &'m [Build], wanted: &BTreeSet<&str>) -> Option<Vec<&'m Build>> {
    let index: BTreeMap<&str, usize> =
        builds.iter().enumerate().map(|(index, build)| (build.service.as_str(), index)).collect();
    let needs = |build: usize| builds[build].depends_on.iter().filter_map(|to| index.get(to.service.as_str()).copied());

    let mut selected = BTreeSet::new();
    let mut open: Vec<usize> = wanted.iter().filter_map(|name| index.get(name).copied()).collect();
    while let Some(build) = open.pop() {
        if selected.insert(build) {
            open.extend(needs(build));
        }
    }

    let mut missing: BTreeMap<usize, usize> = selected.iter().map(|build| (*build, needs(*build).count())).collect();
    let mut dependants: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for build in &selected {
        for needed in needs(*build) {
            dependants.entry(needed).or_default().push(*build);
        }
    }
    let mut ready: BinaryHeap<Reverse<usize>> =
        missing.iter().filter(|(_, count)| **count == 0).map(|(build, _)| Reverse(*build)).collect();
    let mut order = Vec::with_capacity(selected.len());
    while let Some(Reverse(build)) = ready.pop() {
        order.push(&builds[build]);
        for dependant in dependants.get(&build).into_iter().flatten() {
            if let Some(count) = missing.get_mut(dependant) {
                *count -= 1;
                if *count == 0 {
                    ready.push(Reverse(*dependant));
                }
            }
        }
    }
    (order.len() == selected.len()).then_some(order)
}
