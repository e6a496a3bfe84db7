//! One renderer for all output: tables of lists, field lists of single objects, JSON, YAML, CSV, names.
//!
//! Guarantees: columns are those of the noun, in its order, whatever the data; machine formats carry the
//! API's answer unchanged.

use std::fmt::Write as _;

use serde_json::{Map, Value};

/// How answers are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// The columns that matter most
    #[default]
    Table,
    /// All columns
    Wide,
    /// The API's answer
    Json,
    /// The API's answer, as YAML
    Yaml,
    /// All columns, comma separated
    Csv,
    /// Names only, one a line
    Name,
}

impl Format {
    /// Whether a program reads it.
    pub const fn is_machine(self) -> bool {
        !matches!(self, Self::Table | Self::Wide)
    }
}

/// A column of a list: its head and the JSON pointer of its value in an item.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    pub head: &'static str,
    pub pointer: &'static str,
    /// Only in `wide` and `csv`.
    pub wide: bool,
}

/// A column that is always shown.
pub const fn column(head: &'static str, pointer: &'static str) -> Column {
    Column { head, pointer, wide: false }
}

/// A column of `wide` and `csv`.
pub const fn wide(head: &'static str, pointer: &'static str) -> Column {
    Column { head, pointer, wide: true }
}

/// A list answer (`{api, items}`) in a format. The first column names an item.
pub fn list(answer: &Value, columns: &[Column], format: Format) -> String {
    let items = answer.get("items").and_then(Value::as_array).map_or(&[] as &[Value], Vec::as_slice);
    match format {
        Format::Json => json(answer),
        Format::Yaml => yaml(answer),
        Format::Csv => csv(&rows(items, columns, true)),
        Format::Name => items.iter().map(|i| cell(i.pointer(columns[0].pointer)) + "\n").collect(),
        Format::Table => table(&rows(items, columns, false)),
        Format::Wide => table(&rows(items, columns, true)),
    }
}

/// A show answer (an object with `api` and `kind`) in a format.
pub fn show(answer: &Value, name_field: &str, format: Format) -> String {
    match format {
        Format::Json => json(answer),
        Format::Yaml => yaml(answer),
        Format::Name => cell(answer.get(name_field)) + "\n",
        Format::Csv => csv(&fields(answer).into_iter().map(Vec::from).collect::<Vec<_>>()),
        Format::Table | Format::Wide => {
            let fields = fields(answer);
            let width = fields.iter().map(|[k, _]| k.chars().count()).max().unwrap_or(0) + 1;
            fields.iter().fold(String::new(), |mut out, [k, v]| {
                let head = format!("{k}:");
                _ = writeln!(out, "{head:<width$} {v}");
                out
            })
        }
    }
}

/// Pretty JSON with a final newline.
pub fn json(value: &Value) -> String {
    format!("{value:#}\n")
}

/// YAML with a final newline, without the document marker.
pub fn yaml(value: &Value) -> String {
    let mut out = String::new();
    saphyr::YamlEmitter::new(&mut out).dump(&to_yaml(value)).expect("writing to a string succeeds");
    let body = out.strip_prefix("---\n").unwrap_or(&out);
    format!("{body}\n")
}

/// A table with its head, columns two spaces apart, nothing at the end of a line.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let widths: Vec<usize> =
        (0..columns).map(|c| rows.iter().map(|r| r[c].chars().count()).max().unwrap_or(0)).collect();
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        for (text, width) in row.iter().zip(&widths) {
            line += text;
            line.extend(std::iter::repeat_n(' ', width - text.chars().count() + 2));
        }
        _ = writeln!(out, "{}", line.trim_end());
    }
    out
}

/// A value as text in a table: absent is `-`, lists are joined by commas.
pub fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::Bool(b)) => if *b { "yes" } else { "no" }.to_owned(),
        Some(Value::Number(n)) => n.to_string(),
        Some(Value::String(s)) if s.is_empty() => "-".to_owned(),
        Some(Value::String(s)) => s.clone(),
        Some(Value::Array(a)) if a.is_empty() => "-".to_owned(),
        Some(Value::Array(a)) => a.iter().map(|v| cell(Some(v))).collect::<Vec<_>>().join(","),
        Some(Value::Object(o)) if o.is_empty() => "-".to_owned(),
        Some(Value::Object(o)) => {
            o.iter().map(|(k, v)| format!("{k}={}", cell(Some(v)))).collect::<Vec<_>>().join(",")
        }
    }
}

