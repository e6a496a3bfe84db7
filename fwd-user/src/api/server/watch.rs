//! Streams of events: one JSON object a line, until the reader goes or the daemon ends.

use std::{convert::Infallible, future::ready, sync::Arc};

use axum::{
    body::{Body, Bytes},
    extract::State,
    http::header::CONTENT_TYPE,
    response::{IntoResponse, Response},
};
use futures::{Stream, StreamExt as _, stream};
use serde::Serialize;
use tokio::sync::broadcast::{Receiver, error::RecvError};

use super::{Asked, Service};
use crate::{
    api::{
        error::ApiError,
        query::{DropQuery, FlowQuery},
    },
    observe::Watched,
};

pub(super) async fn drops<S: Service>(
    State(s): State<S>,
    Asked(query): Asked<DropQuery>,
) -> Result<Response, ApiError> {
    query.times().check()?;
    let watched = s.watch_drops(&query)?;
    Ok(lines(s, watched, query.limit))
}

pub(super) async fn flows<S: Service>(
    State(s): State<S>,
    Asked(query): Asked<FlowQuery>,
) -> Result<Response, ApiError> {
    query.of_no_edit()?;
    query.times().check()?;
    let watched = s.watch_flows(&query)?;
    Ok(lines(s, watched, query.limit))
}

/// What was kept, then what comes, `limit` events at most.
fn lines<S: Service, E: Serialize + Send + Sync + 'static>(
    service: S,
    watched: Watched<E>,
    limit: Option<usize>,
) -> Response {
    let Watched { kept, live, wanted } = watched;
    let kept = stream::iter(kept.into_iter().map(Arc::new));
    let live = stream::iter(live).flat_map(move |events| follow(service.clone(), events));
    let live = live.filter(move |event: &Arc<E>| ready(wanted(event)));
    let lines = kept.chain(live).take(limit.unwrap_or(usize::MAX)).map(|event| {
        let mut line = serde_json::to_vec(&*event).expect("events are plain data");
        line.push(b'\n');
        Ok::<_, Infallible>(Bytes::from(line))
    });
    ([(CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response()
}

/// Events as they come. A reader that is too slow misses some, which is counted.
fn follow<S: Service, E: Send + Sync + 'static>(
    service: S,
    events: Receiver<Arc<E>>,
) -> impl Stream<Item = Arc<E>> + Send {
    stream::unfold((service, events), |(service, mut events)| async move {
        loop {
            match events.recv().await {
                Ok(event) => return Some((event, (service, events))),
                Err(RecvError::Lagged(n)) => service.missed(n),
                Err(RecvError::Closed) => return None,
            }
        }
    })
}
