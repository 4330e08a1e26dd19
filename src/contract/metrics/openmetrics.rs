//! Families as text for who asks over HTTP: `OpenMetrics` 1.0, and the older Prometheus format for those
//! that do not take it. Samples carry no time: a reader takes its own.

use std::borrow::Cow;

use super::model::{Family, Kind, Series, Value};

/// What [`write()`] makes.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// What [`write_prometheus`] makes.
pub const PROMETHEUS_CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The families as `OpenMetrics`. Their names and labels are expected to be valid and apart, as
/// [`store`](super::store) makes them.
#[must_use]
pub fn write(families: &[Family]) -> String {
    let mut text = String::new();
    for family in families {
        let name = &family.name;
        let kind = match family.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Info => "info",
            Kind::Summary => "summary",
        };
        line(&mut text, &["# TYPE ", name, " ", kind]);
        if let Some(unit) = family.unit.as_deref().filter(|_| family.kind != Kind::Info) {
            line(&mut text, &["# UNIT ", name, " ", unit]);
        }
        if !family.help.is_empty() {
            let help = escaped(&family.help, true);
            line(&mut text, &["# HELP ", name, " ", &help]);
        }
        samples(&mut text, family);
    }
    text.push_str("# EOF\n");
    text
}

/// The families in the text format that was before: its types are about the names of the samples.
#[must_use]
pub fn write_prometheus(families: &[Family]) -> String {
    let mut text = String::new();
    for family in families {
        let (suffix, kind) = match family.kind {
            Kind::Counter => ("_total", "counter"),
            Kind::Gauge => ("", "gauge"),
            Kind::Info => ("_info", "gauge"),
            Kind::Summary => ("", "summary"),
        };
        let name = &family.name;
        if !family.help.is_empty() {
            let help = escaped(&family.help, false);
            line(&mut text, &["# HELP ", name, suffix, " ", &help]);
        }
        line(&mut text, &["# TYPE ", name, suffix, " ", kind]);
        samples(&mut text, family);
    }
    text
}

/// Both formats write samples in one way.
fn samples(text: &mut String, family: &Family) {
    for series in &family.samples {
        let name = &family.name;
        match (family.kind, series.value) {
            (Kind::Counter, Value::Number(value)) => {
                sample(text, &[name, "_total"], series, &number(value));
            }
            (Kind::Gauge, Value::Number(value)) => sample(text, &[name], series, &number(value)),
            (Kind::Info, Value::Info) => sample(text, &[name, "_info"], series, "1"),
            (Kind::Summary, Value::Summary { count, sum }) => {
                sample(text, &[name, "_count"], series, &count.to_string());
                sample(text, &[name, "_sum"], series, &number(sum));
            }
            _ => {}
        }
    }
}

fn sample(text: &mut String, name: &[&str], series: &Series, value: &str) {
    text.extend(name.iter().copied());
    let mut before = "{";
    for (name, value) in &series.labels {
        text.extend([before, name, "=\"", &escaped(value, true), "\""]);
        before = ",";
    }
    if !series.labels.is_empty() {
        text.push('}');
    }
    line(text, &[" ", value]);
}

fn line(text: &mut String, parts: &[&str]) {
    text.extend(parts.iter().copied());
    text.push('\n');
}

/// A quote needs no backslash in the help of the older format, and would keep it.
fn escaped(text: &str, quotes: bool) -> Cow<'_, str> {
    let is_special = |c: char| matches!(c, '\\' | '\n') || (quotes && c == '"');
    if !text.contains(is_special) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_special(c) {
            escaped.push('\\');
        }
        escaped.push(if c == '\n' { 'n' } else { c });
    }
    Cow::Owned(escaped)
}

fn number(value: f64) -> String {
    let size = value.abs();
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned()
    } else if size != 0.0 && !(1e-6..1e17).contains(&size) {
        format!("{value:e}")
    } else {
        value.to_string()
    }
}

#[cfg(test)]
mod tests;
