//! Unix sockets: bound in the place of a dead one, answered without waiting, descriptors passed on.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::AT_FDCWD;
use nix::sys::socket::{
    AddressFamily, Backlog, MsgFlags, SockFlag, SockType, UnixAddr, accept4, bind, connect,
    getsockopt, listen, send, sendto, setsockopt, socket, sockopt,
};
use nix::sys::stat::{FchmodatFlags, Mode, fchmod, fchmodat, lstat};
use nix::unistd::{UnlinkatFlags, unlinkat};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 64;

/// Binds a socket to a path, with exactly these permissions whatever the umask. A dead socket there is
/// replaced; one that somebody listens on, and whatever is no socket, is left alone.
///
/// # Errors
/// EADDRINUSE where the place is taken, else those of bind(2).
pub fn bind_path(path: &CStr, kind: SockType, mode: u32) -> Result<OwnedFd, Errno> {
    let address = UnixAddr::new(path)?;
    let own = new(kind)?;
    let mode = Mode::from_bits_truncate(mode);
    // The kernel makes the file with the mode of the socket, so that it is never more open than asked.
    fchmod(&own, mode)?;
    match bind(own.as_raw_fd(), &address) {
        Err(Errno::EADDRINUSE) if is_dead(path, &address, kind) => {
            unlinkat(AT_FDCWD, path, UnlinkatFlags::NoRemoveDir)?;
            bind(own.as_raw_fd(), &address)?;
        }
        bound => bound?,
    }
    // What the umask has taken; most often that is nothing.
    if lstat(path)?.st_mode & 0o777 != mode.bits() {
        fchmodat(AT_FDCWD, path, mode, FchmodatFlags::FollowSymlink)?;
    }
    Ok(own)
}

/// Binds a socket to an abstract name, which needs no directory and goes with the socket.
///
/// # Errors
/// Those of bind(2).
pub fn bind_abstract(name: &[u8], kind: SockType) -> Result<OwnedFd, Errno> {
    let own = new(kind)?;
    bind(own.as_raw_fd(), &UnixAddr::new_abstract(name)?)?;
    Ok(own)
}

/// Lets a bound socket take connections.
///
/// # Errors
/// Those of listen(2).
pub fn start_listening(own: &OwnedFd) -> Result<(), Errno> {
    listen(own, Backlog::new(BACKLOG).unwrap_or(Backlog::MAXCONN))
}

fn new(kind: SockType) -> Result<OwnedFd, Errno> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    socket(AddressFamily::Unix, kind, flags, None)
}

/// Whether a path is a socket on which nobody is left.
fn is_dead(path: &CStr, address: &UnixAddr, kind: SockType) -> bool {
    let is_socket = lstat(path).is_ok_and(|about| about.st_mode & libc::S_IFMT == libc::S_IFSOCK);
    let refused = || {
        new(kind).and_then(|probe| connect(probe.as_raw_fd(), address)) == Err(Errno::ECONNREFUSED)
    };
    is_socket && refused()
}

/// What a file is, whatever its name: device and inode.
#[must_use]
pub fn identity(path: &CStr) -> Option<(u64, u64)> {
    let about = lstat(path).ok()?;
    Some((about.st_dev, about.st_ino))
}

/// Takes the next connection, if one waits.
///
/// # Errors
/// EAGAIN when none does.
pub fn accept_now(listener: &OwnedFd) -> Result<OwnedFd, Errno> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = accept4(listener.as_raw_fd(), flags)?;
    // SAFETY: just opened, and owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sends what can be sent without waiting, and no signal where nobody reads.
///
/// # Errors
/// Those of send(2).
pub fn send_now(to: impl AsFd, bytes: &[u8]) -> Result<usize, Errno> {
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    send(to.as_fd().as_raw_fd(), bytes, flags)
}

/// Sends a datagram to an address without waiting.
///
/// # Errors
/// Those of sendto(2).
pub fn send_to_now(from: &OwnedFd, bytes: &[u8], to: &UnixAddr) -> Result<usize, Errno> {
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    sendto(from.as_raw_fd(), bytes, to, flags)
}

/// An unbound socket to send datagrams from.
///
/// # Errors
/// EMFILE, ENFILE, ENOMEM.
pub fn sender() -> Result<OwnedFd, Errno> {
    new(SockType::Datagram)
}

/// The process on the other side of a connection, or, for the one who connected, who listens there.
///
/// # Errors
/// Those of getsockopt(2).
pub fn peer(connection: impl AsFd) -> Result<i32, Errno> {
    let peer = getsockopt(&connection.as_fd(), sockopt::PeerCredentials)?;
    Ok(peer.pid())
}

