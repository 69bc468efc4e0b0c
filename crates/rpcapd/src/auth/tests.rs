use std::fs;
use std::path::PathBuf;

use argon2::PasswordHasher;

use super::*;

fn users() -> Users {
    let hash = Argon2::default().hash_password(b"secret").unwrap().to_string();
    let user =
        User { password: Some(hash), certificate: false, pam: false, rights: Rights::default() };
    Users([("alice".to_owned(), user)].into())
}

fn hash_of_alice() -> String {
    users().0["alice"].password.clone().unwrap()
}

fn from(n: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, n])
}

#[test]
fn the_right_password_and_no_other() {
    let (doorkeeper, users) = (Doorkeeper::default(), users());
    let login = |n, name: &[u8], password: &[u8]| {
        doorkeeper.login(&users, false, from(n), name, password).map(|identity| identity.name)
    };
    assert_eq!(login(1, b"alice", b"secret"), Ok("alice".to_owned()));
    let long = [b'A'; 65_535];
    for (n, name, password, refusal) in [
        (2, &b"alice"[..], &b"Secret"[..], Refusal::WrongPassword),
        (3, b"alice", b"", Refusal::WrongPassword),
        (4, b"alice", b"secret\0", Refusal::Malformed),
        (5, b"alice\0", b"secret", Refusal::Malformed),
        (6, b"Alice", b"secret", Refusal::UnknownUser),
        (7, b"\xff", b"secret", Refusal::UnknownUser),
        (8, b"", b"", Refusal::Malformed),
        (9, &long, b"secret", Refusal::Malformed),
        (10, b"alice", &long, Refusal::Malformed),
    ] {
        assert_eq!(login(n, name, password), Err(refusal));
    }
}

#[test]
fn after_many_refusals_the_right_password_is_not_looked_at() {
    let (doorkeeper, users) = (Doorkeeper::default(), users());
    for _ in 0..5 {
        let refused = doorkeeper.login(&users, false, from(1), b"bob", b"x").unwrap_err();
        assert_eq!(refused, Refusal::UnknownUser);
    }
    let login = |n| doorkeeper.login(&users, false, from(n), b"alice", b"secret").map(|i| i.name);
    assert_eq!(login(1), Err(Refusal::Throttled));
    assert!(login(2).is_ok(), "others are not concerned");
}

#[test]
fn nobody_is_somebody() {
    let hash = PasswordHash::new(NOBODY).unwrap();
    let parameters = |hash: &PasswordHash| (hash.algorithm, hash.params.clone());
    let fresh = hash_of_alice();
    let fresh = PasswordHash::new(&fresh).unwrap();
    assert_eq!(parameters(&hash), parameters(&fresh), "it must take as long");
    assert_eq!(hash.hash.map(|h| h.len()), fresh.hash.map(|h| h.len()));
}

/// A file that goes away.
struct Temporary(PathBuf);

