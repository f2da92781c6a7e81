//! Who may use the broker, and which topics.
//!
//! A users file has one user a line; empty lines and lines that begin with `#` do not count:
//!
//! ```text
//! # a device called pi-1, which may publish and subscribe below client/pi-1/ only
//! device pi-1:kUfQ9mB2hXz7
//! # somebody who may do everything: a trainer on another machine, or a person who looks on
//! trainer mec-2:Wq3rT8yLpN5v
//! ```

use crate::serve::SecretFileError;
use crate::serve::secret_file;
use crate::train::topic::Name;
use crate::train::weights::hex;
use rand::RngExt;
use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use subtle::ConstantTimeEq;

/// A shorter password could be guessed.
const SHORTEST: usize = 12;
/// No name of a users file has such a character.
const OWN_NAME: &str = "@trainer";

/// What somebody may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Publish and subscribe below `client/ITS NAME/`, at a limited rate.
    Device,
    /// Everything.
    Trainer,
}

/// The users of a broker.
#[derive(Clone)]
pub struct Users(HashMap<String, User>);

#[derive(Clone)]
struct User {
    role: Role,
    password: String,
}

/// Why a users file is not used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UsersError {
    /// The file itself.
    #[error(transparent)]
    File(#[from] SecretFileError),
    /// A line is no user. The message does not show it: it may hold a password.
    #[error(
        "line {line} of {} is no user: write `device NAME:PASSWORD` or `trainer NAME:PASSWORD`, the name of 1 to 64 \
         letters, digits, - and _, the password of at least {SHORTEST} characters without spaces; \
         make one with: openssl rand -hex 16",
        .path.display()
    )]
    Line {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
    },
    /// A name stands there twice.
    #[error("{name} stands in {} more than once", .path.display())]
    Twice {
        /// Which file.
        path: PathBuf,
        /// Whose name.
        name: Name,
    },
    /// There is no user.
    #[error("{} holds no user; add a line `device NAME:PASSWORD` for every device", .0.display())]
    Empty(PathBuf),
}

impl Users {
    /// Reads a users file. One that everybody may read is refused.
    pub fn read(path: &Path) -> Result<Self, UsersError> {
        let text = secret_file::read(path)?;
        let mut users = HashMap::new();
        for (line, text) in (1..).zip(text.lines().map(str::trim)) {
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            let Some((name, user)) = parse(text) else {
                let path = path.to_owned();
                return Err(UsersError::Line { path, line });
            };
            if users.insert(name.to_string(), user).is_some() {
                let path = path.to_owned();
                return Err(UsersError::Twice { path, name });
            }
        }
        if users.is_empty() {
            return Err(UsersError::Empty(path.to_owned()));
        }
        Ok(Self(users))
    }
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} users", self.0.len())
    }
}

fn parse(line: &str) -> Option<(Name, User)> {
    let (role, rest) = line.split_once(char::is_whitespace)?;
    let role = match role {
        "device" => Role::Device,
        "trainer" => Role::Trainer,
        _ => return None,
    };
    let (name, password) = rest.trim_start().split_once(':')?;
    let is_good = password.len() >= SHORTEST && !password.contains(char::is_whitespace);
    let password = password.to_owned();
    Some((name.parse().ok()?, User { role, password })).filter(|_| is_good)
}

/// Name and password of the trainer in the broker's own process, and of those that it shares them with.
#[derive(Clone)]
pub struct Account {
    /// The user name.
    pub name: String,
    /// The password.
    pub password: String,
}

impl Account {
    /// One that nobody can guess.
    pub fn random() -> Self {
        let secret: [u8; 32] = rand::rng().random();
        Self::with_password(hex(&secret))
    }

    /// With the password in a file, which must not be readable by everybody.
    pub fn read(password_file: &Path) -> Result<Self, SecretFileError> {
        let text = secret_file::read(password_file)?;
        Ok(Self::with_password(text.trim_end().to_owned()))
    }

