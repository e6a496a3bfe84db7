//! What would become of a packet.

use axum::{extract::State, response::Response};

use super::{Asked, Service, object};
use crate::api::{error::ApiError, trace::TraceQuery};

pub(super) async fn trace<S: Service>(
    State(s): State<S>,
    Asked(query): Asked<TraceQuery>,
) -> Result<Response, ApiError> {
    let trace = serde_json::to_value(s.trace(query).await?).expect("answers are plain data");
    Ok(object("trace", trace))
}
