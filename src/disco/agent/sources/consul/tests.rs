//! The loop against a scripted server: which requests it sends, what it publishes.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use base64::Engine as _;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch as flag};

use super::super::Update;
use super::*;
use crate::disco::settings::SourceSettings;
use crate::disco::settings::tests::checked;

/// What the server does with one request; afterwards it never answers again.
enum Step {
    Answer(String),
    /// Closes the connection without a word.
    Close,
    /// Answers after writing a file.
    Write(std::path::PathBuf, &'static str, String),
}

fn status(status: u16, headers: &str, body: &str) -> Step {
    Step::Answer(raw(status, headers, body))
}

fn raw(status: u16, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n{headers}\r\n{body}")
}

/// The key `a` with this value, at this index.
fn key(index: u64, value: &str) -> Step {
    Step::Answer(key_raw(index, value, ""))
}

fn key_raw(index: u64, value: &str, headers: &str) -> String {
    let value = base64::engine::general_purpose::STANDARD.encode(value);
    let body = json!([{"Key": "a", "Value": value}]).to_string();
    raw(200, &format!("X-Consul-Index: {index}\r\n{headers}"), &body)
}

/// What was seen until the script was over: heads of requests, the last one unanswered, and updates.
struct Seen {
    requests: Vec<String>,
    updates: Vec<Update>,
}

impl Seen {
    /// The `index` of each request; 0 where it has none.
    fn indices(&self) -> Vec<u64> {
        let index = |request: &String| {
            let after = request.split_once("&index=").map(|(_, after)| after);
            after.map_or(0, |text| text.split('&').next().unwrap().parse().unwrap())
        };
        self.requests.iter().map(index).collect()
    }

    /// Updates in short: the value of `a`, `down`, `up`.
    fn story(&self) -> Vec<String> {
        let short = |update: &Update| match update {
            Update::Snapshot(tree) => tree["a"].as_str().unwrap_or("none").to_owned(),
            Update::Down(_) => "down".to_owned(),
            Update::Up => "up".to_owned(),
        };
        self.updates.iter().map(short).collect()
    }
}

fn play(text: &str, subject: Subject, script: Vec<Step>) -> Seen {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let text = text.replace("PORT", &port.to_string());
        let settings = match checked(&text, &[]).unwrap().sources.remove(0) {
            SourceSettings::Consul(settings) => settings,
            other => panic!("{other:?}"),
        };
        let steps = script.len();
        let script = Rc::new(RefCell::new(VecDeque::from(script)));
        let requests = Rc::new(RefCell::new(Vec::new()));
        tokio::task::spawn_local({
            let requests = Rc::clone(&requests);
            async move {
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    let (script, requests) = (Rc::clone(&script), Rc::clone(&requests));
                    tokio::task::spawn_local(serve(stream, script, requests));
                }
            }
        });
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let publisher = Publisher {
            index: 0,
            name: "consul".to_owned(),
            updates: sender,
            last: None,
            is_down: false,
            failures: 0,
            notes: Vec::new(),
            backoff: Backoff::new(Duration::from_millis(10)),
            wanted: flag::channel(true).1,
        };
        tokio::task::spawn_local(watch(settings, subject, publisher));
        tokio::time::timeout(Duration::from_secs(20), async {
            while requests.borrow().len() <= steps {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            // What is held back comes after the request that follows it.
            tokio::time::sleep(query::QUIESCENCE * 2).await;
        })
        .await
        .expect("the loop has to go through the script");
        let mut updates = Vec::new();
        while let Ok((_, update)) = receiver.try_recv() {
            updates.push(update);
        }
        Seen {
            requests: requests.take(),
            updates,
        }
    })
}

