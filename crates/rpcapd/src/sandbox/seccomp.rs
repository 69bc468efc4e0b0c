//! System calls that may be made (seccomp(2)): a list for all threads, and a shorter one for those
//! that forward packets.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::OnceLock;

use libc::c_long;
use seccompiler::SeccompCmpArgLen::Dword;
use seccompiler::SeccompCmpOp::{Eq, MaskedEq};
use seccompiler::{
    BackendError, BpfProgram, Error, SeccompAction, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, apply_filter, apply_filter_all_threads,
};

use super::{Mode, Part};

/// What a thread that forwards packets is restricted to, if there is a sandbox.
static FORWARDING: OnceLock<BpfProgram> = OnceLock::new();

/// A system call, and all that has to hold for one of its arguments, in one of several ways.
type Allowed = (c_long, Vec<SeccompRule>);

/// Restricts all threads. `libpcap`: to what that takes to capture, besides.
pub(super) fn restrict(mode: Mode, libpcap: bool) -> Result<Part, Error> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    let (other, never) = match mode {
        Mode::Off => return Ok(Part::Off),
        Mode::Log => (SeccompAction::Log, SeccompAction::Log),
        Mode::Kill => (SeccompAction::KillProcess, SeccompAction::KillProcess),
        // A library may try what it can do without; nobody tries these.
        Mode::Enforce => (SeccompAction::Errno(libc::EPERM as u32), SeccompAction::KillProcess),
    };
    let forwarding = allow(forwarding()?, &other, arch)?;
    let mut all = forwarding_and_all_else()?;
    if libpcap {
        all.extend(capturing_with_libpcap()?);
    }
    let all = allow(all, &other, arch)?;
    let never = refuse(&NEVER, never, arch)?;
    // Its flags are in memory, where a filter cannot see them: the C library then takes clone.
    let clone3 = refuse(&[libc::SYS_clone3], SeccompAction::Errno(libc::ENOSYS as u32), arch)?;
    let mut all = vec![all, never];
    if mode != Mode::Log {
        all.push(clone3);
    }
    for filter in &all {
        match apply_filter_all_threads(filter) {
            Err(Error::Seccomp(e)) if is_missing(&e) => return Ok(Part::Unavailable),
            result => result?,
        }
    }
    // It is the first time.
    let _ = FORWARDING.set(forwarding);
    Ok(if mode == Mode::Log { Part::Log } else { Part::Full })
}

/// A kernel without filters says one or the other.
fn is_missing(e: &std::io::Error) -> bool {
    matches!(e.raw_os_error(), Some(libc::ENOSYS | libc::EINVAL))
}

/// Restricts the calling thread to what forwarding takes.
pub(super) fn forwarding_only() {
    if let Some(filter) = FORWARDING.get()
        && let Err(e) = apply_filter(filter)
    {
        tracing::warn!("the sandbox of the thread that forwards packets: {e}");
    }
}

fn allow(
    allowed: Vec<Allowed>,
    other: &SeccompAction,
    arch: TargetArch,
) -> Result<BpfProgram, BackendError> {
    let mut rules: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (call, mut conditions) in allowed {
        match rules.entry(call) {
            Entry::Vacant(entry) => drop(entry.insert(conditions)),
            // Without a condition it is allowed always, and whatever else is said of it.
            Entry::Occupied(mut entry) if entry.get().is_empty() || conditions.is_empty() => {
                entry.get_mut().clear();
            }
            Entry::Occupied(mut entry) => entry.get_mut().append(&mut conditions),
        }
    }
    SeccompFilter::new(rules, other.clone(), SeccompAction::Allow, arch)?.try_into()
}

fn refuse(
    calls: &[c_long],
    action: SeccompAction,
    arch: TargetArch,
) -> Result<BpfProgram, BackendError> {
    let rules = calls.iter().map(|call| (*call, Vec::new())).collect();
    SeccompFilter::new(rules, SeccompAction::Allow, action, arch)?.try_into()
}

/// What no part of the daemon, nor any library that it uses, does by accident.
const NEVER: [c_long; 19] = [
    libc::SYS_bpf,
    libc::SYS_chroot,
    libc::SYS_delete_module,
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_finit_module,
    libc::SYS_init_module,
    libc::SYS_kexec_load,
    libc::SYS_mount,
    libc::SYS_pidfd_getfd,
    libc::SYS_pivot_root,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    libc::SYS_reboot,
    libc::SYS_setns,
    libc::SYS_setuid,
    libc::SYS_umount2,
    libc::SYS_unshare,
];

