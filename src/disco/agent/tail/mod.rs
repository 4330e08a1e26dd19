//! What the container says of itself, read out of pipes and files: log lines go out as they come, points
//! of metrics are kept until somebody wants them.
//!
//! A thread of its own does it, since writing to a slow reader means to wait, and neither rules nor those
//! who ask how it is can. Both sides share the [`Shared`] numbers and the store, and nothing else.

mod bell;
pub mod files;
mod lines;
mod output;
mod rate;
mod reader;
mod teller;

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use nix::fcntl::{FcntlArg, fcntl};
use tokio::sync::oneshot;
use tracing::{debug, warn};

use self::bell::Bell;
use self::files::{Files, From as Begin};
use self::output::{Output, Patience};
use self::rate::Limits;
use self::reader::Reader;
use crate::contract::logline::Level;
use crate::contract::logline::render::Form;
use crate::contract::metrics::store::{self, Store};
use crate::disco::log;
use crate::disco::settings::Settings;

/// How much the kernel is asked to keep in a pipe while nobody reads; the most that it gives to anybody
/// (`pipe-max-size`, pipe(7)).
const CAPACITY: i32 = 1 << 20;

/// Text that the store may keep, of names, labels and what is told about them.
const STORE_BYTES: usize = 16 << 20;

/// What the lines of an input are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Lines of a log.
    Logs,
    /// Metrics 2.0.
    Metrics,
}

/// What is to be read.
#[derive(Debug, Default)]
pub struct Inputs<'a> {
    /// Ends of pipes, which do not wait.
    pub pipes: Vec<(BorrowedFd<'a>, Role)>,
    /// Regular files and directories of such, there or not.
    pub files: Vec<(PathBuf, Role)>,
}

impl Inputs<'_> {
    /// Whether there is nothing to be read, ever.
    #[must_use]
    pub fn are_none(&self) -> bool {
        self.pipes.is_empty() && self.files.is_empty()
    }
}

/// What has come in under one name.
#[derive(Debug)]
pub struct Counts {
    /// The name.
    pub path: String,
    /// What its lines are.
    pub role: Role,
    /// Bytes read.
    pub bytes: AtomicU64,
    /// Lines read.
    pub lines: AtomicU64,
}

/// Nobody has read yet.
const IDLE: u8 = 0;
/// Something has been read, so that whoever reads has to go on.
const ACTIVE: u8 = 1;
/// Nothing has been read, and nothing is to be.
const STOPPED: u8 = 2;

/// What the thread and the agent's loop both know.
pub struct Shared {
    state: AtomicU8,
    inputs: Mutex<Vec<Arc<Counts>>>,
    store: Mutex<Store>,
    /// Log lines written, by level.
    pub lines: [AtomicU64; Level::ALL.len()],
    /// Log lines dropped because their level had had its share.
    pub dropped: [AtomicU64; Level::ALL.len()],
    /// Metrics that could not be read.
    pub refused: AtomicU64,
    progress: Arc<AtomicU64>,
}