async fn serve(
    mut stream: TcpStream,
    script: Rc<RefCell<VecDeque<Step>>>,
    requests: Rc<RefCell<Vec<String>>>,
) {
    let mut head = Vec::new();
    while let Ok(byte) = stream.read_u8().await {
        head.push(byte);
        if !head.ends_with(b"\r\n\r\n") {
            continue;
        }
        let text = String::from_utf8(std::mem::take(&mut head)).unwrap();
        requests.borrow_mut().push(text);
        let step = script.borrow_mut().pop_front();
        let answer = match step {
            Some(Step::Answer(answer)) => answer,
            Some(Step::Write(path, text, answer)) => {
                std::fs::write(path, text).unwrap();
                answer
            }
            Some(Step::Close) => return,
            None => std::future::pending().await,
        };
        stream.write_all(answer.as_bytes()).await.unwrap();
        if answer.contains("Connection: close") {
            return;
        }
    }
}

fn keys(text: &str, script: Vec<Step>) -> Seen {
    let host = "consul.host=http://127.0.0.1:PORT";
    play(&format!("{host}|{text}"), Subject::Keys, script)
}

#[test]
fn c2_1_5_after_any_failure_the_next_read_is_a_full_one() {
    let index = "X-Consul-Index: 7\r\n";
    for failure in [
        Step::Close,
        status(500, "", "No cluster leader"),
        status(503, "", ""),
        status(429, "", ""),
        status(403, "", "ACL not found"),
        status(404, "", ""),
        status(200, index, "<html>"),
        status(200, index, r#"[{"Key": "a", "Value": "@"}]"#),
        Step::Answer(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n{index}Connection: close\r\n\r\n[]"
        )),
        Step::Answer("nonsense\r\n\r\n".to_owned()),
    ] {
        // The server comes back with the same index and other contents.
        let seen = keys("", vec![key(5, "one"), failure, key(5, "two")]);
        assert_eq!(seen.indices(), [0, 5, 0, 5]);
        assert_eq!(seen.story(), ["one", "down", "two"]);
    }
}

#[test]
fn c2_1_5_an_index_that_goes_back_is_read_anew() {
    let seen = keys("", vec![key(9, "one"), key(4, "two"), key(4, "three")]);
    assert_eq!(seen.indices(), [0, 9, 0, 4]);
    assert_eq!(seen.story(), ["one", "two", "three"]);
}

#[test]
fn c2_1_5_a_query_let_go_early_without_news_is_read_anew() {
    // What Consul does when a snapshot is restored.
    let seen = keys("", vec![key(9, "one"), key(9, "one"), key(4, "two")]);
    assert_eq!(seen.indices(), [0, 9, 0, 4]);
    assert_eq!(seen.story(), ["one", "two"]);
}

#[test]
fn c2_1_6_an_index_of_zero_still_blocks() {
    let seen = keys("", vec![key(0, "one"), key(0, "one")]);
    assert_eq!(seen.indices(), [0, 1, 0]);
}

#[test]
fn c2_1_4_7_an_answer_without_a_change_is_no_news() {
    let seen = keys("", vec![key(5, "one"), key(6, "one"), key(7, "two")]);
    assert_eq!(seen.indices(), [0, 5, 6, 7]);
    assert_eq!(seen.story(), ["one", "two"]);
}

#[test]
fn c2_1_2_not_found_is_watched_too() {
    let missing = status(404, "X-Consul-Index: 1\r\n", "");
    let seen = keys("", vec![missing, key(2, "one")]);
    assert_eq!(seen.indices(), [0, 1, 2]);
    assert_eq!(seen.story(), ["none", "one"]);
}

#[test]
fn c2_1_9_a_rotated_token_file_is_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, "one\n").unwrap();
    let denied = raw(403, "", "Permission denied");
    let script = vec![Step::Write(file.clone(), "two\n", denied), key(5, "one")];
    let seen = keys(&format!("consul.token_file={}", file.display()), script);
    let tokens: Vec<_> = seen
        .requests
        .iter()
        .map(|request| request.to_lowercase().contains("x-consul-token: two\r\n"))
        .collect();
    assert_eq!(tokens, [false, true, true], "{:?}", seen.requests);
    assert_eq!(seen.story(), ["down", "one"]);
}

