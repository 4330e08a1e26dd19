//! Families of series: what a container's points and disco's own numbers both become before they are
//! written. Names are taken as they are; [`store`](super::store) makes those of foreign points.

use std::time::SystemTime;

/// The series of one name.
#[derive(Debug, Clone, PartialEq)]
pub struct Family {
    /// The name, without what a form of writing puts behind it, such as `_total`.
    pub name: String,
    /// What the samples are.
    pub kind: Kind,
    /// The unit, in which the name ends then: `bytes`, `seconds`.
    pub unit: Option<String>,
    /// What is told about it; may be empty.
    pub help: String,
    /// The series; a family that is only declared has none.
    pub samples: Vec<Series>,
}

/// What the samples of a family are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Only rises, or begins again.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Says something in its labels.
    Info,
    /// How often, and how much in all.
    Summary,
}

/// One series, as it is now.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Names and values, in the order in which they are written.
    pub labels: Vec<(String, String)>,
    /// The sample; one that does not fit the kind of its family is not written.
    pub value: Value,
    /// When it was sampled, where that is known to differ from now.
    pub time: Option<SystemTime>,
    /// Since when it counts, where that is known.
    pub start: Option<SystemTime>,
}

/// A sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
    /// Of a counter or a gauge.
    Number(f64),
    /// Of a summary.
    Summary {
        /// How often.
        count: u64,
        /// How much in all.
        sum: f64,
    },
    /// Of an info, which has only labels.
    Info,
}

impl Kind {
    /// What is put behind the name of a family, besides nothing: names that no other family may have.
    #[must_use]
    pub fn suffixes(self) -> &'static [&'static str] {
        match self {
            Self::Counter => &["_total", "_created"],
            Self::Gauge => &[],
            Self::Info => &["_info"],
            Self::Summary => &["_count", "_sum", "_created"],
        }
    }
}
