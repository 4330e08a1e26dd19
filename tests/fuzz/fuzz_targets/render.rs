//! Any text as a template: it is refused, fails or renders, but never panics, never reaches out of the
//! layer, and never shows a value in what it says of a failure.

#![no_main]

use std::sync::{Arc, LazyLock};

use layer_cake::contract::render::{Place, Surroundings, Template};
use libfuzzer_sys::fuzz_target;

/// Nothing is around.
struct Nowhere;

impl Surroundings for Nowhere {
    fn env(&self, _: &str) -> Option<String> {
        None
    }

    fn file(&self, _: &str) -> Result<String, String> {
        Err("is not there".to_owned())
    }
}

static AROUND: LazyLock<Arc<dyn Surroundings>> = LazyLock::new(|| Arc::new(Nowhere));

fuzz_target!(|text: &str| {
    // What is long is slow, and shows nothing new.
    if text.len() > 400 {
        return;
    }
    let place = Place {
        file: "t.j2".into(),
        before: 0,
    };
    let include = |name: &str| {
        assert!(!name.starts_with('/') && !name.split('/').any(|part| part == ".."));
        Err("is not there".to_owned())
    };
    let Ok(template) = Template::compile(place, text.to_owned(), &include) else {
        return;
    };
    let secret = "hunter2hunter2";
    let data = serde_json::json!({"db": {"s": secret, "n": 77_777_777, "l": [secret], "m": {"k": secret}}});
    if let Err(problem) = template.render(&data, &AROUND) {
        let told = problem.to_string();
        let is_written = |value: &str| text.contains(value);
        assert!(!told.contains(secret) || is_written("hunter"), "{told}");
        assert!(!told.contains("77777777") || is_written("7"), "{told}");
    }
});
