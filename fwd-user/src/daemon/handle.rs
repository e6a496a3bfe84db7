//! The daemon as the server sees it: writes become jobs of the writer, reads look at its last picture.

use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

use serde_json::Value;
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use super::{Options, summary, world::World, writer::Job};
use crate::{
    api::{
        answer::{DaemonStatus, Interface, Revision, RevisionState, Written},
        error::{ApiError, Code},
        object::Noun,
        query::{DropQuery, FlowQuery},
        request::{Author, WriteQuery},
        server::{Answer, Service},
        spec::{API, Document},
        status::{Check, DropReasonRow, DropRow, EventRow, FlowCount, FlowRow},
        version::{COMMIT, VERSION},
    },
    host::{Device, DeviceKind},
    state::Edit,
};

/// Cheap to clone: one for each connection.
#[derive(Clone)]
pub struct Handle {
    pub jobs: mpsc::UnboundedSender<Job>,
    pub world: watch::Receiver<Arc<World>>,
    pub events: broadcast::Sender<Arc<EventRow>>,
    pub fixed: Arc<Fixed>,
}

/// What does not change while the daemon runs.
#[derive(Debug)]
pub struct Fixed {
    pub options: Options,
    pub started: SystemTime,
}

impl Handle {
    fn world(&self) -> Arc<World> {
        self.world.borrow().clone()
    }

    async fn job<T>(&self, job: impl FnOnce(oneshot::Sender<Answer<T>>) -> Job) -> Answer<T> {
        let ended = || ApiError::new(Code::NotRunning, "The daemon is ending.");
        let (reply, answer) = oneshot::channel();
        self.jobs.send(job(reply)).map_err(|_| ended())?;
        answer.await.map_err(|_| ended())?
    }
}

impl Service for Handle {
    async fn write(&self, edit: Edit, query: WriteQuery, author: Author) -> Answer<Written> {
        self.job(|reply| Job::Write { edit: Box::new(edit), query, author: Some(author), reply }).await
    }

    fn document(&self) -> Arc<Document> {
        Arc::new(self.world().desired.document.clone())
    }

    async fn list(&self, noun: Noun) -> Answer<Vec<Value>> {
        let world = self.world();
        let objects = world.desired.document.objects();
        let objects = objects.into_iter().filter(|o| o.noun() == noun);
        objects.map(|o| o.to_json().map_err(internal)).collect()
    }

    async fn show(&self, noun: Noun, name: &str) -> Answer<Value> {
        let world = self.world();
        let object = world.desired.document.object(noun, name).ok_or_else(|| {
            ApiError::new(Code::NoSuchObject, format!("There is no {noun} {name}."))
                .about(format!("{noun} {name}"))
                .hint(format!("List them: fwd {noun} list."))
        })?;
        object.to_json().map_err(internal)
    }

    async fn revisions(&self) -> Answer<Vec<Revision>> {
        self.job(|reply| Job::Revisions { reply }).await
    }

    async fn status(&self) -> Answer<DaemonStatus> {
        let world = self.world();
        let document = &world.desired.document;
        let mut objects: BTreeMap<String, u64> = Noun::ALL.iter().map(|n| (n.list().to_owned(), 0)).collect();
        for object in document.objects() {
            *objects.entry(object.noun().list().to_owned()).or_default() += 1;
        }
        let Fixed { options, started } = &*self.fixed;
        Ok(DaemonStatus {
            api: API.to_owned(),
            kind: "status".to_owned(),
            version: VERSION.to_owned(),
            commit: COMMIT.to_owned(),
            abi: fwd_common::layout::ABI_VERSION,
            pid: std::process::id(),
            started: summary::time_text(*started),
            datapath: options.datapath.name().to_owned(),
            revision: RevisionState { accepted: world.desired.revision, applied: world.applied },
            options: options.shown(),
            objects,
            flows: 0,
            flows_limit: 0,
            dropped_packets: 0,
            interfaces: interfaces(&world),
            problems: world.problems.clone(),
        })
    }

    async fn check(&self) -> Answer<Check> {
        Ok(Check { exact: true, ..Check::default() })
    }

    async fn flows(&self, _query: FlowQuery) -> Answer<Vec<FlowRow>> {
        Ok(Vec::new())
    }

    async fn translations(&self, _query: FlowQuery) -> Answer<Vec<FlowRow>> {
        Ok(Vec::new())
    }

    async fn flow_count(&self, _query: FlowQuery) -> Answer<FlowCount> {
        Ok(FlowCount::default())
    }

    async fn drops(&self, _query: DropQuery) -> Answer<Vec<DropRow>> {
        Ok(Vec::new())
    }

    async fn drop_reasons(&self) -> Answer<Vec<DropReasonRow>> {
        Ok(Vec::new())
    }

    async fn metrics(&self) -> Answer<String> {
        Ok("# EOF\n".to_owned())
    }

    fn events(&self) -> broadcast::Receiver<Arc<EventRow>> {
        self.events.subscribe()
    }

    async fn down(&self, keep_datapath: bool) -> Answer<()> {
        self.job(|reply| Job::Down { keep_datapath, reply }).await
    }
}

fn internal(error: serde_json::Error) -> ApiError {
    ApiError::new(Code::Internal, format!("An object cannot be written as JSON: {error}."))
}

/// The host's interfaces, and what fwd does with each.
fn interfaces(world: &World) -> Vec<Interface> {
    let document = &world.desired.document;
    let used_as = |name: &str, device: &Device| {
        let port = document.ports.iter().find(|p| p.device == name).map(|p| format!("port {}", p.name));
        let uplink = || document.uplinks.iter().any(|u| u.device == name).then(|| "uplink".to_owned());
        port.or_else(uplink).or_else(|| device.master.as_ref().map(|m| format!("member of {m}")))
    };
    let row = |(name, device): (&String, &Device)| Interface {
        device: name.clone(),
        kind: kind_name(&device.kind).to_owned(),
        up: device.is_up,
        addresses: device.addresses.iter().map(ToString::to_string).collect(),
        used_as: used_as(name, device),
    };
    world.inventory.devices.iter().map(row).collect()
}

fn kind_name(kind: &DeviceKind) -> &str {
    match kind {
        DeviceKind::Tap { .. } => "tap",
        DeviceKind::Veth => "veth",
        DeviceKind::Bridge => "bridge",
        DeviceKind::Physical => "physical",
        DeviceKind::Other(name) => name,
    }
}
