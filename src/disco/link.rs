//! What the agent tells init, over a socket that keeps message boundaries, and the little that init asks
//! of it: to answer somebody who wants to know how it is, and to come to an end.
//!
//! Init ends the agent by closing its end or by a signal. A message that init does not know is
//! ignored, so that a confused agent cannot take the container down.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair};

use crate::sys::socket;

/// What a client says on the status socket if it wants metrics as well.
pub const METRICS: &[u8] = b"metrics\n";
/// What it says if it does not, so that nobody has to wait for it to say anything else.
pub const STATUS: &[u8] = b"status\n";

/// A message from the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message {
    /// Every rule is complete, and this is what the agent goes on for.
    Configured(Stays),
    /// The command is to get this signal, because a rule says so.
    Signal(i32),
    /// The command is to be stopped and started again, because a rule says so.
    Restart,
    /// A rule is about to be applied: its number, and the fingerprint of the data. The next agent gets
    /// to know of it, should this one die.
    Begun(u32, u64),
    /// A rule has been applied: likewise.
    Applied(u32, u64),
    /// A handler runs as this process group; 0 when none does.
    Handler(i32),
    /// What is left to be read is being read, and that goes on.
    Progress,
}

/// What an agent goes on for once every rule is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stays {
    /// Nothing: it leaves.
    No,
    /// Rules that watch, and whatever else.
    ToWatch,
    /// Logs and metrics, and no rule.
    ToRead,
}

const SIZE: usize = 13;

impl Message {
    fn encode(self) -> [u8; SIZE] {
        let (kind, small, large) = match self {
            Self::Configured(Stays::No) => (b'C', 0, 0),
            Self::Configured(Stays::ToWatch) => (b'C', 1, 0),
            Self::Configured(Stays::ToRead) => (b'C', 2, 0),
            Self::Signal(number) => (b'S', number.unsigned_abs(), 0),
            Self::Restart => (b'R', 0, 0),
            Self::Begun(rule, fingerprint) => (b'B', rule, fingerprint),
            Self::Applied(rule, fingerprint) => (b'A', rule, fingerprint),
            Self::Handler(group) => (b'H', group.unsigned_abs(), 0),
            Self::Progress => (b'P', 0, 0),
        };
        let mut bytes = [0; SIZE];
        let (head, rest) = bytes.split_at_mut(1);
        let (middle, tail) = rest.split_at_mut(4);
        head.fill(kind);
        middle.copy_from_slice(&small.to_ne_bytes());
        tail.copy_from_slice(&large.to_ne_bytes());
        bytes
    }

    fn decode(bytes: [u8; SIZE]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        let (small, large) = rest.split_first_chunk::<4>()?;
        let small = u32::from_ne_bytes(*small);
        let large = u64::from_ne_bytes(*large.first_chunk::<8>()?);
        let number = i32::try_from(small).ok()?;
        match (kind, small) {
            (b'C', 0) => Some(Self::Configured(Stays::No)),
            (b'C', 1) => Some(Self::Configured(Stays::ToWatch)),
            (b'C', 2) => Some(Self::Configured(Stays::ToRead)),
            (b'S', 1..=64) => Some(Self::Signal(number)),
            (b'R', 0) => Some(Self::Restart),
            (b'B', _) => Some(Self::Begun(small, large)),
            (b'A', _) => Some(Self::Applied(small, large)),
            // 1 would be init itself.
            (b'H', 0 | 2..) => Some(Self::Handler(number)),
            (b'P', 0) => Some(Self::Progress),
            _ => None,
        }
    }
}

/// What the agent hears of init.
#[derive(Debug)]
pub enum Word {
    /// Somebody has connected to the status socket and has init's part of the answer.
    Question(OwnedFd),
    /// The container ends: no more rules, while logs are read on.
    Wane,
    /// Everything has been written: what is left of it is to be read, and then the agent leaves.
    Finish,
    /// Init is gone, or has no more need of an agent.
    End,
}

/// A pair of connected ends: init's and the agent's.
///
/// # Errors
/// EMFILE, ENFILE, ENOMEM.
pub fn pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC,
    )
}

