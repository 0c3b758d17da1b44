//! Jobs in jobs: those that commands and dependencies of other jobs submit, with these jobs' own tokens.

use slipway_manifest::plan::Plan;

use super::state::{JobKind, changes_environment};
use super::{Jobs, JobsError};
use crate::auth::{Caller, JOB_USER};
use crate::names::{JobId, Namespace};
use crate::store::db::jobs::JobRow;

/// How many jobs one can be in.
const MAX_DEPTH: u32 = 5;

/// The jobs that a new job is in, the nearest first.
#[derive(Debug, Default)]
pub(super) struct Lineage(Vec<JobRow>);

impl Jobs {
    /// What a job that this caller submits is in; nothing for a caller from outside.
    pub(super) async fn lineage(&self, caller: &Caller) -> Result<Lineage, JobsError> {
        let mut next = caller.user.strip_prefix(JOB_USER).and_then(|job| job.parse::<JobId>().ok());
        let mut rows = Vec::new();
        while let Some(job) = next
            && rows.len() < MAX_DEPTH as usize
        {
            let Some(row) = self.inner.db.job(job).await? else { break };
            next = row.parent;
            rows.push(row);
        }
        Ok(Lineage(rows))
    }
}

impl Lineage {
    /// The nearest job, and how many there are.
    pub(super) fn parent(&self) -> (Option<JobId>, u32) {
        self.0.first().map_or((None, 0), |row| (Some(row.id), row.depth + 1))
    }

    /// Who submitted the outermost of them.
    pub(super) fn owner(&self) -> Option<&str> {
        self.0.last().map(|row| row.owner.as_str())
    }

    /// Refuses what would wait for itself: an environment that one of these jobs deploys or destroys and that this one, or what it
    /// depends on, would, too.
    pub(super) fn check(&self, namespace: &Namespace, plan: &Plan) -> Result<(), JobsError> {
        if self.parent().1 > MAX_DEPTH {
            return Err(JobsError::Invalid(format!("more than {MAX_DEPTH} jobs in each other")));
        }
        // Tests change nothing that others wait for.
        let around = self.0.iter().filter(|row| row.namespace == *namespace && row.kind != JobKind::Test);
        let around: Vec<&str> = around.map(|row| row.environment.as_str()).collect();
        let circle = |name: &str, last: &[&str]| {
            let begin = around.iter().position(|known| *known == name)?;
            let path = around[..=begin].iter().rev().chain(last).copied().chain([name]);
            Some(path.map(|name| name.escape_debug().to_string()).collect::<Vec<_>>().join(" → "))
        };
        let own = changes_environment(plan.kind).then(|| circle(&plan.name, &[])).flatten();
        let mut dependencies = plan.dependencies.iter();
        let found = own.or_else(|| dependencies.find_map(|dependency| circle(&dependency.name, &[&plan.name])));
        match found {
            Some(path) => Err(JobsError::Invalid(format!("the environments would wait for each other: {path}"))),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use slipway_manifest::plan::DependencyPlan;

    use super::*;
    use crate::store::db::jobs;

    fn row(environment: &str, kind: JobKind, depth: u32) -> JobRow {
        JobRow { depth, ..jobs::tests::row(kind, environment) }
    }

    fn plan(kind: JobKind, name: &str, dependencies: &[&str]) -> Plan {
        let dependency = |name: &&str| DependencyPlan {
            name: (*name).to_owned(),
            repository: "https://git.example/a".to_owned(),
            branch: None,
            manifest: None,
            variables: Vec::new(),
            wait: true,
            timeout_s: 1,
            again: false,
        };
        let dependencies = dependencies.iter().map(dependency).collect();
        Plan { dependencies, ..Plan::empty(kind, name) }
    }

    #[test]
    fn a_circle_is_refused_and_shown() {
        let around = Lineage(vec![row("api", JobKind::Deploy, 1), row("shop", JobKind::Deploy, 0)]);
        let check = |plan: &Plan| around.check(&"dev".parse().unwrap(), plan).err().map(|error| error.to_string());
        let circle = |path: &str| Some(format!("the environments would wait for each other: {path}"));
        assert_eq!(check(&plan(JobKind::Deploy, "db", &["queue"])), None);
        assert_eq!(check(&plan(JobKind::Deploy, "shop", &[])), circle("shop → api → shop"));
        assert_eq!(check(&plan(JobKind::Destroy, "api", &[])), circle("api → api"));
        assert_eq!(check(&plan(JobKind::Deploy, "db", &["shop"])), circle("shop → api → db → shop"));
        for kind in [JobKind::Build, JobKind::Test] {
            assert_eq!(check(&plan(kind, "shop", &[])), None, "it takes no turn");
        }
        let elsewhere = around.check(&"ops".parse().unwrap(), &plan(JobKind::Deploy, "shop", &[]));
        assert!(elsewhere.is_ok(), "of another namespace's it is another one");
        let test = Lineage(vec![row("shop", JobKind::Test, 0)]);
        assert!(test.check(&"dev".parse().unwrap(), &plan(JobKind::Deploy, "shop", &[])).is_ok());
        let deep = Lineage(vec![row("a", JobKind::Build, MAX_DEPTH)]);
        assert!(deep.check(&"dev".parse().unwrap(), &plan(JobKind::Build, "b", &[])).is_err());
        assert_eq!(around.parent(), (Some(around.0[0].id), 2));
        assert_eq!(Lineage::default().parent(), (None, 0));
    }
}
