//! Objects that end by themselves leave the document at their moment. What the kernel reads of forwards has
//! their end in it, so they end with the daemon dead too; the document follows at the next start. What DHCP servers
//! of bridged networks gave to guests is looked at when a lease ends.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use tokio::{
    sync::{mpsc, oneshot, watch},
    time::sleep,
};

use super::{bundle::Write, world::World, writer::Job};
use crate::{
    api::{request::WriteQuery, spec::Mode, text::Moment},
    state::{Edit, next_expiry},
};

/// The wall clock may be set: it is looked at so often.
const LOOK: Duration = Duration::from_secs(30);
/// Between two tries, should an edit fail.
const AGAIN: Duration = Duration::from_secs(1);

/// The edit that takes out what has ended; none if nothing has.
pub fn due(world: &World) -> Option<Edit> {
    let now = now();
    next_expiry(&world.desired.document).filter(|end| *end <= now).map(|_| Edit::Expire(now))
}

/// This moment.
fn now() -> Moment {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Moment { unix_secs: since.as_secs().cast_signed() }
}

/// Asks the writer for what is due, when it is, for as long as there is a writer.
pub async fn follow(jobs: mpsc::UnboundedSender<Job>, mut world: watch::Receiver<Arc<World>>) {
    loop {
        let seen = Arc::clone(&world.borrow_and_update());
        let (wait, job) = match (due(&seen), next_end(&seen)) {
            (Some(edit), _) => (AGAIN, Some(write(edit))),
            (None, Some(end)) if end <= now() => (AGAIN, Some(Job::Guests)),
            (None, end) => (end.map_or(LOOK, until), None),
        };
        if job.is_some_and(|job| jobs.send(job).is_err()) {
            return;
        }
        tokio::select! {
            changed = world.changed() => if changed.is_err() { return },
            // What was told of a lease may be lost in a storm of drops.
            () = sleep(wait) => if is_bridged(&seen) && jobs.send(Job::Learnt).is_err() { return }
        }
    }
}

fn write(edit: Edit) -> Job {
    let (reply, _nobody_waits) = oneshot::channel();
    let (edit, query) = (Box::new(edit), WriteQuery::default());
    Job::Write(Write { edit, query, author: None, asked: Instant::now(), reply })
}

/// When the next object or lease ends.
fn next_end(world: &World) -> Option<Moment> {
    let lease = world.inventory.next_end().and_then(|secs| Some(Moment { unix_secs: secs.try_into().ok()? }));
    next_expiry(&world.desired.document).into_iter().chain(lease).min()
}

fn is_bridged(world: &World) -> bool {
    world.desired.document.networks.iter().any(|network| network.mode == Mode::Bridge)
}

/// How long to sleep for a moment to come.
fn until(end: Moment) -> Duration {
    Duration::from_secs(end.unix_secs.saturating_sub(now().unix_secs).try_into().unwrap_or(0))
        .clamp(AGAIN, LOOK)
}
