//! Streams of events: one JSON object a line, until the reader goes or the daemon ends.

use std::convert::Infallible;

use axum::{
    body::{Body, Bytes},
    extract::State,
    http::header::CONTENT_TYPE,
    response::{IntoResponse, Response},
};
use futures::stream;
use tokio::sync::broadcast::error::RecvError;

use super::{Asked, Service};
use crate::api::{
    error::{ApiError, Code},
    query::{DropQuery, FlowQuery},
    status::{EventName, EventRow},
};

pub(super) async fn drops<S: Service>(
    State(s): State<S>,
    Asked(query): Asked<DropQuery>,
) -> Result<Response, ApiError> {
    Ok(lines(s, usize::MAX, move |e| e.event == EventName::Drop && wanted_drop(&query, e)))
}

pub(super) async fn flows<S: Service>(
    State(s): State<S>,
    Asked(query): Asked<FlowQuery>,
) -> Result<Response, ApiError> {
    if query.state.is_some() || query.cut_by.is_some() || query.name.is_some() {
        return Err(ApiError::new(Code::BadRequest, "Events have a port, peer, protocol and rule only."));
    }
    let limit = query.limit.unwrap_or(usize::MAX);
    let is_flow = |e: &EventRow| matches!(e.event, EventName::FlowStart | EventName::FlowEnd);
    Ok(lines(s, limit, move |e| is_flow(e) && wanted_flow(&query, e)))
}

fn wanted_drop(query: &DropQuery, event: &EventRow) -> bool {
    let is = |asked: &Option<String>, is: &Option<String>| asked.is_none() || asked == is;
    is(&query.port, &event.port) && is(&query.reason, &event.reason) && is(&query.rule, &event.rule)
}

fn wanted_flow(query: &FlowQuery, event: &EventRow) -> bool {
    let is = |asked: &Option<String>, is: &Option<String>| asked.is_none() || asked == is;
    let within = |text: &str| {
        let addr = text.parse().ok().or_else(|| text.parse::<std::net::SocketAddr>().ok().map(|a| a.ip()));
        query.peer.is_none_or(|peer| addr.is_some_and(|addr: std::net::IpAddr| peer.contains(&addr)))
    };
    is(&query.port, &event.port)
        && is(&query.rule, &event.rule)
        && query.proto.as_ref().is_none_or(|p| *p == event.protocol)
        && (within(&event.source) || event.destination.as_deref().is_some_and(within))
}

/// The next `limit` wanted events. A reader that is too slow misses some, which is counted.
fn lines<S: Service>(
    service: S,
    limit: usize,
    wanted: impl Fn(&EventRow) -> bool + Clone + Send + 'static,
) -> Response {
    let events = service.events();
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
