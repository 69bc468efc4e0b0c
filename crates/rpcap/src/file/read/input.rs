//! The bytes of a file, decompressed, through one buffer.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

use zstd::stream::raw::{DParameter, Decoder, Operation};

/// What frames of zstd begin with.
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Frames that need more memory than this many bits address are refused. zstd makes such only when it is told to.
const WINDOW_LOG: u32 = 24;

/// A file, or standard input.
struct Source {
    path: PathBuf,
    handle: Option<Box<dyn Handle>>,
    /// Whether the file is opened for each read, so that any number of them can be read at a time.
    reopen: bool,
    position: u64,
    /// Where reading ends.
    limit: u64,
    /// Bytes that were read.
    read: u64,
}

trait Handle: Read + Send {}
impl<T: Read + Send> Handle for T {}

impl Source {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let room = self.limit.saturating_sub(self.position).min(to.len() as u64) as usize;
        let Some(to) = to.get_mut(..room).filter(|to| !to.is_empty()) else {
            return Ok(0);
        };
        let handle = match &mut self.handle {
            Some(handle) => handle,
            None => {
                let mut file = open(&mut self.path)?;
                file.seek(SeekFrom::Start(self.position))?;
                self.handle.insert(Box::new(file))
            }
        };
        let count = loop {
            match handle.read(to) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        self.position += count as u64;
        self.read += count as u64;
        if self.reopen {
            self.handle = None;
        }
        Ok(count)
    }
}

/// What a file that is being written will be called.
pub(crate) fn finished(path: &Path) -> Option<PathBuf> {
    path.extension().is_some_and(|e| e == "part").then(|| path.with_extension(""))
}

/// Opens a file again; one that was being written may have got its name since.
fn open(path: &mut PathBuf) -> io::Result<File> {
    let opened = File::open(&path);
    match (&opened, finished(path)) {
        (Err(e), Some(name)) if e.kind() == io::ErrorKind::NotFound => {
            *path = name;
            File::open(path)
        }
        _ => opened,
    }
}

struct Decompressor {
    decoder: Decoder<'static>,
    compressed: Vec<u8>,
    /// What of it is not decompressed yet.
    left: Range<usize>,
    in_frame: bool,
}

impl Decompressor {
    fn new(room: usize) -> io::Result<Self> {
        let mut decoder = Decoder::new()?;
        decoder.set_parameter(DParameter::WindowLogMax(WINDOW_LOG))?;
        Ok(Self { decoder, compressed: vec![0; room], left: 0..0, in_frame: false })
    }

    fn read(&mut self, source: &mut Source, to: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut ended = false;
            if self.left.is_empty() {
                let count = source.read(&mut self.compressed)?;
                self.left = 0..count;
                ended = count == 0;
                if ended && !self.in_frame {
                    return Ok(0);
                }
            }
            // At the end it may still have something.
            let from = self.compressed.get(self.left.clone()).unwrap_or_default();
            let status =
                self.decoder.run_on_buffers(from, to).map_err(|e| broken(e.to_string()))?;
            self.left.start += status.bytes_read;
            self.in_frame = status.remaining != 0;
            if status.bytes_written > 0 || ended {
                return Ok(status.bytes_written);
            }
        }
    }
}