    fn with_password(password: String) -> Self {
        let name = OWN_NAME.to_owned();
        Self { name, password }
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the account {}", self.name)
    }
}

/// Why somebody is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// No such name, or not its password.
    Password,
    /// A client id that belongs to somebody else.
    ClientId,
}

/// Who is let in.
#[derive(Debug)]
pub(super) struct Access {
    /// `None`: everybody.
    users: Option<Users>,
    own: Account,
}

impl Access {
    pub fn new(users: Option<Users>, own: Account) -> Self {
        Self { users, own }
    }

    /// Lets somebody in, with this role. Without users everybody is as good as a trainer.
    pub fn admit(&self, name: Option<&str>, password: &[u8], client_id: &str) -> Result<Role, Refusal> {
        if self.is_own(name) {
            let is_it = bool::from(self.own.password.as_bytes().ct_eq(password));
            return is_it.then_some(Role::Trainer).ok_or(Refusal::Password);
        }
        let Some(Users(users)) = &self.users else {
            return Ok(Role::Trainer);
        };
        let name = name.ok_or(Refusal::Password)?;
        // Who has no password is compared all the same: how long it takes does not tell which names there are.
        let user = users.get(name);
        let expected = user.map_or(self.own.password.as_bytes(), |user| user.password.as_bytes());
        let is_it = bool::from(expected.ct_eq(password));
        let user = user.filter(|_| is_it).ok_or(Refusal::Password)?;
        let owner = owner(client_id);
        let is_free = user.role == Role::Trainer && !users.contains_key(owner);
        if owner == name || is_free {
            Ok(user.role)
        } else {
            Err(Refusal::ClientId)
        }
    }

    /// Is this the name of the trainer in this process?
    pub fn is_own(&self, name: Option<&str>) -> bool {
        name == Some(self.own.name.as_str())
    }

    /// Is this the name of a device.
    pub fn is_device(&self, name: &str) -> bool {
        let user = self.users.as_ref().and_then(|Users(users)| users.get(name));
        user.is_some_and(|user| user.role == Role::Device)
    }

    /// May this user publish there?
    pub fn may_publish(&self, name: &str, topic: &str) -> bool {
        let is_plain = !topic.starts_with('$') && !topic.contains(['+', '#', '\0']);
        is_plain && (!self.is_device(name) || is_below(name, topic))
    }

    /// May this user subscribe to that?
    pub fn may_subscribe(&self, name: &str, filter: &str) -> bool {
        !filter.starts_with('$') && (!self.is_device(name) || is_below(name, filter))
    }
}

/// Whose client id this is: what stands before the first slash. No name has a slash in it.
pub(super) fn owner(client_id: &str) -> &str {
    client_id.split('/').next().unwrap_or_default()
}

