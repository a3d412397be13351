//! A disk whose power can be cut: an ext4 file system of its own, in a file, mounted through a loop device.
//!
//! `kill -9` loses nothing, because the page cache survives it. Here the file system is shut down without writing its log
//! or any page (the ioctl EXT4_IOC_SHUTDOWN), and mounted anew from what had reached its device: what was not flushed is
//! gone.
//!
//! Whoever uses the disk is killed first, as power takes disk and processor at once. A flush that is under way when the
//! file system is shut down may return without an error although it wrote nothing (Linux 6.18, 8 of 300 times): its
//! transaction is dropped, and whoever waits for one that is neither running nor committing is told that it is done. A
//! process that lived on would acknowledge what is lost.
//!
//! Needs root, loop devices, mkfs.ext4 and perl, which makes the ioctl. A story that can't have them fails and says so.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::fs::{FallocateFlags, fallocate, statvfs};

/// EXT4_IOC_SHUTDOWN is `_IOR('X', 125, __u32)`; the flag 2 is EXT4_GOING_FLAGS_NOLOGFLUSH.
/// It opens the folder, says so, and waits for a line.
const SHUTDOWN: &str = r#"sysopen(my $d, $ARGV[0], 0) or die "$ARGV[0]: $!"; my $flags = pack("L", 2); $| = 1; print "ready\n"; <STDIN>; ioctl($d, 0x8004587d, $flags) or die "shutdown: $!""#;

pub struct LoopDisk {
    image: PathBuf,
    mounted_at: PathBuf,
}

impl LoopDisk {
    /// Makes `mounted_at` a new disk of so many MiB, whose content lies in a file beside it.
    pub fn new(mounted_at: &Path, mib: u64) -> LoopDisk {
        let image = mounted_at.with_extension("ext4");
        let file = File::create(&image).expect("a file for the disk");
        file.set_len(mib << 20).expect("a file as long as the disk");
        must(
            Command::new("mkfs.ext4")
                .args(["-q", "-E", "lazy_itable_init=0,lazy_journal_init=0"])
                .arg(&image),
        );
        std::fs::create_dir_all(mounted_at).expect("a folder to mount at");
        let disk = LoopDisk { image, mounted_at: mounted_at.to_owned() };
        disk.mount();
        disk
    }

    fn mount(&self) {
        must(Command::new("mount").args(["-t", "ext4", "-o", "loop"]).arg(&self.image).arg(&self.mounted_at));
    }

    /// Gets everything ready for a cut that comes within microseconds.
    pub fn arm(&self) -> ArmedCut {
        let mut perl = Command::new("perl")
            .args(["-e", SHUTDOWN])
            .arg(&self.mounted_at)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("perl runs: scripts/test installs it");
        let mut said = String::new();
        let mut output = BufReader::new(perl.stdout.take().expect("its output is piped"));
        output.read_line(&mut said).expect("perl says that it is ready");
        assert_eq!(said, "ready\n", "{}", self.mounted_at.display());
        ArmedCut { perl }
    }

    /// Mounts it again, as after the power came back. Nobody uses it meanwhile.
    pub fn restore_power(&self) {
        must(Command::new("umount").arg(&self.mounted_at));
        self.mount();
    }

    /// Takes all space that is left.
    pub fn fill(&self) {
        // It fails once no space is left, which is what is wanted.
        let filled = Command::new("dd")
            .args(["if=/dev/zero", "bs=64k", "status=none"])
            .arg(format!("of={}", self.filler().display()))
            .output();
        assert!(!filled.expect("dd runs").status.success(), "dd ended before the disk was full");
    }

    /// Takes all space but so much, without ever taking more.
    pub fn fill_up_to(&self, left_mib: u64) {
        let disk = statvfs(&self.mounted_at).expect("what is free of a disk that is mounted");
        let taken = (disk.f_bavail * disk.f_frsize).saturating_sub(left_mib << 20);
        let filler = File::create(self.filler()).expect("a file on the disk");
        fallocate(&filler, FallocateFlags::empty(), 0, taken).expect("the disk has the room");
    }

    /// Gives the space back.
    pub fn free(&self) {
        // It may never have been filled.
        let _ = std::fs::remove_file(self.filler());
    }

    fn filler(&self) -> PathBuf {
        self.mounted_at.join("filler")
    }
}

/// A cut that waits for its moment.
pub struct ArmedCut {
    perl: Child,
}

impl ArmedCut {
    /// From now on nothing reaches the disk, or after a moment: [`ArmedCut::wait`] says when.
    pub fn strike(&mut self) {
        let mut input = self.perl.stdin.take().expect("it strikes once");
        input.write_all(b"now\n").expect("perl reads its input");
    }

    pub fn wait(mut self) {
        let status = self.perl.wait().expect("perl ends");
        assert!(status.success(), "the file system was not shut down: {status}");
    }
}

impl Drop for LoopDisk {
    fn drop(&mut self) {
        // Lazily: what still holds a file open must not keep the mount.
        let _ = Command::new("umount").arg("-l").arg(&self.mounted_at).output();
    }
}

fn must(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\nThis story mounts file systems through loop devices and can't do without: run the tests as \
         root, with mkfs.ext4 and perl (scripts/test installs them), or leave it out on purpose with `cargo test -- \
         --skip power_cut:: --skip chaos::`.",
        String::from_utf8_lossy(&output.stderr)
    );
}
