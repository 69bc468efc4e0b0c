//! Who has logged in, and tries to.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::Mutex as Turn;

use super::access::Access;
use crate::locked::lock;

/// The cookie. Its name makes browsers insist on `Secure`, and on no other host having set it.
pub(super) const COOKIE: &str = "__Host-rpcap";
/// How long somebody stays logged in.
pub(super) const STAY: Duration = Duration::from_secs(12 * 3600);
/// How long without asking for anything.
const IDLE: Duration = Duration::from_secs(3600);
/// How many may be logged in; the one that asked least lately makes way.
const SESSIONS: usize = 256;
/// Tries at a time, each from another address.
const TRIES: usize = 16;
/// How long a wrong password holds up its address.
const PENALTY: Duration = Duration::from_secs(1);

type Digest = [u8; 32];

/// Who has logged in.
#[derive(Debug, Default)]
pub(super) struct Login {
    /// By digests of their tokens, so that how long a look-up takes tells nothing.
    sessions: Mutex<HashMap<Digest, Session>>,
    trying: Arc<Mutex<HashSet<IpAddr>>>,
    /// Comparing takes memory and a core: one at a time.
    comparing: Arc<Turn<()>>,
}

#[derive(Debug)]
struct Session {
    began: Instant,
    asked: Instant,
    /// The password's.
    version: Digest,
}

/// What became of a try.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Tried {
    /// Logged in, with this token.
    In(String),
    /// That is not the password.
    Wrong,
    /// There are too many tries.
    TooMany,
    /// The system has no random numbers.
    Failed,
}

/// An address whose try is not over.
struct Place {
    trying: Arc<Mutex<HashSet<IpAddr>>>,
    address: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.trying).remove(&self.address);
    }
}

impl Login {
    /// Tries a password from an address.
    pub(super) async fn attempt(
        &self,
        access: &Arc<Access>,
        address: IpAddr,
        password: String,
    ) -> Tried {
        let Some(place) = self.place(network(address)) else { return Tried::TooMany };
        let (turn, compared) = (Arc::clone(&self.comparing), Arc::clone(access));
        // A task of its own: who breaks off does not get around the wait.
        let tried = tokio::spawn(async move {
            let turn = turn.lock_owned().await;
            let right = tokio::task::spawn_blocking(move || {
                let _turn = turn;
                compared.is_password(password.as_bytes())
            });
            let right = right.await.unwrap_or(false);
            if !right {
                tokio::time::sleep(PENALTY).await;
            }
            drop(place);
            right
        });
        match tried.await {
            Ok(true) => self.enter(access, Instant::now()).map_or(Tried::Failed, Tried::In),
            Ok(false) | Err(_) => Tried::Wrong,
        }
    }

    fn place(&self, address: IpAddr) -> Option<Place> {
        let mut trying = lock(&self.trying);
        let free = trying.len() < TRIES && trying.insert(address);
        free.then(|| Place { trying: Arc::clone(&self.trying), address })
    }

    fn enter(&self, access: &Access, now: Instant) -> Option<String> {
        let mut token = [0; 32];
        SystemRandom::new().fill(&mut token).ok()?;
        let token: String = token.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut sessions = lock(&self.sessions);
        sessions.retain(|_, session| session.lives(access, now));
        if sessions.len() >= SESSIONS
            && let Some(oldest) = sessions.iter().min_by_key(|(_, s)| s.asked).map(|(k, _)| *k)
        {
            sessions.remove(&oldest);
        }
        let session = Session { began: now, asked: now, version: access.version };
        sessions.insert(hashed(&token), session);
        Some(token)
    }

    /// Whether somebody with this token is logged in.
    pub(super) fn knows(&self, access: &Access, token: &str, now: Instant) -> bool {
        let mut sessions = lock(&self.sessions);
        let Some(session) = sessions.get_mut(&hashed(token)) else { return false };
        let lives = session.lives(access, now);
        match lives {
            true => session.asked = now,
            false => drop(sessions.remove(&hashed(token))),
        }
        lives
    }

    /// Forgets a token.
    pub(super) fn leave(&self, token: &str) {
        lock(&self.sessions).remove(&hashed(token));
    }
}

impl Session {
    fn lives(&self, access: &Access, now: Instant) -> bool {
        self.version == access.version
            && now.duration_since(self.began) < STAY
            && now.duration_since(self.asked) < IDLE
    }
}