impl Shared {
    /// What has come in, by path.
    #[must_use]
    pub fn inputs(&self) -> Vec<Arc<Counts>> {
        self.inputs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The points.
    pub fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn counts(&self, path: &str, role: Role) -> Arc<Counts> {
        let mut inputs = self.inputs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = inputs.iter().find(|known| known.path == path) {
            return known.clone();
        }
        let counts = Arc::new(Counts {
            path: path.to_owned(),
            role,
            bytes: AtomicU64::new(0),
            lines: AtomicU64::new(0),
        });
        inputs.push(counts.clone());
        counts
    }

    /// Makes sure that whoever reads goes on, before the first byte is taken out of a pipe.
    fn claim(&self) -> bool {
        let claimed =
            self.state
                .compare_exchange(IDLE, ACTIVE, Ordering::AcqRel, Ordering::Acquire);
        claimed != Err(STOPPED)
    }
}

/// The reading thread as the agent sees it.
pub struct Tail {
    shared: Arc<Shared>,
    bell: Bell,
    ended: oneshot::Receiver<()>,
    seen: u64,
}

impl Tail {
    /// Starts to read. `stdout` is the way for the levels that are sent there.
    ///
    /// # Errors
    /// What the kernel refuses: descriptors, a thread.
    pub fn start(
        settings: &Settings,
        inputs: &Inputs<'_>,
        stdout: Option<OwnedFd>,
    ) -> io::Result<Self> {
        let data = &settings.data;
        let limits = store::Limits {
            series: data.series,
            bytes: STORE_BYTES,
            expire: data.expire,
        };
        let has_files = !inputs.files.is_empty();
        let shared = Arc::new(Shared {
            // What is in a file does not wait for us to be there.
            state: AtomicU8::new(if has_files { ACTIVE } else { IDLE }),
            inputs: Mutex::default(),
            store: Mutex::new(Store::new(limits)),
            lines: Default::default(),
            dropped: Default::default(),
            refused: AtomicU64::new(0),
            progress: Arc::default(),
        });
        let bell = Bell::new()?;
        let form = match settings.log_format {
            log::Format::Text => Form::Text,
            log::Format::Json => Form::Json {
                fields: data.fields,
            },
        };
        let patience = Patience {
            bell: bell.clone(),
            limit: settings.plan.drain,
            progress: shared.progress.clone(),
        };
        let output = Output::new(form, stdout, &data.stdout, patience)?;
        let mut pipes = Vec::new();
        for (end, role) in &inputs.pipes {
            if let Err(error) = fcntl(end, FcntlArg::F_SETPIPE_SZ(CAPACITY)) {
                debug!("a pipe stays as large as it is: {}", error.desc());
            }
            let path = match role {
                Role::Logs => data.logs(),
                Role::Metrics => data.metrics(),
            };
            pipes.push((end.try_clone_to_owned()?, *role, path));
        }
        let paths: Vec<_> = inputs.files.iter().map(|(path, _)| path.clone()).collect();
        let begin = if data.from_end {
            Begin::End
        } else {
            Begin::Beginning
        };
        let files = match has_files.then(|| Files::new(&paths, begin)).transpose() {
            Ok(files) => files,
            Err(error) => {
                warn!(
                    "no file can be followed: {}; see fs.inotify.max_user_instances",
                    error.desc()
                );
                None
            }
        };
        let limits = Limits::new(&data.rates, Instant::now());
        let reader = Reader::new(
            pipes,
            files,
            inputs.files.clone(),
            (output, limits),
            (shared.clone(), bell.clone()),
            data.line,
        )?;
        let (end, ended) = oneshot::channel();
        let thread = std::thread::Builder::new().name("tail".to_owned());
        thread.spawn(move || {
            reader.run();
            // Nobody listens who is gone.
            let _ = end.send(());
        })?;
        Ok(Self {
            shared,
            bell,
            ended,
            seen: 0,
        })
    }

    /// What has been read.
    #[must_use]
    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Whether somebody has to go on reading. If not, nobody does from here on.
    #[must_use]
    pub fn is_needed(&self) -> bool {
        let stopped =
            self.shared
                .state
                .compare_exchange(IDLE, STOPPED, Ordering::AcqRel, Ordering::Acquire);
        stopped == Err(ACTIVE)
    }

    /// Has the thread read what is left, and come to an end.
    pub fn finish(&self) {
        self.bell.ring();
    }

    /// Waits for the thread's end.
    pub async fn ended(&mut self) {
        // An error says the same: it is gone.
        let _ = (&mut self.ended).await;
    }

    /// Whether it has got on since the last time.
    pub fn gets_on(&mut self) -> bool {
        let progress = self.shared.progress.load(Ordering::Relaxed);
        std::mem::replace(&mut self.seen, progress) != progress
    }
}
