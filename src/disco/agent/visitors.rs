//! Those who ask the agent something: over the status socket, which init hands on, or from within, such
//! as the endpoint of metrics. Heard and answered without waiting for anybody; what the answers are is
//! others' business.

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::rc::Rc;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};
use serde_json::{Map, Value};
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use super::metrics::serve::Asked;
use crate::disco::link;

/// How long somebody who has connected may take to say what is wanted.
const MOMENT: Duration = Duration::from_millis(100);

/// How long somebody who asks may take to read the answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// How many may be at it. Who comes beyond that gets what fits into a socket at once.
const READERS: usize = 16;

/// What somebody wants to know.
pub enum Visit {
    /// How it is.
    Status(OwnedFd),
    /// That, and all metrics as text.
    Metrics(OwnedFd),
    /// What there is to be measured, to make of it what it takes.
    Families(Asked),
}

/// Those who ask.
pub struct Visitors {
    /// Counts those who are still at it.
    tickets: Rc<()>,
    sender: mpsc::UnboundedSender<Visit>,
    visits: mpsc::UnboundedReceiver<Visit>,
    asked: mpsc::UnboundedSender<Asked>,
    questions: mpsc::UnboundedReceiver<Asked>,
}

impl Default for Visitors {
    fn default() -> Self {
        let (sender, visits) = mpsc::unbounded_channel();
        let (asked, questions) = mpsc::unbounded_channel();
        Self {
            tickets: Rc::default(),
            sender,
            visits,
            asked,
            questions,
        }
    }
}

impl Visitors {
    /// A way for others of this process to ask for families.
    #[must_use]
    pub fn asked(&self) -> mpsc::UnboundedSender<Asked> {
        self.asked.clone()
    }

    /// The next who wants to know. Nothing is lost when this is dropped before it is done.
    pub async fn next(&mut self) -> Option<Visit> {
        tokio::select! {
            visit = self.visits.recv() => visit,
            asked = self.questions.recv() => asked.map(Visit::Families),
        }
    }

    /// Hears what somebody wants who has connected: what is said at once, or in a moment. Silence means
    /// that it is the status.
    pub fn hear(&self, client: OwnedFd) {
        let visit = |word: &[u8], client| match word {
            link::METRICS => Visit::Metrics(client),
            _ => Visit::Status(client),
        };
        let mut word = [0; 16];
        let heard = recv(client.as_raw_fd(), &mut word, MsgFlags::MSG_DONTWAIT);
        if heard != Err(Errno::EAGAIN) || Rc::strong_count(&self.tickets) > READERS {
            let word = word.get(..heard.unwrap_or(0)).unwrap_or_default();
            // The receiver is ours.
            let _ = self.sender.send(visit(word, client));
            return;
        }
        let client = StdUnixStream::from(client);
        let Ok(client) = UnixStream::from_std(client) else {
            return;
        };
        let (ticket, sender) = (self.tickets.clone(), self.sender.clone());
        tokio::task::spawn_local(async move {
            // Whoever says nothing gets the answer to what is asked most.
            let _ = tokio::time::timeout(MOMENT, client.readable()).await;
            let length = client.try_read(&mut word).unwrap_or(0);
            if let Ok(client) = client.into_std() {
                let word = word.get(..length).unwrap_or_default();
                let _ = sender.send(visit(word, client.into()));
            }
            drop(ticket);
        });
    }

    /// Ends a document that init has begun, and closes the connection. Waits for nobody: what a slow
    /// reader does not take at once is a task's, for two seconds.
    pub fn finish(&self, client: OwnedFd, members: &Map<String, Value>) {
        let members = members.iter();
        let mut text: String = members
            .map(|(name, value)| format!(",\"{name}\":{value}"))
            .collect();
        text.push_str("}\n");
        let client = StdUnixStream::from(client);
        let sent = crate::sys::socket::send_now(&client, text.as_bytes()).unwrap_or(0);
        if sent == text.len() || Rc::strong_count(&self.tickets) > READERS {
            return;
        }
        let Ok(mut client) = UnixStream::from_std(client) else {
            return;
        };
        let ticket = self.tickets.clone();
        tokio::task::spawn_local(async move {
            let rest = text.as_bytes().get(sent..).unwrap_or_default();
            // Whoever does not read is no concern of ours.
            let _ = tokio::time::timeout(PATIENCE, client.write_all(rest)).await;
            drop(ticket);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;
    use tokio::task::LocalSet;

    /// Connections that are answered with more than a socket takes at once.
    fn answered(count: usize) -> (Vec<StdUnixStream>, usize) {
        let members = Map::from_iter([("long".to_owned(), "x".repeat(4 << 20).into())]);
        let visitors = Visitors::default();
        let mut clients = Vec::new();
        for _ in 0..count {
            let (near, far) = StdUnixStream::pair().unwrap();
            far.set_nonblocking(true).unwrap();
            visitors.finish(far.into(), &members);
            clients.push(near);
        }
        let tickets = Rc::strong_count(&visitors.tickets) - 1;
        (clients, tickets)
    }

    /// What a test does with them in a runtime that has no other work.
    fn served<T>(act: impl Future<Output = T>) -> T {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build().unwrap();
        LocalSet::new().block_on(&runtime, act)
    }

    #[test]
    fn whoever_reads_gets_all_of_it_however_long() {
        let text = served(async {
            let (mut clients, _) = answered(1);
            let client = clients.remove(0);
            let reading = std::thread::spawn(move || {
                let mut text = String::new();
                (&client).read_to_string(&mut text).unwrap();
                text
            });
            while !reading.is_finished() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            reading.join().unwrap()
        });
        assert_eq!(text.len(), (4 << 20) + ",\"long\":\"\"}\n".len());
        assert!(text.ends_with("x\"}\n"));
    }

    #[test]
    fn those_who_never_read_are_few_and_left_alone_in_the_end() {
        served(async {
            let (clients, tickets) = answered(READERS + 10);
            assert_eq!(tickets, READERS);
            let mut last = clients.last().unwrap();
            let mut text = Vec::new();
            last.read_to_end(&mut text).unwrap();
            assert!(!text.ends_with(b"}\n"), "closed when the socket was full");
        });
    }
}