/// Has every datagram come with its sender, as the kernel knows them.
///
/// # Errors
/// Those of setsockopt(2).
pub fn ask_for_senders(own: &OwnedFd) -> Result<(), Errno> {
    setsockopt(own, sockopt::PassCred, &true)
}

/// Room for the control message of one descriptor or one sender, aligned as its header is.
#[repr(C)]
struct Control {
    header: libc::cmsghdr,
    body: [u8; 16],
}

fn message(
    part: &mut libc::iovec,
    control: &mut MaybeUninit<Control>,
    room: usize,
) -> libc::msghdr {
    // SAFETY: plain numbers and pointers, for which zero is a value.
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    message.msg_iov = part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    // The type of this field differs between C libraries; the room is a few bytes.
    message.msg_controllen = room as _;
    message
}

fn part(bytes: *mut u8, length: usize) -> libc::iovec {
    libc::iovec {
        iov_base: bytes.cast(),
        iov_len: length,
    }
}

/// Bytes of a control message with a body of `size`.
const fn space(size: u32) -> usize {
    // SAFETY: arithmetic.
    let space = unsafe { libc::CMSG_SPACE(size) };
    space as usize
}

const ONE_DESCRIPTOR: usize = space(4);
const ONE_SENDER: usize = space(12);
const _: () = assert!(ONE_DESCRIPTOR <= size_of::<Control>() && ONE_SENDER <= size_of::<Control>());

/// Sends a message that carries a descriptor, without waiting.
///
/// # Errors
/// EAGAIN when the other side does not keep up, EPIPE when it is gone, ETOOMANYREFS.
pub fn send_descriptor(to: impl AsFd, bytes: &[u8], carried: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut part = part(bytes.as_ptr().cast_mut(), bytes.len());
    let mut control = MaybeUninit::<Control>::zeroed();
    let message = message(&mut part, &mut control, ONE_DESCRIPTOR);
    // SAFETY: the message has room for a header.
    let header = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
    // SAFETY: arithmetic.
    let length = unsafe { libc::CMSG_LEN(4) };
    // SAFETY: within `control`, which is aligned for a header.
    let filled = unsafe { &mut *header };
    filled.cmsg_level = libc::SOL_SOCKET;
    filled.cmsg_type = libc::SCM_RIGHTS;
    filled.cmsg_len = length as _;
    // SAFETY: the header's body begins within `control`.
    let body = unsafe { libc::CMSG_DATA(header) };
    // SAFETY: there is room for a number, at whatever alignment.
    unsafe { body.cast::<RawFd>().write_unaligned(carried.as_raw_fd()) };
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: a message whose parts live through the call, which reads them.
    let sent = unsafe { libc::sendmsg(to.as_fd().as_raw_fd(), &raw const message, flags) };
    if sent == -1 {
        Err(Errno::last())
    } else {
        Ok(())
    }
}

/// Takes a message without waiting, and the descriptor that it carries, if it does. A size of 0 is the
/// end of a connection.
///
/// # Errors
/// EAGAIN when there is none.
pub fn receive_descriptor(
    from: impl AsFd,
    into: &mut [u8],
) -> Result<(usize, Option<OwnedFd>), Errno> {
    let (size, found) = receive(from, into, ONE_DESCRIPTOR, libc::SCM_RIGHTS, 4)?;
    let number = found.and_then(|body| body.first_chunk().copied());
    // SAFETY: the kernel has just opened it for us, and nobody else knows of it.
    let carried =
        number.map(|number| unsafe { OwnedFd::from_raw_fd(RawFd::from_ne_bytes(number)) });
    Ok((size, carried))
}

/// Takes a datagram without waiting, and the pid of its sender: 0 when that is outside our PID
/// namespace. Descriptors that it carries are closed. To be used after [`ask_for_senders`].
///
/// # Errors
/// EAGAIN when there is none.
pub fn receive_datagram(from: &OwnedFd, into: &mut [u8]) -> Result<(usize, i32), Errno> {
    let (size, found) = receive(from, into, ONE_SENDER, libc::SCM_CREDENTIALS, 12)?;
    let pid = found.and_then(|body| body.first_chunk().copied());
    Ok((size, pid.map_or(0, i32::from_ne_bytes)))
}

