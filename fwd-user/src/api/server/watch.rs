//! Streams of events: one JSON object a line, until the reader goes or the daemon ends.

use std::{convert::Infallible, sync::Arc};

use axum::{
    body::{Body, Bytes},
    extract::State,
    http::header::CONTENT_TYPE,
    response::{IntoResponse, Response},
};
use futures::stream;
use serde::Serialize;
use tokio::sync::broadcast::{Receiver, error::RecvError};

use super::{Asked, Service};
use crate::api::{
    error::{ApiError, Code},
    query::{DropQuery, FlowQuery},
};

pub(super) async fn drops<S: Service>(
    State(s): State<S>,
    Asked(query): Asked<DropQuery>,
) -> Result<Response, ApiError> {
    let events = s.watch_drops(&query)?;
    Ok(lines(s, events, usize::MAX, move |event| event.is_wanted(&query)))
}

pub(super) async fn flows<S: Service>(
    State(s): State<S>,
    Asked(query): Asked<FlowQuery>,
) -> Result<Response, ApiError> {
    if query.cut_by.is_some() {
        let message = "Which revision cut a flow is known afterwards, not while it is watched.";
        return Err(
            ApiError::new(Code::BadRequest, message).hint("Count them: fwd flow count --cut-by REVISION.")
        );
    }
    let events = s.watch_flows(&query)?;
    let limit = query.limit.unwrap_or(usize::MAX);
    Ok(lines(s, events, limit, move |event| event.is_wanted(&query)))
}

/// The next `limit` wanted events. A reader that is too slow misses some, which is counted.
fn lines<S: Service, E: Serialize + Send + Sync + 'static>(
    service: S,
    events: Receiver<Arc<E>>,
    limit: usize,
    wanted: impl Fn(&E) -> bool + Clone + Send + 'static,
) -> Response {
    let lines = stream::unfold((service, events, limit), move |(service, mut events, left)| {
        let wanted = wanted.clone();
        async move {
            let left = left.checked_sub(1)?;
            loop {
                match events.recv().await {
                    Ok(event) if wanted(&event) => {
                        let mut line = serde_json::to_vec(&*event).expect("events are plain data");
                        line.push(b'\n');
                        return Some((Ok::<_, Infallible>(Bytes::from(line)), (service, events, left)));
                    }
                    Ok(_) => {}
                    Err(RecvError::Lagged(n)) => service.missed(n),
                    Err(RecvError::Closed) => return None,
                }
            }
        }
    });
    ([(CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response()
}