/// What threads, memory, time and open descriptors take.
const FORWARDING_CALLS: &[c_long] = &[
    // Input and output.
    libc::SYS_accept4,
    libc::SYS_close,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_fcntl,
    libc::SYS_fstat,
    libc::SYS_getpeername,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_lseek,
    libc::SYS_newfstatat,
    libc::SYS_ppoll,
    libc::SYS_pread64,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_recvfrom,
    libc::SYS_recvmmsg,
    libc::SYS_recvmsg,
    libc::SYS_sendmmsg,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
    libc::SYS_statx,
    libc::SYS_write,
    libc::SYS_writev,
    // A packet socket leaves its interface.
    libc::SYS_bind,
    // The log, when whoever keeps it begins anew.
    libc::SYS_connect,
    // Memory.
    libc::SYS_brk,
    libc::SYS_madvise,
    libc::SYS_membarrier,
    libc::SYS_mremap,
    libc::SYS_munmap,
    // Time, chance, and waiting for one another.
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_futex,
    libc::SYS_getrandom,
    libc::SYS_gettimeofday,
    libc::SYS_nanosleep,
    libc::SYS_restart_syscall,
    libc::SYS_sched_yield,
    // Threads and signals.
    libc::SYS_clone3,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_getcpu,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_getaffinity,
    libc::SYS_set_robust_list,
    libc::SYS_sigaltstack,
];

/// What there is twice, once for programs of long ago.
#[cfg(target_arch = "x86_64")]
const FORWARDING_OLD: &[c_long] =
    &[libc::SYS_epoll_wait, libc::SYS_poll, libc::SYS_select, libc::SYS_time];
// There the C library makes select of the other one.
#[cfg(not(target_arch = "x86_64"))]
const FORWARDING_OLD: &[c_long] = &[libc::SYS_pselect6];

/// What sessions, reloads and the end of the daemon take besides: files (landlock says which),
/// sockets, names.
const OTHER_CALLS: &[c_long] = &[
    libc::SYS_chdir,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_epoll_create1,
    libc::SYS_eventfd2,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_fadvise64,
    libc::SYS_flock,
    libc::SYS_fstatfs,
    libc::SYS_ftruncate,
    libc::SYS_getcwd,
    libc::SYS_getdents64,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getppid,
    libc::SYS_getuid,
    libc::SYS_listen,
    libc::SYS_openat,
    libc::SYS_pipe2,
    libc::SYS_readlinkat,
    libc::SYS_sched_setaffinity,
    // A thread can have fewer rights than the others.
    libc::SYS_seccomp,
    libc::SYS_setpriority,
    libc::SYS_statfs,
    libc::SYS_sysinfo,
    libc::SYS_uname,
    libc::SYS_unlinkat,
    libc::SYS_wait4,
    libc::SYS_waitid,
];

#[cfg(target_arch = "x86_64")]
const OTHER_OLD: &[c_long] = &[
    libc::SYS_access,
    libc::SYS_dup2,
    libc::SYS_epoll_create,
    libc::SYS_lstat,
    libc::SYS_open,
    libc::SYS_readlink,
    libc::SYS_stat,
    libc::SYS_unlink,
];
#[cfg(not(target_arch = "x86_64"))]
const OTHER_OLD: &[c_long] = &[];

/// One argument, counted from 0, is this in the bits of the mask.
fn masked(argument: u8, mask: u32, value: u32) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, Dword, MaskedEq(mask.into()), value.into())
}

fn is(argument: u8, value: u32) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, Dword, Eq, value.into())
}

fn all_of<const N: usize>(
    conditions: [Result<SeccompCondition, BackendError>; N],
) -> Result<SeccompRule, BackendError> {
    SeccompRule::new(conditions.into_iter().collect::<Result<_, _>>()?)
}

