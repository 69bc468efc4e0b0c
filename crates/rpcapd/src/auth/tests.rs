use std::fs;
use std::path::PathBuf;

use argon2::PasswordHasher;

use super::*;

fn users() -> Users {
    let hash = Argon2::default().hash_password(b"secret").unwrap().to_string();
    let user = User { password: hash, rights: Rights::default() };
    Users([("alice".to_owned(), user)].into())
}

fn from(n: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, n])
}

#[test]
fn the_right_password_and_no_other() {
    let (doorkeeper, users) = (Doorkeeper::default(), users());
    let login = |n, name: &[u8], password: &[u8]| {
        doorkeeper.login(&users, from(n), name, password).map(|identity| identity.name)
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
        let refused = doorkeeper.login(&users, from(1), b"bob", b"x").unwrap_err();
        assert_eq!(refused, Refusal::UnknownUser);
    }
    let login = |n| doorkeeper.login(&users, from(n), b"alice", b"secret").map(|i| i.name);
    assert_eq!(login(1), Err(Refusal::Throttled));
    assert!(login(2).is_ok(), "others are not concerned");
}

#[test]
fn nobody_is_somebody() {
    let hash = PasswordHash::new(NOBODY).unwrap();
    let parameters = |hash: &PasswordHash| (hash.algorithm, hash.params.clone());
    let fresh = users().0["alice"].password.clone();
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
    let hash = &users().0["alice"].password;
    let text = format!(
        "[alice]\npassword = \"{hash}\"\ndevices = \"eth*\"\nsnaplen = 96\n\n\
         [\"bob@example\"]\npassword = \"{hash}\"\n"
    );
    let file = Temporary::new("read", &text);
    let users = Users::read(&file.0).unwrap();
    let rights = &users.0["alice"].rights;
    assert_eq!(rights.snaplen, Some(96));
    assert!(rights.devices.as_ref().is_some_and(|d| d.allow("eth0") && !d.allow("lo")));
    assert_eq!(users.0.len(), 2);

    file::write(&file.0, &file::read(&file.0).unwrap()).unwrap();
    assert_eq!(Users::read(&file.0).unwrap().0.len(), 2, "it is as private as it was");
}

#[test]
fn files_with_mistakes_let_nobody_in() {
    let hash = &users().0["alice"].password;
    let expensive = hash.replace("m=19456", "m=4000000");
    let endless = hash.replace("t=2", "t=4000000");
    for (text, reason) in [
        ("[alice]\n".to_owned(), "line 1: missing field `password`"),
        ("[alice]\npassword = \"secret\"\n".to_owned(), "alice: password: "),
        ("[alice]\npassword = \"$1$abc$abcdefgh\"\n".to_owned(), "alice: password: "),
        (format!("[alice]\npassword = \"{expensive}\"\n"), "more than 262144 kB"),
        (format!("[alice]\npassword = \"{endless}\"\n"), "more than 16 passes"),
        (format!("[alice]\npassword = \"{hash}\"\nadmin = true\n"), "line 3: unknown field"),
        (format!("[alice]\npassword = \"{hash}\"\nsnaplen = 0\n"), "alice: snaplen: "),
        (format!("[alice]\npassword = \"{hash}\"\ndevices = \"\"\n"), "alice: devices: "),
        (format!("[\"\"]\npassword = \"{hash}\"\n"), "expected a name"),
        ("[alice\n".to_owned(), "line 1: "),
        ("\0".to_owned(), "line 1: "),
    ] {
        let file = Temporary::new("wrong", &text);
        let error = Users::read(&file.0).unwrap_err().to_string();
        assert!(error.contains(reason), "{text:?}: {error}");
    }
    assert!(Users::read(std::path::Path::new("/")).unwrap_err().to_string().contains("not a file"));
}

#[cfg(unix)]
#[test]
fn a_file_that_others_can_read_lets_nobody_in() {
    use std::os::unix::fs::PermissionsExt;

    let hash = &users().0["alice"].password;
    let file = Temporary::new("open", &format!("[alice]\npassword = \"{hash}\"\n"));
    for mode in [0o640, 0o604, 0o620, 0o666] {
        fs::set_permissions(&file.0, fs::Permissions::from_mode(mode)).unwrap();
        let error = Users::read(&file.0).unwrap_err().to_string();
        assert!(error.contains("chmod 600"), "{error}");
    }
}
