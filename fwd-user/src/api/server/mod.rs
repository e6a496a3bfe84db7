//! The HTTP side of the API: routes, queries and bodies in, JSON out. Every error is JSON as well.

use axum::{
    Router,
    body::Bytes,
    extract::{ConnectInfo, DefaultBodyLimit, FromRequestParts, Path, Query, State, connect_info::Connected},
    http::{
        HeaderMap, StatusCode,
        header::{ACCEPT, CONTENT_TYPE},
        request::Parts,
    },
    response::{IntoResponse, Response},
    routing::{get, patch, post},
    serve::IncomingStream,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};
use tokio::net::{TcpListener, UnixListener};

mod body;
mod diagnosis;
mod service;
mod trace;
mod watch;

pub use service::{Answer, Service};

use super::{
    document::{self, MAX_BYTES},
    error::{ApiError, Code, Kind},
    object::{Noun, Object},
    policy_test::PolicyTests,
    query::{BenchQuery, DropQuery, FlowQuery, ListQuery},
    request::{Author, HistoryQuery, RollbackQuery, WriteQuery},
    spec::API,
    version::{COMMIT, VERSION},
};
use crate::{observe::metrics::Format, state::Edit};

/// All routes of the unix socket.
pub fn router<S: Service>(service: S) -> Router {
    Router::new()
        .route("/v1/config", get(config::<S>).put(replace::<S>))
        .route("/v1/config/confirm", post(confirm::<S>))
        .route("/v1/config/rollback", post(roll_back::<S>))
        .route("/v1/settings", patch(settings::<S>))
        .route("/v1/policy-tests", post(test_policy::<S>))
        .route("/v1/revisions", get(revisions::<S>))
        .route("/v1/status", get(status::<S>))
        .route("/v1/status/check", get(check::<S>))
        .route("/v1/doctor", get(diagnosis::doctor::<S>))
        .route("/v1/bench", get(bench::<S>))
        .route("/v1/version", get(version))
        .route("/v1/flows", get(flows::<S>).delete(end_flows::<S>))
        .route("/v1/flows/count", get(flow_count::<S>))
        .route("/v1/flows/watch", get(watch::flows::<S>))
        .route("/v1/flows/{name}", get(flow::<S>))
        .route("/v1/nat/table", get(translations::<S>))
        .route("/v1/drops", get(drops::<S>))
        .route("/v1/drops/reasons", get(drop_reasons::<S>))
        .route("/v1/drops/watch", get(watch::drops::<S>))
        .route("/v1/trace", get(trace::trace::<S>))
        .route("/v1/down", post(down::<S>))
        .route("/v1/networks/{name}/leases", get(leases::<S>))
        .route("/v1/forwards/{name}/test", post(diagnosis::test_forward::<S>))
        .route("/v1/{list}", get(list::<S>).post(add::<S>))
        .route("/v1/{list}/{name}", get(show::<S>).patch(set::<S>).delete(delete::<S>))
        .route("/metrics", get(metrics::<S>))
        .fallback(async || Err::<(), _>(no_route()))
        .method_not_allowed_fallback(async || Err::<(), _>(no_route()))
        .layer(DefaultBodyLimit::max(MAX_BYTES))
        .with_state(service)
}

/// Serves the API until `end` is done and the answers under way are given.
///
/// # Errors
/// None: a connection that cannot be accepted is tried again.
pub async fn serve<S: Service>(
    listener: UnixListener,
    service: S,
    end: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let make = router(service).into_make_service_with_connect_info::<Peer>();
    axum::serve(listener, make).with_graceful_shutdown(end).await
}

/// Serves /metrics alone.
///
/// # Errors
/// As [`serve`].
pub async fn serve_metrics<S: Service>(listener: TcpListener, service: S) -> std::io::Result<()> {
    let router = Router::new()
        .route("/metrics", get(metrics::<S>))
        .fallback(async || Err::<(), _>(no_route()))
        .with_state(service);
    axum::serve(listener, router).await
}

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug)]
struct Peer(Option<Author>);

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        Self(stream.io().peer_cred().ok().map(|c| Author { uid: c.uid(), pid: c.pid() }))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Author {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let peer = ConnectInfo::<Peer>::from_request_parts(parts, state).await;
        peer.ok()
            .and_then(|ConnectInfo(Peer(author))| author)
            .ok_or_else(|| ApiError::new(Code::Denied, "The kernel does not say who is at the other end."))
    }
}