#[test]
fn secrets_go_in_headers_and_nowhere_else() {
    let seen = keys(
        "consul.token=hunter2|consul.auth=me:hunter2",
        vec![status(500, "", "hunter2 is no good"), key(5, "one")],
    );
    for request in &seen.requests {
        let (line, headers) = request.split_once("\r\n").unwrap();
        assert!(!line.contains("hunter2"), "{line}");
        let headers = headers.to_lowercase();
        assert!(headers.contains("x-consul-token: hunter2\r\n"), "{headers}");
        assert!(headers.contains("authorization: basic "), "{headers}");
    }
    match &seen.updates[0] {
        Update::Down(reason) => assert!(reason.ends_with(": status 500"), "{reason}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn c2_1_10_the_next_endpoint_is_tried_at_once() {
    // Nothing listens on port 1.
    let text = "consul.host=http://127.0.0.1:1,http://127.0.0.1:PORT";
    let seen = play(text, Subject::Keys, vec![key(5, "one")]);
    assert_eq!(seen.story(), ["down", "one"]);
    match &seen.updates[0] {
        Update::Down(reason) => assert!(
            reason.starts_with("consul http://127.0.0.1:1: connection refused"),
            "{reason}"
        ),
        other => panic!("{other:?}"),
    }
}

#[test]
fn c2_1_10_a_wrong_setting_is_told() {
    let text = "consul.host=http://127.0.0.1:PORT,http://127.0.0.1:PORT|consul.namespace=x";
    let refused = status(400, "", "Invalid query parameter: \"ns\"");
    let seen = play(text, Subject::Keys, vec![refused]);
    match &seen.updates[0] {
        Update::Down(reason) => assert!(
            reason
                .ends_with(": 400 invalid query parameter: \"ns\"; check the settings of `consul`"),
            "{reason}"
        ),
        other => panic!("{other:?}"),
    }
}

#[test]
fn c2_1_11_an_answer_that_is_too_stale_is_asked_of_the_leader() {
    let old = key_raw(5, "old", "X-Consul-LastContact: 20000\r\n");
    let seen = keys(
        "consul.consistency=stale",
        vec![
            Step::Answer(key_raw(5, "one", "X-Consul-LastContact: 20\r\n")),
            Step::Answer(old),
            key(8, "two"),
            status(500, "", ""),
        ],
    );
    let stale: Vec<_> = seen
        .requests
        .iter()
        .map(|r| r.contains("stale=true"))
        .collect();
    assert_eq!(stale, [true, true, false, false, true]);
    assert_eq!(seen.indices(), [0, 5, 0, 8, 0]);
    assert_eq!(seen.story(), ["one", "two", "down"]);
}

#[test]
fn c2_1_8_transitions_of_a_service_are_gathered() {
    let instances = |index: u64, count: usize| {
        let list: Vec<_> = (0..count)
            .map(|id| {
                json!({
                    "Node": {"Node": "n", "Address": "10.0.0.1"},
                    "Service": {"ID": id.to_string(), "Port": 1},
                })
            })
            .collect();
        let body = Value::Array(list).to_string();
        status(200, &format!("X-Consul-Index: {index}\r\n"), &body)
    };
    let script = vec![
        instances(1, 0),
        instances(2, 1),
        instances(3, 2),
        instances(4, 3),
    ];
    let subject = Subject::Service("db".to_owned());
    let seen = play("consul.host=http://127.0.0.1:PORT", subject, script);
    let counts: Vec<_> = seen
        .updates
        .iter()
        .map(|update| match update {
            Update::Snapshot(tree) => tree["services"]["db"]["instances"]
                .as_array()
                .unwrap()
                .len(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(counts, [0, 3]);
}

#[test]
fn an_empty_token_file_is_no_anonymous_read() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, "\n").unwrap();
    let failure = token(&TokenSource::File(file)).unwrap_err();
    assert!(failure.reason().ends_with("is empty"), "{failure:?}");
    let failure = token(&TokenSource::File(dir.path().join("none"))).unwrap_err();
    assert!(failure.reason().contains("no such file"), "{failure:?}");
}