fn rows(items: &[Value], columns: &[Column], all: bool) -> Vec<Vec<String>> {
    let columns: Vec<_> = columns.iter().filter(|c| all || !c.wide).collect();
    let head = columns.iter().map(|c| c.head.to_owned()).collect();
    let body = items.iter().map(|i| columns.iter().map(|c| cell(i.pointer(c.pointer))).collect());
    std::iter::once(head).chain(body).collect()
}

/// The fields of an object as dotted names and text; `api` and `kind` left out.
fn fields(answer: &Value) -> Vec<[String; 2]> {
    let mut out = Vec::new();
    if let Value::Object(object) = answer {
        flatten("", object, &mut out);
    }
    out
}

fn flatten(prefix: &str, object: &Map<String, Value>, out: &mut Vec<[String; 2]>) {
    for (key, value) in object {
        if prefix.is_empty() && (key == "api" || key == "kind") {
            continue;
        }
        let path = format!("{prefix}{key}");
        match value {
            Value::Object(inner) if inner.values().any(Value::is_object) => {
                flatten(&format!("{path}."), inner, out);
            }
            _ => out.push([path, cell(Some(value))]),
        }
    }
}

/// Rows, comma separated.
pub fn csv(rows: &[Vec<String>]) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for row in rows {
        writer.write_record(row).expect("writing to memory succeeds");
    }
    let bytes = writer.into_inner().expect("writing to memory succeeds");
    String::from_utf8(bytes).expect("made of strings")
}

fn to_yaml(value: &Value) -> saphyr::Yaml<'_> {
    use saphyr::{Scalar, Yaml};
    match value {
        Value::Null => Yaml::Value(Scalar::Null),
        Value::Bool(b) => Yaml::Value(Scalar::Boolean(*b)),
        Value::Number(n) => match n.as_i64() {
            Some(i) => Yaml::Value(Scalar::Integer(i)),
            None => Yaml::Value(Scalar::FloatingPoint(n.as_f64().unwrap_or(f64::NAN).into())),
        },
        Value::String(s) => Yaml::Value(Scalar::String(s.as_str().into())),
        Value::Array(a) => Yaml::Sequence(a.iter().map(to_yaml).collect()),
        Value::Object(o) => Yaml::Mapping(
            o.iter().map(|(k, v)| (Yaml::Value(Scalar::String(k.as_str().into())), to_yaml(v))).collect(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const COLUMNS: &[Column] = &[column("NAME", "/name"), column("IPS", "/ips"), wide("MTU", "/mtu")];

    #[test]
    fn columns_stay_whatever_the_data() {
        let none = json!({"api": "fwd/v1", "items": []});
        assert_eq!(list(&none, COLUMNS, Format::Table), "NAME  IPS\n");
        let one = json!({"items": [{"name": "web1", "ips": ["10.0.0.1", "10.0.0.2"], "mtu": 1500}]});
        assert_eq!(list(&one, COLUMNS, Format::Table), "NAME  IPS\nweb1  10.0.0.1,10.0.0.2\n");
        assert_eq!(
            list(&one, COLUMNS, Format::Wide),
            "NAME  IPS                MTU\nweb1  10.0.0.1,10.0.0.2  1500\n"
        );
        assert_eq!(list(&one, COLUMNS, Format::Csv), "NAME,IPS,MTU\nweb1,\"10.0.0.1,10.0.0.2\",1500\n");
        assert_eq!(list(&one, COLUMNS, Format::Name), "web1\n");
    }

    #[test]
    fn an_object_is_shown_field_by_field() {
        let object = json!({"api": "fwd/v1", "kind": "port", "name": "web1", "labels": {"role": "web"},
            "counters": {"xdp": {"received": 3}, "copies": 1}, "mac": null});
        assert_eq!(
            show(&object, "name", Format::Table),
            "name:            web1\nlabels:          role=web\ncounters.xdp:    received=3\n\
             counters.copies: 1\nmac:             -\n"
        );
    }

    #[test]
    fn yaml_reads_back_as_it_was() {
        let value = json!({"a": [1, "two", null, true, "no", "1", "~", ""], "b": {"c": "fd00::/64"}});
        let text = yaml(&value);
        let read = crate::api::document::yaml_value(&text).expect("own output parses");
        assert_eq!(read, value);
    }

    /// Wider than what the standard library pads to: the changes of a revision may be a hundred thousand.
    #[test]
    fn a_column_may_be_as_wide_as_it_likes() {
        let (wide, row) = ("x".repeat(70_000), |a: &str, b: &str| vec![a.to_owned(), b.to_owned()]);
        let padding = " ".repeat(70_000 - 1);
        assert_eq!(table(&[row("a", "b"), row(&wide, "c")]), format!("a{padding}  b\n{wide}  c\n"));
    }
}
