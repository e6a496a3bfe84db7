//! Objects that end by themselves leave the document at their moment. What the kernel reads of forwards has
//! their end in it, so they end with the daemon dead too; the document follows at the next start.

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
    api::{request::WriteQuery, text::Moment},
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

/// Asks the writer to take out what ends, when it does, for as long as there is a writer.
pub async fn follow(jobs: mpsc::UnboundedSender<Job>, mut world: watch::Receiver<Arc<World>>) {
    loop {
        let seen = Arc::clone(&world.borrow_and_update());
        let wait = match due(&seen) {
            Some(edit) => {
                let (reply, _nobody_waits) = oneshot::channel();
                let (edit, query) = (Box::new(edit), WriteQuery::default());
                if jobs
                    .send(Job::Write(Write { edit, query, author: None, asked: Instant::now(), reply }))
                    .is_err()
                {
                    return;
                }
                AGAIN
            }
            None => next_expiry(&seen.desired.document).map_or(LOOK, until),
        };
        tokio::select! {
            changed = world.changed() => if changed.is_err() { return },
            () = sleep(wait) => {}
        }
    }
}

/// How long to sleep for a moment to come.
fn until(end: Moment) -> Duration {
    Duration::from_secs(end.unix_secs.saturating_sub(now().unix_secs).try_into().unwrap_or(0))
        .clamp(AGAIN, LOOK)
}
