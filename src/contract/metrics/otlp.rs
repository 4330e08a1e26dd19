//! Families as a request of the `OpenTelemetry` protocol, in its JSON form. Nothing here sends it.
//!
//! The form is that of protobuf: 64-bit integers and numbers that JSON does not know are strings.

use std::time::{Duration, SystemTime};

use serde_json::{Value as Json, json};

use super::model::{Family, Kind, Series, Value};

/// Sums are since their start, not since the last request.
const CUMULATIVE: u8 = 2;

/// An `ExportMetricsServiceRequest`: the families as they are `now`, of a process with the attributes
/// `resource`, which counts since `start` where a series does not say otherwise.
#[must_use]
pub fn request(
    families: &[Family],
    resource: &[(String, String)],
    start: SystemTime,
    now: SystemTime,
) -> Json {
    let metrics = families
        .iter()
        .filter_map(|family| metric(family, start, now));
    let metrics: Vec<_> = metrics.collect();
    json!({
        "resourceMetrics": [{
            "resource": {"attributes": attributes(resource)},
            "scopeMetrics": [{
                "scope": {"name": "layer-cake/disco", "version": env!("CARGO_PKG_VERSION")},
                "metrics": metrics,
            }],
        }],
    })
}

/// A family that has samples.
fn metric(family: &Family, start: SystemTime, now: SystemTime) -> Option<Json> {
    let points = family.samples.iter();
    let points = points.filter_map(|series| point(family.kind, series, start, now));
    let points: Vec<_> = points.collect();
    if points.is_empty() {
        return None;
    }
    let mut metric = json!({"name": family.name, "description": family.help});
    if let Some(unit) = &family.unit {
        metric["unit"] = json!(ucum(unit));
    }
    match family.kind {
        Kind::Counter => {
            metric["sum"] = json!({
                "dataPoints": points,
                "aggregationTemporality": CUMULATIVE,
                "isMonotonic": true,
            });
        }
        Kind::Gauge | Kind::Info => metric["gauge"] = json!({"dataPoints": points}),
        Kind::Summary => metric["summary"] = json!({"dataPoints": points}),
    }
    Some(metric)
}

fn point(kind: Kind, series: &Series, start: SystemTime, now: SystemTime) -> Option<Json> {
    let mut point = json!({"attributes": attributes(&series.labels)});
    match (kind, series.value) {
        (Kind::Counter | Kind::Gauge, Value::Number(value)) => point["asDouble"] = double(value),
        (Kind::Info, Value::Info) => point["asDouble"] = json!(1.0),
        (Kind::Summary, Value::Summary { count, sum }) => {
            point["count"] = json!(count.to_string());
            point["sum"] = double(sum);
        }
        _ => return None,
    }
    let is_gauge = matches!(kind, Kind::Gauge | Kind::Info);
    // A sum holds until the next one is told; a gauge was so when it was read.
    let time = series.time.filter(|_| is_gauge).unwrap_or(now);
    if !is_gauge {
        let start = series.start.unwrap_or(start);
        point["startTimeUnixNano"] = nanos(start.min(time));
    }
    point["timeUnixNano"] = nanos(time);
    Some(point)
}

fn attributes(pairs: &[(String, String)]) -> Vec<Json> {
    let pairs = pairs.iter();
    pairs
        .map(|(key, value)| json!({"key": key, "value": {"stringValue": value}}))
        .collect()
}

fn double(value: f64) -> Json {
    if value.is_nan() {
        json!("NaN")
    } else if value.is_infinite() {
        json!(if value > 0.0 { "Infinity" } else { "-Infinity" })
    } else {
        json!(value)
    }
}

/// Nanoseconds since 1970, of which 64 bits last until 2554.
fn nanos(time: SystemTime) -> Json {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    let nanos = since.map_or(0, |since: Duration| since.as_nanos());
    json!(nanos.min(u128::from(u64::MAX)).to_string())
}

/// The unit as the protocol has it, which knows the short forms.
fn ucum(unit: &str) -> &str {
    match unit {
        "bytes" => "By",
        "kilobytes" => "kBy",
        "megabytes" => "MBy",
        "gigabytes" => "GBy",
        "kibibytes" => "KiBy",
        "mebibytes" => "MiBy",
        "gibibytes" => "GiBy",
        "bits" => "bit",
        "seconds" => "s",
        "milliseconds" => "ms",
        "microseconds" => "us",
        "nanoseconds" => "ns",
        "minutes" => "min",
        "hours" => "h",
        "days" => "d",
        "percent" => "%",
        "hertz" => "Hz",
        "bytes_per_second" => "By/s",
        "bits_per_second" => "bit/s",
        other => other,
    }
}

#[cfg(test)]
mod tests;
