//! Lines of `/etc/hosts`, as `docker build --add-host` takes them.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::InvalidOption;

/// A name and its address.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ExtraHost {
    /// In lower case.
    pub name: String,
    /// Its address.
    pub address: IpAddr,
}

impl FromStr for ExtraHost {
    type Err = InvalidOption;

    fn from_str(text: &str) -> Result<Self, InvalidOption> {
        let form = || InvalidOption(format!("`{}` is not of the form HOST=IP", text.escape_debug()));
        // An address may have colons, a name has none.
        let (name, address) = text.split_once('=').or_else(|| text.split_once(':')).ok_or_else(form)?;
        let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if name.is_empty() || name.len() > 253 || !name.bytes().all(good) {
            return Err(form());
        }
        if address == "host-gateway" {
            return Err(InvalidOption::new("`host-gateway` is not allowed: builds don't reach the engine's machine"));
        }
        let plain = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
        let address =
            plain.parse().map_err(|_| InvalidOption(format!("`{}` is no IP address", address.escape_debug())))?;
        Ok(Self { name: name.to_ascii_lowercase(), address })
    }
}

impl fmt::Display for ExtraHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, self.address)
    }
}
