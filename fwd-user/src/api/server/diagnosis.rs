//! The routes of `doctor` and `forward test`.

use axum::{
    extract::{Path, State},
    response::Response,
};

use super::{ApiError, Service, object};

pub(super) async fn doctor<S: Service>(State(s): State<S>) -> Result<Response, ApiError> {
    let doctor = serde_json::to_value(s.doctor().await?).expect("answers are plain data");
    Ok(object("doctor", doctor))
}

pub(super) async fn test_forward<S: Service>(
    State(s): State<S>,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    let test = serde_json::to_value(s.test_forward(&name).await?).expect("answers are plain data");
    Ok(object("forward_test", test))
}