fn forwarding() -> Result<Vec<Allowed>, BackendError> {
    let exec = libc::PROT_EXEC as u32;
    let mut allowed: Vec<_> = FORWARDING_CALLS.iter().chain(FORWARDING_OLD).map(any).collect();
    allowed.extend([
        // Threads, but no processes.
        (libc::SYS_clone, vec![all_of([masked(0, CLONE_THREAD, CLONE_THREAD)])?]),
        (
            libc::SYS_ioctl,
            [libc::FIONBIO, libc::FIONREAD, libc::FIOCLEX, libc::TCGETS]
                .into_iter()
                .map(|request| all_of([is(1, request as u32)]))
                // SIOCGIFFLAGS and the like. Those that change something take rights that are gone.
                .chain([all_of([masked(1, 0xff00, 0x8900)])])
                .collect::<Result<_, _>>()?,
        ),
        // Memory that is written to is not executed.
        (libc::SYS_mmap, vec![all_of([masked(2, exec, 0)])?]),
        (libc::SYS_mprotect, vec![all_of([masked(2, exec, 0)])?]),
        // What an interface has lost, and what the memory allocator asks, is in files.
        (libc::SYS_openat, vec![all_of([masked(2, WRITING, 0)])?]),
        (
            libc::SYS_prctl,
            [libc::PR_SET_NAME as u32, libc::PR_SET_VMA as u32, PR_GET_AUXV]
                .into_iter()
                .map(|what| all_of([is(0, what)]))
                .collect::<Result<_, _>>()?,
        ),
        // Asking for limits, not setting them.
        (libc::SYS_prlimit64, vec![all_of([is(2, 0)])?]),
        (libc::SYS_socket, vec![all_of([is(0, libc::AF_UNIX as u32)])?]),
        // An abort of its own.
        (libc::SYS_tgkill, vec![all_of([is(0, std::process::id())])?]),
    ]);
    Ok(allowed)
}

fn forwarding_and_all_else() -> Result<Vec<Allowed>, BackendError> {
    let (exec, anonymous) = (libc::PROT_EXEC as u32, libc::MAP_ANONYMOUS as u32);
    let mut allowed = forwarding()?;
    allowed.extend(OTHER_CALLS.iter().chain(OTHER_OLD).map(any));
    // Libraries of the name service and libpcap, which are loaded when they are needed. No file can
    // be written that could be mapped.
    allowed.push((libc::SYS_mmap, vec![all_of([masked(2, exec, exec), masked(3, anonymous, 0)])?]));
    allowed.push((libc::SYS_prctl, vec![all_of([is(0, libc::PR_SET_NO_NEW_PRIVS as u32)])?]));
    let stream_or_datagram = [libc::SOCK_STREAM as u32, libc::SOCK_DGRAM as u32];
    for family in [libc::AF_INET as u32, libc::AF_INET6 as u32] {
        for kind in stream_or_datagram {
            allowed.push((libc::SYS_socket, vec![all_of([is(0, family), masked(1, 0xf, kind)])?]));
        }
    }
    allowed.extend([
        (libc::SYS_socket, vec![all_of([is(0, libc::AF_PACKET as u32)])?]),
        // The interfaces and their addresses.
        (
            libc::SYS_socket,
            vec![all_of([is(0, libc::AF_NETLINK as u32), is(2, libc::NETLINK_ROUTE as u32)])?],
        ),
        (libc::SYS_socketpair, vec![all_of([is(0, libc::AF_UNIX as u32)])?]),
    ]);
    Ok(allowed)
}

/// What libpcap asks for other things than network interfaces, whether they are there or not.
fn capturing_with_libpcap() -> Result<Vec<Allowed>, BackendError> {
    let netlink = |protocol: i32| {
        all_of([is(0, libc::AF_NETLINK as u32), is(2, protocol as u32)])
            .map(|rule| (libc::SYS_socket, vec![rule]))
    };
    // HCIGETDEVLIST and the like; the ring of a USB bus.
    let ioctl = |kind| Ok((libc::SYS_ioctl, vec![all_of([masked(1, 0xff00, kind)])?]));
    Ok(vec![
        // Wireless interfaces; netfilter's log and queue.
        netlink(libc::NETLINK_GENERIC)?,
        netlink(libc::NETLINK_NETFILTER)?,
        (libc::SYS_socket, vec![all_of([is(0, libc::AF_BLUETOOTH as u32)])?]),
        ioctl(0x4800)?,
        ioctl(0x9200)?,
    ])
}

const WRITING: u32 = (libc::O_WRONLY | libc::O_RDWR | libc::O_CREAT | libc::O_TRUNC) as u32;

/// Of `linux/prctl.h`: rustix finds the clock with it.
const PR_GET_AUXV: u32 = 0x4155_5856;

const CLONE_THREAD: u32 = libc::CLONE_THREAD as u32;

fn any(call: &c_long) -> Allowed {
    (*call, Vec::new())
}
