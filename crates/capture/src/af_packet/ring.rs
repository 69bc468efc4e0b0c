//! The memory shared with the kernel: blocks that belong to one side at a time.
#![allow(unsafe_code, reason = "the ring is memory that the kernel maps and writes")]

use std::{
    io,
    marker::PhantomData,
    mem,
    os::fd::{AsRawFd, BorrowedFd},
    ptr::{self, NonNull},
    slice,
    sync::atomic::{AtomicU32, Ordering},
};

/// The head of a block: `struct tpacket_block_desc` with `struct tpacket_hdr_v1` in it (`linux/if_packet.h`). Atomic
/// because the kernel writes it while we look.
#[repr(C)]
struct Head {
    version: u32,
    offset_to_priv: u32,
    status: AtomicU32,
    packets: AtomicU32,
    first_packet: AtomicU32,
    used: AtomicU32,
    // Sequence number and two time stamps follow.
}

/// Bytes in front of a block's first packet.
const HEAD_LEN: usize = mem::size_of::<libc::tpacket_block_desc>();

const _: () = {
    assert!(HEAD_LEN == 48);
    assert!(mem::offset_of!(libc::tpacket_block_desc, hdr) == mem::offset_of!(Head, status));
    assert!(mem::offset_of!(libc::tpacket_hdr_v1, num_pkts) == 4);
    assert!(mem::offset_of!(libc::tpacket_hdr_v1, offset_to_first_pkt) == 8);
    assert!(mem::offset_of!(libc::tpacket_hdr_v1, blk_len) == 12);
    assert!(mem::size_of::<Head>() <= HEAD_LEN);
};

/// A mapped ring of blocks.
#[derive(Debug)]
pub(super) struct Ring {
    base: NonNull<u8>,
    block_size: usize,
    blocks: usize,
}

// SAFETY: the mapping belongs to this value alone, and is as good on one thread as on another.
unsafe impl Send for Ring {}

impl Ring {
    /// Maps the ring of `blocks` blocks that was set up on `fd`.
    pub(super) fn map(fd: BorrowedFd<'_>, block_size: usize, blocks: usize) -> io::Result<Self> {
        let invalid = || io::Error::from(io::ErrorKind::InvalidInput);
        if blocks == 0
            || block_size <= HEAD_LEN
            || !block_size.is_multiple_of(mem::align_of::<Head>())
        {
            return Err(invalid());
        }
        let len = block_size.checked_mul(blocks).ok_or_else(invalid)?;
        // SAFETY: a new mapping, placed by the kernel, overlaps nothing that anyone has. It is `len` bytes of the ring:
        // packet_mmap() refuses every other length.
        let base = unsafe {
            libc::mmap(
                ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                fd.as_raw_fd(),
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or_else(invalid)?;
        Ok(Self { base, block_size, blocks })
    }

    /// Blocks in the ring.
    pub(super) fn blocks(&self) -> usize {
        self.blocks
    }

    /// Bytes of the ring.
    pub(super) fn bytes(&self) -> usize {
        self.block_size * self.blocks
    }

    /// Whether the kernel has passed block `index` on.
    pub(super) fn is_ready(&self, index: usize) -> bool {
        // Acquire: pairs with the kernel's write barrier before it stores TP_STATUS_USER, in prb_close_block() of
        // net/packet/af_packet.c; the packets it wrote before are seen after this.
        self.head(index).status.load(Ordering::Acquire) & libc::TP_STATUS_USER != 0
    }

    /// Packets that the kernel has put into block `index` and not passed on yet. Means something only while the block
    /// is the kernel's.
    pub(super) fn pending(&self, index: usize) -> u32 {
        // Relaxed: decides only whether to look again. Its one exact use is after the flow of packets has ended, and
        // that was learnt by an Acquire of its own.
        self.head(index).packets.load(Ordering::Relaxed)
    }

    /// Takes block `index`, if the kernel has passed it on.
    pub(super) fn take(&mut self, index: usize) -> Option<Owned<'_>> {
        self.is_ready(index).then(|| Owned {
            head: self.at(index).cast(),
            block_size: self.block_size,
            ring: PhantomData,
        })
    }

    fn at(&self, index: usize) -> NonNull<u8> {
        let index = index % self.blocks;
        // SAFETY: `index` is below the number of blocks, so the sum is inside the mapping.
        unsafe { self.base.add(index * self.block_size) }
    }

    fn head(&self, index: usize) -> &Head {
        let head: NonNull<Head> = self.at(index).cast();
        // SAFETY: a block begins with its head, on a page boundary, as the kernel takes only whole pages for a block's
        // size; the mapping lives as long as `self`. The two plain integers are constants since the ring was set up; the
        // rest is atomic.
        unsafe { head.as_ref() }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: `map` made this mapping, and every borrow of it has ended. Failure would leak it and harm nothing.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.bytes()) };
    }
}

/// A block that is ours. Dropping it gives it back to the kernel.
#[derive(Debug)]
pub(super) struct Owned<'a> {
    head: NonNull<Head>,
    block_size: usize,
    /// Borrows the ring as a whole, and exclusively: one block at a time.
    ring: PhantomData<&'a mut Ring>,
}

impl Owned<'_> {
    /// How many packets are in the block.
    pub(super) fn packets(&self) -> u32 {
        // Relaxed: written by the kernel before the status that `Ring::take` acquired.
        self.head().packets.load(Ordering::Relaxed)
    }

    /// Where the first packet begins, in bytes from the beginning of [`Owned::body`].
    pub(super) fn first(&self) -> usize {
        // Relaxed: as in `packets`.
        (self.head().first_packet.load(Ordering::Relaxed) as usize).saturating_sub(HEAD_LEN)
    }

    /// Everything after the head. Packets are a chain in it.
    pub(super) fn body(&mut self) -> &mut [u8] {
        let start: NonNull<u8> = self.head.cast();
        // SAFETY: the head is inside the block.
        let start = unsafe { start.add(HEAD_LEN) };
        // SAFETY: these are the block's bytes after its head, zeroes since the ring was set up and then what the kernel
        // wrote. It passes a block on only when no packet is being copied into it any more (`blk_fill_in_prog_lock` of
        // net/packet/af_packet.c), and does not touch it until the status says that it is the kernel's again: that is
        // stored in `drop`, when this borrow has ended.
        unsafe { slice::from_raw_parts_mut(start.as_ptr(), self.block_size - HEAD_LEN) }
    }

    fn head(&self) -> &Head {
        // SAFETY: as in `Ring::head`; the ring is borrowed for as long as this value lives.
        unsafe { self.head.as_ref() }
    }
}

impl Drop for Owned<'_> {
    fn drop(&mut self) {
        let head = self.head();
        // Relaxed: ordered by the store after it. The kernel sets the count when it next opens the block; until then it
        // must not look like packets that wait (`Ring::pending`).
        head.packets.store(0, Ordering::Relaxed);
        // Release: pairs with the kernel's read of the status before it writes into the block again, in
        // prb_dispatch_next_block() of net/packet/af_packet.c; our reads are done before it sees this.
        head.status.store(libc::TP_STATUS_KERNEL, Ordering::Release);
    }
}
