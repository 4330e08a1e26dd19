//! What the agent tells init, over a socket that keeps message boundaries.
//!
//! Init only ever listens: it ends the agent by closing its end or by a signal. A message that init
//! does not know is ignored, so that a confused agent cannot take the container down.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair};

/// A message from the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message {
    /// Every rule is complete. `stays` says whether the agent goes on watching.
    Configured {
        /// Whether the agent goes on watching.
        stays: bool,
    },
    /// The command is to get this signal, because a rule says so.
    Signal(i32),
    /// The command is to be stopped and started again, because a rule says so.
    Restart,
}

const SIZE: usize = 2;

impl Message {
    fn encode(self) -> [u8; SIZE] {
        match self {
            Self::Configured { stays } => [b'C', u8::from(stays)],
            Self::Signal(number) => [b'S', u8::try_from(number).unwrap_or(0)],
            Self::Restart => [b'R', 0],
        }
    }

    fn decode(bytes: [u8; SIZE]) -> Option<Self> {
        match bytes {
            [b'C', stays @ (0 | 1)] => Some(Self::Configured { stays: stays == 1 }),
            [b'S', number @ 1..=64] => Some(Self::Signal(i32::from(number))),
            [b'R', 0] => Some(Self::Restart),
            _ => None,
        }
    }
}

/// A pair of connected ends: init's and the agent's.
///
/// # Errors
/// EMFILE, ENFILE, ENOMEM.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC,
    )?)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_in_order_and_nonsense_is_skipped() {
        let (init, agent) = pair().unwrap();
        let all = [
            Message::Configured { stays: true },
            Message::Signal(64),
            Message::Restart,
        ];
        tell(&agent, all[0]).unwrap();
        for junk in [&b"??"[..], b"S", b"S\x41", b"long nonsense"] {
            send(agent.as_raw_fd(), junk, MsgFlags::empty()).unwrap();
        }
        tell(&agent, all[1]).unwrap();
        tell(&agent, all[2]).unwrap();
        let got: Vec<_> = std::iter::from_fn(|| take(&init)).collect();
        assert_eq!(got, all);
        drop(agent);
        assert_eq!(take(&init), None);
    }
}
