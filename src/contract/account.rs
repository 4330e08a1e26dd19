//! Users and groups by the texts of passwd(5) and group(5), looked up as container runtimes do for
//! `USER`: by these two texts alone, so that no name service is needed.
//!
//! Reads no file and changes no process.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

use super::suggest;

/// The most groups that a process can be in (`NGROUPS_MAX` of the kernel).
pub const MAX_GROUPS: usize = 65_536;

/// Whom a command runs as, as it was asked for: `name|uid[:group|gid]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// A name or a number.
    pub user: String,
    /// A name or a number; without it the user's own groups count.
    pub group: Option<String>,
}

impl Spec {
    /// Parses `name`, `uid`, `name:group`, `uid:gid` and their mixtures.
    ///
    /// # Errors
    /// A sentence that names what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (text, None),
        };
        let is_bad = |part: &str| part.is_empty() || part.contains([':', ',', '\0']);
        if is_bad(user) || group.is_some_and(is_bad) {
            return Err(format!(
                "`{text}` names no user; expected a name or a number, and maybe a group after `:`, such as `app` or `1000:1000`"
            ));
        }
        Ok(Self {
            user: user.to_owned(),
            group: group.map(str::to_owned),
        })
    }
}

/// Who a process becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The user.
    pub uid: u32,
    /// The primary group.
    pub gid: u32,
    /// All groups in ascending order, each once. The primary one is among them, as in current
    /// runtimes: were it not, a set-group-id program could get rid of it.
    pub groups: Vec<u32>,
    /// The home directory; `/` where no entry names one, as in Docker.
    pub home: OsString,
    /// The name; for a number without an entry the number.
    pub name: String,
}

/// Why there is nobody of that name. Each completes a sentence after the name of the setting.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    /// A name without an entry.
    #[error("there is no user `{0}` in /etc/passwd{1}; add one to the image, or give a number")]
    User(String, String),
    /// A name without an entry.
    #[error("there is no group `{0}` in /etc/group{1}; add one to the image, or give a number")]
    Group(String, String),
    /// A number that the kernel does not take.
    #[error("`{0}` is out of range; expected a number from 0 to 4294967294")]
    Range(String),
    /// More groups than [`MAX_GROUPS`].
    #[error("{0} groups are too many; the kernel takes {MAX_GROUPS}")]
    Groups(usize),
}

