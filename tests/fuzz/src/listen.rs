//! The collector's end of a control connection: an agent that sends anything, to an async task.

use std::cell::RefCell;
use std::time::Duration;

use rpcap::client::{Credentials, Error};
use rpcap::collector::control::Control;
use rpcap_proto::wire::{FilterBlock, Sampling, StartFlags, StartRequest};
use tokio::io::{AsyncWriteExt, DuplexStream};
use tokio::runtime::{Builder, Runtime};

use super::input::Input;
use super::messages::reply;

/// Longer than any input takes; time stands still.
const DEADLINE: Duration = Duration::from_secs(30);

thread_local! {
    static RUNTIME: RefCell<Option<Runtime>> = const { RefCell::new(None) };
}

/// Does what the input says until the session is of no more use.
async fn run(mut input: Input<'_>) -> Result<(), Error> {
    let agent = "192.0.2.1:4321".parse().expect("an address");
    let (ours, mut theirs) = tokio::io::duplex(1 << 20);
    let mut control: Control<DuplexStream> = Control::new(ours, agent, DEADLINE);
    let filter = FilterBlock { instructions: Vec::new() };
    let start = StartRequest {
        snaplen: 65_535,
        read_timeout_ms: 500,
        flags: StartFlags::PROMISC,
        port: 0,
        filter: filter.clone(),
    };
    let mut open = Some(());
    while !input.is_empty() {
        let request = input.u8() % 8;
        // What the agent says before it reads: its answer, and whatever else.
        let said = match input.u8() {
            0 => {
                open = None;
                input.bytes().to_vec()
            }
            n if n < 192 => reply(request, &mut input),
            _ => input.bytes().to_vec(),
        };
        // There is room for all that an input can hold.
        let _ = theirs.write_all(&said).await;
        if open.is_none() {
            let _ = theirs.shutdown().await;
        }
        let done = match request {
            0 => control.authenticate(&Credentials::Null).await,
            1 => control.devices().await.map(drop),
            2 => control.open("eth0").await.map(drop),
            3 => control.set_sampling(Sampling::OneEvery(2)).await,
            4 => control.start(&start).await.map(drop),
            5 => control.update_filter(&filter).await,
            6 => control.stats().await.map(drop),
            _ => control.end_capture(DEADLINE).await,
        };
        match done {
            Ok(()) | Err(Error::Refused { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Requests, each a byte: see `messages::reply`; a second byte says what comes before the agent has read it:
/// below 192 a reply to it, else bytes with two of length before them, and 0 that nothing follows.
///
/// Whatever an agent sends, and when, ends in an answer or in an error that names the agent.
pub fn listen_control(data: &[u8]) {
    RUNTIME.with_borrow_mut(|runtime| {
        let runtime = runtime.get_or_insert_with(|| {
            // Time that passes only when everybody waits: no deadline has to be waited for.
            Builder::new_current_thread()
                .enable_time()
                .start_paused(true)
                .build()
                .expect("a runtime")
        });
        if let Err(error) = runtime.block_on(run(Input(data))) {
            let text = error.to_string();
            assert!(text.contains("192.0.2.1"), "{text}");
            assert!(!text.chars().any(char::is_control), "{text:?}");
        }
    });
}
