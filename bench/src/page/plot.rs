//! Plots of a run: how figures move with the number of flows, one line an element.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use plotters::prelude::*;

use crate::result::{Arrangement, At, Family, Measurement, Results};
use crate::statistics::Summary;

/// A chart over the number of flows.
struct Chart {
    /// Of the file.
    name: &'static str,
    title: &'static str,
    scenario: &'static str,
    quantity: &'static str,
    arrangement: Option<Arrangement>,
    size: Option<u32>,
    /// Where no line is: times grow with the flows, rates shrink.
    legend: SeriesLabelPosition,
}

const CHARTS: [Chart; 3] = [
    Chart {
        name: "hit",
        title: "A packet of an established flow, one program: ns by flows walked",
        scenario: "hit",
        quantity: "forward in",
        arrangement: None,
        size: None,
        legend: SeriesLabelPosition::UpperLeft,
    },
    Chart {
        name: "forward-same-cpu",
        title: "Forward, 64 bytes, same CPU: Mpps by flows",
        scenario: "forward",
        quantity: "",
        arrangement: Some(Arrangement::SameCpu),
        size: Some(64),
        legend: SeriesLabelPosition::UpperRight,
    },
    Chart {
        name: "forward-split",
        title: "Forward, 64 bytes, split: Mpps by flows",
        scenario: "forward",
        quantity: "",
        arrangement: Some(Arrangement::Split),
        size: Some(64),
        legend: SeriesLabelPosition::UpperRight,
    },
];

const SIZE: (u32, u32) = (820, 400);
const COLOURS: [RGBColor; 8] = [
    RGBColor(31, 119, 180),
    RGBColor(255, 127, 14),
    RGBColor(44, 160, 44),
    RGBColor(214, 39, 40),
    RGBColor(148, 103, 189),
    RGBColor(140, 86, 75),
    RGBColor(227, 119, 194),
    RGBColor(90, 90, 90),
];

/// An element, and flows with the median and the least and the most.
type Line<'a> = (&'a str, Vec<(u64, Summary)>);

/// Draws what the run has figures for; titles, and paths as seen from the page.
///
/// # Errors
/// If a file cannot be written.
pub fn draw(results: &Results, folder: &Path) -> Result<Vec<(String, String)>> {
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let mut drawn = Vec::new();
    for chart in &CHARTS {
        let lines = chart.lines(results);
        if lines.iter().any(|(_, points)| points.len() > 1) {
            let path = folder.join(chart.name).with_extension("svg");
            chart.write(&lines, &path).with_context(|| path.display().to_string())?;
            drawn.push((chart.title.to_owned(), format!("performance/{}.svg", chart.name)));
        }
    }
    Ok(drawn)
}

impl Chart {
    fn lines<'a>(&self, results: &'a Results) -> Vec<Line<'a>> {
        let mut lines: Vec<Line<'a>> = Vec::new();
        for series in results.measurements.iter().filter(|series| self.has(series)) {
            let (Some(flows), Some(summary)) = (series.at.flows, Summary::of(&series.samples)) else {
                continue;
            };
            match lines.iter_mut().find(|(element, _)| *element == series.element) {
                Some((_, points)) => points.push((flows, summary)),
                None => lines.push((&series.element, vec![(flows, summary)])),
            }
        }
        lines
    }

    fn has(&self, series: &Measurement) -> bool {
        let At { arrangement, family, size, .. } = series.at;
        series.scenario == self.scenario
            && series.quantity == self.quantity
            && arrangement == self.arrangement
            && family == Some(Family::V4)
            && size == self.size
    }

    fn write(&self, lines: &[Line<'_>], path: &Path) -> Result<()> {
        let points = || lines.iter().flat_map(|(_, points)| points);
        let most_flows = points().map(|(flows, _)| *flows).max().context("points")?;
        let most = points().map(|(_, summary)| summary.max).fold(0.0, f64::max);
        let root = SVGBackend::new(path, SIZE).into_drawing_area();
        let drawing = |error: DrawingAreaErrorKind<std::io::Error>| anyhow!("{error}");
        root.fill(&WHITE).map_err(drawing)?;
        let mut chart = ChartBuilder::on(&root)
            .caption(self.title, ("sans-serif", 18))
            .margin(12)
            .x_label_area_size(36)
            .y_label_area_size(56)
            .build_cartesian_2d((1..most_flows * 2).log_scale(), 0.0..most * 1.05)
            .map_err(drawing)?;
        chart
            .configure_mesh()
            .light_line_style(WHITE)
            .x_desc("flows")
            .x_label_formatter(&|flows| crate::result::count(*flows))
            .draw()
            .map_err(drawing)?;
        for ((element, points), colour) in lines.iter().zip(COLOURS.iter().cycle()) {
            let medians = points.iter().map(|(flows, summary)| (*flows, summary.median));
            let line = LineSeries::new(medians, colour.stroke_width(2)).point_size(3);
            let legend = move |(x, y)| PathElement::new(vec![(x, y), (x + 18, y)], colour.stroke_width(2));
            chart.draw_series(line).map_err(drawing)?.label(*element).legend(legend);
            let spreads = points.iter().map(|(flows, summary)| {
                PathElement::new(vec![(*flows, summary.min), (*flows, summary.max)], colour.stroke_width(1))
            });
            chart.draw_series(spreads).map_err(drawing)?;
        }
        chart
            .configure_series_labels()
            .position(self.legend.clone())
            .background_style(WHITE.mix(0.85))
            .border_style(BLACK.mix(0.3))
            .draw()
            .map_err(drawing)?;
        root.present().map_err(drawing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::{Reading, Tier, Unit};

    #[test]
    fn a_chart_has_a_line_for_each_element_and_none_without_figures() {
        let mut results = Results::default();
        for element in ["fwd-xdp", "minimal"] {
            for (flows, ns) in [(1, 20.0), (1024, 25.0), (1 << 20, 120.0)] {
                let at = At { family: Some(Family::V4), flows: Some(flows), ..At::default() };
                let reading = Reading::new(ns, Unit::Nanoseconds).of("forward in").at(at);
                results.add(Tier::Program, "hit", element, reading);
            }
        }
        let folder = std::env::temp_dir().join(format!("fwd-bench-plot-{}", std::process::id()));
        let drawn = draw(&results, &folder).expect("the folder is writable");
        let svg = fs::read_to_string(folder.join("hit.svg")).expect("it was drawn");
        fs::remove_dir_all(&folder).expect("it was made just now");
        assert_eq!(drawn.iter().map(|(_, path)| path.as_str()).collect::<Vec<_>>(), ["performance/hit.svg"]);
        assert!(svg.contains("minimal") && svg.contains("<polyline"), "{svg}");
    }
}
