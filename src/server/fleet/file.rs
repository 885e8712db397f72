//! The ring file: when it is read, and what is said where that fails.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use log::{debug, error, warn};

use super::board::{Board, Source, unix_time};
use crate::cluster::{Adoption, PublishedRing, RingFile, RingVersion};

/// Larger files are refused. The largest ring there may be has a few hundred bytes for each server.
const SIZE_MAX: u64 = 2 << 20;

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

/// The file, and what has been seen of it.
#[derive(Debug)]
pub(super) struct Watched {
    path: PathBuf,
    /// Of what was read last; `None` before, and where there was no file.
    read: Option<Stamp>,
    /// Of the last look.
    seen: Option<Stamp>,
}

impl Watched {
    pub(super) fn new(path: PathBuf) -> Watched {
        Watched {
            path,
            read: None,
            seen: None,
        }
    }

    /// Reads the file if it has changed and is at rest: two looks must find the same, lest half of a file be taken that
    /// is just being written.
    pub(super) fn look(&mut self, board: &Board) {
        let now = fs::metadata(&self.path).ok().map(|metadata| stamp(&metadata));
        let at_rest = now == self.seen;
        self.seen = now;
        if at_rest && now.is_some() && now != self.read {
            self.read(board);
        }
    }

    /// Reads the file, whatever there was.
    pub(super) fn read(&mut self, board: &Board) {
        let path = self.path.display();
        board.count(|counts| counts.file_reads += 1);
        let (bytes, stamp) = match self.bytes() {
            Ok(read) => read,
            Err(mistake) => {
                board.count(|counts| counts.file_failures += 1);
                error!("ring file {path}: {mistake}; the ring stays as it is");
                return;
            }
        };
        self.read = Some(stamp);
        self.seen = Some(stamp);
        let parsed = RingFile::parse(&bytes)
            .map_err(|error| error.to_string())
            .and_then(|file| {
                let modified = u64::try_from(stamp.modified.0).unwrap_or(0);
                let version = file.version.or_else(|| RingVersion::new(modified));
                let version =
                    version.ok_or("1:1: the file's time is no version; write one into it".to_owned())?;
                PublishedRing::new(version, &file.servers).ok_or("1:1: two servers of one address".to_owned())
            });
        let ring = match parsed {
            Ok(ring) => ring,
            Err(mistake) => {
                board.count(|counts| counts.refused += 1);
                error!("ring file {path}:{mistake}; the ring stays as it is");
                return;
            }
        };
        let version = ring.version();
        if u64::from(version.get()) > unix_time() + 86_400 {
            warn!(
                "ring file {path}: version {version} is a time to come: nothing numbered by time will follow it"
            );
        }
        match board.adopt(ring, Source::File) {
            Adoption::Newer | Adoption::Conflict => {}
            Adoption::Same => debug!("ring file {path}: version {version} is in force"),
            Adoption::Older => warn!(
                "ring file {path}: version {version} is older than {} which is in force: not taken",
                board.version().map_or(0, RingVersion::get)
            ),
        }
    }

    fn bytes(&self) -> io::Result<(Vec<u8>, Stamp)> {
        let file = File::open(&self.path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::other("it is not a file"));
        }
        let mut bytes = Vec::new();
        file.take(SIZE_MAX + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > SIZE_MAX {
            return Err(io::Error::other("it is larger than 2 MiB"));
        }
        Ok((bytes, stamp(&metadata)))
    }
}

fn stamp(metadata: &fs::Metadata) -> Stamp {
    Stamp {
        inode: metadata.ino(),
        size: metadata.len(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
    }
}
