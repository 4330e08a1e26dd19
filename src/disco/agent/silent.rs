//! Filesystems that change without this kernel's doing, so that inotify says nothing of it: known by
//! their magic numbers. What to do about it is for those who watch.

use std::path::Path;

use nix::sys::statfs::statfs;

/// Whether what is at a path may change without an event. What cannot be asked is taken to tell.
#[must_use]
pub(super) fn is_silent(path: &Path) -> bool {
    statfs(path).is_ok_and(|fs| sends_no_events(i128::from(fs.filesystem_type().0)))
}

/// Whether a filesystem, by its magic number, changes without the kernel's doing: network and cluster
/// filesystems, and those whose other side is a process or a hypervisor. overlay is not one of them.
fn sends_no_events(magic: i128) -> bool {
    // linux/magic.h, or the filesystem's own source. The type is signed on some systems, so only
    // the 32 bits count.
    matches!(
        magic & 0xffff_ffff,
        0x6969              // NFS
            | 0x517b        // SMB
            | 0xff53_4d42   // CIFS
            | 0xfe53_4d42   // SMB2
            | 0x6573_5546   // FUSE, virtiofs
            | 0x0102_1997   // 9P, gVisor
            | 0x00c3_6400   // Ceph
            | 0x5346_414f   // AFS
            | 0x6b41_4653   // AFS, the kernel's own
            | 0x7375_7245   // Coda
            | 0x0bd0_0bd0   // Lustre
            | 0x4750_4653   // GPFS
            | 0x1983_0326   // BeeGFS
            | 0x2003_0528   // OrangeFS
            | 0x0116_1970   // GFS2
            | 0x7461_636f   // OCFS2
            | 0x786f_4256   // VirtualBox shared folders
            | 0xbacb_acbc // VMware shared folders
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c2_3_5_filesystems_without_events_are_known_by_number() {
        for magic in [
            0x6969,
            0xff53_4d42,
            i128::from(0xff53_4d42_u32.cast_signed()),
            0x6573_5546,
            0x0102_1997,
        ] {
            assert!(sends_no_events(magic), "{magic:x}");
        }
        // ext4, tmpfs, overlay, btrfs, xfs.
        for magic in [0xef53, 0x0102_1994, 0x794c_7630, 0x9123_683e, 0x5846_5342] {
            assert!(!sends_no_events(magic), "{magic:x}");
        }
    }
}
