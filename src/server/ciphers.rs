//! `-o ssl_ciphers`: OpenSSL's lists of ciphers, as far as there are such ciphers here.
//!
//! Words are separated by colons, commas or blanks. A word is a cipher's name or what it has in common with others
//! (`ECDHE+AESGCM`, `HIGH`); `!` and `-` before it take away. Unknown words say nothing. As in OpenSSL the list is of
//! TLS 1.2 alone: what 1.3 has is always there.

use rustls::{CipherSuite, SupportedCipherSuite};

/// OpenSSL's names, and what they have in common with others.
const CIPHERS: [(CipherSuite, &str, &[&str]); 6] = [
    (
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        &["ECDSA", "aECDSA", "AES", "AES256", "AESGCM"],
    ),
    (
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        "ECDHE-RSA-AES256-GCM-SHA384",
        &["aRSA", "AES", "AES256", "AESGCM"],
    ),
    (
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        &["ECDSA", "aECDSA", "AES", "AES128", "AESGCM"],
    ),
    (
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        "ECDHE-RSA-AES128-GCM-SHA256",
        &["aRSA", "AES", "AES128", "AESGCM"],
    ),
    (
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        &["ECDSA", "aECDSA", "CHACHA20"],
    ),
    (
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        "ECDHE-RSA-CHACHA20-POLY1305",
        &["aRSA", "CHACHA20"],
    ),
];

/// What all of them have in common.
const COMMON: [&str; 8] = [
    "ALL", "DEFAULT", "HIGH", "ECDHE", "EECDH", "kECDHE", "kEECDH", "TLSv1.2",
];

/// The suites that the list leaves, in its order; `None` if it leaves none.
pub(super) fn chosen(list: &str, all: &[SupportedCipherSuite]) -> Option<Vec<SupportedCipherSuite>> {
    let names = names(list);
    if names.is_empty() {
        return None;
    }
    let later = all.iter().filter(|suite| suite.tls13().is_some());
    let listed = names
        .iter()
        .filter_map(|name| all.iter().find(|suite| suite.suite() == *name));
    Some(later.chain(listed).copied().collect())
}

fn names(list: &str) -> Vec<CipherSuite> {
    let mut names = Vec::new();
    let mut banned = Vec::new();
    for word in list.split([':', ',', ' ', ';']).filter(|word| !word.is_empty()) {
        let (sign, word) = match word.split_at_checked(1) {
            Some((sign @ ("!" | "-" | "+"), rest)) => (sign, rest),
            _ => ("", word),
        };
        let meant = CIPHERS
            .iter()
            .filter(|(_, name, tags)| {
                let is = |part| *name == part || tags.contains(&part) || COMMON.contains(&part);
                word.split('+').all(is)
            })
            .map(|(suite, ..)| *suite);
        for suite in meant {
            match sign {
                "!" => banned.push(suite),
                "" if !names.contains(&suite) && !banned.contains(&suite) => names.push(suite),
                _ => {}
            }
            if sign == "-" || sign == "!" {
                names.retain(|name| *name != suite);
            }
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_as_openssl_reads_them() {
        for (list, want) in [
            ("ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256"),
            (
                "ECDHE+CHACHA20:aRSA+AES128",
                "ECDHE-ECDSA-CHACHA20-POLY1305 ECDHE-RSA-CHACHA20-POLY1305 ECDHE-RSA-AES128-GCM-SHA256",
            ),
            (
                "HIGH:!aECDSA:-CHACHA20,!aNULL:@STRENGTH",
                "ECDHE-RSA-AES256-GCM-SHA384 ECDHE-RSA-AES128-GCM-SHA256",
            ),
            ("!AES:ALL:!ECDSA", "ECDHE-RSA-CHACHA20-POLY1305"),
            ("AES128-SHA:RC4", ""),
            ("", ""),
        ] {
            let spelled: Vec<&str> = names(list)
                .iter()
                .flat_map(|suite| CIPHERS.iter().filter(move |(known, ..)| known == suite))
                .map(|(_, name, _)| *name)
                .collect();
            assert_eq!(want, spelled.join(" "), "{list:?}");
        }
        let all = rustls::crypto::ring::ALL_CIPHER_SUITES;
        assert_eq!(None, chosen("RC4", all).map(|suites| suites.len()));
        assert_eq!(Some(3 + 6), chosen("ALL", all).map(|suites| suites.len()));
    }
}