/// Query parameters; unknown ones are refused.
pub(super) struct Asked<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Asked<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let query = Query::<T>::from_request_parts(parts, state).await;
        query
            .map(|Query(query)| Self(query))
            .map_err(|e| ApiError::new(Code::BadRequest, format!("{}.", e.body_text())))
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = match self.kind {
            Kind::Runtime | Kind::NotRunning => StatusCode::INTERNAL_SERVER_ERROR,
            Kind::Usage => StatusCode::BAD_REQUEST,
            Kind::NotFound => StatusCode::NOT_FOUND,
            Kind::Exists | Kind::Conflict => StatusCode::CONFLICT,
            Kind::Invalid | Kind::Findings | Kind::Verdict => StatusCode::UNPROCESSABLE_ENTITY,
            Kind::Capacity => StatusCode::INSUFFICIENT_STORAGE,
            Kind::Permission => StatusCode::FORBIDDEN,
            Kind::Unsupported => StatusCode::NOT_IMPLEMENTED,
        };
        (status, axum::Json(json!({"api": API, "error": self}))).into_response()
    }
}

fn no_route() -> ApiError {
    ApiError::new(Code::NoSuchObject, "There is no such path, or not with this method.")
        .hint("See docs/openapi.json.")
}

fn noun(list: &str) -> Result<Noun, ApiError> {
    Noun::of_list(list).ok_or_else(no_route)
}

/// `{api, items}`.
fn items<T: Serialize>(items: Vec<T>) -> Response {
    axum::Json(json!({"api": API, "items": items})).into_response()
}

/// An object with `api` and `kind` in front.
fn object(kind: &str, value: Value) -> Response {
    let mut out = Map::new();
    out.insert("api".to_owned(), API.into());
    out.insert("kind".to_owned(), kind.into());
    if let Value::Object(fields) = value {
        out.extend(fields);
    }
    axum::Json(Value::Object(out)).into_response()
}

async fn list<S: Service>(
    State(s): State<S>,
    Path(path): Path<String>,
    Asked(query): Asked<ListQuery>,
) -> Result<Response, ApiError> {
    let noun = noun(&path)?;
    let mut objects = s.list(noun).await?;
    if query.implicit && noun == Noun::Policy {
        objects.extend(s.implicit());
    }
    Ok(items(objects))
}

