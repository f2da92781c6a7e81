//! Networks by name. Each is a profile with comments that say where every figure is from, or that it is assumed.

use super::profile::{Profile, ProfileError};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// A network by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Preset {
    /// A 5G cell of its own core network, not busy.
    #[value(name = "5g-sa")]
    FiveGSa,
    /// The same while many others use it.
    #[value(name = "5g-congested")]
    FiveGCongested,
    /// LTE.
    #[value(name = "lte")]
    Lte,
    /// A wireless LAN.
    #[value(name = "wifi")]
    Wifi,
    /// A wide-area network to a data centre.
    #[value(name = "wan-cloud")]
    WanCloud,
    /// Hardly there.
    #[value(name = "ideal")]
    Ideal,
}

impl Preset {
    /// All there are.
    pub const ALL: [Self; 6] = [
        Self::FiveGSa,
        Self::FiveGCongested,
        Self::Lte,
        Self::Wifi,
        Self::WanCloud,
        Self::Ideal,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::FiveGSa => "5g-sa",
            Self::FiveGCongested => "5g-congested",
            Self::Lte => "lte",
            Self::Wifi => "wifi",
            Self::WanCloud => "wan-cloud",
            Self::Ideal => "ideal",
        }
    }

    /// The file that describes it.
    pub fn text(self) -> &'static str {
        match self {
            Self::FiveGSa => include_str!("presets/5g-sa.toml"),
            Self::FiveGCongested => include_str!("presets/5g-congested.toml"),
            Self::Lte => include_str!("presets/lte.toml"),
            Self::Wifi => include_str!("presets/wifi.toml"),
            Self::WanCloud => include_str!("presets/wan-cloud.toml"),
            Self::Ideal => include_str!("presets/ideal.toml"),
        }
    }

    /// How it behaves.
    pub fn profile(self) -> Result<Profile, ProfileError> {
        Profile::parse(self.name(), self.text())
    }
}

/// A network as users name it: a preset or a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Network {
    /// By name.
    Preset(Preset),
    /// Described by a file.
    File(PathBuf),
}

impl Network {
    /// How it behaves.
    pub fn profile(&self) -> Result<Profile, ProfileError> {
        match self {
            Self::Preset(preset) => preset.profile(),
            Self::File(path) => Profile::read(path),
        }
    }

    /// The option of `hwmeter link` that means it, and its value.
    pub fn option(&self) -> [String; 2] {
        match self {
            Self::Preset(preset) => ["--preset".to_owned(), preset.name().to_owned()],
            Self::File(path) => ["--profile".to_owned(), path.display().to_string()],
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Preset(preset) => f.write_str(preset.name()),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

impl FromStr for Network {
    type Err = String;

    /// A name of a preset is that preset, even if there is a file of that name (which `./NAME` means).
    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(preset) = Preset::ALL.into_iter().find(|preset| preset.name() == text) {
            return Ok(Self::Preset(preset));
        }
        let path = PathBuf::from(text);
        if path.is_file() {
            return Ok(Self::File(path));
        }
        let names = Preset::ALL.map(Preset::name).join(", ");
        Err(format!("neither a preset ({names}) nor a file with a profile"))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_is_a_profile_that_says_where_its_figures_are_from() {
        for preset in Preset::ALL {
            preset.profile().unwrap();
            let figures = preset.text().lines().filter(|line| line.contains(" = "));
            for line in figures {
                assert!(line.contains('#'), "{}: {line}", preset.name());
            }
        }
    }

    #[test]
    fn a_network_is_a_preset_or_a_file() {
        assert_eq!("lte".parse(), Ok(Network::Preset(Preset::Lte)));
        let error = "6g".parse::<Network>().unwrap_err();
        assert!(
            error.contains("wan-cloud") && error.contains("nor a file"),
            "{error}"
        );
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_owned();
        assert_eq!(path.to_str().unwrap().parse(), Ok(Network::File(path)));
    }
}
