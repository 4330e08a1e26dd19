//! The keys of the `disco` section that say where the contract file is and how strictly it is held to.

use std::path::PathBuf;

use super::Section;

/// How the contract file is found and used; by default looked for and enforced.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContractSettings {
    /// Where it is.
    pub place: ContractPlace,
    /// What a call means that is none of the contract's.
    pub calls: Calls,
    /// Names, with `*` and `?`, of variables that the command gets beside those declared.
    pub passthrough: Vec<String>,
    /// The words of the image's ENTRYPOINT after disco, or their number; empty where nobody says.
    pub entrypoint: Vec<String>,
}

/// Where the contract file is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ContractPlace {
    /// In the first of the usual places that has one.
    #[default]
    Usual,
    /// Here.
    File(PathBuf),
    /// Nowhere: there is none, whatever lies around.
    Off,
}

/// What a call means that is none of the contract's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Calls {
    /// The end.
    #[default]
    Enforced,
    /// A warning; the words go on as they are.
    Warned,
    /// Nothing: no call is looked at.
    Free,
}

pub(super) fn read(section: &Section<'_>) -> ContractSettings {
    let place = section.text("contract").map(|text| match text.as_str() {
        "off" | "false" | "no" => ContractPlace::Off,
        path => ContractPlace::File(path.into()),
    });
    let calls = [
        ("enforce", Calls::Enforced),
        ("on", Calls::Enforced),
        ("warn", Calls::Warned),
        ("off", Calls::Free),
    ];
    let entrypoint = section.text("entrypoint").unwrap_or_default();
    let words = entrypoint.split(|c: char| c == ',' || c.is_whitespace());
    ContractSettings {
        place: place.unwrap_or_default(),
        calls: section.choice("commands", &calls, Calls::Enforced),
        passthrough: section.list("env_passthrough"),
        entrypoint: words
            .filter(|word| !word.is_empty())
            .map(str::to_owned)
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::checked;
    use super::*;

    #[test]
    fn every_key_is_read() {
        let settings = checked("", &[]).unwrap().contract;
        assert_eq!(settings, ContractSettings::default());
        let cfg = "disco.contract=/etc/c.yml|disco.commands=warn|disco.env_passthrough=A, B_*\
            |disco.entrypoint=python -m,app";
        let settings = checked(cfg, &[]).unwrap().contract;
        assert_eq!(settings.place, ContractPlace::File("/etc/c.yml".into()));
        assert_eq!(settings.calls, Calls::Warned);
        assert_eq!(settings.passthrough, ["A", "B_*"]);
        assert_eq!(settings.entrypoint, ["python", "-m", "app"]);
        let settings = checked("disco.contract=off|disco.commands=off", &[]).unwrap();
        assert_eq!(settings.contract.place, ContractPlace::Off);
        assert_eq!(settings.contract.calls, Calls::Free);
        assert!(checked("disco.commands=maybe", &[]).is_err());
    }
}
