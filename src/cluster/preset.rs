//! Rules under the names of the clients that follow them.
//!
//! A preset says "place keys as this client, set up like this, would". Two names may mean the same rules:
//! people look for their client, not for the algorithm. tests/ketama/README.md says which preset is held
//! against which real library.

use std::fmt;
use std::str::FromStr;

use super::{Distribution, HashFunction, Label, PointCount, Rules};

/// A named set of rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preset {
    name: String,
    summary: String,
    rules: Rules,
}

/// A name that is no preset's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownPreset {
    pub name: String,
    /// A known name of little difference, if there is one.
    pub meant: Option<String>,
}

/// Presets of one name each. Families with a name per key hash follow them in [`Preset::all`].
const SINGLE: [(&str, &str, Rules); 20] = [
    (
        "libmemcached",
        "libmemcached's KETAMA, set before its servers",
        KETAMA,
    ),
    (
        "libmemcached-weighted",
        "libmemcached's KETAMA_WEIGHTED",
        WEIGHTED,
    ),
    (
        "libmemcached-servers-first",
        "libmemcached's KETAMA, set after its servers: weights ignored",
        SERVERS_FIRST,
    ),
    (
        "libmemcached-spy",
        "libmemcached's KETAMA_WEIGHTED with DISTRIBUTION set to CONSISTENT_KETAMA_SPY",
        SPY,
    ),
    (
        "libmemcached-spy-plain",
        "libmemcached's CONSISTENT_KETAMA_SPY alone, set before its servers",
        SPY_PLAIN,
    ),
    (
        "libmemcached-modula",
        "libmemcached without any behaviour set",
        MODULA,
    ),
    ("pylibmc", "pylibmc as it comes: modula, weights ignored", MODULA),
    (
        "pylibmc-ketama",
        "pylibmc with behaviors {\"ketama\": True}",
        KETAMA,
    ),
    (
        "pylibmc-weighted",
        "pylibmc with behaviors {\"ketama_weighted\": True}",
        WEIGHTED,
    ),
    ("php", "php-memcached with OPT_LIBKETAMA_COMPATIBLE", WEIGHTED),
    (
        "php-consistent",
        "php-memcached with DISTRIBUTION_CONSISTENT",
        KETAMA,
    ),
    ("php-modula", "php-memcached as it comes", MODULA),
    (
        "php-session",
        "php-memcached's session handler as it comes: KETAMA after the servers",
        SERVERS_FIRST,
    ),
    (
        "spymemcached",
        "spymemcached with KETAMA_HASH and the ketama locator",
        SPYMEMCACHED,
    ),
    (
        "spymemcached-libmemcached",
        "spymemcached with Format.LIBMEMCACHED",
        SPYMEMCACHED_LIBMEMCACHED,
    ),
    (
        "node-hashring",
        "npm hashring as it comes, and node memcached on it",
        NODE,
    ),
    (
        "node-hashring-ketama",
        "npm hashring with 'default port' 11211",
        NODE_KETAMA,
    ),
    (
        "twemproxy",
        "twemproxy as it comes: ketama with fnv1a_64",
        twemproxy(HashFunction::Fnv1a64),
    ),
    (
        "twemproxy-modula",
        "twemproxy's modula with fnv1a_64",
        modula(true, HashFunction::Fnv1a64),
    ),
    (
        "jump",
        "jump consistent hash of XXH64, servers in the order given (Grafana sorts them by name)",
        JUMP,
    ),
];

const KETAMA: Rules = circle(
    Label::Libmemcached,
    PointCount::HundredUnlessWeighted,
    HashFunction::OneAtATime,
);
const WEIGHTED: Rules = circle(Label::Libmemcached, PointCount::Shares, HashFunction::Md5);
const SERVERS_FIRST: Rules = circle(Label::Libmemcached, PointCount::Hundred, HashFunction::OneAtATime);
const SPY: Rules = circle(Label::LibmemcachedSpy, PointCount::Shares, HashFunction::Md5);
const SPY_PLAIN: Rules = circle(
    Label::LibmemcachedSpy,
    PointCount::HundredUnlessWeighted,
    HashFunction::OneAtATime,
);
const SPYMEMCACHED: Rules = circle(
    Label::Spymemcached,
    PointCount::EvenUnlessWeighted,
    HashFunction::Md5,
);
const SPYMEMCACHED_LIBMEMCACHED: Rules = circle(
    Label::SpymemcachedLibmemcached,
    PointCount::EvenUnlessWeighted,
    HashFunction::Md5,
);
const NODE: Rules = circle(Label::HostPort, PointCount::SharesInDoubles, HashFunction::Md5);
const NODE_KETAMA: Rules = circle(
    Label::Libmemcached,
    PointCount::SharesInDoubles,
    HashFunction::Md5,
);
const MODULA: Rules = modula(false, HashFunction::OneAtATime);
const JUMP: Rules = Rules {
    distribution: Distribution::Jump,
    key_hash: HashFunction::OneAtATime,
    hash_tag: None,
};

