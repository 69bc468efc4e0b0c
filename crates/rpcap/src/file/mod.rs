//! STUB until the real one is there.
#![allow(missing_docs, reason = "stub")]
use std::io::{self, Write};
use std::path::Path;

pub struct Meta { pub linktype: u32, pub snaplen: u32, pub interface: String, pub description: Option<String>, pub filter: Option<String> }
pub struct Record<'a> { pub secs: u64, pub nanos: u32, pub len: u32, pub data: &'a [u8] }
#[derive(Default)]
pub struct Summary { pub text: String }
pub struct Writer(io::BufWriter<Box<dyn Write + Send>>);
impl std::fmt::Debug for Writer { fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str("Writer") } }
impl Writer {
    pub fn open(path: &Path, meta: &Meta) -> io::Result<Self> {
        let to: Box<dyn Write + Send> = if path.as_os_str() == "-" { Box::new(io::stdout()) } else { Box::new(std::fs::File::create(path)?) };
        let mut w = io::BufWriter::new(to);
        w.write_all(&0xa1b23c4du32.to_le_bytes())?; w.write_all(&[2,0,4,0,0,0,0,0,0,0,0,0])?;
        w.write_all(&meta.snaplen.to_le_bytes())?; w.write_all(&meta.linktype.to_le_bytes())?;
        Ok(Self(w))
    }
    pub fn write(&mut self, r: &Record<'_>) -> io::Result<()> {
        for v in [r.secs as u32, r.nanos, r.data.len() as u32, r.len] { self.0.write_all(&v.to_le_bytes())?; }
        self.0.write_all(r.data)
    }
    pub fn flush(&mut self) -> io::Result<()> { self.0.flush() }
    pub fn finish(mut self, _: &Summary) -> io::Result<()> { self.0.flush() }
}
