//! What `-o ssl_...` says, with memcached's defaults.

/// The options of TLS. They are read and shown without -Z, too, as memcached has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Tls {
    pub chain_cert: Option<String>,
    pub key: Option<String>,
    /// 0 none, 1 request, 2 require, 3 require once.
    pub verify_mode: u32,
    /// 1 PEM, 2 DER.
    pub key_format: i64,
    pub ciphers: Option<String>,
    pub ca_cert: Option<String>,
    /// In bytes.
    pub wbuf_size: u64,
    pub session_cache: bool,
    pub kernel_tls: bool,
    /// 0 is TLS 1.0, 3 is TLS 1.3.
    pub min_version: u32,
}

/// By what sort of listener clients come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entrance {
    Plain,
    /// TLS, and of clients' certificates what ssl_verify_mode says.
    Tls,
    /// `btls:` TLS, and clients are asked for none.
    Basic,
    /// `mtls:` TLS, and every client must show one.
    Mutual,
}

impl Entrance {
    /// Where nothing else is said of a TCP port.
    pub(super) fn usual(tls_enabled: bool) -> Entrance {
        if tls_enabled {
            Entrance::Tls
        } else {
            Entrance::Plain
        }
    }
}

/// `ssl_min_version` of TLS 1.2, below which nothing is ever offered.
const VERSION_1_2: u32 = 2;

impl Default for Tls {
    fn default() -> Tls {
        Tls {
            chain_cert: None,
            key: None,
            verify_mode: 0,
            key_format: 1,
            ciphers: None,
            ca_cert: None,
            wbuf_size: 16 << 10,
            session_cache: false,
            kernel_tls: false,
            min_version: VERSION_1_2,
        }
    }
}

impl Tls {
    /// Whether this is the name of one of its options, or ought to be.
    pub(super) fn has(name: &str) -> bool {
        name.starts_with("ssl_")
    }

    /// Takes one option, if it is one of these.
    pub(super) fn take(&mut self, name: &str, value: Option<&str>) -> Option<Result<(), String>> {
        let text = || match value {
            Some(value) => Ok(Some(value.to_owned())),
            None => Err(format!("Missing {name} argument")),
        };
        let number = || -> Result<u32, String> {
            let value = value.ok_or_else(|| format!("Missing {name} argument"))?;
            let number = value.trim().parse();
            number.map_err(|_| format!("could not parse argument to {name}"))
        };
        let to_three = || match number()? {
            number @ 0..=3 => Ok(number),
            _ => Err(format!("Invalid {name}. Use help to see valid options.")),
        };
        let taken = match name {
            "ssl_chain_cert" => text().map(|text| self.chain_cert = text),
            "ssl_key" => text().map(|text| self.key = text),
            "ssl_ciphers" => text().map(|text| self.ciphers = text),
            "ssl_ca_cert" => text().map(|text| self.ca_cert = text),
            "ssl_verify_mode" => to_three().map(|mode| self.verify_mode = mode),
            "ssl_min_version" => to_three().map(|version| self.min_version = version),
            "ssl_keyformat" => number().map(|format| self.key_format = format.into()),
            "ssl_wbuf_size" => number().map(|kibibytes| self.wbuf_size = u64::from(kibibytes) << 10),
            "ssl_session_cache" => {
                self.session_cache = true;
                Ok(())
            }
            "ssl_kernel_tls" => {
                self.kernel_tls = true;
                Ok(())
            }
            _ => return None,
        };
        Some(taken)
    }

    /// What has another effect than asked for, or none.
    pub(super) fn note(&self, tls_enabled: bool, notes: &mut Vec<String>) {
        let mut note = |text: &str| notes.push(format!("-o {text}"));
        if !tls_enabled {
            if *self != Tls::default() {
                note("ssl_... has no effect without -Z");
            }
            return;
        }
        if self.min_version < VERSION_1_2 {
            note("ssl_min_version: TLS below 1.2 is never offered");
        }
        if self.kernel_tls {
            note("ssl_kernel_tls has no effect: the server seals by itself");
        }
        if self.wbuf_size != Tls::default().wbuf_size {
            note("ssl_wbuf_size has no effect: output is sealed as a whole");
        }
    }

    pub fn is_only_1_3(&self) -> bool {
        self.min_version > VERSION_1_2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_as_memcached_checks_them() {
        let mut tls = Tls::default();
        for (name, value, want) in [
            ("ssl_key", Some("k.pem"), Some(Ok(()))),
            ("ssl_key", None, Some(Err("Missing ssl_key argument".to_owned()))),
            ("ssl_verify_mode", Some("3"), Some(Ok(()))),
            (
                "ssl_verify_mode",
                Some("4"),
                Some(Err(
                    "Invalid ssl_verify_mode. Use help to see valid options.".to_owned()
                )),
            ),
            (
                "ssl_min_version",
                Some("x"),
                Some(Err("could not parse argument to ssl_min_version".to_owned())),
            ),
            ("ssl_wbuf_size", Some("64"), Some(Ok(()))),
            ("ssl_session_cache", None, Some(Ok(()))),
            ("hashpower", Some("20"), None),
        ] {
            assert_eq!(want, tls.take(name, value), "{name} {value:?}");
        }
        let want = Tls {
            key: Some("k.pem".to_owned()),
            verify_mode: 3,
            wbuf_size: 64 << 10,
            session_cache: true,
            ..Tls::default()
        };
        assert_eq!(want, tls);
    }
}