const fn circle(label: Label, points: PointCount, key_hash: HashFunction) -> Rules {
    Rules {
        distribution: Distribution::Ketama { label, points },
        key_hash,
        hash_tag: None,
    }
}

const fn modula(weighted: bool, key_hash: HashFunction) -> Rules {
    Rules {
        distribution: Distribution::Modula { weighted },
        key_hash,
        hash_tag: None,
    }
}

impl Preset {
    /// Every preset, the ones people ask for first.
    pub fn all() -> Vec<Preset> {
        let mut presets = Vec::from(SINGLE.map(|(name, summary, rules)| Preset::new(name, summary, rules)));
        let mut add = |name: String, summary: String, rules| presets.push(Preset { name, summary, rules });
        for (hash, word) in HashFunction::ALL {
            add(
                format!("twemproxy-{word}"),
                format!("twemproxy's ketama with `hash: {word}`"),
                twemproxy(hash),
            );
            add(
                format!("twemproxy-modula-{word}"),
                format!("twemproxy's modula with `hash: {word}`"),
                modula(true, hash),
            );
            let Some(constant) = libmemcached_name(hash) else {
                continue;
            };
            add(
                format!("libmemcached-{word}"),
                format!("libmemcached's KETAMA with HASH set to {constant}"),
                circle(Label::Libmemcached, PointCount::HundredUnlessWeighted, hash),
            );
            add(
                format!("libmemcached-modula-{word}"),
                format!("libmemcached's modula with HASH set to {constant}"),
                modula(false, hash),
            );
        }
        presets
    }

    fn new(name: &str, summary: &str, rules: Rules) -> Preset {
        Preset {
            name: name.to_owned(),
            summary: summary.to_owned(),
            rules,
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// One line on whose rules these are.
    pub fn summary(&self) -> &str {
        &self.summary
    }

    pub fn rules(&self) -> Rules {
        self.rules
    }
}

const fn twemproxy(hash: HashFunction) -> Rules {
    circle(Label::Twemproxy, PointCount::Shares, hash)
}

/// libmemcached's constant for a key hash; it lacks two of twemproxy's.
fn libmemcached_name(hash: HashFunction) -> Option<&'static str> {
    Some(match hash {
        HashFunction::OneAtATime => "DEFAULT",
        HashFunction::Md5 => "MD5",
        HashFunction::Crc32 => "CRC",
        HashFunction::Fnv1_64 => "FNV1_64",
        HashFunction::Fnv1a64 => "FNV1A_64",
        HashFunction::Fnv1_32 => "FNV1_32",
        HashFunction::Fnv1a32 => "FNV1A_32",
        HashFunction::Hsieh => "HSIEH",
        HashFunction::Murmur => "MURMUR",
        HashFunction::Jenkins => "JENKINS",
        HashFunction::Crc16 | HashFunction::Crc32a => return None,
    })
}

impl FromStr for Preset {
    type Err = UnknownPreset;

    fn from_str(name: &str) -> Result<Preset, UnknownPreset> {
        Preset::all()
            .into_iter()
            .find(|preset| preset.name == name)
            .ok_or_else(|| UnknownPreset {
                name: name.to_owned(),
                meant: Preset::all()
                    .into_iter()
                    .map(|preset| (differences(name, &preset.name), preset.name))
                    .min()
                    .filter(|(count, _)| *count <= name.len() / 3)
                    .map(|(_, meant)| meant),
            })
    }
}

/// Letters to add, drop or replace to turn one name into the other.
fn differences(from: &str, into: &str) -> usize {
    let mut row: Vec<usize> = (0..=into.len()).collect();
    for (line, from) in from.bytes().enumerate() {
        let mut diagonal = line;
        row[0] = line + 1;
        for (column, into) in into.bytes().enumerate() {
            let replaced = diagonal + usize::from(from != into);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[into.len()]
}

impl fmt::Display for UnknownPreset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no preset is called `{}`", self.name)?;
        match &self.meant {
            Some(meant) => write!(f, "; did you mean `{meant}`?"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for UnknownPreset {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found() {
        let names: Vec<_> = Preset::all().into_iter().map(|preset| preset.name).collect();
        for (index, name) in names.iter().enumerate() {
            assert_eq!(name.parse::<Preset>().unwrap().name(), name);
            assert!(!names[..index].contains(name), "{name} twice");
        }
    }

    #[test]
    fn near_misses_are_named() {
        let meant = |name: &str| name.parse::<Preset>().unwrap_err().meant;
        assert_eq!(
            meant("libmemcached-weigthed").as_deref(),
            Some("libmemcached-weighted")
        );
        assert_eq!(meant("spymemcache").as_deref(), Some("spymemcached"));
        assert_eq!(meant("rendezvous"), None);
    }
}