/// Is it below `client/NAME/`? A wildcard before that is none of the name's characters.
fn is_below(name: &str, topic: &str) -> bool {
    topic
        .strip_prefix("client/")
        .and_then(|rest| rest.strip_prefix(name))
        .is_some_and(|rest| rest.starts_with('/'))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    const GOOD: &str = "# two\n\ndevice pi:pi-has-a-secret\ndevice pi-1:pi-1:has:another\n trainer  anna:anna-sees-everything \n";

    fn read(text: &str, mode: u32) -> Result<Users, UsersError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("users");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        Users::read(&path)
    }

    fn access() -> Access {
        Access::new(Some(read(GOOD, 0o600).unwrap()), Account::random())
    }

    #[test]
    fn a_password_lets_in_with_a_client_id_of_ones_own() {
        let access = access();
        let admit = |name, password: &str, id| access.admit(Some(name), password.as_bytes(), id);
        assert_eq!(admit("pi", "pi-has-a-secret", "pi"), Ok(Role::Device));
        assert_eq!(admit("pi", "pi-has-a-secret", "pi/2"), Ok(Role::Device));
        assert_eq!(admit("pi-1", "pi-1:has:another", "pi-1"), Ok(Role::Device));
        assert_eq!(
            admit("anna", "anna-sees-everything", "looking-on"),
            Ok(Role::Trainer)
        );
        // Names may begin with each other.
        for id in ["pi-1", "pi-1/2", "", "/pi", "looking-on", "pi "] {
            assert_eq!(
                admit("pi", "pi-has-a-secret", id),
                Err(Refusal::ClientId),
                "{id:?}"
            );
        }
        assert_eq!(
            admit("anna", "anna-sees-everything", "pi"),
            Err(Refusal::ClientId)
        );
        for (name, password) in [
            ("pi", "pi-has-a-secreT"),
            ("pi", ""),
            ("eve", "pi-has-a-secret"),
            ("", ""),
        ] {
            assert_eq!(admit(name, password, name), Err(Refusal::Password), "{name:?}");
        }
        assert_eq!(
            access.admit(None, b"pi-has-a-secret", "pi"),
            Err(Refusal::Password)
        );
    }

    #[test]
    fn the_own_trainer_has_an_account_that_stands_in_no_file() {
        for users in [None, Some(read(GOOD, 0o600).unwrap())] {
            let account = Account::random();
            let access = Access::new(users, account.clone());
            let admit = |password: &str| access.admit(Some(&account.name), password.as_bytes(), "trainer");
            assert_eq!(admit(&account.password), Ok(Role::Trainer));
            assert_eq!(admit("guessed-wrongly"), Err(Refusal::Password));
            assert!(access.may_subscribe(&account.name, "client/#"));
        }
        assert_ne!(Account::random().password, Account::random().password);
        assert!(OWN_NAME.parse::<Name>().is_err(), "a users file could have it");
        let shown = format!("{:?}", access());
        assert!(!shown.contains("secret"), "{shown}");
    }

    #[test]
    fn a_device_has_what_is_below_its_name_and_nothing_else() {
        let access = access();
        for own in ["client/pi/#", "client/pi/+/dqn/v1", "client/pi/weights/dqn/v1"] {
            assert!(access.may_subscribe("pi", own), "{own}");
        }
        for other in [
            "#",
            "+/pi/#",
            "client/#",
            "client/+/weights/dqn/v1",
            "client/pi",
            "client/pi-1/#",
            "client/pi+/x",
            "trainer/#",
            "$SYS/#",
            "$share/g/client/pi/#",
            "",
            "/client/pi/x",
        ] {
            assert!(!access.may_subscribe("pi", other), "{other}");
            assert!(!access.may_publish("pi", other), "{other}");
        }
        assert!(access.may_publish("pi", "client/pi/experience/dqn/v1"));
        assert!(!access.may_publish("pi", "client/pi/+/dqn/v1"));
        assert!(access.may_subscribe("anna", "#") && access.may_publish("anna", "trainer/t/x"));
        assert!(!access.may_publish("anna", "$SYS/broker"));
    }

    #[test]
    fn a_file_that_is_none_or_open_to_all_is_refused() {
        assert!(read(GOOD, 0o644).unwrap_err().to_string().contains("chmod 600"));
        for (text, expected) in [
            ("", "holds no user"),
            ("device pi:pi-has-a-secret\npi:pi-has-a-secret", "line 2"),
            ("device pi:short", "line 1"),
            ("device pi/2:pi-has-a-secret", "line 1"),
            ("device pi pi-has-a-secret", "line 1"),
            ("device pi:pi has a secret", "line 1"),
            ("root pi:pi-has-a-secret", "line 1"),
            (
                "device pi:pi-has-a-secret\ntrainer pi:pi-has-a-secret",
                "pi stands in",
            ),
        ] {
            let error = read(text, 0o600).unwrap_err().to_string();
            assert!(
                error.contains(expected) && !error.contains("secret"),
                "{text:?}: {error}"
            );
        }
    }
}