fn hashed(token: &str) -> Digest {
    let mut hashed = [0; 32];
    hashed.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    hashed
}

/// Who has one address of IPv6 has all of its network.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() >> 64 << 64).into()),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::access;
    use super::*;

    const ME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    #[tokio::test(start_paused = true)]
    async fn one_with_the_password_is_known_for_a_time() {
        let access = access("hunter2\nmore\n");
        let login = Login::default();
        let Tried::In(token) = login.attempt(&access, ME, "hunter2".to_owned()).await else {
            panic!("not let in");
        };
        assert_eq!(token.len(), 64);
        let now = Instant::now();
        assert!(login.knows(&access, &token, now));
        assert!(!login.knows(&access, &token[1..], now));
        assert!(!login.knows(&access, "", now));
        // Whoever asks for nothing has to come again, and everybody once a day.
        assert!(login.knows(&access, &token, now + IDLE / 2));
        assert!(login.knows(&access, &token, now + IDLE));
        assert!(!login.knows(&access, &token, now + IDLE * 2));
        let Some(token) = login.enter(&access, now) else { panic!("no token") };
        for hour in 1..48 {
            let then = now + Duration::from_secs(1800) * hour;
            assert_eq!(login.knows(&access, &token, then), hour < 24, "{hour}");
        }
        let Some(token) = login.enter(&access, now) else { panic!("no token") };
        login.leave(&token);
        assert!(!login.knows(&access, &token, now));
        // Another password is another key to the door.
        let Some(token) = login.enter(&access, now) else { panic!("no token") };
        assert!(!login.knows(&super::super::tests::access("other"), &token, now));
    }

    #[tokio::test(start_paused = true)]
    async fn wrong_passwords_cost_time_even_those_who_break_off() {
        let access = access("hunter2");
        let login = Arc::new(Login::default());
        let begun = tokio::time::Instant::now();
        assert_eq!(login.attempt(&access, ME, "hunter3".to_owned()).await, Tried::Wrong);
        assert!(begun.elapsed() >= PENALTY);
        for wrong in ["", "hunter", "hunter22", "HUNTER2"] {
            assert_eq!(login.attempt(&access, ME, wrong.to_owned()).await, Tried::Wrong);
        }
        let (other, with) = (Arc::clone(&login), Arc::clone(&access));
        let broken_off =
            tokio::spawn(async move { other.attempt(&with, ME, "x".to_owned()).await });
        tokio::task::yield_now().await;
        broken_off.abort();
        let again = login.attempt(&access, ME, "hunter2".to_owned()).await;
        assert_eq!(again, Tried::TooMany);
        // Others are not held up.
        let neighbour = "192.0.2.2".parse().unwrap();
        assert!(matches!(
            login.attempt(&access, neighbour, "hunter2".to_owned()).await,
            Tried::In(_)
        ));
        tokio::time::sleep(PENALTY * 2).await;
        assert!(matches!(login.attempt(&access, ME, "hunter2".to_owned()).await, Tried::In(_)));
    }

    #[tokio::test]
    async fn only_so_many_are_remembered_and_may_try() {
        let access = access("hunter2");
        let login = Login::default();
        let now = Instant::now();
        let tokens: Vec<_> = (0..=SESSIONS as u64)
            .filter_map(|n| login.enter(&access, now + Duration::from_millis(n)))
            .collect();
        assert!(!login.knows(&access, &tokens[0], now));
        assert!(login.knows(&access, &tokens[1], now));
        let places: Vec<_> = (0..TRIES as u8).map(|n| login.place([10, 0, 0, n].into())).collect();
        assert!(places.iter().all(Option::is_some) && login.place(ME).is_none());
        drop(places);
        assert!(login.place(ME).is_some());
        assert_eq!(
            network("2001:db8::1".parse().unwrap()),
            network("2001:db8::ffff:1".parse().unwrap())
        );
    }

    #[test]
    fn a_hash_is_as_good_as_the_password() {
        use argon2::PasswordHasher;
        let hash = argon2::Argon2::default().hash_password(b"hunter2").unwrap().to_string();
        let access = access(&format!("{hash}\n"));
        assert!(access.is_password(b"hunter2") && !access.is_password(b"hunter3"));
        assert!(!access.is_password(hash.as_bytes()));
    }
}