/// Sends a message, from the agent.
///
/// # Errors
/// EPIPE when init is gone.
pub fn tell(end: impl AsFd, message: Message) -> io::Result<()> {
    send(
        end.as_fd().as_raw_fd(),
        &message.encode(),
        MsgFlags::MSG_NOSIGNAL,
    )?;
    Ok(())
}

/// Takes the next message without waiting, in init. `None` when there is none, or nobody to send one.
#[must_use]
pub fn take(end: impl AsFd) -> Option<Message> {
    loop {
        let mut bytes = [0; SIZE];
        let size = recv(end.as_fd().as_raw_fd(), &mut bytes, MsgFlags::MSG_DONTWAIT).ok()?;
        if size == 0 {
            return None;
        }
        if size == SIZE
            && let Some(message) = Message::decode(bytes)
        {
            return Some(message);
        }
    }
}

/// Passes somebody on who asks how it is, from init, without waiting.
///
/// # Errors
/// EAGAIN when the agent does not keep up, EPIPE when it is gone.
pub fn pass(end: impl AsFd, client: BorrowedFd<'_>) -> Result<(), Errno> {
    socket::send_descriptor(end, b"?", client)
}

/// Tells the agent that the container ends, without waiting.
///
/// # Errors
/// EAGAIN when the agent does not keep up, EPIPE when it is gone.
pub fn wane(end: impl AsFd) -> Result<(), Errno> {
    order(end, WANE)
}

/// Tells the agent to finish, without waiting.
///
/// # Errors
/// As those of [`wane`].
pub fn finish(end: impl AsFd) -> Result<(), Errno> {
    order(end, FINISH)
}

const WANE: u8 = b'.';
const FINISH: u8 = b'!';

fn order(end: impl AsFd, order: u8) -> Result<(), Errno> {
    let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
    send(end.as_fd().as_raw_fd(), &[order], flags).map(drop)
}

/// Takes the next word of init without waiting, in the agent.
///
/// # Errors
/// EAGAIN when there is none.
pub fn hear(end: impl AsFd) -> Result<Word, Errno> {
    loop {
        let mut bytes = [0; 1];
        match socket::receive_descriptor(&end, &mut bytes) {
            Ok((0, _)) => return Ok(Word::End),
            Ok((_, Some(client))) => return Ok(Word::Question(client)),
            Ok((_, None)) if bytes == [WANE] => return Ok(Word::Wane),
            Ok((_, None)) if bytes == [FINISH] => return Ok(Word::Finish),
            // There was no descriptor left for it; whoever asks sees that nobody answers.
            Ok((_, None)) | Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => return Err(Errno::EAGAIN),
            Err(_) => return Ok(Word::End),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_in_order_and_nonsense_is_skipped() {
        let (init, agent) = pair().unwrap();
        let all = [
            Message::Configured(Stays::ToWatch),
            Message::Configured(Stays::ToRead),
            Message::Progress,
            Message::Signal(64),
            Message::Restart,
            Message::Begun(7, 0),
            Message::Applied(7, u64::MAX),
            Message::Handler(4711),
            Message::Handler(0),
        ];
        tell(&agent, all[0]).unwrap();
        for junk in [
            Message::Signal(65).encode(),
            Message::Handler(1).encode(),
            [b'?'; SIZE],
        ] {
            send(agent.as_raw_fd(), &junk, MsgFlags::empty()).unwrap();
        }
        send(agent.as_raw_fd(), b"S", MsgFlags::empty()).unwrap();
        for message in &all[1..] {
            tell(&agent, *message).unwrap();
        }
        let got: Vec<_> = std::iter::from_fn(|| take(&init)).collect();
        assert_eq!(got, all);
        wane(&init).unwrap();
        finish(&init).unwrap();
        assert!(matches!(hear(&agent), Ok(Word::Wane)));
        assert!(matches!(hear(&agent), Ok(Word::Finish)));
        drop(agent);
        assert_eq!(take(&init), None);
    }
}