/// An error of what is in the file, and not of the system.
fn broken(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// A window that moves over a file.
pub(super) struct Input {
    source: Source,
    decompressor: Option<Decompressor>,
    buffer: Vec<u8>,
    /// What is in the buffer.
    start: usize,
    end: usize,
    /// Bytes that were taken.
    taken: u64,
    /// What the buffer has, unless a block is longer.
    room: usize,
}

impl Input {
    /// Opens a file, or standard input, `-`, which is the only one that may be no regular file.
    pub(super) fn open(path: &Path, room: usize, reopen: bool) -> io::Result<(Self, Option<File>)> {
        let stdin = path.as_os_str() == "-";
        let file = if stdin { None } else { Some(File::open(path)?) };
        let handle: Box<dyn Handle> = match &file {
            Some(file) if file.metadata()?.is_dir() => {
                return Err(io::ErrorKind::IsADirectory.into());
            }
            Some(file) => Box::new(file.try_clone()?),
            None => Box::new(io::stdin()),
        };
        let regular = match &file {
            Some(file) => file.metadata()?.is_file(),
            None => false,
        };
        let input = Self::new(path, handle, room, reopen && regular);
        Ok((input, file.filter(|_| regular)))
    }

    fn new(path: &Path, handle: Box<dyn Handle>, room: usize, reopen: bool) -> Self {
        let source = Source {
            path: path.to_owned(),
            handle: Some(handle),
            reopen,
            position: 0,
            limit: u64::MAX,
            read: 0,
        };
        let buffer = vec![0; room];
        Self { source, decompressor: None, buffer, start: 0, end: 0, taken: 0, room }
    }

    /// Bytes that are somewhere else.
    pub(super) fn of_bytes(bytes: Vec<u8>, room: usize) -> Self {
        Self::new(Path::new(""), Box::new(io::Cursor::new(bytes)), room, false)
    }

    /// Looks whether the file is compressed.
    pub(super) fn detect(&mut self) -> io::Result<()> {
        self.ensure(4)?;
        // A frame that is to be passed over may come first.
        let skippable = |b: &[u8]| matches!(b, [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..]);
        if self.bytes().starts_with(&ZSTD) || skippable(self.bytes()) {
            self.decompress()?;
        }
        Ok(())
    }

    /// The file is compressed.
    pub(super) fn decompress(&mut self) -> io::Result<()> {
        let mut decompressor = Decompressor::new(self.room)?;
        // Both have the same size.
        std::mem::swap(&mut decompressor.compressed, &mut self.buffer);
        decompressor.left = self.start..self.end;
        (self.start, self.end) = (0, 0);
        self.decompressor = Some(decompressor);
        Ok(())
    }

    pub(super) fn is_compressed(&self) -> bool {
        self.decompressor.is_some()
    }

    /// Bytes that were read from the file.
    pub(super) fn read(&self) -> u64 {
        self.source.read
    }

    /// Goes on with these bytes of the file, and only these. In a compressed one a frame begins there.
    pub(super) fn seek(&mut self, bytes: Range<u64>) -> io::Result<()> {
        let source = &mut self.source;
        if bytes.start != source.position {
            // Opened again where reading goes on.
            source.handle = None;
        }
        (source.position, source.limit) = (bytes.start, bytes.end);
        (self.start, self.end, self.taken) = (0, 0, bytes.start);
        if let Some(decompressor) = &mut self.decompressor {
            self.taken = 0;
            decompressor.decoder.reinit()?;
            (decompressor.left, decompressor.in_frame) = (0..0, false);
        }
        Ok(())
    }

    /// Where what comes next is in the file, decompressed if it is compressed.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    /// What is at hand.
    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    /// What was taken and where.
    #[inline]
    pub(super) fn slice(&self, range: Range<usize>) -> &[u8] {
        self.buffer.get(range).unwrap_or_default()
    }

    /// Takes what is at hand; the place of these bytes until more is asked for.
    #[inline]
    pub(super) fn take(&mut self, count: usize) -> Range<usize> {
        let from = self.start;
        self.start = (from + count).min(self.end);
        self.taken += (self.start - from) as u64;
        from..self.start
    }

    /// Gets `count` bytes to hand, or says that there are not as many.
    #[inline]
    pub(super) fn ensure(&mut self, count: usize) -> io::Result<bool> {
        if self.end - self.start >= count {
            return Ok(true);
        }
        self.fill(count)
    }

    #[cold]
    fn fill(&mut self, count: usize) -> io::Result<bool> {
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        if self.buffer.len() < count {
            self.buffer.resize(count.next_multiple_of(self.room), 0);
        } else if self.buffer.len() > self.room && count <= self.room && self.end <= self.room {
            self.buffer.truncate(self.room);
            self.buffer.shrink_to_fit();
        }
        while self.end < count {
            let to = &mut self.buffer[self.end..];
            let read = match &mut self.decompressor {
                Some(decompressor) => decompressor.read(&mut self.source, to)?,
                None => self.source.read(to)?,
            };
            if read == 0 {
                return Ok(false);
            }
            self.end += read;
        }
        Ok(true)
    }

    /// Whether the file breaks off here, be it within a compressed frame only.
    pub(super) fn breaks_off(&self) -> bool {
        self.start < self.end || self.decompressor.as_ref().is_some_and(|d| d.in_frame)
    }
}
