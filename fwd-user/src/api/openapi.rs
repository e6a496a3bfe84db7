//! The API described for programs: `docs/openapi.json` is made from it.
//!
//! Guarantees: it has every route of the unix socket's server, and no other. A list is `{api, items}`; one
//! object has `api` and `kind` beside its own fields; every error is an `ErrorAnswer`.

use utoipa::{
    IntoParams, OpenApi,
    openapi::{
        Array, Content, HttpMethod, Object, Ref, RefOr, Required, Schema, Type,
        path::{Operation, OperationBuilder, Parameter, ParameterBuilder, ParameterIn},
        request_body::RequestBodyBuilder,
        response::Response,
        schema::ObjectBuilder,
    },
};

use super::{
    answer::{DaemonStatus, ErrorAnswer, Revision, Written},
    diagnosis::{Doctor, ForwardTest},
    event::{DropEvent, FlowEvent},
    object::Noun,
    policy_test::{PolicyTestRow, PolicyTests},
    query::{BenchQuery, DropQuery, FlowQuery, ListQuery},
    request::{Existing, HistoryQuery, RollbackQuery, WriteQuery},
    spec::{Document, Forward, Group, Nat, Network, Policy, Port, Set, Uplink},
    status::{Bench, Check, DropReasonRow, DropRow, FlowCount, FlowRow, LeaseRow, PortStatus},
    trace::{Trace, TraceQuery},
};

const JSON: &str = "application/json";

#[derive(OpenApi)]
#[openapi(
    info(
        title = "fwd",
        description = "HTTP on a unix socket: curl --unix-socket /run/fwd/fwd.sock http://fwd/v1/status"
    ),
    components(schemas(
        Bench,
        Check,
        DaemonStatus,
        Doctor,
        Document,
        DropEvent,
        DropReasonRow,
        DropRow,
        ErrorAnswer,
        Existing,
        FlowCount,
        FlowEvent,
        FlowRow,
        Forward,
        ForwardTest,
        Nat,
        Group,
        LeaseRow,
        Network,
        Policy,
        PolicyTestRow,
        PolicyTests,
        Port,
        PortStatus,
        Revision,
        Set,
        Trace,
        Uplink,
        Written,
    ))
)]
struct Components;

