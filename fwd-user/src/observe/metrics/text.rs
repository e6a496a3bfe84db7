//! The two spellings of an exposition: OpenMetrics, which the client library writes, and the text format that
//! came before it (0.0.4), which `promtool check metrics` and old scrapers read.

/// How an exposition is spelt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    OpenMetrics,
    Classic,
}

impl Format {
    /// What a scraper asks for: OpenMetrics, unless it accepts plain text only.
    pub fn of_accept(accept: Option<&str>) -> Self {
        match accept {
            Some(types)
                if types.contains("text/plain")
                    && !types.contains("openmetrics")
                    && !types.contains("*/*") =>
            {
                Self::Classic
            }
            _ => Self::OpenMetrics,
        }
    }

    /// The value of `Content-Type`.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Classic => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// This spelling of an OpenMetrics exposition.
    pub(super) fn of_openmetrics(self, text: String) -> String {
        match self {
            Self::OpenMetrics => text,
            Self::Classic => classic(&text),
        }
    }
}

/// There, families are called as their samples are, infos are gauges, and units and the end are not marked.
fn classic(openmetrics: &str) -> String {
    let mut text = String::with_capacity(openmetrics.len());
    // HELP comes before TYPE, which says what to call it.
    let mut help = None;
    for line in openmetrics.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ').map(|(_, help)| help);
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                // A counter beside a gauge of the same name.
                "unknown" => ("", "counter"),
                other => ("", other),
            };
            if let Some(help) = help.take() {
                text += &format!("# HELP {name}{suffix} {help}\n");
            }
            text += &format!("# TYPE {name}{suffix} {kind}\n");
        } else if !line.starts_with('#') {
            text += line;
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accept_header_decides() {
        let prometheus = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        assert_eq!(Format::of_accept(Some(prometheus)), Format::OpenMetrics);
        assert_eq!(Format::of_accept(Some("*/*")), Format::OpenMetrics);
        assert_eq!(Format::of_accept(None), Format::OpenMetrics);
        assert_eq!(Format::of_accept(Some("text/plain; version=0.0.4")), Format::Classic);
    }

    #[test]
    fn classic_text_names_families_as_their_samples() {
        let openmetrics = "# HELP fwd_x_bytes A b.\n# TYPE fwd_x_bytes counter\n# UNIT fwd_x_bytes bytes\n\
            fwd_x_bytes_total{a=\"b\"} 1\n# HELP fwd_y Y.\n# TYPE fwd_y info\nfwd_y_info{v=\"1\"} 1\n# EOF\n";
        assert_eq!(
            Format::Classic.of_openmetrics(openmetrics.to_owned()),
            "# HELP fwd_x_bytes_total A b.\n# TYPE fwd_x_bytes_total counter\nfwd_x_bytes_total{a=\"b\"} 1\n\
             # HELP fwd_y_info Y.\n# TYPE fwd_y_info gauge\nfwd_y_info{v=\"1\"} 1\n"
        );
    }
}
