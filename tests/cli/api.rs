//! The API itself, by curl and by its description.

use std::{fs, process::Command};

use serde_json::{Value, json};

use crate::instance::Instance;

/// What curl says of a request: status and body.
fn curl(instance: &Instance, args: &[&str], path: &str) -> (String, String) {
    let output = Command::new("curl")
        .args(["--silent", "--write-out", "\n%{http_code}", "--unix-socket"])
        .arg(instance.folder().join("fwd.sock"))
        .args(args)
        .arg(format!("http://fwd{path}"))
        .output()
        .expect("curl is installed");
    let text = String::from_utf8(output.stdout).expect("text");
    let (body, status) = text.rsplit_once('\n').expect("the status comes last");
    (status.to_owned(), body.to_owned())
}

fn json_of(instance: &Instance, args: &[&str], path: &str) -> (String, Value) {
    let (status, body) = curl(instance, args, path);
    let value = serde_json::from_str(&body).unwrap_or_else(|e| panic!("{path}: {e}: {body}"));
    (status, value)
}

#[test]
fn curl_adds_shows_changes_and_deletes() {
    let instance = Instance::up();
    let network = r#"{"name": "a", "mode": "isolated"}"#;
    let (status, added) = json_of(&instance, &["--data", network], "/v1/networks");
    assert_eq!(status, "200");
    assert_eq!(added, json!({"api": "fwd/v1", "revision": 1, "changed": ["network/a"], "cut": null}));
    let (status, shown) = json_of(&instance, &[], "/v1/networks/a");
    assert_eq!((status.as_str(), &shown["kind"], &shown["mtu"]), ("200", &json!("network"), &json!(1500)));
    let patch = ["--request", "PATCH", "--data", r#"{"mtu": 9000}"#];
    let (status, changed) = json_of(&instance, &patch, "/v1/networks/a?dry_run=true");
    assert_eq!(status, "200");
    let altered = json!([{"object": "network/a", "fields": [{"field": "mtu", "from": 1500, "to": 9000}]}]);
    assert_eq!(changed["plan"]["altered"], altered);
    let (status, _) = json_of(&instance, &["--request", "DELETE"], "/v1/networks/a?if_revision=1");
    assert_eq!(status, "200");
    let (status, list) = json_of(&instance, &[], "/v1/networks");
    assert_eq!((status.as_str(), list), ("200", json!({"api": "fwd/v1", "items": []})));
}

#[test]
fn the_status_of_an_error_is_that_of_its_kind() {
    let instance = Instance::up();
    let network = r#"{"name": "a", "mode": "isolated"}"#;
    assert_eq!(curl(&instance, &["--data", network], "/v1/networks").0, "200");
    for (status, args, path) in [
        ("409", vec!["--data", network], "/v1/networks"),
        ("422", vec!["--data", r#"{"name": "b", "mode": "x"}"#], "/v1/networks"),
        ("422", vec!["--data", r#"{"name": "b"}"#], "/v1/networks"),
        ("400", vec!["--data", "nonsense"], "/v1/networks"),
        ("404", vec![], "/v1/networks/b"),
        ("404", vec![], "/v1/flows?port=nobody"),
        ("409", vec!["--request", "DELETE"], "/v1/networks/a?if_revision=9"),
    ] {
        let (got, answer) = json_of(&instance, &args, path);
        assert_eq!(got, status, "{path}: {answer}");
        assert!(answer["error"]["code"].as_str().is_some_and(|c| c.starts_with("FWD-E")), "{answer}");
    }
}

#[test]
fn the_metrics_are_openmetrics_or_plain_text() {
    let instance = Instance::up();
    let (status, text) = curl(&instance, &[], "/metrics");
    assert_eq!(status, "200");
    assert!(text.contains("fwd_build_info") && text.ends_with("# EOF\n"), "{text}");
    assert_eq!(
        text.lines().count(),
        String::from_utf8_lossy(&instance.run("metrics").stdout).lines().count()
    );
    let (_, plain) = curl(&instance, &["--header", "accept: text/plain"], "/metrics");
    assert!(!plain.contains("# EOF"), "{plain}");
}

#[test]
fn the_description_is_that_of_the_tree_and_names_every_schema_it_uses() {
    let instance = Instance::new();
    let text = String::from_utf8(instance.run("generate openapi").stdout).expect("text");
    let kept = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json");
    let kept = fs::read_to_string(kept).expect("it is in the tree");
    assert!(kept == text, "docs/openapi.json is not what the code says: run cargo xtask docs");
    let description: Value = serde_json::from_str(&text).expect("json");
    for used in text.match_indices("#/components/schemas/").map(|(at, prefix)| &text[at + prefix.len()..]) {
        let name = used.split('"').next().expect("it ends");
        assert!(description["components"]["schemas"][name].is_object(), "{name}");
    }
}

#[test]
fn every_described_path_is_answered() {
    let instance = Instance::up();
    let description: Value = serde_json::from_slice(&instance.run("generate openapi").stdout).expect("json");
    let paths = description["paths"].as_object().expect("paths");
    let readable = paths
        .iter()
        .filter(|(path, item)| item.get("get").is_some() && !path.contains('{') && !path.ends_with("/watch"));
    for (path, _) in readable {
        // Packets are traced in a kernel's datapath, which this daemon does not have.
        let code = if path == "/v1/trace" { "501" } else { "200" };
        assert_eq!(curl(&instance, &[], path).0, code, "{path}");
    }
}

/// All under way at once: each has its own revision or its own refusal.
#[test]
fn edits_over_one_connection_have_their_own_answers() {
    const EDITS: usize = 100;
    let instance = Instance::up();
    let folder = instance.folder().display();
    let transfer = |n: usize| {
        // Every tenth is refused: there is no such group.
        let to = if n.is_multiple_of(10) { "group:none" } else { "any" };
        let rule = json!({"name": format!("p{n}"), "action": "deny", "to": to}).to_string();
        format!(
            "url = http://fwd/v1/policies\nunix-socket = {folder}/fwd.sock\ndata = {rule:?}\n\
             output = {folder}/answer-{n}\nwrite-out = \"%{{num_connects}}\\n\"\n"
        )
    };
    let options = "parallel\nparallel-max = 100\nhttp2-prior-knowledge\nsilent\n".to_owned();
    let transfers: Vec<String> = (0..EDITS).map(transfer).collect();
    instance.file("curl", &(options + &transfers.join("next\n")));
    let output = Command::new("curl").arg("--config").arg(instance.folder().join("curl")).output();
    let connections = String::from_utf8(output.expect("curl is installed").stdout).expect("text");
    let connections: u32 = connections.lines().map(|n| n.parse::<u32>().expect("a number")).sum();
    assert_eq!(connections, 1);
    let answer =
        |n| fs::read_to_string(instance.folder().join(format!("answer-{n}"))).expect("it was answered");
    let answers: Vec<Value> =
        (0..EDITS).map(|n| serde_json::from_str(&answer(n)).expect("answers are JSON")).collect();
    let mut revisions: Vec<u64> = answers.iter().filter_map(|a| a["revision"].as_u64()).collect();
    revisions.sort_unstable();
    assert_eq!(revisions, (1..=90).collect::<Vec<_>>());
    assert_eq!(answers.iter().filter(|a| a["error"]["code"] == "FWD-E604").count(), EDITS / 10);
    let (_, list) = json_of(&instance, &[], "/v1/policies");
    assert_eq!(list["items"].as_array().map(Vec::len), Some(90));
}