/// What a route takes or answers with, by the schema's name.
#[derive(Clone, Copy)]
enum Shape {
    One(&'static str),
    /// `{api, items}`.
    List(&'static str),
    /// One JSON object a line, until the reader goes.
    Lines(&'static str),
    /// Some fields of an object; null is the default.
    Fields,
    /// OpenMetrics, or the older text format where that is asked for.
    Text,
}

/// The whole description.
pub fn openapi() -> utoipa::openapi::OpenApi {
    let mut api = Components::openapi();
    let mut add = |method, path: &str, operation| api.paths.add_path_operation(path, vec![method], operation);
    for (path, summary, query, answer) in reads() {
        add(HttpMethod::Get, path, operation(summary, query, None, answer));
    }
    for (method, path, summary, body) in writes() {
        let written = Shape::One("Written");
        add(method, path, operation(summary, parameters::<WriteQuery>(), Some(body), written));
    }
    let flow = operation("One live conversation", vec![path_name()], None, Shape::One("FlowRow"));
    add(HttpMethod::Get, "/v1/flows/{name}", flow);
    let end = operation("End flows", parameters::<FlowQuery>(), None, Shape::One("Written"));
    add(HttpMethod::Delete, "/v1/flows", end);
    let written = || Shape::One("Written");
    let (confirm, back) = ("/v1/config/confirm", "/v1/config/rollback");
    let summary = "Confirm what is on trial";
    add(HttpMethod::Post, confirm, operation(summary, vec![], None, written()));
    let summary = "Make the document of an earlier revision the next one";
    add(HttpMethod::Post, back, operation(summary, parameters::<RollbackQuery>(), None, written()));
    let summary = "Judge policy tests; changes nothing";
    let (asked, rows) = (Some(Shape::One("PolicyTests")), Shape::List("PolicyTestRow"));
    add(HttpMethod::Post, "/v1/policy-tests", operation(summary, vec![], asked, rows));
    let down = query("keep_datapath", "Leave programs and maps as they are.");
    add(HttpMethod::Post, "/v1/down", operation("End the daemon", vec![down], None, Shape::Fields));
    let (path, summary) = ("/v1/forwards/{name}/test", "Try a forward step by step, with real probes");
    add(HttpMethod::Post, path, operation(summary, vec![path_name()], None, Shape::One("ForwardTest")));
    for noun in Noun::ALL {
        objects(noun, &mut add);
    }
    api
}

type Read = (&'static str, &'static str, Vec<Parameter>, Shape);

fn reads() -> [Read; 17] {
    use Shape::{Lines, List, One, Text};
    let flows = parameters::<FlowQuery>;
    let drops = parameters::<DropQuery>;
    let history = parameters::<HistoryQuery>();
    let bench = parameters::<BenchQuery>();
    let trace = parameters::<TraceQuery>();
    [
        ("/v1/config", "The accepted document", vec![], One("Document")),
        ("/v1/revisions", "The accepted edits, the latest first", history, List("Revision")),
        ("/v1/status", "What the daemon does and sees", vec![], One("DaemonStatus")),
        ("/v1/status/check", "The ledgers held against each other", vec![], One("Check")),
        ("/v1/doctor", "What is not as it should be, and how to mend it", vec![], One("Doctor")),
        ("/v1/bench", "What live traffic costs, looked at for a while", bench, One("Bench")),
        ("/v1/version", "The daemon's version", vec![], Shape::Fields),
        (
            "/v1/flows",
            "Live conversations; with cut_by the ends of those that an edit cut",
            flows(),
            List("FlowRow"),
        ),
        ("/v1/flows/count", "How many there are", flows(), One("FlowCount")),
        (
            "/v1/flows/watch",
            "Starts and ends of flows, kept ones first where asked for",
            flows(),
            Lines("FlowEvent"),
        ),
        (
            "/v1/networks/{name}/leases",
            "What a network's DHCP has given out",
            vec![path_name()],
            List("LeaseRow"),
        ),
        ("/v1/nat/table", "Live translations", flows(), List("FlowRow")),
        ("/v1/drops", "What was dropped, counted", drops(), List("DropRow")),
        ("/v1/drops/reasons", "The table of reasons", vec![], List("DropReasonRow")),
        ("/v1/drops/watch", "Drops, kept ones first where asked for", drops(), Lines("DropEvent")),
        ("/v1/trace", "What would become of a packet; nothing is changed", trace, One("Trace")),
        ("/metrics", "What Prometheus scrapes", vec![], Text),
    ]
}

fn writes() -> [(HttpMethod, &'static str, &'static str, Shape); 2] {
    [
        (HttpMethod::Put, "/v1/config", "Replace the document, all or nothing", Shape::One("Document")),
        (HttpMethod::Patch, "/v1/settings", "Change settings", Shape::Fields),
    ]
}

/// The routes that every kind of object has.
fn objects(noun: Noun, add: &mut impl FnMut(HttpMethod, &str, Operation)) {
    let (asked, shown) = schemas(noun);
    let (list, name) = (format!("/v1/{}", noun.list()), noun.name());
    let one = format!("{list}/{{name}}");
    let written = Shape::One("Written");
    let named = || vec![path_name()];
    let write = || parameters::<WriteQuery>();
    let write_named = || [named(), write()].concat();
    let text = |verb: &str| format!("{verb} {name}");
    let fields = Some(Shape::Fields);
    add(
        HttpMethod::Get,
        &list,
        operation(&text("List: "), parameters::<ListQuery>(), None, Shape::List(shown)),
    );
    add(HttpMethod::Post, &list, operation(&text("Add a"), write(), Some(Shape::One(asked)), written));
    add(HttpMethod::Get, &one, operation(&text("Show a"), named(), None, Shape::One(shown)));
    add(HttpMethod::Patch, &one, operation(&text("Change a"), write_named(), fields, written));
    add(HttpMethod::Delete, &one, operation(&text("Delete a"), write_named(), None, written));
}

/// What is asked for of a kind of object, and what is shown of it.
const fn schemas(noun: Noun) -> (&'static str, &'static str) {
    match noun {
        Noun::Uplink => ("Uplink", "PortStatus"),
        Noun::Network => ("Network", "Network"),
        Noun::Port => ("Port", "PortStatus"),
        Noun::Forward => ("Forward", "Forward"),
        Noun::Nat => ("Nat", "Nat"),
        Noun::Group => ("Group", "Group"),
        Noun::Set => ("Set", "Set"),
        Noun::Policy => ("Policy", "Policy"),
    }
}

fn operation(summary: &str, query: Vec<Parameter>, body: Option<Shape>, answer: Shape) -> Operation {
    let body = body.map(|body| {
        let body = RequestBodyBuilder::new().content(JSON, Content::new(Some(body.schema())));
        body.required(Some(Required::True)).build()
    });
    let mut done = Response::new(summary);
    done.content.insert(answer.media_type().to_owned(), Content::new(Some(answer.schema())).into());
    let mut failed = Response::new("What went wrong, where, and how to mend it");
    failed.content.insert(JSON.to_owned(), Content::new(Some(Shape::One("ErrorAnswer").schema())).into());
    let operation = OperationBuilder::new().summary(Some(summary)).parameters(Some(query)).request_body(body);
    operation.response("200", done).response("default", failed).build()
}

impl Shape {
    fn schema(self) -> RefOr<Schema> {
        let named = |name| RefOr::<Schema>::from(Ref::from_schema_name(name));
        match self {
            Self::One(name) | Self::Lines(name) => named(name),
            Self::List(name) => ObjectBuilder::new()
                .property("api", Object::with_type(Type::String))
                .property("items", Array::new(named(name)))
                .required("api")
                .required("items")
                .into(),
            Self::Fields => Object::with_type(Type::Object).into(),
            Self::Text => Object::with_type(Type::String).into(),
        }
    }

    const fn media_type(self) -> &'static str {
        match self {
            Self::One(_) | Self::List(_) | Self::Fields => JSON,
            Self::Lines(_) => "application/x-ndjson",
            Self::Text => "application/openmetrics-text",
        }
    }
}

fn parameters<Q: IntoParams>() -> Vec<Parameter> {
    Q::into_params(|| Some(ParameterIn::Query))
}

fn query(name: &str, what: &str) -> Parameter {
    let parameter = ParameterBuilder::new().name(name).parameter_in(ParameterIn::Query);
    parameter.description(Some(what)).schema(Some(Object::with_type(Type::Boolean))).build()
}

fn path_name() -> Parameter {
    let parameter = ParameterBuilder::new().name("name").parameter_in(ParameterIn::Path);
    parameter.required(Required::True).schema(Some(Object::with_type(Type::String))).build()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// What is described, with the lists of objects as the router writes them.
    fn described() -> BTreeSet<(String, String)> {
        let api = serde_json::to_value(openapi()).expect("plain data");
        let paths = api["paths"].as_object().expect("there are paths");
        let methods = paths.iter().flat_map(|(path, item)| {
            let mut words: Vec<_> = path.split('/').collect();
            if words.len() < 5 && words.get(2).is_some_and(|list| Noun::of_list(list).is_some()) {
                words[2] = "{list}";
            }
            let methods = item.as_object().expect("operations by method").keys();
            methods.map(move |method| (words.join("/"), method.clone())).collect::<Vec<_>>()
        });
        methods.collect()
    }

    /// The routes of the unix socket, as the router is written: axum does not tell its own.
    fn routed() -> BTreeSet<(String, String)> {
        let source = include_str!("server/mod.rs");
        let (_, router) = source.split_once("pub fn router").expect("there is a router");
        let (router, _) = router.split_once("\n}\n").expect("it ends");
        let routes = router.split(".route(\"").skip(1).flat_map(|route| {
            let (path, handlers) = route.split_once('"').expect("a path is quoted");
            let is_there = |method: &&str| handlers.contains(&format!("{method}("));
            let methods = ["get", "put", "post", "patch", "delete"].into_iter().filter(is_there);
            methods.map(|method| (path.to_owned(), method.to_owned())).collect::<Vec<_>>()
        });
        routes.collect()
    }

    #[test]
    fn every_route_is_described_and_no_other() {
        assert!(!routed().is_empty());
        assert_eq!(described(), routed());
    }

    #[test]
    fn every_schema_that_is_named_exists() {
        let text = openapi().to_json().expect("plain data");
        let schemas = openapi().components.expect("there are components").schemas;
        for name in text.split("#/components/schemas/").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(schemas.contains_key(name), "{name}");
        }
    }
}
