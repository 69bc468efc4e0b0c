//! Filter texts into programs: each once for every link type.

use std::collections::HashMap;
use std::sync::Mutex;

use rpcap_proto::bpf::Instruction;
use rpcap_proto::wire::{FilterBlock, SNAPLEN_MAX};

use crate::filter;
use crate::locked::lock;

/// Programs that are kept.
const KEPT: usize = 256;

/// What a program is made from: text, link type, snaplen.
type Source = (String, u32, u32);

/// Compiled filters.
#[derive(Debug, Default)]
pub struct Filters(Mutex<HashMap<Source, FilterBlock>>);

impl Filters {
    /// The program for a text. libpcap may look up names for it, so a thread of its own waits.
    pub async fn compile(
        &self,
        text: &str,
        linktype: u32,
        snaplen: u32,
    ) -> Result<FilterBlock, String> {
        if text.is_empty() {
            // libpcap's daemon takes no empty program for an answer.
            let all = Instruction { code: 6, jt: 0, jf: 0, k: SNAPLEN_MAX };
            return Ok(FilterBlock { instructions: vec![all] });
        }
        let source = (text.to_owned(), linktype, snaplen);
        let known = lock(&self.0).get(&source).cloned();
        if let Some(block) = known {
            return Ok(block);
        }
        let (text, linktype, snaplen) = source.clone();
        let compiled =
            tokio::task::spawn_blocking(move || filter::from_text(&text, linktype, snaplen));
        let instructions = match compiled.await {
            Ok(Ok(instructions)) => instructions,
            Ok(Err(error)) => return Err(error.to_string()),
            Err(error) => return Err(error.to_string()),
        };
        let block = FilterBlock { instructions };
        let mut kept = lock(&self.0);
        if kept.len() >= KEPT {
            kept.clear();
        }
        kept.insert(source, block.clone());
        Ok(block)
    }

    /// Forgets what was compiled: names may lead elsewhere now.
    pub fn clear(&self) {
        lock(&self.0).clear();
    }
}
