//! The users and groups of this container, read from their two files. Who a name means is said in
//! [`crate::contract::account`].

use std::io;

use crate::contract::account::Accounts;
use crate::contract::problem::Problem;

const PASSWD: &str = "/etc/passwd";
const GROUP: &str = "/etc/group";

/// Reads both files. An image without them has nobody, and numbers are enough.
///
/// # Errors
/// What is there and cannot be read.
pub fn read() -> Result<Accounts, Vec<Problem>> {
    let read = |path: &str| match std::fs::read(path) {
        Ok(bytes) => Ok(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(Problem::new(format!("cannot read it: {error}")).in_file(path)),
    };
    match (read(PASSWD), read(GROUP)) {
        (Ok(passwd), Ok(group)) => Ok(Accounts::parse(&passwd, &group)),
        (passwd, group) => Err([passwd.err(), group.err()].into_iter().flatten().collect()),
    }
}