/// Both texts, parsed. Lines that are malformed are left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accounts {
    users: Vec<User>,
    groups: Vec<Group>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct User {
    name: String,
    uid: u32,
    gid: u32,
    home: OsString,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Group {
    name: String,
    gid: u32,
    members: Vec<String>,
}

impl Accounts {
    /// Parses the two texts; either may be empty.
    #[must_use]
    pub fn parse(passwd: &[u8], group: &[u8]) -> Self {
        Self {
            users: lines(passwd).filter_map(User::parse).collect(),
            groups: lines(group).filter_map(Group::parse).collect(),
        }
    }

    /// Finds whom a specification means. A number without an entry is used as it is, with group 0; a
    /// name must have an entry. A group that is named is the only one; without it the groups are the
    /// primary one of the entry and all that list the user.
    ///
    /// # Errors
    /// See [`Unknown`].
    pub fn find(&self, spec: &Spec) -> Result<Identity, Unknown> {
        let number = number(&spec.user)?;
        // The first that matches in either way, as in the runtimes.
        let entry = self
            .users
            .iter()
            .find(|user| user.name == spec.user || Some(user.uid) == number);
        let (uid, own_gid) = match (entry, number) {
            (Some(user), _) => (user.uid, user.gid),
            (None, Some(uid)) => (uid, 0),
            (None, None) => {
                let hint = suggest::hint(&spec.user, self.users.iter().map(|u| u.name.as_str()));
                return Err(Unknown::User(spec.user.clone(), hint));
            }
        };
        let (gid, listing) = match (&spec.group, entry) {
            (Some(group), _) => (self.gid(group)?, None),
            (None, entry) => (own_gid, entry),
        };
        let listing = self
            .groups
            .iter()
            .filter(|group| listing.is_some_and(|user| group.members.contains(&user.name)));
        Ok(Identity {
            uid,
            gid,
            groups: together(gid, listing.map(|group| group.gid))?,
            home: entry.map_or_else(|| "/".into(), |user| user.home.clone()),
            name: entry.map_or_else(|| uid.to_string(), |user| user.name.clone()),
        })
    }

    /// The primary group and the groups of these names or numbers, as [`Identity::groups`].
    ///
    /// # Errors
    /// See [`Unknown`].
    pub fn groups(&self, primary: u32, words: &[String]) -> Result<Vec<u32>, Unknown> {
        let gids: Result<Vec<u32>, Unknown> = words.iter().map(|word| self.gid(word)).collect();
        together(primary, gids?)
    }

    fn gid(&self, word: &str) -> Result<u32, Unknown> {
        let number = number(word)?;
        let entry = self
            .groups
            .iter()
            .find(|group| group.name == word || Some(group.gid) == number);
        entry.map(|group| group.gid).or(number).ok_or_else(|| {
            let hint = suggest::hint(word, self.groups.iter().map(|g| g.name.as_str()));
            Unknown::Group(word.to_owned(), hint)
        })
    }
}

impl User {
    fn parse(line: &[u8]) -> Option<Self> {
        let mut fields = line.split(|byte| *byte == b':');
        let name = name(fields.next()?)?;
        let _password = fields.next()?;
        let uid = id(fields.next()?)?;
        let gid = id(fields.next()?)?;
        let home = fields.nth(1).unwrap_or_default();
        let home = if home.is_empty() { b"/" } else { home };
        Some(Self {
            name,
            uid,
            gid,
            home: OsString::from_vec(home.to_owned()),
        })
    }
}

impl Group {
    fn parse(line: &[u8]) -> Option<Self> {
        let mut fields = line.split(|byte| *byte == b':');
        let name = name(fields.next()?)?;
        let _password = fields.next()?;
        let gid = id(fields.next()?)?;
        let members = fields.next().unwrap_or_default();
        let members = members.split(|byte| *byte == b',');
        Some(Self {
            name,
            gid,
            members: members.filter_map(self::name).collect(),
        })
    }
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    // A NUL would end a string early for the kernel, and so mean something else than it says.
    text.split(|byte| *byte == b'\n')
        .map(<[u8]>::trim_ascii)
        .filter(|line| !line.starts_with(b"#") && !line.contains(&0))
}

fn name(field: &[u8]) -> Option<String> {
    let name = std::str::from_utf8(field).ok()?;
    (!name.is_empty()).then(|| name.to_owned())
}

/// A number of a file. The highest means "unchanged" to the kernel, and so is nobody's.
fn id(field: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(field).ok()?;
    number(text).ok().flatten()
}

/// The number that a word is, if it is one.
fn number(word: &str) -> Result<Option<u32>, Unknown> {
    if word.is_empty() || !word.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    match word.parse() {
        Ok(u32::MAX) | Err(_) => Err(Unknown::Range(word.to_owned())),
        Ok(number) => Ok(Some(number)),
    }
}

fn together(primary: u32, others: impl IntoIterator<Item = u32>) -> Result<Vec<u32>, Unknown> {
    let groups: BTreeSet<u32> = others.into_iter().chain([primary]).collect();
    if groups.len() > MAX_GROUPS {
        return Err(Unknown::Groups(groups.len()));
    }
    Ok(groups.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\
        # a comment: x:1:1\n\
        broken\n\
        +::::::\n\
        nouid:x::5::/:\n\
        high:x:4294967295:5::/:\n\
        app:x:1000:1001:App:/home/app:/bin/sh\r\n\
        short:x:7:8\n\
        homeless:x:9:9:::\n";
    const GROUP: &str = "root:x:0:\n\
        app:x:1001:\n\
        video:x:44:other,app\n\
        audio:x:29:app\n\
        again:x:44:app\n\
        broken:x\n\
        staff:x:50:root\n";

    fn find(text: &str) -> Result<Identity, String> {
        let accounts = Accounts::parse(PASSWD.as_bytes(), GROUP.as_bytes());
        let spec = Spec::parse(text)?;
        accounts.find(&spec).map_err(|error| error.to_string())
    }

    fn told(text: &str) -> String {
        let who = find(text).unwrap();
        let home = who.home.to_str().unwrap();
        format!(
            "{} {} {:?} {} {home}",
            who.uid, who.gid, who.groups, who.name
        )
    }

    #[test]
    fn p39_names_and_numbers_are_looked_up_as_the_runtimes_do() {
        for (spec, expected) in [
            ("root", "0 0 [0, 50] root /root"),
            ("app", "1000 1001 [29, 44, 1001] app /home/app"),
            ("1000", "1000 1001 [29, 44, 1001] app /home/app"),
            ("app:staff", "1000 50 [50] app /home/app"),
            ("app:7777", "1000 7777 [7777] app /home/app"),
            ("1000:44", "1000 44 [44] app /home/app"),
            ("4242", "4242 0 [0] 4242 /"),
            ("4242:4343", "4242 4343 [4343] 4242 /"),
            ("4242:video", "4242 44 [44] 4242 /"),
            ("short", "7 8 [8] short /"),
            ("homeless", "9 9 [9] homeless /"),
            (
                "4294967294:4294967294",
                "4294967294 4294967294 [4294967294] 4294967294 /",
            ),
        ] {
            assert_eq!(told(spec), expected, "{spec}");
        }
    }

    #[test]
    fn p39_a_name_must_have_an_entry() {
        for (spec, expected) in [
            (
                "ap",
                "there is no user `ap` in /etc/passwd; did you mean `app`?",
            ),
            ("nouid", "there is no user `nouid` in /etc/passwd; add one"),
            ("high", "there is no user `high`"),
            (
                "app:vidio",
                "no group `vidio` in /etc/group; did you mean `video`?",
            ),
            ("4294967295", "`4294967295` is out of range"),
            ("99999999999999999999", "out of range"),
            ("app:4294967295", "out of range"),
            ("-1", "there is no user `-1`"),
            ("", "`` names no user; expected a name or a number"),
            (":0", "names no user"),
            ("app:", "names no user"),
            ("a:b:c", "names no user"),
        ] {
            let error = find(spec).unwrap_err();
            assert!(error.contains(expected), "{spec}: {error}");
        }
    }

    #[test]
    fn p39_without_files_numbers_are_enough() {
        let accounts = Accounts::default();
        let find = |text: &str| accounts.find(&Spec::parse(text).unwrap());
        assert_eq!(find("5:6").unwrap().groups, [6]);
        assert!(find("root").is_err());
    }

    #[test]
    fn named_groups_stand_beside_the_primary_one() {
        let accounts = Accounts::parse(PASSWD.as_bytes(), GROUP.as_bytes());
        let groups = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            accounts.groups(1001, &words)
        };
        assert_eq!(
            groups(&["video", "29", "7", "video"]),
            Ok(vec![7, 29, 44, 1001])
        );
        assert_eq!(groups(&[]), Ok(vec![1001]));
        assert!(groups(&["vide0", "x"]).is_err());
    }

    #[test]
    fn no_more_groups_than_the_kernel_takes() {
        let group: String = (1..=70_000)
            .map(|gid| format!("g{gid}:x:{gid}:a\n"))
            .collect();
        let accounts = Accounts::parse(b"a:x:1:1:::", group.as_bytes());
        let error = accounts.find(&Spec::parse("a").unwrap()).unwrap_err();
        assert_eq!(error, Unknown::Groups(70_000));
    }

    proptest! {
        #[test]
        fn no_text_is_a_panic(passwd in "[a-c:,0-9\n#+ ]{0,80}", group in any::<Vec<u8>>(), spec in "\\PC{0,12}") {
            for accounts in [
                Accounts::parse(passwd.as_bytes(), &group),
                Accounts::parse(&group, passwd.as_bytes()),
            ] {
                if let Ok(spec) = Spec::parse(&spec) {
                    let _ = accounts.find(&spec);
                }
                for user in &accounts.users {
                    let spec = Spec { user: user.name.clone(), group: None };
                    let found = accounts.find(&spec);
                    prop_assert!(found.is_ok_and(|who| who.groups.is_sorted()) || user.name.parse::<u64>().is_ok());
                }
            }
        }
    }
}
