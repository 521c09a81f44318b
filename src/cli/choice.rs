//! The choice of invocations by `list`, `cancel` and `retry`: by their ids, or by filters that all three share.

use clap::Args;

use crate::model::{FailureKind, InvocationName, Moment, RunnerId, Status};
use crate::service::{ListRequest, Selection};

use super::context::Context;
use super::error::CliError;
use super::flags::{ComponentFlag, at_least_one, component_flag, failure_kind, label, moment};

/// Filters by what an invocation is, besides its status.
#[derive(Debug, Clone, Args)]
pub struct FilterArgs {
    /// Only those of this task
    #[arg(long)]
    pub task: Option<String>,

    /// Only those of this component; repeatable [`NAME=PATH` adds a component, as everywhere]
    // It stands in the place of the global one, which has the same id.
    #[arg(id = "components", long = "component", value_name = "NAME", value_parser = component_flag)]
    pub components: Vec<ComponentFlag>,

    /// Only those of the tasks of this queue; repeatable
    #[arg(long = "queue", value_name = "NAME")]
    pub queues: Vec<String>,

    /// Only those with this label; repeatable, for those that have all of them
    #[arg(long = "label", value_name = "K=V", value_parser = label)]
    pub labels: Vec<(String, String)>,

    /// Only those submitted since this time: `10m` ago, `2026-11-01` or `2026-11-01T12:00:00Z`
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub since: Option<Moment>,

    /// Only those submitted before this time
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub until: Option<Moment>,

    /// Only those that this runner has, or was the last to have
    #[arg(long, value_name = "ID")]
    pub runner: Option<RunnerId>,

    /// Only this root and what came of it
    #[arg(long, value_name = "ID")]
    pub root: Option<InvocationName>,
}

/// Filters by how an invocation ended.
#[derive(Debug, Clone, Default, Args)]
pub struct EndArgs {
    /// Only those that became final since this time, whenever they were submitted: `8h` ago, `2026-11-01T22:00:00Z`
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub ended_since: Option<Moment>,

    /// Only those that became final before this time
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub ended_until: Option<Moment>,

    /// Only those with a failure of this kind: returned, trapped, timed-out, limit-exceeded, cancelled, skipped or
    /// lost; repeatable
    #[arg(long = "kind", value_name = "KIND", value_delimiter = ',', value_parser = failure_kind)]
    pub kinds: Vec<FailureKind>,
}

impl EndArgs {
    /// Adds these filters to a request.
    pub fn add_to(&self, request: &mut ListRequest) {
        let Self { ended_since, ended_until, kinds } = self.clone();
        (request.ended_since, request.ended_until, request.kinds) = (ended_since, ended_until, kinds);
    }
}

impl FilterArgs {
    /// Makes the request for those with these statuses.
    pub fn request(&self, statuses: &[Status], limit: Option<usize>) -> ListRequest {
        let Self { task, components, queues, labels, since, until, runner, root } = self.clone();
        let named = components.into_iter().filter(|flag| flag.path.is_none());
        ListRequest {
            statuses: statuses.to_vec(),
            task,
            components: named.map(|flag| flag.name).collect(),
            queues,
            since,
            until,
            runner,
            labels,
            root,
            limit,
            ..ListRequest::default()
        }
    }
}

/// Whether a request lets everything through, but for its limit.
pub fn is_everything(request: &ListRequest) -> bool {
    let ListRequest {
        statuses,
        task,
        components,
        queues,
        since,
        until,
        ended_since,
        ended_until,
        kinds,
        runner,
        labels,
        root,
        not_retried,
        waiting_for,
        limit: _,
    } = request;
    (!not_retried && statuses.is_empty() && kinds.is_empty() && labels.is_empty())
        && (task.is_none() && components.is_empty() && queues.is_empty())
        && (runner.is_none() && root.is_none() && waiting_for.is_none())
        && [since, until, ended_since, ended_until].iter().all(|moment| moment.is_none())
}

/// The choice of invocations to change, by id or by filter.
#[derive(Debug, Args)]
pub struct Chosen {
    /// Invocations: ids, or at least 6 of the first or last digits of each
    #[arg(value_name = "ID")]
    pub ids: Vec<InvocationName>,

    #[command(flatten)]
    pub filter: FilterArgs,

    /// No more than this many, the newest
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub limit: Option<usize>,
}

impl Chosen {
    /// Selects them: by their ids, or else those that are listed with these statuses. A usage error if neither is
    /// given, or both.
    pub fn selection(
        &self,
        statuses: &[Status],
        ends: &EndArgs,
        context: &Context,
    ) -> Result<Selection, CliError> {
        let mut request = self.filter.request(statuses, self.limit);
        ends.add_to(&mut request);
        let is_everything = is_everything(&request);
        if self.ids.is_empty() {
            return match is_everything {
                false => Ok(Selection::Listed(Box::new(request))),
                true => Err(CliError::usage("nothing says which invocations are meant")
                    .with_hint("give their ids, or filters such as `--task` or `--status`")),
            };
        }
        if !is_everything || self.limit.is_some() {
            let error = CliError::usage("ids and filters can't be used together");
            return Err(error.with_hint("leave out the filters: each id names an invocation already"));
        }
        let ids = self.ids.iter().map(|name| context.service.resolve(name));
        Ok(Selection::Ids(ids.collect::<Result<_, _>>()?))
    }
}
