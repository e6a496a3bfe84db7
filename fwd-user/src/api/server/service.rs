//! What answers the API's requests: the daemon, behind the server.

use std::{future::Future, sync::Arc};

use crate::{
    api::{
        answer::{DaemonStatus, Revision, Written},
        diagnosis::{Doctor, ForwardTest},
        error::ApiError,
        event::{DropEvent, FlowEvent},
        object::Noun,
        policy_test::{PolicyTestRow, PolicyTests},
        query::{BenchQuery, DropQuery, FlowQuery},
        request::{Author, HistoryQuery, RollbackQuery, WriteQuery},
        spec::Document,
        status::{Bench, Check, DropReasonRow, DropRow, FlowCount, FlowRow, LeaseRow},
        trace::{Trace, TraceQuery},
    },
    observe::{Watched, metrics::Format},
    state::Edit,
};
use serde_json::Value;

/// An answer to come.
pub type Answer<T> = Result<T, ApiError>;

/// What the server asks of the daemon. Reads may be a moment behind writes that are under way, never behind
/// writes that were answered.
pub trait Service: Clone + Send + Sync + 'static {
    /// Makes an edit, or tells what it would do.
    fn write(
        &self,
        edit: Edit,
        query: WriteQuery,
        author: Author,
    ) -> impl Future<Output = Answer<Written>> + Send;
    /// The accepted document.
    fn document(&self) -> Arc<Document>;
    /// All objects of a kind, each with what is observed of it.
    fn list(&self, noun: Noun) -> impl Future<Output = Answer<Vec<Value>>> + Send;
    /// What passes in closed networks without a rule, in the shape of rules.
    fn implicit(&self) -> Vec<Value>;
    /// One object, with what is observed of it.
    fn show(&self, noun: Noun, name: &str) -> impl Future<Output = Answer<Value>> + Send;
    /// What a network's DHCP has given out.
    fn leases(&self, network: &str) -> Answer<Vec<LeaseRow>>;
    /// The accepted edits, the latest first.
    fn revisions(&self, query: HistoryQuery) -> impl Future<Output = Answer<Vec<Revision>>> + Send;
    /// Judges policy tests.
    fn test_policy(&self, asked: PolicyTests) -> impl Future<Output = Answer<Vec<PolicyTestRow>>> + Send;
    /// Confirms what is on trial.
    fn confirm(&self, author: Author) -> impl Future<Output = Answer<Written>> + Send;
    /// Makes the document of an earlier revision the next one, or tells what it would do.
    fn roll_back(&self, query: RollbackQuery, author: Author)
    -> impl Future<Output = Answer<Written>> + Send;
    fn status(&self) -> impl Future<Output = Answer<DaemonStatus>> + Send;
    fn check(&self) -> impl Future<Output = Answer<Check>> + Send;
    /// Everything that is not as it should be.
    fn doctor(&self) -> impl Future<Output = Answer<Doctor>> + Send;
    /// The five steps of a forward, with real probes.
    fn test_forward(&self, name: &str) -> impl Future<Output = Answer<ForwardTest>> + Send;
    /// Looks at live traffic for as long as asked.
    fn bench(&self, query: BenchQuery) -> impl Future<Output = Answer<Bench>> + Send;
    fn flows(&self, query: FlowQuery) -> impl Future<Output = Answer<Vec<FlowRow>>> + Send;
    fn flow(&self, name: &str) -> impl Future<Output = Answer<FlowRow>> + Send;
    /// Ends flows.
    fn end_flows(&self, query: FlowQuery, author: Author) -> impl Future<Output = Answer<Written>> + Send;
    fn translations(&self, query: FlowQuery) -> impl Future<Output = Answer<Vec<FlowRow>>> + Send;
    fn flow_count(&self, query: FlowQuery) -> impl Future<Output = Answer<FlowCount>> + Send;
    fn drops(&self, query: DropQuery) -> impl Future<Output = Answer<Vec<DropRow>>> + Send;
    /// What would become of a packet.
    fn trace(&self, query: TraceQuery) -> impl Future<Output = Answer<Trace>> + Send;
    fn drop_reasons(&self) -> impl Future<Output = Answer<Vec<DropReasonRow>>> + Send;
    /// The text of /metrics.
    fn metrics(&self, format: Format) -> impl Future<Output = Answer<String>> + Send;
    /// Flows that an edit cut, as they ended.
    fn cut_flows(&self, revision: u64, query: &FlowQuery) -> Answer<Vec<FlowEvent>>;
    /// Drops, from when the query says.
    ///
    /// # Errors
    /// What the query names does not exist.
    fn watch_drops(&self, query: &DropQuery) -> Answer<Watched<DropEvent>>;
    /// Starts and ends of flows, from when the query says.
    ///
    /// # Errors
    /// What the query names does not exist, or nothing is told of flows.
    fn watch_flows(&self, query: &FlowQuery) -> Answer<Watched<FlowEvent>>;
    /// Counts events that a watcher was too slow for.
    fn missed(&self, events: u64);
    /// Ends the daemon; unless the datapath is kept, the host is as it was before the answer.
    fn down(&self, keep_datapath: bool, author: Author) -> impl Future<Output = Answer<()>> + Send;
}
