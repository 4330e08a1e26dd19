//! Requests as the protocol has them in JSON.

use super::*;

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn family(name: &str, kind: Kind, unit: Option<&str>, value: Value) -> Family {
    Family {
        name: name.to_owned(),
        kind,
        unit: unit.map(str::to_owned),
        help: String::new(),
        samples: vec![Series {
            labels: vec![("a".to_owned(), "b".to_owned())],
            value,
            time: None,
            start: None,
        }],
    }
}

#[test]
fn a32_a_request_is_what_the_protocol_says() {
    let mut gauge = family(
        "g_bytes",
        Kind::Gauge,
        Some("bytes"),
        Value::Number(f64::NAN),
    );
    gauge.help = "agent=diamond".to_owned();
    gauge.samples[0].time = Some(at(5));
    let mut counter = family("c", Kind::Counter, None, Value::Number(48.0));
    counter.samples[0].start = Some(at(7));
    counter.samples[0].time = Some(at(8));
    let summary = Value::Summary {
        count: u64::MAX,
        sum: f64::INFINITY,
    };
    let mut declared = family("d", Kind::Gauge, None, Value::Number(1.0));
    declared.samples.clear();
    let families = [
        gauge,
        counter,
        family("i", Kind::Info, None, Value::Info),
        family("s", Kind::Summary, Some("x"), summary),
        declared,
        family("wrong", Kind::Counter, None, Value::Info),
    ];
    let resource = [("service.name".to_owned(), "web".to_owned())];
    let label = json!([{"key": "a", "value": {"stringValue": "b"}}]);
    assert_eq!(
        request(&families, &resource, at(6), at(9)),
        json!({"resourceMetrics": [{
            "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "web"}}]},
            "scopeMetrics": [{
                "scope": {"name": "layer-cake/disco", "version": env!("CARGO_PKG_VERSION")},
                "metrics": [
                    {
                        "name": "g_bytes", "description": "agent=diamond", "unit": "By",
                        "gauge": {"dataPoints": [{
                            "attributes": label, "asDouble": "NaN", "timeUnixNano": "5000000000",
                        }]},
                    },
                    {
                        "name": "c", "description": "",
                        "sum": {
                            "dataPoints": [{
                                "attributes": label, "asDouble": 48.0,
                                "startTimeUnixNano": "7000000000", "timeUnixNano": "9000000000",
                            }],
                            "aggregationTemporality": 2, "isMonotonic": true,
                        },
                    },
                    {
                        "name": "i", "description": "",
                        "gauge": {"dataPoints": [{
                            "attributes": label, "asDouble": 1.0, "timeUnixNano": "9000000000",
                        }]},
                    },
                    {
                        "name": "s", "description": "", "unit": "x",
                        "summary": {"dataPoints": [{
                            "attributes": label, "count": "18446744073709551615", "sum": "Infinity",
                            "startTimeUnixNano": "6000000000", "timeUnixNano": "9000000000",
                        }]},
                    },
                ],
            }],
        }]})
    );
    assert_eq!(double(f64::NEG_INFINITY), json!("-Infinity"));
}

#[test]
fn a32_a_clock_far_off_makes_no_time_that_is_no_time() {
    let before = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
    assert_eq!(nanos(before), json!("0"));
    assert_eq!(nanos(at(100_000_000_000)), json!("18446744073709551615"));
    // The start is never behind the end.
    let family = family("c", Kind::Counter, None, Value::Number(1.0));
    let request = request(&[family], &[], at(9), at(6));
    let text = request.to_string();
    assert!(text.contains(r#""startTimeUnixNano":"6000000000","timeUnixNano":"6000000000""#));
}