async fn show<S: Service>(
    State(s): State<S>,
    Path((path, name)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    let noun = noun(&path)?;
    Ok(object(noun.name(), s.show(noun, &name).await?))
}

async fn add<S: Service>(
    State(s): State<S>,
    author: Author,
    Path(path): Path<String>,
    Asked(query): Asked<WriteQuery>,
    bytes: Bytes,
) -> Result<Response, ApiError> {
    let noun = noun(&path)?;
    let mut fields = body::fields(&bytes)?;
    fields.retain(|key, _| key != "api" && key != "kind");
    let object = read_object(noun, Value::Object(fields))?;
    let edit = Edit::Add { object, may_exist: query.may_exist };
    Ok(axum::Json(s.write(edit, query, author).await?).into_response())
}

async fn set<S: Service>(
    State(s): State<S>,
    author: Author,
    Path((path, name)): Path<(String, String)>,
    Asked(query): Asked<WriteQuery>,
    bytes: Bytes,
) -> Result<Response, ApiError> {
    let edit = Edit::Set { noun: noun(&path)?, name, patch: body::fields(&bytes)? };
    Ok(axum::Json(s.write(edit, query, author).await?).into_response())
}

async fn delete<S: Service>(
    State(s): State<S>,
    author: Author,
    Path((path, name)): Path<(String, String)>,
    Asked(query): Asked<WriteQuery>,
) -> Result<Response, ApiError> {
    let edit = Edit::Delete { noun: noun(&path)?, name, if_exists: query.if_exists };
    Ok(axum::Json(s.write(edit, query, author).await?).into_response())
}

async fn config<S: Service>(State(s): State<S>) -> Response {
    axum::Json(&*s.document()).into_response()
}

async fn replace<S: Service>(
    State(s): State<S>,
    author: Author,
    Asked(query): Asked<WriteQuery>,
    bytes: Bytes,
) -> Result<Response, ApiError> {
    let edit = Edit::Replace(body::read(&bytes, "document")?);
    Ok(axum::Json(s.write(edit, query, author).await?).into_response())
}

async fn settings<S: Service>(
    State(s): State<S>,
    author: Author,
    Asked(query): Asked<WriteQuery>,
    bytes: Bytes,
) -> Result<Response, ApiError> {
    let edit = Edit::Settings(body::fields(&bytes)?.into_iter().collect());
    Ok(axum::Json(s.write(edit, query, author).await?).into_response())
}

async fn confirm<S: Service>(State(s): State<S>, author: Author) -> Result<Response, ApiError> {
    Ok(axum::Json(s.confirm(author).await?).into_response())
}

async fn roll_back<S: Service>(
    State(s): State<S>,
    author: Author,
    Asked(query): Asked<RollbackQuery>,
) -> Result<Response, ApiError> {
    Ok(axum::Json(s.roll_back(query, author).await?).into_response())
}

async fn test_policy<S: Service>(State(s): State<S>, bytes: Bytes) -> Result<Response, ApiError> {
    let asked = body::read::<PolicyTests>(&bytes, "policy tests")?;
    Ok(items(s.test_policy(asked).await?))
}

async fn revisions<S: Service>(
    State(s): State<S>,
    Asked(query): Asked<HistoryQuery>,
) -> Result<Response, ApiError> {
    Ok(items(s.revisions(query).await?))
}

async fn status<S: Service>(State(s): State<S>) -> Result<Response, ApiError> {
    Ok(axum::Json(s.status().await?).into_response())
}

async fn check<S: Service>(State(s): State<S>) -> Result<Response, ApiError> {
    let check = serde_json::to_value(s.check().await?).expect("answers are plain data");
    Ok(object("check", check))
}

async fn bench<S: Service>(
    State(s): State<S>,
    Asked(query): Asked<BenchQuery>,
) -> Result<Response, ApiError> {
    if !(1..=3600).contains(&query.secs) {
        let refused = ApiError::new(Code::BadRequest, format!("{} is not a time from 1s to 1h.", query.secs));
        return Err(refused.hint("Say how long to look, as 5s."));
    }
    let bench = serde_json::to_value(s.bench(query).await?).expect("answers are plain data");
    Ok(object("bench", bench))
}

async fn version() -> Response {
    let version = json!({"version": VERSION, "commit": COMMIT, "abi": fwd_common::layout::ABI_VERSION});
    object("version", version)
}

async fn flows<S: Service>(State(s): State<S>, Asked(query): Asked<FlowQuery>) -> Result<Response, ApiError> {
    query.of_live()?;
    match query.cut_by {
        Some(revision) => Ok(items(s.cut_flows(revision, &query)?)),
        None => Ok(items(s.flows(query).await?)),
    }
}

async fn flow<S: Service>(State(s): State<S>, Path(name): Path<String>) -> Result<Response, ApiError> {
    let flow = serde_json::to_value(s.flow(&name).await?).expect("answers are plain data");
    Ok(object("flow", flow))
}

async fn end_flows<S: Service>(
    State(s): State<S>,
    author: Author,
    Asked(query): Asked<FlowQuery>,
) -> Result<Response, ApiError> {
    query.of_live().and_then(|()| query.of_no_edit())?;
    Ok(axum::Json(s.end_flows(query, author).await?).into_response())
}

async fn translations<S: Service>(
    State(s): State<S>,
    Asked(query): Asked<FlowQuery>,
) -> Result<Response, ApiError> {
    query.of_live().and_then(|()| query.of_no_edit())?;
    Ok(items(s.translations(query).await?))
}

async fn flow_count<S: Service>(
    State(s): State<S>,
    Asked(query): Asked<FlowQuery>,
) -> Result<Response, ApiError> {
    query.of_live()?;
    let count = serde_json::to_value(s.flow_count(query).await?).expect("answers are plain data");
    Ok(object("count", count))
}

async fn leases<S: Service>(State(s): State<S>, Path(name): Path<String>) -> Result<Response, ApiError> {
    Ok(items(s.leases(&name)?))
}

async fn drops<S: Service>(State(s): State<S>, Asked(query): Asked<DropQuery>) -> Result<Response, ApiError> {
    query.of_counters()?;
    Ok(items(s.drops(query).await?))
}

async fn drop_reasons<S: Service>(State(s): State<S>) -> Result<Response, ApiError> {
    Ok(items(s.drop_reasons().await?))
}

async fn metrics<S: Service>(State(s): State<S>, headers: HeaderMap) -> Result<Response, ApiError> {
    let format = Format::of_accept(headers.get(ACCEPT).and_then(|v| v.to_str().ok()));
    let text = s.metrics(format).await?;
    Ok(([(CONTENT_TYPE, format.content_type())], text).into_response())
}

/// How to end.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct DownQuery {
    keep_datapath: bool,
}

async fn down<S: Service>(
    State(s): State<S>,
    author: Author,
    Asked(query): Asked<DownQuery>,
) -> Result<Response, ApiError> {
    s.down(query.keep_datapath, author).await?;
    Ok(axum::Json(json!({"api": API})).into_response())
}

fn read_object(noun: Noun, value: Value) -> Result<Object, ApiError> {
    let name = value.get("name").or_else(|| value.get("device")).and_then(Value::as_str).unwrap_or("?");
    let name = format!("{noun} {name}");
    let read = match noun {
        Noun::Uplink => document::object(&value, &name).map(Object::Uplink),
        Noun::Network => document::object(&value, &name).map(Object::Network),
        Noun::Port => document::object(&value, &name).map(Object::Port),
        Noun::Forward => document::object(&value, &name).map(Object::Forward),
        Noun::Nat => document::object(&value, &name).map(Object::Nat),
        Noun::Group => document::object(&value, &name).map(Object::Group),
        Noun::Set => document::object(&value, &name).map(Object::Set),
        Noun::Policy => document::object(&value, &name).map(Object::Policy),
    };
    read.map_err(|problem| ApiError::from_problems(vec![problem]))
}
