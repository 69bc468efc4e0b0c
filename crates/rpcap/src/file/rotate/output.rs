//! One file on its way to the disk.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;

use super::name::part;
use crate::file::BUFFER;

/// A file that is being written, as `NAME.part`, in whole blocks: whatever is in it can be read.
pub(super) struct Output {
    file: File,
    /// Its name once it is finished.
    path: PathBuf,
    /// Whole blocks that are not written yet.
    pub(super) buffer: Vec<u8>,
    /// Bytes that were written, all of them whole blocks or frames.
    written: u64,
    compressor: Option<Compressor>,
}

struct Compressor {
    zstd: zstd::bulk::Compressor<'static>,
    frame: Vec<u8>,
}

/// The level that zstd itself takes for the best compromise.
const LEVEL: i32 = 3;

/// Bytes of blocks that make a frame of a compressed file. Each frame stands for itself, so that a
/// file which breaks off loses no more than one.
const FRAME: usize = 4 * BUFFER;

impl Output {
    /// Starts the file that will be called `path`. It must not exist, finished or not.
    pub(super) fn create(path: PathBuf, compress: bool) -> io::Result<Self> {
        let compressor = match compress {
            true => {
                Some(Compressor { zstd: zstd::bulk::Compressor::new(LEVEL)?, frame: Vec::new() })
            }
            false => None,
        };
        let file = OpenOptions::new().write(true).create_new(true).open(part(&path))?;
        let output = Self { file, path, buffer: Vec::new(), written: 0, compressor };
        // In this order: who has the `.part` is the only one to give the name.
        if output.path.symlink_metadata().is_ok() {
            output.discard()?;
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        Ok(output)
    }

    /// Where the file is while it is being written.
    pub(super) fn part(&self) -> PathBuf {
        part(&self.path)
    }

    /// Bytes of the file, with those that are still to be written as if they were not compressed.
    pub(super) fn bytes(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    /// Bytes that were written, all of them whole blocks or frames.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    pub(super) fn is_compressed(&self) -> bool {
        self.compressor.is_some()
    }

    /// Whether enough is there to be written.
    pub(super) fn is_full(&self) -> bool {
        self.buffer.len() >= if self.compressor.is_some() { FRAME } else { BUFFER }
    }

    /// Writes what was gathered. After an error the file is what it was before.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let bytes = match &mut self.compressor {
            Some(Compressor { zstd, frame }) => {
                frame.clear();
                frame.reserve(zstd::zstd_safe::compress_bound(self.buffer.len()));
                zstd.compress_to_buffer(&self.buffer, frame)?;
                frame.as_slice()
            }
            None => &self.buffer,
        };
        append(&mut self.file, &mut self.written, bytes)?;
        self.buffer.clear();
        Ok(())
    }

    /// Writes whole blocks or frames as they are. After an error the file is what it was before.
    pub(super) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        append(&mut self.file, &mut self.written, bytes)
    }

    /// Gives the file its name, unless there is nothing in it. Its bytes are left to the system to
    /// write down: to wait for the disk would cost packets, and a loss of power costs the end of a
    /// file at most.
    pub(super) fn finish(self) -> io::Result<Option<(PathBuf, u64)>> {
        if self.written == 0 {
            return self.discard().map(|()| None);
        }
        fs::rename(self.part(), &self.path)?;
        Ok(Some((self.path, self.written)))
    }

    /// Removes the file.
    pub(super) fn discard(self) -> io::Result<()> {
        fs::remove_file(self.part())
    }
}

fn append(file: &mut File, written: &mut u64, bytes: &[u8]) -> io::Result<()> {
    if let Err(e) = file.write_all(bytes) {
        // What got there of a block nobody could read. It frees room, so it rarely fails; if it
        // does, readers of what is there say that it breaks off.
        let _ = file.set_len(*written);
        return Err(e);
    }
    *written += bytes.len() as u64;
    Ok(())
}
