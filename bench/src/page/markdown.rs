//! The measured part of the page, as Markdown.

use std::fmt::Write as _;

use super::About;
use super::target::Target;
use super::targets::TARGETS;
use crate::result::{Measurement, Results, Setting, Tier};
use crate::statistics::Summary;

pub fn measured(results: &Results, about: About<'_>, plots: &[(String, String)]) -> String {
    let mut out = setting(&results.setting);
    out += &targets(results);
    for (title, path) in plots {
        _ = write!(out, "\n![{title}]({path})\n");
    }
    for (scenario, sentence) in about {
        let emulated = emulated(results, scenario);
        out += &series(results, scenario, &(sentence.to_string() + &emulated));
    }
    out + &skipped(results)
}

fn setting(setting: &Setting) -> String {
    let Setting { command, version, kernel, cpu, cpus, rounds, seconds, quick, .. } = setting;
    let quick = if *quick { " A quick run: one round, few flows; its figures are a first look." } else { "" };
    format!(
        "Made by `{command}` in {} minutes: fwd {version}, kernel {kernel}, {cpus} CPUs of {cpu}; medians of {rounds} \
         rounds.{quick}\n",
        seconds.div_ceil(60)
    )
}

fn targets(results: &Results) -> String {
    let mut out = "\n| target | wanted | measured | |\n| --- | --- | --- | --- |\n".to_owned();
    for target in TARGETS {
        out += &line(target, results);
    }
    out + "\nRatios are medians over the rounds, with the interval that holds them with 95 % confidence; values have the \
           least and the most of all rounds.\n"
}

fn line(target: &Target, results: &Results) -> String {
    let wanted = target.wanted(results);
    let (measured, verdict) = match target.standing(results) {
        None => ("not measured".to_owned(), String::new()),
        Some(standing) if standing.is_met => (standing.measured, "met".to_owned()),
        Some(standing) => (standing.measured, format!("missed by {:.0} %", standing.missed_by * 100.0)),
    };
    format!("| {} | {wanted} | {measured} | {verdict} |\n", target.what)
}

/// What a reader of a guest's figures has to know first.
fn emulated(results: &Results, scenario: &str) -> String {
    let is_of_guest = |m: &Measurement| m.scenario == scenario && m.tier == Tier::Guest;
    if !results.measurements.iter().any(is_of_guest) {
        return String::new();
    }
    let kernel = results.setting.guest_kernel.as_ref();
    let kernel = kernel.map_or_else(String::new, |kernel| format!(", kernel {kernel}"));
    format!(
        " **QEMU emulates the guests' CPUs{kernel}: the figures say nothing of any machine, and the ratios are those of \
         an emulated CPU.**"
    )
}

/// All series of a scenario: a line for each thing that is measured, a column for each element.
fn series(results: &Results, scenario: &str, sentence: &str) -> String {
    let all: Vec<&Measurement> = results.measurements.iter().filter(|m| m.scenario == scenario).collect();
    if all.is_empty() {
        return String::new();
    }
    let mut elements: Vec<&str> = Vec::new();
    let mut rows: Vec<String> = Vec::new();
    for series in &all {
        if !elements.contains(&series.element.as_str()) {
            elements.push(&series.element);
        }
        let row = row(series);
        if !rows.contains(&row) {
            rows.push(row);
        }
    }
    let mut out = format!("\n### {scenario}\n\n{sentence}\n\n| | {} |\n", elements.join(" | "));
    out += &format!("| --- |{}\n", " --- |".repeat(elements.len()));
    for name in &rows {
        let cells: Vec<String> = elements
            .iter()
            .map(|element| {
                let found = all.iter().find(|m| m.element == **element && row(m) == *name);
                found.map_or_else(|| "–".to_owned(), |series| cell(series))
            })
            .collect();
        out += &format!("| {name} | {} |\n", cells.join(" | "));
    }
    let mut notes: Vec<String> = Vec::new();
    for series in all {
        if let Some(note) = &series.note {
            let note = format!("- {}: {note}\n", series.element);
            if !notes.contains(&note) {
                notes.push(note);
            }
        }
    }
    if !notes.is_empty() {
        out += "\n";
    }
    out + &notes.concat()
}

fn row(series: &Measurement) -> String {
    let at = series.at.to_string();
    let words: Vec<&str> =
        [series.quantity.as_str(), at.as_str()].into_iter().filter(|w| !w.is_empty()).collect();
    format!("{} ({})", words.join(", "), series.unit.symbol()).trim_start().to_owned()
}

/// The median, and how far the rounds lie apart.
fn cell(series: &Measurement) -> String {
    let Some(Summary { median, min, max }) = Summary::of(&series.samples) else { return "–".to_owned() };
    let lost = match series.delivered {
        Some(share) if share < 0.999 => format!(", {:.1} % arrived", share * 100.0),
        _ => String::new(),
    };
    format!("{} ({}–{}){lost}", number(median), number(min), number(max))
}

/// Three digits that count.
pub fn number(value: f64) -> String {
    match value.abs() {
        a if a >= 100.0 || a == 0.0 => format!("{value:.0}"),
        a if a >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn skipped(results: &Results) -> String {
    if results.skipped.is_empty() {
        return String::new();
    }
    let lines: String = results
        .skipped
        .iter()
        .map(|s| format!("- {}, {}: {}\n", s.scenario, s.element, s.reason.replace('\n', " ")))
        .collect();
    format!("\n### Not measured here\n\n{lines}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::{Reading, Unit};

    #[test]
    fn a_scenario_is_a_table_of_elements() {
        let mut results = Results::default();
        for (element, value) in [("fwd", 30.0), ("fwd", 32.0), ("minimal", 25.04)] {
            results.add(Tier::Program, "hit", element, Reading::new(value, Unit::Nanoseconds).of("in"));
        }
        results.add(Tier::Program, "hit", "fwd", Reading::new(1.0, Unit::Mpps).of("out").delivered(0.5));
        results.note("hit", "fwd", "a note");
        let text = series(&results, "hit", "One packet.");
        let table = "| | fwd | minimal |\n| --- | --- | --- |\n| in (ns) | 31.0 (30.0–32.0) | 25.0 (25.0–25.0) |\n\
                     | out (Mpps) | 1.00 (1.00–1.00), 50.0 % arrived | – |\n\n- fwd: a note\n";
        assert_eq!(text, format!("\n### hit\n\nOne packet.\n\n{table}"));
        assert_eq!(series(&results, "other", ""), "");
    }

    #[test]
    fn figures_of_an_emulated_cpu_are_called_so() {
        let mut results = Results::default();
        results.add(Tier::Traffic, "forward", "fwd", Reading::new(1.0, Unit::Mpps));
        results.add(Tier::Guest, "guest-forward", "fwd", Reading::new(1.0, Unit::Mpps));
        results.setting.guest_kernel = Some("6.1.0".into());
        let text = measured(&results, &[("forward", "One."), ("guest-forward", "Two.")], &[]);
        assert!(text.contains("\nOne.\n") && text.contains("\nTwo. **QEMU emulates"), "{text}");
        assert!(text.contains(", kernel 6.1.0: "), "{text}");
    }

    #[test]
    fn a_target_without_figures_says_so() {
        let text = targets(&Results::default());
        assert_eq!(text.matches("| not measured |").count(), TARGETS.len());
    }
}
