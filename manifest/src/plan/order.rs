//! What comes before what.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
};

use crate::manifest::{Build, Test};

/// What depends on others of its kind.
pub(super) trait Ordered {
    /// Its name.
    fn name(&self) -> &str;
    /// The names of what comes before it.
    fn needs(&self) -> impl Iterator<Item = &str>;
}

impl Ordered for Build {
    fn name(&self) -> &str {
        self.service.as_str()
    }

    fn needs(&self) -> impl Iterator<Item = &str> {
        self.depends_on.iter().map(|dependency| dependency.service.as_str())
    }
}

impl Ordered for Test {
    fn name(&self) -> &str {
        &self.name
    }

    fn needs(&self) -> impl Iterator<Item = &str> {
        self.depends_on.iter().map(|test| test.value.as_str())
    }
}

/// Those that are asked for and all that they depend on, dependencies first; of those that could come next, the one that the
/// manifest names first. `None`: there is a cycle.
pub(super) fn in_order<'m, T: Ordered>(all: &'m [T], wanted: &BTreeSet<&str>) -> Option<Vec<&'m T>> {
    let index: BTreeMap<&str, usize> = all.iter().enumerate().map(|(index, one)| (one.name(), index)).collect();
    let needs = |one: usize| all[one].needs().filter_map(|name| index.get(name).copied());

    let mut selected = BTreeSet::new();
    let mut open: Vec<usize> = wanted.iter().filter_map(|name| index.get(name).copied()).collect();
    while let Some(one) = open.pop() {
        if selected.insert(one) {
            open.extend(needs(one));
        }
    }

    let mut missing: BTreeMap<usize, usize> = selected.iter().map(|one| (*one, needs(*one).count())).collect();
    let mut dependants: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for one in &selected {
        for needed in needs(*one) {
            dependants.entry(needed).or_default().push(*one);
        }
    }
    let mut ready: BinaryHeap<Reverse<usize>> =
        missing.iter().filter(|(_, count)| **count == 0).map(|(one, _)| Reverse(*one)).collect();
    let mut order = Vec::with_capacity(selected.len());
    while let Some(Reverse(one)) = ready.pop() {
        order.push(&all[one]);
        for dependant in dependants.get(&one).into_iter().flatten() {
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
