//! A line of a log: no panic; the message is the end of the line; what comes out is one line of UTF-8, and
//! as JSON an object.

#![no_main]

use layer_cake::contract::logline::render::{self, Clock, Entry, Form};
use layer_cake::contract::logline::{self, Level};
use layer_cake::contract::time::Time;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|line: &[u8]| {
    let parsed = logline::parse(line);
    assert!(line.ends_with(parsed.message));
    let _ = logline::is_continuation(line);
    for form in [Form::Text, Form::Json { fields: false }, Form::Json { fields: true }] {
        let mut out = Vec::new();
        let entry = Entry {
            time: parsed.time.unwrap_or_else(Time::now),
            level: parsed.level.unwrap_or(Level::Info),
            message: parsed.message,
            file: None,
        };
        render::write(&mut out, form, &mut Clock::default(), &entry);
        let text = std::str::from_utf8(&out).expect("UTF-8");
        assert!(text.ends_with('\n') && text.matches('\n').count() == 1);
        if form != Form::Text {
            serde_json::from_str::<serde_json::Map<_, _>>(text).expect("an object");
        }
    }
});
