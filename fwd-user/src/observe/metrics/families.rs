//! Metric families as data, between the functions that fill them and the client library that writes them.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet},
};

use crate::api::settings::MetricsDetail;

use super::table::{self, MetricDoc};

/// Most series of one family: 500 ports by all drop reasons. What is over is left out, and counted.
pub const MAX_SERIES: usize = 20_000;

/// A sample's value.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Value {
    Counter(u64),
    Gauge(f64),
    Info,
}

/// One sample: values of the family's labels, in their order.
#[derive(Clone, Debug, PartialEq)]
struct Series {
    labels: Vec<String>,
    value: Value,
}

#[derive(Debug)]
struct Family {
    metric: MetricDoc,
    series: Vec<Series>,
    left_out: usize,
}

/// The families of one scrape.
#[derive(Debug)]
pub struct Families {
    detail: MetricsDetail,
    families: Vec<Family>,
}

impl Families {
    /// None yet; only those that `detail` shows will be kept.
    pub const fn new(detail: MetricsDetail) -> Self {
        Self { detail, families: Vec::new() }
    }

    pub fn counter(&mut self, metric: MetricDoc, rows: impl IntoIterator<Item = (Vec<String>, u64)>) {
        self.add(metric, rows.into_iter().map(|(labels, n)| (labels, Value::Counter(n))));
    }

    pub fn gauge(&mut self, metric: MetricDoc, rows: impl IntoIterator<Item = (Vec<String>, f64)>) {
        self.add(metric, rows.into_iter().map(|(labels, n)| (labels, Value::Gauge(n))));
    }

    pub fn info(&mut self, metric: MetricDoc, rows: impl IntoIterator<Item = Vec<String>>) {
        self.add(metric, rows.into_iter().map(|labels| (labels, Value::Info)));
    }

    fn add(&mut self, metric: MetricDoc, mut rows: impl Iterator<Item = (Vec<String>, Value)>) {
        if metric.detail > self.detail {
            return;
        }
        let series = rows.by_ref().take(MAX_SERIES).map(|(labels, value)| Series { labels, value }).collect();
        self.families.push(Family { metric, series, left_out: rows.count() });
    }

    /// Ends with how many series were left out.
    pub fn finish(mut self) -> Self {
        let left_out = self.families.iter().filter(|f| f.left_out > 0);
        let rows: Vec<_> = left_out.map(|f| (vec![f.metric.name.to_owned()], f.left_out as f64)).collect();
        self.gauge(table::SERIES_DROPPED, rows);
        self
    }
}

impl Collector for Families {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for family in &self.families {
            let (name, unit) = family.metric.family();
            let kind = family.metric.metric_type();
            let encoder = encoder.encode_descriptor(name, family.metric.help, unit.as_ref(), kind)?;
            family.encode(encoder)?;
        }
        Ok(())
    }
}

impl Family {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        for series in &self.series {
            let names = self.metric.labels.iter().copied();
            let labels: Vec<(&str, &str)> = names.zip(series.labels.iter().map(String::as_str)).collect();
            match series.value {
                Value::Info => encoder.encode_info(&labels)?,
                // As a gauge's: no suffix is added.
                Value::Counter(n) if self.metric.is_shadowed() => {
                    encoder.encode_family(&labels)?.encode_gauge(&(n as f64))?;
                }
                Value::Counter(n) if labels.is_empty() => {
                    encoder.encode_counter::<NoLabelSet, _, f64>(&n, None)?
                }
                Value::Counter(n) => {
                    encoder.encode_family(&labels)?.encode_counter::<NoLabelSet, _, f64>(&n, None)?;
                }
                Value::Gauge(n) => encoder.encode_family(&labels)?.encode_gauge(&n)?,
            }
        }
        Ok(())
    }
}
