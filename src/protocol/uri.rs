//! Keys in lists and logs: whatever bytes a key has, it stays one word of one line.

/// All but letters, digits and `-._~` as `%XX`.
pub fn uri_encode(out: &mut Vec<u8>, key: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in key {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(byte);
        } else {
            out.extend_from_slice(&[
                b'%',
                DIGITS[usize::from(byte >> 4)],
                DIGITS[usize::from(byte & 15)],
            ]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_encoded_as_uris() {
        let mut out = Vec::new();
        uri_encode(&mut out, b"aZ09-._~ :%\n\xff");
        assert_eq!(out, b"aZ09-._~%20%3A%25%0A%FF");
    }
}
