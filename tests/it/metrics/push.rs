//! Metrics pushed to an OpenTelemetry receiver, one that a test plays.

use crate::data::with;
use crate::support::{DEADLINE, Sandbox, wait_for};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

/// What was received: head and body of each request.
type Received = Arc<Mutex<Vec<(String, Value)>>>;

/// A receiver that answers with `status` and remembers what it got.
fn receiver(status: &'static str) -> (SocketAddr, Received) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, received) = (listener.local_addr().unwrap(), Received::default());
    let all = received.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let all = all.clone();
            std::thread::spawn(move || {
                let mut bytes = Vec::new();
                let mut chunk = [0; 65536];
                while let Ok(count @ 1..) = stream.read(&mut chunk) {
                    bytes.extend_from_slice(&chunk[..count]);
                    let text = String::from_utf8_lossy(&bytes).into_owned();
                    let Some((head, body)) = text.split_once("\r\n\r\n") else {
                        continue;
                    };
                    let length = head
                        .to_lowercase()
                        .split("content-length: ")
                        .nth(1)
                        .map(|rest| rest.split("\r\n").next().unwrap().parse::<usize>().unwrap());
                    if body.len() < length.unwrap() {
                        continue;
                    }
                    all.lock()
                        .unwrap()
                        .push((head.to_owned(), serde_json::from_str(body).unwrap()));
                    bytes.clear();
                    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\n{{}}");
                    stream.write_all(answer.as_bytes()).unwrap();
                }
            });
        }
    });
    (address, received)
}

fn metric<'a>(body: &'a Value, name: &str) -> Option<&'a Value> {
    let mut all = body["resourceMetrics"][0]["scopeMetrics"][0]["metrics"]
        .as_array()?
        .iter();
    all.find(|metric| metric["name"] == name)
}

#[test]
fn a32_metrics_are_sent_at_the_interval_and_once_more_at_the_end() {
    let (address, received) = receiver("200 OK");
    let sandbox = Sandbox::new();
    let more = format!(
        "|disco.otlp=http://{address}|otlp.interval=100ms|otlp.headers=Authorization=Bearer hunter2"
    );
    let line = "trap 'echo what=last unit=B mtype=gauge 9 > $M; exit 0' TERM; \
        echo 'what=requests unit=Req mtype=counter  a=b 5' > $M; while :; do sleep 0.01; done";
    let running = with(&sandbox, &more, line)
        .env("OTEL_SERVICE_NAME", "shop")
        .spawn();
    let (head, body) = wait_for("a request with the metric", DEADLINE, || {
        let all = received.lock().unwrap();
        all.iter()
            .find(|(_, body)| metric(body, "requests_req").is_some())
            .cloned()
    });
    assert!(head.starts_with("POST /v1/metrics HTTP/1.1\r\n"), "{head}");
    let head = head.to_lowercase();
    assert!(head.contains("content-type: application/json"), "{head}");
    assert!(head.contains("authorization: bearer hunter2"), "{head}");
    let sum = &metric(&body, "requests_req").unwrap()["sum"];
    assert_eq!(
        (&sum["isMonotonic"], &sum["dataPoints"][0]["asDouble"]),
        (&true.into(), &5.0.into())
    );
    let attributes = &body["resourceMetrics"][0]["resource"]["attributes"];
    assert!(attributes.to_string().contains("shop"), "{attributes}");
    assert!(metric(&body, "disco_command_up").is_some());
    running.signal(Signal::SIGTERM);
    let out = running.wait();
    out.assert_code(0);
    let all = received.lock().unwrap();
    assert!(
        metric(&all.last().unwrap().1, "last_bytes").is_some(),
        "the last word was not sent"
    );
    assert!(!out.stderr.contains("hunter2"), "{}", out.stderr);
}

#[test]
fn a32_a_receiver_that_refuses_is_told_of_once_and_hinders_nothing() {
    let (address, received) = receiver("503 Service Unavailable");
    let sandbox = Sandbox::new();
    let more = format!("|disco.otlp=http://{address}/x|otlp.interval=100ms");
    let running = with(&sandbox, &more, "echo INFO works > $L; exec sleep 1000").spawn();
    running.wait_stderr("INFO works");
    wait_for("three requests", DEADLINE, || {
        (received.lock().unwrap().len() > 2).then_some(())
    });
    assert!(
        received.lock().unwrap()[0]
            .0
            .starts_with("POST /x HTTP/1.1")
    );
    let told = running.stderr_so_far();
    assert_eq!(
        told.matches("metrics are not taken by").count(),
        1,
        "{told}"
    );
    assert!(told.contains("503"), "{told}");
    running.signal(Signal::SIGTERM);
    running.wait().assert_code(143);
}