impl Temporary {
    fn new(name: &str, text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("rpcapd-users-{}-{name}", std::process::id()));
        fs::write(&path, text).unwrap();
        #[cfg(unix)]
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        Self(path)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn a_file_is_read_and_written() {
    let hash = hash_of_alice();
    let text = format!(
        "[alice]\npassword = \"{hash}\"\ndevices = \"eth*\"\nsnaplen = 96\n\n\
         [\"bob@example\"]\npassword = \"{hash}\"\n"
    );
    let file = Temporary::new("read", &text);
    let users = Users::read(&file.0, |_| false).unwrap();
    let rights = &users.0["alice"].rights;
    assert_eq!(rights.snaplen, Some(96));
    assert!(rights.devices.as_ref().is_some_and(|d| d.allow("eth0") && !d.allow("lo")));
    assert_eq!(users.0.len(), 2);

    file::write(&file.0, &file::read(&file.0, |_| false).unwrap()).unwrap();
    assert_eq!(Users::read(&file.0, |_| false).unwrap().0.len(), 2, "it is as private as it was");
}

#[test]
fn files_with_mistakes_let_nobody_in() {
    let hash = hash_of_alice();
    let expensive = hash.replace("m=19456", "m=4000000");
    let endless = hash.replace("t=2", "t=4000000");
    for (text, reason) in [
        ("[alice]\n".to_owned(), "alice: expected password, certificate = true or pam = true"),
        ("[alice]\npassword = true\n".to_owned(), "line 2: invalid type"),
        (format!("[alice]\npassword = \"{hash}\"\npam = true\n"), "one of them is meant"),
        ("[Alice]\ncertificate = true\n".to_owned(), "in small letters"),
        ("[\"*\"]\ncertificate = true\npam = true\n".to_owned(), "for pam = true only"),
        (format!("[\"*\"]\npassword = \"{hash}\"\n"), "for pam = true only"),
        ("[alice]\npassword = \"secret\"\n".to_owned(), "alice: password: "),
        ("[alice]\npassword = \"$1$abc$abcdefgh\"\n".to_owned(), "alice: password: "),
        (format!("[alice]\npassword = \"{expensive}\"\n"), "more than 262144 kB"),
        (format!("[alice]\npassword = \"{endless}\"\n"), "more than 16 passes"),
        (format!("[alice]\npassword = \"{hash}\"\nadmin = true\n"), "line 3: unknown field"),
        ("[alice]\n\"\\u001b\\t\" = true\n".to_owned(), r"line 2: unknown field `\u{1b}\t`"),
        (format!("[alice]\npassword = \"{hash}\"\nsnaplen = 0\n"), "alice: snaplen: "),
        (format!("[alice]\npassword = \"{hash}\"\ndevices = \"\"\n"), "alice: devices: "),
        (format!("[\"\"]\npassword = \"{hash}\"\n"), "expected a name"),
        ("[alice\n".to_owned(), "line 1: "),
        ("\0".to_owned(), "line 1: "),
    ] {
        let file = Temporary::new("wrong", &text);
        let error = Users::read(&file.0, |_| false).unwrap_err().to_string();
        assert!(error.contains(reason), "{text:?}: {error}");
    }
    assert!(
        Users::read(std::path::Path::new("/"), |_| false)
            .unwrap_err()
            .to_string()
            .contains("not a file")
    );
}

#[cfg(unix)]
#[test]
fn a_file_that_others_can_read_lets_nobody_in() {
    use std::os::unix::fs::PermissionsExt;

    let hash = hash_of_alice();
    let file = Temporary::new("open", &format!("[alice]\npassword = \"{hash}\"\n"));
    // Root's file for our group is ours: that is left to root to test.
    let root = rustix::process::geteuid().is_root();
    let open = [0o604, 0o620, 0o666].into_iter().chain((!root).then_some(0o640));
    for mode in open {
        fs::set_permissions(&file.0, fs::Permissions::from_mode(mode)).unwrap();
        let error = Users::read(&file.0, |_| false).unwrap_err().to_string();
        assert!(error.contains("chmod 600"), "{error}");
    }
    if root {
        fs::set_permissions(&file.0, fs::Permissions::from_mode(0o440)).unwrap();
        assert!(Users::read(&file.0, |_| false).is_ok(), "root lets the daemon's group read it");
        std::os::unix::fs::chown(&file.0, None, Some(65532)).unwrap();
        assert!(Users::read(&file.0, |_| false).is_err(), "another group");
        let servants = |owner| owner == Owner::Group(65532);
        assert!(Users::read(&file.0, servants).is_ok(), "the group of whom root will become");
    }
}

#[test]
fn each_user_comes_in_as_the_file_says_and_no_other_way() {
    let hash = hash_of_alice();
    let text = format!(
        "[alice]\npassword = \"{hash}\"\n[bob]\ncertificate = true\nsnaplen = 96\n\
         [carol]\npam = true\nsnaplen = 64\n[\"*\"]\npam = true\nsnaplen = 32\n\
         [dora]\npassword = \"{hash}\"\ncertificate = true\n"
    );
    let file = Temporary::new("kinds", &text);
    let users = Users::read(&file.0, |_| true).unwrap();
    let ways = |name: &str| {
        [By::Password, By::Certificate, By::Account].map(|by| users.allow(name, by, true))
    };
    assert_eq!(ways("alice"), [true, false, false]);
    assert_eq!(ways("bob"), [false, true, false]);
    assert_eq!(ways("carol"), [false, false, true]);
    assert_eq!(ways("dora"), [true, true, false]);
    assert_eq!(ways("somebody"), [false, false, true], "whom PAM has let in");
    assert!(
        !users.allow("somebody", By::Account, false) && !users.allow("carol", By::Account, false)
    );

    let bob = users.of_certificate("bob").unwrap();
    assert_eq!((bob.by, bob.rights.snaplen), (By::Certificate, Some(96)));
    for name in ["alice", "carol", "*", "somebody", ""] {
        assert!(users.of_certificate(name).is_none(), "{name}");
    }
    assert_eq!(users.of_account("carol").snaplen, Some(64));
    assert_eq!(users.of_account("somebody").snaplen, Some(32));

    let doorkeeper = Doorkeeper::default();
    let login = |name: &[u8]| {
        doorkeeper.login(&users, false, from(1), name, b"secret").map(|identity| identity.name)
    };
    assert_eq!(login(b"bob"), Err(Refusal::NoPassword));
    assert_eq!(login(b"carol"), Err(Refusal::NoPassword));
    assert_eq!(login(b"*"), Err(Refusal::NoPassword));
    assert_eq!(login(b"dora"), Ok("dora".to_owned()));
}

#[test]
fn with_accounts_of_the_system_refusals_take_whole_steps() {
    let (doorkeeper, users) = (Doorkeeper::default(), users());
    for name in [&b"alice"[..], b"alice\0", b"bob"] {
        let since = Instant::now();
        assert!(doorkeeper.login(&users, true, from(1), name, b"wrong").is_err());
        let took = since.elapsed();
        assert!(took >= REFUSAL && took < REFUSAL + REFUSAL / 2, "{took:?}");
    }
    assert!(doorkeeper.login(&users, true, from(1), b"alice", b"secret").is_ok());
}