/// Takes a message with one control message of this type and size of body.
fn receive(
    from: impl AsFd,
    into: &mut [u8],
    room: usize,
    kind: libc::c_int,
    size: u32,
) -> Result<(usize, Option<[u8; 12]>), Errno> {
    let mut part = part(into.as_mut_ptr(), into.len());
    let mut control = MaybeUninit::<Control>::zeroed();
    let mut message = message(&mut part, &mut control, room);
    let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
    // SAFETY: a message whose parts live through the call, which fills them.
    let received = unsafe { libc::recvmsg(from.as_fd().as_raw_fd(), &raw mut message, flags) };
    let received = usize::try_from(received).map_err(|_| Errno::last())?;
    // SAFETY: the control messages are those that the kernel has written.
    let header = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
    if header.is_null() {
        return Ok((received, None));
    }
    // SAFETY: within `control`, which is aligned for a header and was zeroed.
    let about = unsafe { *header };
    // SAFETY: arithmetic.
    let length = unsafe { libc::CMSG_LEN(size) };
    let is_wanted = about.cmsg_level == libc::SOL_SOCKET
        && about.cmsg_type == kind
        && about.cmsg_len as usize == length as usize;
    if !is_wanted {
        return Ok((received, None));
    }
    let mut body = [0; 12];
    // SAFETY: the header's body begins within `control`.
    let start = unsafe { libc::CMSG_DATA(header) };
    // SAFETY: `size` bytes, 4 or 12, are there by the check of the length above, and fit.
    unsafe { std::ptr::copy_nonoverlapping(start, body.as_mut_ptr(), size as usize) };
    Ok((received, Some(body)))
}

/// Connects without waiting, for a client.
///
/// # Errors
/// EAGAIN when more wait there than are let in, else those of connect(2).
pub fn connect_path(path: &Path) -> Result<OwnedFd, Errno> {
    let own = new(SockType::Stream)?;
    connect(own.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(own)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CString;
    use std::io::{Read as _, Write as _};
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::net::UnixStream;

    fn c_path(path: &Path) -> CString {
        CString::new(path.as_os_str().as_bytes()).unwrap()
    }

    fn bound(path: &Path) -> Result<OwnedFd, Errno> {
        let own = bind_path(&c_path(path), SockType::Stream, 0o620)?;
        start_listening(&own)?;
        Ok(own)
    }

    #[test]
    fn a_dead_socket_is_replaced_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let first = bound(&path).unwrap();
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o620
        );
        assert_eq!(bound(&path).err(), Some(Errno::EADDRINUSE), "it is alive");
        drop(first);
        let second = bound(&path).unwrap();
        let mut client = UnixStream::connect(&path).unwrap();
        let served = accept_now(&second).unwrap();
        assert_eq!(accept_now(&second).err(), Some(Errno::EAGAIN));
        assert_eq!(send_now(&served, b"hello"), Ok(5));
        assert_eq!(peer(&client), Ok(super::super::own_pid()));
        drop(served);
        let mut text = String::new();
        client.read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello");

        let file = dir.path().join("file");
        std::fs::write(&file, "kept").unwrap();
        assert_eq!(bound(&file).err(), Some(Errno::EADDRINUSE));
        assert_eq!(std::fs::read(&file).unwrap(), b"kept");
    }

    #[test]
    fn a_descriptor_arrives_with_its_message() {
        let (near, far) = UnixStream::pair().unwrap();
        let (mut passed, kept) = UnixStream::pair().unwrap();
        send_descriptor(&near, b"?", kept.as_fd()).unwrap();
        drop(kept);
        let mut into = [0; 8];
        let (size, carried) = receive_descriptor(&far, &mut into).unwrap();
        assert_eq!((size, into[0]), (1, b'?'));
        let mut carried = UnixStream::from(carried.unwrap());
        carried.write_all(b"through").unwrap();
        drop(carried);
        let mut text = String::new();
        passed.read_to_string(&mut text).unwrap();
        assert_eq!(text, "through");
        assert_eq!(
            receive_descriptor(&far, &mut into).err(),
            Some(Errno::EAGAIN)
        );
        drop(near);
        assert!(matches!(receive_descriptor(&far, &mut into), Ok((0, None))));
    }

    #[test]
    fn a_datagram_comes_with_its_sender_and_without_descriptors() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("d");
        let own = bind_path(&c_path(&path), SockType::Datagram, 0o666).unwrap();
        ask_for_senders(&own).unwrap();
        let from = sender().unwrap();
        let address = UnixAddr::new(&path).unwrap();
        send_to_now(&from, b"READY=1", &address).unwrap();
        let mut into = [0; 64];
        assert_eq!(
            receive_datagram(&own, &mut into),
            Ok((7, super::super::own_pid()))
        );
        connect(from.as_raw_fd(), &address).unwrap();
        let (mut passed, kept) = UnixStream::pair().unwrap();
        send_descriptor(&from, b"BARRIER=1", kept.as_fd()).unwrap();
        drop(kept);
        assert_eq!(
            receive_datagram(&own, &mut into),
            Ok((9, super::super::own_pid()))
        );
        let mut text = String::new();
        passed.read_to_string(&mut text).unwrap();
        assert_eq!(text, "", "the barrier is over when it is closed");
    }
}
